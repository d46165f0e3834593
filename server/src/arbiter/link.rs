//! A worker's link to its master: an OS thread that obeys orders and signals, tells that the worker is well, and ends it in time.
//!
//! It is an OS thread so that whatever the application does to the worker's own threads, it goes on: a worker that is stuck
//! still says at what, and still ends when it is told to or when its master dies.
//!
//! What serves the connections is known to it as [`Serving`]. It looks at that every [`TICK`]: if its loop has turned since, the
//! worker is alive, and the master is told. A worker that has had its number of requests, its time or its memory asks to be
//! replaced and goes on; the master orders it to drain once its successor is ready.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1};

use super::channel::Channel;
use super::events::{Signals, wait_readable};
use super::message::{Reason, ToMaster, ToWorker};
use crate::log;
use crate::observe::admin::threads;
use crate::observe::snapshot::Snapshot;
use crate::settings::{Recycling, Settings};

/// How often the link looks at the worker.
const TICK: Duration = Duration::from_millis(250);

/// How often it tells the master that the worker is well, if `--timeout` is not shorter.
const BEAT: Duration = Duration::from_secs(1);

/// How long a worker may take to give its requests up.
const QUIT_PATIENCE: Duration = Duration::from_secs(1);

/// How often it tells what has been counted.
const REPORT: Duration = Duration::from_secs(1);

/// What a worker is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Finish what is under way, accept no more, and return.
    Drain,
    /// Give up what is under way, and return.
    Quit,
    /// Open the log files anew.
    Reopen,
    /// The process ends as soon as this call returns: write what is not written yet.
    Exit,
}

/// What serves a worker's connections, as the link sees it. Its methods are called on the link's OS thread.
pub(crate) trait Serving: Send {
    /// Obeys, without waiting until it is done.
    fn order(&mut self, order: Order);

    /// A number that changes each time that the loop turns. While it does not change, the worker is taken to be stuck.
    fn turns(&mut self) -> u64;

    /// Requests that have begun.
    fn requests(&mut self) -> u64;

    /// What has been counted.
    fn snapshot(&mut self) -> Snapshot;
}

/// A worker's side of the link; clones are the same link.
#[derive(Clone)]
pub(crate) struct Link(Arc<Shared>);

struct Shared {
    channel: Channel,
    /// Somebody looks at what has been counted.
    reports: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    serving: Option<Box<dyn Serving>>,
    /// What was ordered before anything served: to open the log files anew, or to drain.
    before: Vec<Order>,
}

impl Link {
    /// Begins to obey.
    ///
    /// # Errors
    ///
    /// If signals cannot be caught, or the thread cannot be started.
    pub(crate) fn start(channel: Channel, settings: &Settings) -> io::Result<Link> {
        let signals = Signals::catch(&[SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGHUP])?;
        let link = Link(Arc::new(Shared {
            channel,
            reports: !settings.admin_bind.is_empty(),
            state: Mutex::default(),
        }));
        let beat = settings
            .timeouts
            .worker
            .map_or(BEAT, |timeout| BEAT.min(timeout / 4));
        let now = Instant::now();
        let watch = Watch {
            link: link.clone(),
            signals,
            master_lives: true,
            graceful: settings.timeouts.graceful,
            limits: Limits::new(&settings.recycling),
            born: now,
            beat,
            last_beat: None,
            next_report: now,
            last_turn: None,
            ending: None,
        };
        thread::Builder::new()
            .name("arbiter-link".to_owned())
            .spawn(move || watch.run())?;
        Ok(link)
    }

    /// From now on `serving` is what gets the orders, and first those that have come before: a worker that is told to drain while
    /// it boots goes on to boot, and answers those who have connected in the meantime.
    pub(crate) fn serve(&self, serving: impl Serving + 'static) {
        let mut serving = Box::new(serving);
        let mut state = self.lock();
        for order in state.before.drain(..) {
            serving.order(order);
        }
        state.serving = Some(serving);
    }

    /// Tells the master that connections are accepted. Call it once.
    pub(crate) fn ready(&self) {
        // If it fails, the master has died, and the link's thread sees that.
        let _ = self.0.channel.send(&ToMaster::Ready, &[]);
    }

    /// Tells the master what has been counted so far, if it wants to know.
    pub(crate) fn report(&self) {
        if !self.0.reports {
            return;
        }
        let snapshot = self.lock().serving.as_mut().map(|it| it.snapshot());
        if let Some(snapshot) = snapshot {
            // The next one says the same and more.
            let _ = self
                .0
                .channel
                .send(&ToMaster::Report(Box::new(snapshot)), &[]);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No change can be cut short by a panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes an order on, or keeps it for when something serves.
    fn order(&self, order: Order) {
        let mut state = self.lock();
        match &mut state.serving {
            Some(serving) => serving.order(order),
            None => state.before.push(order),
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

/// The link's thread.
struct Watch {
    link: Link,
    signals: Signals,
    master_lives: bool,
    graceful: Duration,
    limits: Limits,
    born: Instant,
    beat: Duration,
    last_beat: Option<Instant>,
    next_report: Instant,
    last_turn: Option<u64>,
    ending: Option<Ending>,
}

/// How the worker ends.
struct Ending {
    order: Order,
    /// When the process exits, whatever is still under way.
    deadline: Instant,
}

impl Watch {
    fn run(mut self) -> ! {
        let mut tick = Instant::now();
        loop {
            let until = self
                .ending
                .as_ref()
                .map_or(tick, |ending| tick.min(ending.deadline));
            self.wait(until);
            for signal in self.signals.pending() {
                self.handle(signal);
            }
            self.hear();
            let now = Instant::now();
            if now >= tick {
                tick = now + TICK.min(self.beat);
                self.look(now);
                self.report(now);
            }
            if let Some(ending) = &self.ending
                && now >= ending.deadline
            {
                self.cut_off(ending.order);
            }
        }
    }

    fn wait(&self, until: Instant) {
        let mut descriptors = vec![self.signals.as_fd()];
        if self.master_lives {
            descriptors.push(self.link.0.channel.as_fd());
        }
        if wait_readable(&descriptors, Some(until)).is_err() {
            // The kernel lacks memory for the call.
            thread::sleep(TICK);
        }
    }

    fn handle(&mut self, signal: i32) {
        match signal {
            SIGTERM => self.end(Order::Drain),
            SIGINT | SIGQUIT => self.end(Order::Quit),
            SIGUSR1 => self.reopen(),
            // The master's, which a terminal that is closed sends to all.
            _ => {}
        }
    }

    fn hear(&mut self) {
        while self.master_lives {
            match self.link.0.channel.try_receive::<ToWorker>() {
                Ok(Some((ToWorker::Drain, _))) => self.end(Order::Drain),
                Ok(Some((ToWorker::Quit, _))) => self.end(Order::Quit),
                Ok(Some((ToWorker::Reopen, _))) => self.reopen(),
                Ok(Some((ToWorker::Dump, _))) => {
                    log::error(threads());
                    self.tell(&ToMaster::Dumped);
                }
                Ok(Some((ToWorker::Threads, _))) => {
                    self.tell(&ToMaster::Threads(threads()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(None) | Err(_) => {
                    self.master_lives = false;
                    if self.ending.is_none() {
                        log::warning("The master has gone: finishing what is under way");
                        self.end(Order::Drain);
                    }
                }
            }
        }
    }

    /// Begins to end. A second order quickens the first, and does not put its deadline off.
    fn end(&mut self, order: Order) {
        let order = if self.ending.is_some() {
            Order::Quit
        } else {
            order
        };
        let patience = match order {
            Order::Quit => QUIT_PATIENCE,
            _ => self.graceful,
        };
        self.link.order(order);
        let deadline = Instant::now() + patience;
        let before = self.ending.take().map(|ending| ending.deadline);
        self.ending = Some(Ending {
            order,
            deadline: before.map_or(deadline, |before| before.min(deadline)),
        });
    }

    fn reopen(&self) {
        log::reopen();
        self.link.order(Order::Reopen);
    }

    /// Looks whether the worker is well, and whether it has done enough.
    fn look(&mut self, now: Instant) {
        let (turns, requests) = match &mut self.link.lock().serving {
            Some(serving) => (serving.turns(), serving.requests()),
            None => return,
        };
        let turned = self.last_turn.replace(turns) != Some(turns);
        let due = self.last_beat.is_none_or(|last| now >= last + self.beat);
        if turned && due && self.tell(&ToMaster::Beat) {
            self.last_beat = Some(now);
        }
        if self.ending.is_none()
            && let Some(reason) = self.limits.reached(requests, now - self.born)
            && self.tell(&ToMaster::Retire(reason))
        {
            self.limits = Limits::default();
            log::info(format_args!(
                "Autorestarting worker after {reason}: it goes on until its successor is ready"
            ));
        }
    }

    fn report(&mut self, now: Instant) {
        if now >= self.next_report {
            self.next_report = now + REPORT;
            self.link.report();
        }
    }

    fn tell(&self, message: &ToMaster) -> bool {
        self.master_lives && self.link.0.channel.send(message, &[]).is_ok()
    }

    fn cut_off(&self, order: Order) -> ! {
        if order == Order::Drain {
            log::warning(format_args!(
                "Requests were still under way {} s after the signal and are cut off; \
                 raise --graceful-timeout if they need longer",
                self.graceful.as_secs_f64()
            ));
        }
        self.exit()
    }

    fn exit(&self) -> ! {
        self.link.order(Order::Exit);
        process::exit(0)
    }
}

/// When a worker has done enough.
#[derive(Debug, Default)]
struct Limits {
    requests: Option<u64>,
    memory: Option<u64>,
    lifetime: Option<Duration>,
}

impl Limits {
    fn new(recycling: &Recycling) -> Limits {
        let jitter = fastrand::u64(..=recycling.max_requests_jitter);
        let requests = recycling
            .max_requests
            .map(|it| it.get().saturating_add(jitter));
        Limits {
            requests,
            memory: recycling.max_memory,
            lifetime: recycling.max_lifetime,
        }
    }

    fn reached(&self, requests: u64, age: Duration) -> Option<Reason> {
        if self.requests.is_some_and(|limit| requests >= limit) {
            return Some(Reason::Requests(requests));
        }
        if self.lifetime.is_some_and(|limit| age >= limit) {
            return Some(Reason::Lifetime(age.as_secs()));
        }
        let memory = self
            .memory
            .and_then(|limit| resident().filter(|bytes| *bytes > limit));
        memory.map(Reason::Memory)
    }
}

/// Bytes of memory that this process holds, as the kernel counts them.
fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    #[test]
    fn a_worker_has_done_enough_by_requests_life_or_memory() {
        let none = Limits::new(&Recycling::default());
        assert_eq!(none.reached(u64::MAX, Duration::MAX), None);
        let limits = Limits::new(&Recycling {
            max_requests: NonZeroU64::new(10),
            max_requests_jitter: 5,
            max_lifetime: Some(Duration::from_secs(60)),
            ..Recycling::default()
        });
        assert!((10..=15).contains(&limits.requests.expect("it is set")));
        assert_eq!(limits.reached(9, Duration::ZERO), None);
        assert_eq!(
            limits.reached(15, Duration::ZERO),
            Some(Reason::Requests(15))
        );
        assert_eq!(
            limits.reached(0, Duration::from_secs(61)),
            Some(Reason::Lifetime(61))
        );
        let limits = Limits {
            memory: Some(1),
            ..Limits::default()
        };
        let reason = limits.reached(0, Duration::ZERO);
        assert!(
            matches!(reason, Some(Reason::Memory(0x10_0000..))),
            "{reason:?}"
        );
    }
}
