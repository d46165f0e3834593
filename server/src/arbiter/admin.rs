//! The admin application of a master: the figures of all workers, and what their green threads are at.
//!
//! It is served on OS threads of its own, while the master's one thread owns the workers. So who asks for the green threads
//! wakes the master by a byte, and waits; the master asks the workers, and hands their answers over as they come.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use signal_hook::consts::SIGKILL;

use super::sockets::{Activated, Listening, open_all};
use crate::log;
use crate::observe::admin::AdminServer;
use crate::observe::fleet::{Departure, Fleet, WorkerState};
use crate::settings::Settings;

/// How long workers may take to say what their green threads are at.
const PATIENCE: Duration = Duration::from_secs(8);

/// What the admin application knows, and the application itself if it is served.
pub(crate) struct Admin {
    fleet: Arc<Fleet>,
    inquiry: Arc<Inquiry>,
    /// Can be read when somebody asks for the green threads.
    asked: UnixStream,
    sockets: Vec<Rc<Listening>>,
    server: Option<AdminServer>,
}

impl Admin {
    /// One that is not served yet.
    pub(crate) fn new() -> io::Result<Admin> {
        let (asked, ask) = UnixStream::pair()?;
        asked.set_nonblocking(true)?;
        ask.set_nonblocking(true)?;
        let inquiry = Arc::new(Inquiry {
            ask,
            turn: Mutex::default(),
            answers: Mutex::default(),
            changed: Condvar::new(),
        });
        let asking = Arc::clone(&inquiry);
        Ok(Admin {
            fleet: Fleet::new(move || asking.ask()),
            inquiry,
            asked,
            sockets: Vec::new(),
            server: None,
        })
    }

    /// Serves it where the settings say, on sockets among `inherited` and those that it has already, and on new ones.
    ///
    /// # Errors
    ///
    /// If an address cannot be listened on, or there is no thread to be had. Then all stays as it was.
    pub(crate) fn serve(
        &mut self,
        settings: &Settings,
        inherited: &[Rc<Listening>],
        activated: &mut Activated,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let present = [inherited, &self.sockets].concat();
        let sockets = open_all(&settings.admin_bind, &present, settings, activated)?;
        let is_same = |(one, other): (&Rc<Listening>, &Rc<Listening>)| Rc::ptr_eq(one, other);
        if sockets.len() == self.sockets.len() && sockets.iter().zip(&self.sockets).all(is_same) {
            return Ok(());
        }
        let duplicate = |it: &Rc<Listening>| it.socket.as_fd().try_clone_to_owned();
        let descriptors: Vec<OwnedFd> = sockets.iter().map(duplicate).collect::<Result<_, _>>()?;
        self.server = match descriptors.is_empty() {
            true => None,
            false => Some(AdminServer::start(
                descriptors,
                Arc::clone(&self.fleet) as _,
            )?),
        };
        for listening in &sockets {
            log::info(format_args!("Admin listening at: {}", listening.socket));
        }
        self.sockets = sockets;
        Ok(())
    }

    /// The sockets that it is served on.
    pub(crate) fn sockets(&self) -> &[Rc<Listening>] {
        &self.sockets
    }

    /// What the workers have told.
    pub(crate) fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }

    /// A worker has come to another state.
    pub(crate) fn state(&self, pid: u32, state: WorkerState) {
        self.fleet.state(pid, state);
    }

    /// A worker has ended.
    pub(crate) fn gone(&self, pid: u32, status: ExitStatus) {
        let how = match (status.code(), status.signal()) {
            (Some(0), _) => Departure::Exited,
            (_, Some(SIGKILL)) => Departure::Killed,
            _ => Departure::Failed,
        };
        self.fleet.gone(pid, how);
    }

    /// Whether somebody has asked for the green threads since the last call.
    pub(crate) fn take_question(&self) -> bool {
        let mut bytes = [0; 16];
        matches!((&self.asked).read(&mut bytes), Ok(1..))
    }

    /// So many workers have been asked.
    pub(crate) fn expect_answers(&self, count: usize) {
        self.inquiry.lock().expected = Some(count);
        self.inquiry.changed.notify_all();
    }

    /// A worker has answered.
    pub(crate) fn answer(&self, pid: u32, text: String) {
        self.inquiry.lock().texts.insert(pid, text);
        self.inquiry.changed.notify_all();
    }
}

impl AsFd for Admin {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.asked.as_fd()
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("sockets", &self.sockets)
            .finish_non_exhaustive()
    }
}

/// A question to all workers.
struct Inquiry {
    ask: UnixStream,
    /// Held by who asks: one at a time.
    turn: Mutex<()>,
    answers: Mutex<Answers>,
    changed: Condvar,
}

#[derive(Default)]
struct Answers {
    /// How many will come; `None` before the master has asked.
    expected: Option<usize>,
    texts: BTreeMap<u32, String>,
}

impl Inquiry {
    fn ask(&self) -> String {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        *self.lock() = Answers::default();
        if let Err(error) = (&self.ask).write(&[0]) {
            return format!("the master cannot be asked: {error}\n");
        }
        let is_missing = |answers: &mut Answers| answers.expected != Some(answers.texts.len());
        let answers = self
            .changed
            .wait_timeout_while(self.lock(), PATIENCE, is_missing);
        let (mut answers, _) = answers.unwrap_or_else(PoisonError::into_inner);
        let missing = answers.expected.map(|count| count - answers.texts.len());
        let mut text = match missing {
            Some(0) => String::new(),
            Some(count) => format!("{count} workers have not answered in time\n"),
            None => "the master has not asked the workers in time\n".to_owned(),
        };
        for (_, answer) in std::mem::take(&mut answers.texts) {
            text += &answer;
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        // No change can be cut short by a panic.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
