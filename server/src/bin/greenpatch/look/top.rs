//! `greenpatch top`: what the green threads of a process are doing, as it changes.
//!
//! A thread asks the process again and again, so that a process which takes long to answer does not keep keys waiting. It is told
//! what to do by orders, and tells what it hears.

use std::error::Error;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use super::dump::{harmless, print};
use super::frame::{Frame, View};
use super::rates::History;
use super::text;
use super::watch::Watch;
use crate::arguments::TopArguments;

/// The time to the first rates, where the interval is longer: nobody wants to wait for them.
const FIRST: Duration = Duration::from_millis(500);

/// Shows it until it is told to end.
pub(crate) fn run(arguments: &TopArguments) -> Result<ExitCode, Box<dyn Error>> {
    let watch = Watch::new(arguments.process(), arguments.limit)?;
    let view = View {
        sort: arguments.sort,
        is_reversed: false,
        filter: arguments.filter.clone().unwrap_or_default(),
    };
    if arguments.json {
        return lines_of_json(watch, &view, arguments);
    }
    let is_terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
    if !arguments.once && !is_terminal {
        eprintln!(
            "greenpatch: this is no terminal, so one look is printed as text, as --once does; for more of them use --json"
        );
    }
    if arguments.once || !is_terminal {
        let frame = one_frame(watch, &view, arguments.interval)?;
        print(&harmless(&text::write(&frame)))?;
        return Ok(ExitCode::SUCCESS);
    }
    interactive(watch, view, arguments.interval)
}

/// One look, with rates.
fn one_frame(mut watch: Watch, view: &View, interval: Duration) -> Result<Frame, Box<dyn Error>> {
    let mut history = History::default();
    history.add(&watch.sample()?);
    thread::sleep(interval.min(FIRST));
    let sample = watch.sample()?;
    history.add(&sample);
    Ok(Frame::new(&sample, &history, view))
}

/// A line for each look.
fn lines_of_json(
    mut watch: Watch,
    view: &View,
    arguments: &TopArguments,
) -> Result<ExitCode, Box<dyn Error>> {
    let mut history = History::default();
    history.add(&watch.sample()?);
    let mut pause = arguments.interval.min(FIRST);
    loop {
        thread::sleep(pause);
        let sample = watch.sample()?;
        history.add(&sample);
        let mut line = serde_json::to_string(&Frame::new(&sample, &history, view))?;
        line.push('\n');
        // Who has closed standard output does not want to know more.
        if !print(&line)? || arguments.once {
            return Ok(ExitCode::SUCCESS);
        }
        pause = arguments.interval;
    }
}

#[cfg(not(feature = "top"))]
fn interactive(
    _watch: Watch,
    _view: View,
    _interval: Duration,
) -> Result<ExitCode, Box<dyn Error>> {
    Err("this greenpatch was built without its feature top, and can show nothing that changes; use --once or --json".into())
}

#[cfg(feature = "top")]
use on_terminal::interactive;

#[cfg(feature = "top")]
mod on_terminal {
    use std::error::Error;
    use std::process::{self, ExitCode};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
    use std::thread;
    use std::time::{Duration, Instant};

    use ratatui::DefaultTerminal;
    use ratatui::crossterm::event::{self, Event};
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::io::Errno;
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    use crate::look::frame::View;
    use crate::look::keys::{App, Order};
    use crate::look::screen::{self, Theme};
    use crate::look::told::GreenThread;
    use crate::look::watch::{Sample, Watch};

    /// How long keys are waited for before it is looked whether something was told.
    const PERIOD: Duration = Duration::from_millis(50);

    /// The exit status after a hang-up: that of a program which SIGHUP has ended, as shells tell it.
    const HUNG_UP: i32 = 128 + SIGHUP;

    /// What those who watch have heard.
    enum Heard {
        Sample(Box<Sample>),
        GreenThread {
            process: u32,
            id: u64,
            told: Result<GreenThread, String>,
        },
        /// Nothing more will come.
        End(String),
    }

    /// Shows it on the terminal until a key or a signal ends it.
    pub(super) fn interactive(
        watch: Watch,
        view: View,
        interval: Duration,
    ) -> Result<ExitCode, Box<dyn Error>> {
        let is_ended = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGHUP, SIGINT] {
            signal_hook::flag::register(signal, Arc::clone(&is_ended))?;
        }
        let (orders, taken) = mpsc::channel();
        let (tell, heard) = mpsc::channel();
        thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || follow(watch, interval, &taken, &tell))?;
        thread::Builder::new()
            .name("hang-up".to_owned())
            .spawn(end_with_the_terminal)?;
        // A panic restores the terminal, too.
        let mut terminal = ratatui::try_init()?;
        let shown = show(
            &mut terminal,
            App::new(view),
            interval,
            &is_ended,
            &orders,
            &heard,
        );
        ratatui::try_restore()?;
        shown?;
        Ok(ExitCode::SUCCESS)
    }

    /// Ends the process when its terminal is gone, whatever it is at: crossterm reads from a closed one for ever, at the
    /// processor's cost.
    fn end_with_the_terminal() {
        let terminal = rustix::stdio::stdin();
        loop {
            // What is asked for is nothing; a hang-up is told unasked.
            let mut entries = [PollFd::new(&terminal, PollFlags::empty())];
            match poll(&mut entries, None) {
                Err(Errno::INTR) => {}
                Err(_) => return,
                Ok(_) => process::exit(HUNG_UP),
            }
        }
    }

    fn show(
        terminal: &mut DefaultTerminal,
        mut app: App,
        interval: Duration,
        is_ended: &AtomicBool,
        orders: &Sender<Order>,
        heard: &Receiver<Heard>,
    ) -> Result<(), Box<dyn Error>> {
        let theme = Theme::from_environment();
        let mut is_stale = true;
        while !app.is_over && !is_ended.load(Ordering::Relaxed) {
            for heard in heard.try_iter() {
                is_stale = true;
                match heard {
                    Heard::Sample(sample) => app.hear(*sample),
                    Heard::GreenThread { process, id, told } => app.hear_of(process, id, told),
                    Heard::End(why) => app.end = Some(why),
                }
            }
            if is_stale {
                terminal.draw(|screen| screen::draw(screen, &mut app, interval, theme))?;
                is_stale = false;
            }
            if !event::poll(PERIOD)? {
                continue;
            }
            is_stale = true;
            if let Event::Key(key) = event::read()?
                && let Some(order) = app.press(key)
            {
                // Nobody takes it after the end, which is on the screen.
                let _ = orders.send(order);
            }
        }
        Ok(())
    }

    /// Asks the process until nobody wants to hear of it, or it does not answer any more.
    fn follow(
        mut watch: Watch,
        interval: Duration,
        orders: &Receiver<Order>,
        tell: &Sender<Heard>,
    ) {
        let mut due = Instant::now();
        let mut is_first = true;
        let mut is_paused = false;
        loop {
            let heard = if !is_paused && Instant::now() >= due {
                let pause = match is_first {
                    true => interval.min(super::FIRST),
                    false => interval,
                };
                is_first = false;
                due = Instant::now() + pause;
                match watch.sample() {
                    Ok(sample) => Heard::Sample(Box::new(sample)),
                    Err(error) => Heard::End(error.to_string()),
                }
            } else {
                let wait = match is_paused {
                    true => Duration::MAX,
                    false => due.saturating_duration_since(Instant::now()),
                };
                match orders.recv_timeout(wait) {
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => return,
                    Ok(Order::Refresh) => {
                        due = Instant::now();
                        continue;
                    }
                    Ok(Order::Pause(pause)) => {
                        is_paused = pause;
                        continue;
                    }
                    Ok(Order::LookAt { process, id }) => {
                        let told = watch.look_at(process, id);
                        let told = told.map_err(|error| error.to_string());
                        let told = told.and_then(|told| {
                            told.ok_or_else(|| format!("green thread {id} has ended"))
                        });
                        Heard::GreenThread { process, id, told }
                    }
                }
            };
            let is_end = matches!(heard, Heard::End(_));
            if tell.send(heard).is_err() || is_end {
                return;
            }
        }
    }
}
