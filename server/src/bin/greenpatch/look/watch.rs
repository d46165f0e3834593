//! A process that is asked again and again; of a server's master also its workers.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use super::session::{SERVER, Session, SessionError};
#[cfg(feature = "top")]
use super::told::GreenThread;
use super::told::{Runtime, Runtimes, Server};

/// What was told at one time.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    /// The one that was named, then the workers of its server.
    pub(super) processes: Vec<Process>,
    /// Why some of the workers could not be asked.
    pub(super) troubles: Vec<String>,
}

/// What one process has told.
#[derive(Clone, Debug, Default)]
pub(super) struct Process {
    pub(super) process: u32,
    pub(super) program: String,
    pub(super) version: String,
    /// What the master says of a worker: starting, ready or draining.
    pub(super) state: Option<String>,
    /// Whether what it tells of requests is the sum of its workers'.
    pub(super) is_master: bool,
    pub(super) runtimes: Vec<Runtime>,
    pub(super) server: Option<Server>,
    pub(super) usage: Option<Usage>,
}

/// What the kernel says of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) processor_time: Duration,
    /// Bytes of memory.
    pub(super) resident: u64,
}

/// The processes that are asked.
#[derive(Debug)]
pub(super) struct Watch {
    main: Session,
    workers: BTreeMap<u32, Session>,
    limit: usize,
}

impl Watch {
    /// Attaches to a process. At most `limit` green threads of each runtime are asked for.
    pub(super) fn new(process: u32, limit: usize) -> Result<Watch, SessionError> {
        Ok(Watch {
            main: Session::open(process)?,
            workers: BTreeMap::new(),
            limit,
        })
    }

    /// Asks all of them.
    pub(super) fn sample(&mut self) -> Result<Sample, SessionError> {
        let at = Instant::now();
        let mut main = ask(&mut self.main, self.limit)?;
        let states = match &main.server {
            Some(server) => self.main.others(server),
            None => BTreeMap::new(),
        };
        main.is_master = !states.is_empty();
        let mut sample = Sample {
            at,
            processes: vec![main],
            troubles: Vec::new(),
        };
        self.workers
            .retain(|process, _| states.contains_key(process));
        for (process, state) in states {
            let told = match self.workers.remove(&process) {
                Some(session) => Ok(session),
                None => Session::open(process),
            };
            let told = told.and_then(|mut session| {
                let told = ask(&mut session, self.limit)?;
                self.workers.insert(process, session);
                Ok(told)
            });
            match told {
                Ok(told) => sample.processes.push(Process {
                    state: Some(state),
                    ..told
                }),
                // A worker that has just been started will answer next time, and one that has ended will not be there.
                Err(error) => sample.troubles.push(error.to_string()),
            }
        }
        Ok(sample)
    }

    /// Asks for one green thread with its call stack; `None` if it has ended.
    #[cfg(feature = "top")]
    pub(super) fn look_at(
        &mut self,
        process: u32,
        id: u64,
    ) -> Result<Option<GreenThread>, SessionError> {
        let session = match self.workers.get_mut(&process) {
            Some(session) => session,
            None if self.main.process() == process => &mut self.main,
            None => return Err(SessionError::Gone { process }),
        };
        let told: Runtimes = session.ask(&format!("dump backtraces running only={id}"))?;
        let mut all = told.runtimes.into_iter().flat_map(|it| it.green_threads);
        Ok(all.find(|green| green.id == id))
    }
}

fn ask(session: &mut Session, limit: usize) -> Result<Process, SessionError> {
    let told: Runtimes = session.ask(&format!("dump limit={limit}"))?;
    let server = match session.knows(SERVER) {
        true => Some(session.ask(SERVER)?),
        false => None,
    };
    let greeting = session.greeting();
    Ok(Process {
        process: session.process(),
        program: greeting.program.clone(),
        version: greeting.version.clone(),
        runtimes: told.runtimes,
        server,
        usage: usage(session.process()),
        ..Process::default()
    })
}

/// Fields 14, 15 and 24 of proc_pid_stat(5). The second, a name in parentheses, may hold blanks and parentheses.
fn usage(process: u32) -> Option<Usage> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = (field(14)? + field(15)?) as f64;
    let seconds = ticks / rustix::param::clock_ticks_per_second() as f64;
    Some(Usage {
        processor_time: Duration::from_secs_f64(seconds),
        resident: field(24)? * rustix::param::page_size() as u64,
    })
}
