//! One run: two servers in processes of their own, so many requests to each at once, and what happens, told as it does.
//!
//! A side first waits until the other one listens too; then both are sent their requests, and time is counted from there. Four
//! kinds of threads tell what happens: one a side, one that reads what its server prints, and one a request.

use std::error::Error;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Barrier, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use greenpatch_server::application::{Event, EventSender};
use serde::Serialize;

use super::Launcher;
use super::choice::{Choice, Side};
use crate::demo::exchange::Exchange;
use crate::demo::mark::{Mark, Moment, now};
use crate::demo::server_process::{ServerProcess, address_in};

/// How long a server may take to start, and to stop, and all requests beyond what the handler waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a server may take to end when it is told to end at once.
const QUIT_PATIENCE: Duration = Duration::from_secs(3);

/// How often a client that is told nothing is looked after.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// A run, from its beginning until it is forgotten.
#[derive(Default)]
pub(super) struct Run {
    told: Mutex<Told>,
    more: Condvar,
    /// When the requests were sent, by the clock of marks.
    origin: OnceLock<Duration>,
}

#[derive(Default)]
struct Told {
    /// Events as JSON, in order.
    events: Vec<String>,
    is_over: bool,
    /// The sides that can be stopped.
    sides: Vec<Sender<News>>,
    is_stopped: bool,
}

/// What happens, as the page is told it.
#[derive(Debug, Serialize)]
struct Telling<'a> {
    side: usize,
    /// Milliseconds since the requests were sent; none before.
    at: Option<f64>,
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "what", rename_all = "lowercase")]
enum What<'a> {
    /// A server is started by this command.
    Starting { command: &'a str },
    /// It listens, as this process.
    Listening { process: u32 },
    /// It is sent a request.
    Sent { request: u32 },
    /// The handler is called for it, on this OS thread.
    Begins { request: u32, thread: i32 },
    /// The call ends, on this OS thread.
    Ends { request: u32, thread: i32 },
    /// The whole response is here.
    Answered { request: u32 },
    /// There will be no response.
    Unanswered { request: u32, why: String },
    /// The server has printed this.
    Line { text: &'a str },
    /// The side is done.
    Done,
    /// The side was stopped.
    Stopped,
    /// The side cannot go on.
    Failed { why: String },
}

/// What a side's own thread waits for.
enum News {
    Line(String),
    /// The server exits.
    Closed,
    Answer(u32, io::Result<()>),
    Stop,
}

impl Run {
    /// Performs it, and returns when both servers have ended.
    pub(super) fn perform(&self, choice: &Choice, program: &Path, launcher: &Launcher) {
        let both_listen = Barrier::new(choice.sides.len());
        thread::scope(|scope| {
            for (number, side) in choice.sides.iter().enumerate() {
                let lane = Lane::new(self, number, choice);
                let both_listen = &both_listen;
                scope.spawn(move || lane.perform(side, program, launcher, both_listen));
            }
        });
        self.finish();
    }

    /// Sends what was told, from the event of this number, and what will be, until the run is over or the client has left.
    pub(super) fn tell(&self, from: usize, sender: &mut EventSender<'_>) -> io::Result<()> {
        let mut next = from;
        loop {
            let nothing_new = |told: &mut Told| told.events.len() <= next && !told.is_over;
            let told = self.lock();
            let waited = self
                .more
                .wait_timeout_while(told, SIGN_OF_LIFE, nothing_new);
            let (told, _) = waited.unwrap_or_else(PoisonError::into_inner);
            let (new, is_over) = (
                told.events.get(next..).unwrap_or_default().to_vec(),
                told.is_over,
            );
            drop(told);
            if new.is_empty() && !is_over {
                // Tells whether it is still there.
                sender.comment("")?;
            }
            for event in new {
                sender.send(&Event::data(event).id(next.to_string()))?;
                next += 1;
            }
            if is_over {
                return sender.send(&Event::data("over").name("over"));
            }
        }
    }

    /// Stops it: the servers are ended, whatever they are at.
    pub(super) fn stop(&self) {
        let mut told = self.lock();
        told.is_stopped = true;
        for side in &told.sides {
            // It is done already.
            let _ = side.send(News::Stop);
        }
    }

    /// Nothing more will be told.
    pub(super) fn finish(&self) {
        self.lock().is_over = true;
        self.more.notify_all();
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// Waits until it is over, for so long at most.
    pub(super) fn wait_at_most(&self, time: Duration) {
        let waited = self
            .more
            .wait_timeout_while(self.lock(), time, |told| !told.is_over);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// A side can be stopped by this from now on.
    fn enter(&self, side: Sender<News>) {
        let mut told = self.lock();
        if told.is_stopped {
            // Its own thread holds the other end.
            let _ = side.send(News::Stop);
        }
        told.sides.push(side);
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        // No change can be cut short by a panic.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One side of a run.
struct Lane<'a> {
    run: &'a Run,
    number: usize,
    choice: &'a Choice,
    /// To itself, from its other threads.
    sender: Sender<News>,
    news: Receiver<News>,
}

/// Why a side ends before its time.
enum End {
    Stopped,
    Failed(String),
}

impl<E: Error> From<E> for End {
    fn from(error: E) -> End {
        End::Failed(error.to_string())
    }
}

impl<'a> Lane<'a> {
    fn new(run: &'a Run, number: usize, choice: &'a Choice) -> Lane<'a> {
        let (sender, news) = channel();
        run.enter(sender.clone());
        Lane {
            run,
            number,
            choice,
            sender,
            news,
        }
    }

    fn perform(&self, side: &Side, program: &Path, launcher: &Launcher, both_listen: &Barrier) {
        let begun = self.begin(side, program, launcher);
        // The other side waits for this one, also if it will not take part.
        both_listen.wait();
        self.run.origin.get_or_init(now);
        let ended = begun.and_then(|(mut server, address)| {
            self.send_requests(&address);
            self.follow(&mut server)
        });
        self.tell(match ended {
            Ok(()) => What::Done,
            Err(End::Stopped) => What::Stopped,
            Err(End::Failed(why)) => What::Failed { why },
        });
    }

    /// Starts the server, and waits until it listens: where.
    fn begin(
        &self,
        side: &Side,
        program: &Path,
        launcher: &Launcher,
    ) -> Result<(ServerProcess, String), End> {
        let arguments = self.choice.arguments(side);
        let command = format!("greenpatch {}", arguments.join(" "));
        self.tell(What::Starting { command: &command });
        let mut command = Command::new(program);
        command
            .args(["serve", "--bind", "127.0.0.1:0", "--end-with-parent"])
            .arg(process::id().to_string())
            .args(&arguments[1..])
            .arg("--marks")
            .stdin(Stdio::null())
            // The terminal's Ctrl-C is for the demonstration, which ends it.
            .process_group(0);
        let sender = self.sender.clone();
        let heard = move |line: Option<String>| {
            // Nobody listens any more when the run was stopped.
            let _ = sender.send(line.map_or(News::Closed, News::Line));
        };
        let mut server = ServerProcess::start(command, |command| launcher.start(command), heard)?;
        let end = Instant::now() + PATIENCE;
        loop {
            match self.next(end, &mut server)? {
                News::Line(line) => {
                    // It listens before its worker serves. If that does not come to it, the server is about to end.
                    if let Some(address) = address_in(&line)
                        && Exchange::until_served(&address, PATIENCE).is_ok()
                    {
                        let process = server.id();
                        self.tell(What::Listening { process });
                        return Ok((server, address));
                    }
                }
                News::Closed => return Err(exit_of(&mut server)),
                News::Answer(..) | News::Stop => {}
            }
        }
    }

    /// Sends all requests at once, each on a connection of its own.
    fn send_requests(&self, address: &str) {
        for request in 0..self.choice.requests {
            self.tell(What::Sent { request });
            let target = format!("/?request={request}");
            let begun = Exchange::begin(address, &target, self.patience());
            let sender = self.sender.clone();
            let finish = move || {
                // Nobody listens any more when the run was stopped.
                let _ = sender.send(News::Answer(request, begun.and_then(Exchange::finish)));
            };
            if let Err(error) = thread::Builder::new().spawn(finish) {
                let _ = self.sender.send(News::Answer(request, Err(error)));
            }
        }
    }

    /// Tells what comes of the requests, and ends the server when all are answered.
    fn follow(&self, server: &mut ServerProcess) -> Result<(), End> {
        let end = Instant::now() + self.patience();
        let mut open = self.choice.requests;
        while open > 0 {
            match self.next(end, server)? {
                News::Answer(request, answer) => {
                    open -= 1;
                    self.tell(match answer {
                        Ok(()) => What::Answered { request },
                        Err(error) => What::Unanswered {
                            request,
                            why: error.to_string(),
                        },
                    });
                }
                News::Closed => return Err(exit_of(server)),
                News::Line(_) | News::Stop => {}
            }
        }
        server.ask_to_stop()?;
        let end = Instant::now() + PATIENCE;
        while !matches!(self.next(end, server)?, News::Closed) {}
        match server.wait()? {
            status if status.success() => Ok(()),
            status => Err(End::Failed(format!("the server has ended: {status}"))),
        }
    }

    /// What happens next. Lines are told here; whoever is to stop, or waits for too long, ends the server.
    fn next(&self, end: Instant, server: &mut ServerProcess) -> Result<News, End> {
        let left = end.saturating_duration_since(Instant::now());
        match self.news.recv_timeout(left) {
            Ok(News::Line(line)) => {
                self.tell_line(&line);
                Ok(News::Line(line))
            }
            Ok(News::Stop) => {
                self.quit(server);
                Err(End::Stopped)
            }
            Ok(news) => Ok(news),
            Err(_) => {
                self.quit(server);
                Err(End::Failed("the server takes too long".to_owned()))
            }
        }
    }

    /// Ends the server, whatever it is at, and its worker with it.
    fn quit(&self, server: &mut ServerProcess) {
        // It fails only if the process is gone already. If it stays, it is killed as it is dropped.
        let _ = server.ask_to_quit();
        let end = Instant::now() + QUIT_PATIENCE;
        while let left = end.saturating_duration_since(Instant::now())
            && !matches!(self.news.recv_timeout(left), Ok(News::Closed) | Err(_))
        {}
    }

    /// How long all requests may take.
    fn patience(&self) -> Duration {
        self.choice.wait() * self.choice.requests + PATIENCE
    }

    fn tell_line(&self, line: &str) {
        let Some(mark) = Mark::read(line) else {
            return self.tell(What::Line { text: line });
        };
        let (request, thread) = (mark.request, mark.thread);
        let what = match mark.moment {
            Moment::Begins => What::Begins { request, thread },
            Moment::Ends => What::Ends { request, thread },
        };
        self.tell_at(mark.at, what);
    }

    fn tell(&self, what: What<'_>) {
        self.tell_at(now(), what);
    }

    fn tell_at(&self, time: Duration, what: What<'_>) {
        let since = |origin: &Duration| time.saturating_sub(*origin).as_secs_f64() * 1e3;
        let telling = Telling {
            side: self.number,
            at: self.run.origin.get().map(since),
            what,
        };
        let event = serde_json::to_string(&telling).expect("numbers and names can be written");
        self.run.lock().events.push(event);
        self.run.more.notify_all();
    }
}

/// A server has ended that was not told to.
fn exit_of(server: &mut ServerProcess) -> End {
    match server.wait() {
        Ok(status) => End::Failed(format!("the server has ended: {status}")),
        Err(error) => error.into(),
    }
}
