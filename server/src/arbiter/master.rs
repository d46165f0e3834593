//! The master: a loop that waits for signals, for its workers and for deadlines, and after each of them does what is to be done.
//!
//! One thread does everything. Its state is what has been asked for: a [`Generation`], a number of workers, perhaps a stop. Each
//! turn of the loop compares the workers with that ([`plan`]), so no event has a way of its own that could be cut off half way.
//!
//! | signal | what happens |
//! |---|---|
//! | `TERM` | workers finish what is under way, and the server ends; a second one quickens it |
//! | `INT`, `QUIT` | workers give up what is under way, and the server ends; a second one kills them |
//! | `HUP` | settings and program are read again; new workers take the place of the old ones |
//! | `USR1` | the log files are opened anew |
//! | `USR2` | a second master starts, from the program as it is on disk now, on the same sockets |
//! | `TTIN`, `TTOU` | one worker more, one less |
//! | `WINCH` | all workers finish and end, the master stays; not on a terminal, which sends it when its size changes |

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal};
use std::mem;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode, ExitStatus};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{WaitOptions, getpid, wait};
use signal_hook::consts::{
    SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH,
};

use super::admin::Admin;
use super::backoff::Backoff;
use super::channel::Channel;
use super::events::{self, Signals, wait_readable};
use super::executable::Executable;
use super::generation::{Configuration, Generation};
use super::identity::Identity;
use super::message::ToWorker;
use super::pid_file::PidFile;
use super::plan::{Phase, plan};
use super::program_watch::ProgramWatch;
use super::service::Service;
use super::sockets::{Activated, Listening};
use super::successor::Successor;
use super::worker::{Death, Worker};
use crate::log;
use crate::observe::attached;
use crate::observe::fleet::WorkerState;
use crate::settings::Process;

/// How long workers may take to give up what is under way, before they are killed.
const QUICK_PATIENCE: Duration = Duration::from_secs(1);

/// Workers that are started before signals are heard again: to start one takes milliseconds.
const STARTS_IN_A_TURN: usize = 4;

/// Deaths of new workers before one is ready after which the old ones stay, if there are any.
const ENOUGH_DEATHS: u32 = 3;

/// Where the settings come from.
pub(crate) trait Source {
    /// Reads them again.
    fn load(&mut self) -> Result<Configuration, Box<dyn Error>>;

    /// Where the process was started. Paths in the settings are relative to it, but for those that are opened after `--chdir`.
    fn directory(&self) -> &Path;
}

/// What a master was started with.
pub(crate) enum Origin {
    /// By hand or by a service manager.
    Fresh,
    /// By another master, with its sockets.
    Successor {
        /// The sockets.
        sockets: Vec<Listening>,
        /// Those of the admin application.
        admin: Vec<Listening>,
        /// What a service manager handed down.
        activated: Vec<i32>,
        /// Open for as long as the other one lives.
        first: Channel,
    },
}

/// A master process.
pub(crate) struct Master<S> {
    source: S,
    activated: Activated,
    signals: Signals,
    service: Service,
    pid_file: Option<PidFile>,
    watch: Option<ProgramWatch>,
    admin: Admin,
    generation: Rc<Generation>,
    /// The generation before, until this one serves.
    fallback: Option<Rc<Generation>>,
    wanted: usize,
    workers: Vec<Worker>,
    started: u64,
    backoff: Backoff,
    /// Deaths of workers of the present generation while none of it has been ready.
    early_deaths: u32,
    stop: Option<Stop>,
    successor: Option<Successor>,
    /// The master that has started this one, while it lives.
    first: Option<Channel>,
}

/// How the server ends.
struct Stop {
    level: Level,
    code: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Graceful,
    Quick,
    Kill,
}

impl<S: Source> Master<S> {
    /// Listens, and does what else must succeed before a server can be said to have started.
    ///
    /// # Errors
    ///
    /// If an address cannot be listened on, or a file not be written.
    pub(crate) fn new(
        source: S,
        configuration: Configuration,
        origin: Origin,
    ) -> Result<Master<S>, Box<dyn Error>> {
        let signals = Signals::catch(&[
            SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU, SIGWINCH, SIGCHLD,
        ])?;
        let settings = configuration.settings.clone();
        change_directory(&settings.process, &source)?;
        let (sockets, admin_sockets, mut activated, first) = match origin {
            Origin::Fresh => (Vec::new(), Vec::new(), Activated::from_environment(), None),
            Origin::Successor {
                sockets,
                admin,
                activated,
                first,
            } => {
                let activated = Activated::to_earlier_master(activated);
                (sockets, admin, activated, Some(first))
            }
        };
        let executable = Executable::own()?;
        let generation =
            Generation::new(executable, configuration, &shared(sockets), &mut activated)?;
        let pid_file = match (&settings.process.pid_file, &first) {
            (Some(path), None) => Some(PidFile::create(path)?),
            (Some(path), Some(_)) => Some(PidFile::create(&PidFile::second(path))?),
            (None, _) => None,
        };
        Identity::of(&settings.process).own_logs(&settings.logging)?;
        let watch = ProgramWatch::start(&generation)?;
        let mut admin = Admin::new()?;
        admin.serve(&settings, &shared(admin_sockets), &mut activated)?;
        Ok(Master {
            source,
            activated,
            signals,
            service: Service::from_environment(),
            pid_file,
            watch,
            admin,
            generation: Rc::new(generation),
            fallback: None,
            wanted: settings.workers.get(),
            workers: Vec::new(),
            started: 0,
            backoff: Backoff::default(),
            early_deaths: 0,
            stop: None,
            successor: None,
            first,
        })
    }

    /// Serves until it is told to stop.
    pub(crate) fn run(mut self) -> ExitCode {
        log::info(format_args!(
            "Listening at: {} ({})",
            self.generation.addresses(),
            process::id()
        ));
        log::info(format_args!(
            "Using worker: {}",
            self.generation.settings().effective_class()
        ));
        attached::tell_of_master(self.admin.fleet());
        let mut is_served = false;
        loop {
            let until = self.arrange();
            if self.workers.is_empty()
                && let Some(stop) = &self.stop
            {
                let code = stop.code;
                self.leave();
                return code.into();
            }
            if !is_served && self.is_whole() {
                is_served = true;
                self.service.ready(self.wanted);
            }
            self.wait(until);
            self.take_events();
        }
    }

    /// Does what the state asks for; returns when to look again, if nothing happens before.
    fn arrange(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut until = self.service.beat(now);
        if self.stop.is_none() {
            let standing: Vec<_> = self.workers.iter().map(Worker::standing).collect();
            let plan = plan(&standing, self.wanted);
            for worker in &mut self.workers {
                if plan.dismiss.contains(&worker.number()) {
                    let patience = worker.generation().settings().timeouts.graceful;
                    worker.dismiss(&ToWorker::Drain, patience, now);
                    self.admin.state(worker.pid(), WorkerState::Draining);
                }
            }
            if plan.start > 0 {
                earlier(&mut until, self.start_workers(plan.start, now));
            }
            self.settle_reload();
        }
        for worker in &mut self.workers {
            earlier(&mut until, worker.watch(now));
        }
        earlier(&mut until, self.watch.as_ref().and_then(ProgramWatch::due));
        until
    }

    /// Starts some workers, unless the last ones have died too early. Returns when to go on, or to try again.
    fn start_workers(&mut self, count: usize, now: Instant) -> Option<Instant> {
        if let Some(until) = self.backoff.until(now) {
            return Some(until);
        }
        for _ in 0..count.min(STARTS_IN_A_TURN) {
            self.started += 1;
            match Worker::start(self.started, &self.generation) {
                Ok(worker) => {
                    self.admin.fleet().started(worker.pid());
                    self.workers.push(worker);
                }
                Err(error) => {
                    let wait = self.backoff.failed(now);
                    log::error(format_args!(
                        "Cannot start a worker from {}: {error}; trying again in {} s",
                        self.generation.executable.path().display(),
                        wait.as_secs_f32()
                    ));
                    self.give_new_generation_up();
                    return self.backoff.until(now);
                }
            }
        }
        (count > STARTS_IN_A_TURN).then_some(now)
    }

    /// Whether as many workers serve as are wanted, and none that is to be replaced.
    fn is_whole(&self) -> bool {
        let standing = self.workers.iter().map(Worker::standing);
        let ready = standing.filter(|it| it.phase == Phase::Ready && !it.superseded);
        ready.count() >= self.wanted
    }

    fn wait(&self, until: Option<Instant>) {
        let workers = self
            .workers
            .iter()
            .filter_map(Worker::channel)
            .map(AsFd::as_fd);
        let others = [
            Some(self.signals.as_fd()),
            Some(self.admin.as_fd()),
            self.first.as_ref().map(AsFd::as_fd),
            self.watch.as_ref().map(AsFd::as_fd),
        ];
        let descriptors: Vec<_> = others.into_iter().flatten().chain(workers).collect();
        if let Err(error) = wait_readable(&descriptors, until) {
            // The kernel lacks memory for the call.
            log::error(format_args!("Cannot wait for events: {error}"));
            thread::sleep(Duration::from_secs(1));
        }
    }

    fn take_events(&mut self) {
        let now = Instant::now();
        // Taken before the dead are looked for: who dies afterwards sends another one.
        let signals: Vec<i32> = self.signals.pending().collect();
        // A worker that was ready and died since is to be known as one that was ready.
        for worker in &mut self.workers {
            if worker.hear(&self.admin, now) {
                self.backoff.succeeded();
                self.early_deaths = 0;
            }
        }
        if self.admin.take_question() {
            self.ask_for_threads();
        }
        self.reap();
        self.look_for_first();
        for signal in signals {
            self.handle(signal);
        }
        if let Some(path) = self.watch.as_mut().and_then(|watch| watch.changed(now)) {
            log::info(format_args!(
                "Worker reloading: {} modified",
                path.display()
            ));
            self.reload();
        }
    }

    fn handle(&mut self, signal: i32) {
        if signal != SIGCHLD {
            log::info(format_args!("Handling signal: {}", events::name(signal)));
        }
        match signal {
            SIGTERM => self.stop(Level::Graceful, 0),
            SIGINT | SIGQUIT => self.stop(Level::Quick, 0),
            // What follows concerns a server that goes on.
            _ if self.stop.is_some() => {}
            SIGHUP => self.reload(),
            SIGUSR1 => self.reopen_logs(),
            SIGUSR2 => self.start_successor(),
            SIGTTIN => self.wanted += 1,
            SIGTTOU => self.wanted = self.wanted.saturating_sub(1).max(1),
            SIGWINCH if io::stdin().is_terminal() => {
                log::info("SIGWINCH ignored: it comes from a terminal")
            }
            SIGWINCH => self.wanted = 0,
            _ => {}
        }
    }

    /// Begins to stop, or goes on to the next level if that had begun.
    fn stop(&mut self, level: Level, code: u8) {
        let level = match &self.stop {
            None => level,
            Some(stop) if stop.level == Level::Graceful => Level::Quick,
            Some(_) => Level::Kill,
        };
        if self.stop.is_none() {
            self.admin.fleet().stopping();
            match self.successor.as_mut().and_then(Successor::living) {
                Some(pid) => {
                    self.service.main_process(pid);
                    self.set_owns_files(false);
                }
                None => {
                    self.service.stopping();
                    for listening in self.generation.sockets().iter() {
                        listening.turn_away();
                    }
                }
            }
            // From now on nobody connects who would not be answered: the sockets close with the last worker that drains.
            self.generation.let_sockets_go();
            if let Some(fallback) = self.fallback.take() {
                fallback.let_sockets_go();
            }
        }
        let now = Instant::now();
        for worker in &mut self.workers {
            match level {
                Level::Graceful if worker.standing().phase == Phase::Leaving => {}
                Level::Graceful => {
                    let patience = worker.generation().settings().timeouts.graceful;
                    worker.dismiss(&ToWorker::Drain, patience, now);
                }
                Level::Quick => worker.dismiss(&ToWorker::Quit, QUICK_PATIENCE, now),
                Level::Kill => worker.kill("at another signal to stop".to_owned()),
            }
        }
        let code = self.stop.take().map_or(code, |stop| stop.code);
        self.stop = Some(Stop { level, code });
    }

    /// The last thing.
    fn leave(mut self) {
        // Its file has been the second master's to take over since it saw this one go.
        drop(self.pid_file.take());
        log::info("Shutting down: Master");
        if self.stop.is_some_and(|stop| stop.code != 0) {
            log::error("Reason: Worker failed to boot.");
        }
    }

    /// Reads settings and program again, and begins a new generation.
    fn reload(&mut self) {
        log::info("Hang up: Master");
        self.service.reloading();
        if let Err(error) = self.begin_generation() {
            log::error(format_args!(
                "Cannot reload: {error}; the server goes on as it was"
            ));
            self.service.ready(self.wanted);
        }
    }

    fn begin_generation(&mut self) -> Result<(), Box<dyn Error>> {
        let configuration = self.source.load()?;
        let settings = configuration.settings.clone();
        change_directory(&settings.process, &self.source)?;
        let executable = self.generation.executable.latest().unwrap_or_else(|error| {
            log::warning(format_args!(
                "Cannot open {}: {error}; going on with the program as it was",
                self.generation.executable.path().display()
            ));
            self.generation.executable.clone()
        });
        if !executable.is(&self.generation.executable) {
            log::info(format_args!(
                "Workers run the new build of {} from now on",
                executable.path().display()
            ));
        }
        let present = self.generation.sockets().clone();
        let generation = Rc::new(Generation::new(
            executable,
            configuration,
            &present,
            &mut self.activated,
        )?);
        log::start(&settings.logging)?;
        self.admin.serve(&settings, &[], &mut self.activated)?;
        self.move_pid_file(settings.process.pid_file.as_deref())?;
        self.reopen_logs();
        if generation.addresses() != self.generation.addresses() {
            log::info(format_args!(
                "Listening at: {} ({})",
                generation.addresses(),
                process::id()
            ));
        }
        self.watch = ProgramWatch::start(&generation)?;
        let before = mem::replace(&mut self.generation, generation);
        // One that never served is nothing to fall back on.
        if before.has_served.get() || self.fallback.is_none() {
            self.fallback = Some(before);
        }
        self.wanted = settings.workers.get();
        self.backoff = Backoff::default();
        self.early_deaths = 0;
        for worker in &mut self.workers {
            worker.set_superseded(true);
        }
        Ok(())
    }

    fn move_pid_file(&mut self, path: Option<&Path>) -> Result<(), Box<dyn Error>> {
        let path = match (path, &self.first) {
            (Some(path), Some(_)) => Some(PidFile::second(path)),
            (path, _) => path.map(ToOwned::to_owned),
        };
        if self.pid_file.as_ref().map(PidFile::path) != path.as_deref() {
            self.pid_file = path.map(|path| PidFile::create(&path)).transpose()?;
        }
        Ok(())
    }

    /// Ends a reload when the new generation serves.
    fn settle_reload(&mut self) {
        if self.fallback.is_some() && self.is_whole() {
            if let Some(before) = self.fallback.take() {
                before.let_sockets_go();
            }
            self.service.ready(self.wanted);
        }
    }

    /// Goes back to the generation before, if workers of it are left. False if not.
    fn give_new_generation_up(&mut self) -> bool {
        if self.generation.has_served.get() {
            return false;
        }
        let lives = |generation: &Rc<Generation>| {
            let mut workers = self.workers.iter();
            workers.any(|it| {
                Rc::ptr_eq(it.generation(), generation) && it.standing().phase != Phase::Leaving
            })
        };
        let Some(before) = self.fallback.take_if(|before| lives(before)) else {
            return false;
        };
        log::error("The new workers do not boot: the server goes on with the old ones");
        self.wanted = before.settings().workers.get();
        self.generation = before;
        self.backoff = Backoff::default();
        for worker in &mut self.workers {
            worker.set_superseded(!Rc::ptr_eq(worker.generation(), &self.generation));
        }
        self.service.ready(self.wanted);
        true
    }

    fn reopen_logs(&mut self) {
        let settings = self.generation.settings();
        if let Err(error) = Identity::of(&settings.process).own_logs(&settings.logging) {
            log::error(error);
        }
        log::reopen();
        for worker in &self.workers {
            worker.tell(&ToWorker::Reopen);
        }
    }

    fn ask_for_threads(&self) {
        let able = self
            .workers
            .iter()
            .filter(|it| it.standing().phase != Phase::Booting);
        let asked = able.filter(|it| it.tell(&ToWorker::Threads));
        self.admin.expect_answers(asked.count());
    }

    fn start_successor(&mut self) {
        if self.first.is_some() {
            log::warning("SIGUSR2 ignored: the master that has started this one still lives");
            return;
        }
        if let Some(pid) = self.successor.as_mut().and_then(Successor::living) {
            log::warning(format_args!(
                "SIGUSR2 ignored: the second master (pid:{pid}) still lives"
            ));
            return;
        }
        match Successor::start(
            &self.generation,
            &self.admin,
            &self.activated,
            self.source.directory(),
        ) {
            Ok(successor) => {
                log::info(format_args!(
                    "Started a second master with pid: {}",
                    successor.pid()
                ));
                self.successor = Some(successor);
            }
            Err(error) => log::error(format_args!(
                "Cannot start a second master from {}: {error}",
                self.generation.executable.path().display()
            )),
        }
    }

    /// Takes the first master's place when it has gone.
    fn look_for_first(&mut self) {
        let Some(first) = &self.first else { return };
        if matches!(first.try_receive::<()>(), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
        {
            return;
        }
        self.first = None;
        log::info("The first master has gone: this one takes its place");
        self.set_owns_files(true);
        self.service.this_is_main();
        let path = self.generation.settings().process.pid_file.as_deref();
        if let (Some(file), Some(path)) = (&mut self.pid_file, path)
            && let Err(error) = file.rename(path)
        {
            log::error(format_args!(
                "Cannot move the pid file to {}: {error}",
                path.display()
            ));
        }
    }

    fn set_owns_files(&self, owns: bool) {
        let generations = [Some(&self.generation), self.fallback.as_ref()];
        for generation in generations.into_iter().flatten() {
            for socket in generation.sockets().iter() {
                socket.set_owns_file(owns);
            }
        }
        for socket in self.admin.sockets() {
            socket.set_owns_file(owns);
        }
    }

    fn reap(&mut self) {
        let ended = reap_orphans();
        let mut deaths = Vec::new();
        self.workers.retain_mut(|worker| {
            let death = worker.reap(ended.get(&worker.pid()).copied());
            let lives = death.is_none();
            deaths.extend(death);
            lives
        });
        for death in deaths {
            self.admin.gone(death.pid, death.status);
            self.mourn(&death);
        }
        if let Some(successor) = &mut self.successor
            && successor.living().is_none()
        {
            if self.stop.is_none() {
                log::warning(format_args!(
                    "The second master (pid:{}) has ended",
                    successor.pid()
                ));
            }
            self.successor = None;
        }
    }

    /// Draws the consequences of a worker's end, beyond that another one is missing.
    fn mourn(&mut self, death: &Death) {
        let is_present = Rc::ptr_eq(&death.generation, &self.generation);
        if death.was_leaving || death.had_served || !is_present || self.stop.is_some() {
            return;
        }
        self.early_deaths += 1;
        let is_hopeless = death.boot_failure.is_some() || self.early_deaths >= ENOUGH_DEATHS;
        if is_hopeless && self.give_new_generation_up() {
            return;
        }
        match death.boot_failure {
            Some(code) if !self.generation.has_served.get() => self.stop(Level::Quick, code),
            _ => {
                let wait = self.backoff.failed(Instant::now());
                log::error(format_args!(
                    "A worker ended before it was ready; the next one is started in {} s",
                    wait.as_secs_f32()
                ));
            }
        }
    }
}

fn shared(sockets: Vec<Listening>) -> Vec<Rc<Listening>> {
    sockets.into_iter().map(Rc::new).collect()
}

/// Goes where the settings say, seen from where the process was started.
fn change_directory(settings: &Process, source: &impl Source) -> Result<(), DirectoryError> {
    let directory = source.directory();
    let directory = match &settings.chdir {
        Some(path) => directory.join(path),
        None => directory.to_owned(),
    };
    env::set_current_dir(&directory).map_err(|source| DirectoryError { directory, source })
}

/// A directory that cannot be gone to.
#[derive(Debug)]
struct DirectoryError {
    directory: PathBuf,
    source: io::Error,
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot change to the directory {}: {}; give one by --chdir that exists and can be entered",
            self.directory.display(),
            self.source
        )
    }
}

impl Error for DirectoryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// As a container's first process the master is the parent of whoever has lost its own. Those are reaped here, and with them any
/// workers that have ended: how is returned, by process.
fn reap_orphans() -> HashMap<u32, ExitStatus> {
    let mut ended = HashMap::new();
    if getpid().is_init() {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_pid().unsigned_abs();
            ended.insert(pid, ExitStatus::from_raw(status.as_raw()));
        }
    }
    ended
}

fn earlier(until: &mut Option<Instant>, other: Option<Instant>) {
    *until = match (*until, other) {
        (Some(until), Some(other)) => Some(until.min(other)),
        (until, other) => until.or(other),
    };
}
