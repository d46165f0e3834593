//! One worker process, as its master sees it.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::stdio::stdin;
use signal_hook::consts::SIGKILL;
use signal_hook::low_level::signal_name;

use super::admin::Admin;
use super::channel::Channel;
use super::generation::Generation;
use super::message::{Start, ToMaster, ToWorker, VARIABLE, VERSION};
use super::plan::{Phase, Standing};
use super::service;
use crate::log;
use crate::observe::fleet::WorkerState;

/// Exit code of a worker that could not boot (gunicorn's `WORKER_BOOT_ERROR`).
pub(crate) const BOOT_FAILED: u8 = 3;

/// Exit code of a worker whose application could not be built (gunicorn's `APP_LOAD_ERROR`).
pub(crate) const APPLICATION_FAILED: u8 = 4;

/// How long a stuck worker may take to write to the log what it is at.
const DUMP_PATIENCE: Duration = Duration::from_secs(5);

/// How much later than its own deadline a worker that was told to end is killed.
const MARGIN: Duration = Duration::from_secs(2);

/// A worker process that has not been reaped.
#[derive(Debug)]
pub(crate) struct Worker {
    number: u64,
    generation: Rc<Generation>,
    child: Child,
    /// `None` after the worker has closed its end.
    channel: Option<Channel>,
    phase: Phase,
    superseded: bool,
    has_served: bool,
    /// When the worker has last been heard of, or was started.
    heard: Instant,
    /// When the worker is killed, if nothing happens before.
    deadline: Option<Instant>,
    /// Why this master has killed the worker, if it has.
    killed: Option<String>,
}

/// How a worker ended.
#[derive(Debug)]
pub(crate) struct Death {
    pub(crate) pid: u32,
    pub(crate) status: ExitStatus,
    pub(crate) generation: Rc<Generation>,
    /// It had been told to end.
    pub(crate) was_leaving: bool,
    /// It accepted connections before.
    pub(crate) had_served: bool,
    /// Its exit code, if that says that trying again is of no use.
    pub(crate) boot_failure: Option<u8>,
}

impl Worker {
    /// Starts a process and hands the generation's settings and sockets to it.
    ///
    /// # Errors
    ///
    /// If the process cannot be started, or the sockets not be handed down.
    pub(crate) fn start(number: u64, generation: &Rc<Generation>) -> io::Result<Worker> {
        let (channel, theirs) = Channel::pair()?;
        let start = Start::Worker {
            settings: generation.configuration.text.clone(),
        };
        let sockets = generation.sockets();
        let mut descriptors = vec![stdin()];
        descriptors.extend(sockets.iter().map(|listening| listening.socket.as_fd()));
        channel.send(&start, &descriptors)?;
        let mut command = generation.executable.command();
        command
            .stdin(Stdio::from(theirs.into_descriptor()))
            .env(VARIABLE, VERSION);
        service::hide_from(&mut command);
        Ok(Worker {
            number,
            generation: Rc::clone(generation),
            child: command.spawn()?,
            channel: Some(channel),
            phase: Phase::Booting,
            superseded: false,
            has_served: false,
            heard: Instant::now(),
            deadline: None,
            killed: None,
        })
    }

    /// Counts the workers of a master.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has in common with others.
    pub(crate) fn generation(&self) -> &Rc<Generation> {
        &self.generation
    }

    /// For the plan.
    pub(crate) fn standing(&self) -> Standing {
        Standing {
            number: self.number,
            phase: self.phase,
            superseded: self.superseded,
        }
    }

    /// Another worker is to take its place, or, if it is the only one that still serves, none after all.
    pub(crate) fn set_superseded(&mut self, superseded: bool) {
        self.superseded = superseded;
    }

    /// The channel, while the worker has its end.
    pub(crate) fn channel(&self) -> Option<&Channel> {
        self.channel.as_ref()
    }

    /// Takes the messages that have come. True if the worker is ready since.
    pub(crate) fn hear(&mut self, admin: &Admin, now: Instant) -> bool {
        let mut is_ready = false;
        while let Some(channel) = &self.channel {
            let message = match channel.try_receive() {
                Ok(Some((message, _))) => message,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok(None) | Err(_) => {
                    self.channel = None;
                    break;
                }
            };
            match message {
                ToMaster::Ready => {
                    self.has_served = true;
                    self.generation.has_served.set(true);
                    if self.phase == Phase::Booting {
                        self.phase = Phase::Ready;
                        admin.state(self.pid(), WorkerState::Ready);
                        is_ready = true;
                    }
                }
                ToMaster::Beat => {
                    // It has come round, as the dump is written: it need not be killed.
                    if self.phase != Phase::Leaving {
                        self.deadline = None;
                    }
                }
                ToMaster::Retire(_) => self.superseded = true,
                ToMaster::Threads(text) => {
                    admin.answer(self.pid(), text);
                    continue;
                }
                ToMaster::Report(snapshot) => {
                    admin.fleet().report(self.pid(), *snapshot);
                    continue;
                }
                ToMaster::Dumped => {
                    self.deadline = self.deadline.map(|_| now);
                    continue;
                }
            }
            self.heard = now;
        }
        is_ready
    }

    /// Tells the worker something; false if it cannot be told. One that does not take its messages is stuck, and is dealt with by
    /// its deadline.
    pub(crate) fn tell(&self, message: &ToWorker) -> bool {
        let channel = self.channel.as_ref();
        channel.is_some_and(|channel| channel.send(message, &[]).is_ok())
    }

    /// Tells the worker to end, and when at the latest.
    pub(crate) fn dismiss(&mut self, order: &ToWorker, patience: Duration, now: Instant) {
        self.tell(order);
        let deadline = now + patience + MARGIN;
        let before = self.deadline.filter(|_| self.phase == Phase::Leaving);
        self.deadline = Some(before.map_or(deadline, |before| before.min(deadline)));
        self.phase = Phase::Leaving;
    }

    /// Sees to it that the worker does not take longer than it may: asks it what it is at, and kills it. Returns when to look
    /// again.
    pub(crate) fn watch(&mut self, now: Instant) -> Option<Instant> {
        if self.killed.is_some() {
            return None;
        }
        if let Some(deadline) = self.deadline {
            if now < deadline {
                return Some(deadline);
            }
            self.kill(match self.phase {
                Phase::Leaving => "as it did not end in time".to_owned(),
                _ => format!(
                    "after {} s without a sign of life",
                    (now - self.heard).as_secs()
                ),
            });
            return None;
        }
        let silence = self.heard + self.generation.settings().timeouts.worker?;
        if now < silence {
            return Some(silence);
        }
        log::critical(format_args!("WORKER TIMEOUT (pid:{})", self.pid()));
        self.tell(&ToWorker::Dump);
        self.deadline = Some(now + DUMP_PATIENCE);
        self.deadline
    }

    /// Kills the worker.
    pub(crate) fn kill(&mut self, why: String) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        self.killed = Some(why);
    }

    /// Whether the worker has ended, and how; logs what was not asked for. `ended` is how, if it has been reaped already.
    pub(crate) fn reap(&mut self, ended: Option<ExitStatus>) -> Option<Death> {
        // An error means that somebody else has reaped it.
        let status =
            ended.or_else(|| self.child.try_wait().unwrap_or(Some(ExitStatus::default())))?;
        self.tell_of(status);
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        let is_boot_failure = |code: &u8| matches!(*code, BOOT_FAILED | APPLICATION_FAILED);
        Some(Death {
            pid: self.pid(),
            status,
            generation: Rc::clone(&self.generation),
            was_leaving: self.phase == Phase::Leaving,
            had_served: self.has_served,
            boot_failure: code.filter(is_boot_failure).filter(|_| !self.has_served),
        })
    }

    fn tell_of(&self, status: ExitStatus) {
        let pid = self.pid();
        if let Some(why) = &self.killed {
            log::error(format_args!("Worker (pid:{pid}) was sent SIGKILL {why}"));
        } else if let Some(signal) = status.signal() {
            let name = signal_name(signal).unwrap_or("an unknown signal");
            let hint = if signal == SIGKILL {
                " Perhaps out of memory?"
            } else {
                ""
            };
            log::error(format_args!("Worker (pid:{pid}) was sent {name}!{hint}"));
        } else if let Some(code @ 1..) = status.code() {
            log::error(format_args!("Worker (pid:{pid}) exited with code {code}"));
        } else if self.phase == Phase::Booting {
            log::error(format_args!(
                "Worker (pid:{pid}) ended before it served; the program must call greenpatch_server::main each time that it is started"
            ));
        }
    }
}
