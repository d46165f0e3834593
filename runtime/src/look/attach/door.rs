//! The process's side until somebody is connected: the thread that waits, and the socket that it has opened.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};
use rustix::process::geteuid;

use super::{CLIENTS, CONNECT_TIMEOUT, SIGNAL, THREAD, peer, session, socket_name};
use crate::base::arch;
use crate::base::deadline::Deadline;
use crate::base::own_descriptor::OwnDescriptor;
use crate::base::process;
use crate::base::signal::SignalInfo;
use crate::base::thread_counts::CountedThread;
use crate::sched::context::{NativeSection, OwnWork};

/// The thread waits and starts others, which have stacks as large as any.
const STACK_SIZE: usize = 128 << 10;

/// What turns a switch off in the environment.
const OFF: [&str; 4] = ["off", "false", "no", "0"];

/// Bytes of the kernel's `sigset_t`.
const SIGNAL_SET_SIZE: usize = 8;

/// The process whose thread was started; another one is the parent that this was forked from.
static OPEN_IN: AtomicU32 = AtomicU32::new(0);

/// Connections that are waited for or served.
static CLIENT_COUNT: AtomicUsize = AtomicUsize::new(0);

/// Lets `greenpatch top` and `greenpatch dump` attach to this process from now on, unless `GREENPATCH_ATTACH` is `off` in its
/// environment. The first runtime that is built does so as well; this is for a process that has something to
/// [say](super::provide) without any. Called again, it does nothing.
///
/// # Errors
///
/// The kernel's, if it gives no thread.
pub fn open() -> io::Result<()> {
    let given = std::env::var_os("GREENPATCH_ATTACH");
    let is_off = |given: &std::ffi::OsStr| OFF.iter().any(|word| given == *word);
    if given.is_some_and(|given| is_off(&given)) {
        return Ok(());
    }
    start()
}

/// Starts the thread that waits, if there is none yet.
pub(crate) fn start() -> io::Result<()> {
    let _native = NativeSection::enter();
    let _own = OwnWork::enter();
    let own = std::process::id();
    if OPEN_IN.swap(own, Ordering::SeqCst) == own {
        return Ok(());
    }
    CLIENT_COUNT.store(0, Ordering::SeqCst);
    process::set_process();
    let thread = thread::Builder::new()
        .name(THREAD.to_owned())
        .stack_size(STACK_SIZE);
    match thread.spawn(main) {
        Ok(_) => Ok(()),
        Err(error) => {
            OPEN_IN.store(0, Ordering::SeqCst);
            Err(error)
        }
    }
}

/// The body of the thread.
fn main() {
    let _own = OwnWork::thread();
    block_signals();
    loop {
        let number = {
            let _counted = CountedThread::own_thread();
            next_request()
        };
        let Some(client) = Client::new() else {
            continue;
        };
        // Without a thread for it the request is not heard, and its sender says so.
        let _ = thread::Builder::new()
            .name("green-client".to_owned())
            .spawn(move || {
                let _own = OwnWork::thread();
                let _client = client;
                if let Some(connection) = wait_for_connection(number) {
                    session::serve(connection);
                }
            });
    }
}

/// One of the connections that may be at once.
struct Client;

impl Client {
    fn new() -> Option<Client> {
        if CLIENT_COUNT.fetch_add(1, Ordering::SeqCst) >= CLIENTS {
            CLIENT_COUNT.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        Some(Client)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        CLIENT_COUNT.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Blocks all signals on the calling thread and on those that it starts, so that no handler of the program runs there; but not
/// those that a fault raises.
fn block_signals() {
    let faults = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGSYS,
    ];
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is initialised by the first call, and is a valid one in the others. libc leaves out its own signals.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        for fault in faults {
            libc::sigdelset(set.as_mut_ptr(), fault);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut());
    }
}

/// Waits for the signal with a number, and gives that.
fn next_request() -> u64 {
    let set: u64 = 1 << (SIGNAL - 1);
    loop {
        let mut info = MaybeUninit::<SignalInfo>::zeroed();
        let arguments = [
            ptr::from_ref(&set) as usize,
            info.as_mut_ptr() as usize,
            0,
            SIGNAL_SET_SIZE,
            0,
            0,
        ];
        // SAFETY: the arguments are those of rt_sigtimedwait(2): a set of that size, a place for a siginfo_t, no time limit.
        let taken = unsafe { arch::system_call(libc::SYS_rt_sigtimedwait, arguments) };
        // SAFETY: zeroed, and filled in if a signal was taken; all its fields are integers.
        let info = unsafe { info.assume_init() };
        if taken == SIGNAL as isize && info.code == libc::SI_QUEUE {
            return info.value as u64;
        }
    }
}

/// Opens the socket of that number and waits for somebody who may connect.
fn wait_for_connection(number: u64) -> Option<OwnDescriptor> {
    let deadline = Deadline::after(CONNECT_TIMEOUT);
    let listener = listen_at(&socket_name(number)).ok()?;
    while wait_readable(&listener, deadline) {
        // One that was taken back is no reason not to wait for another.
        let Ok(connection) = accept_with(&listener, SocketFlags::CLOEXEC) else {
            continue;
        };
        let connection = OwnDescriptor::keep(connection);
        match refusal(&connection) {
            None => return Some(connection),
            Some(refusal) => session::refuse(&connection, &refusal),
        }
    }
    None
}

fn listen_at(name: &str) -> Result<OwnDescriptor, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let socket = OwnDescriptor::keep(socket);
    bind(
        &socket,
        &SocketAddrUnix::new_abstract_name(name.as_bytes())?,
    )?;
    listen(&socket, CLIENTS as c_int)?;
    Ok(socket)
}

/// Why who has connected may not look in; `None` if they may.
fn refusal(connection: &OwnDescriptor) -> Option<String> {
    const ROOT: u32 = 0;
    let owner = geteuid().as_raw();
    match peer(connection) {
        Ok(peer) if peer.uid == ROOT || peer.uid == owner => None,
        Ok(peer) => Some(format!(
            "user {} may not look into a process of user {owner}; only its owner and root may",
            peer.uid
        )),
        Err(error) => Some(format!(
            "the kernel does not tell who has connected: {error}"
        )),
    }
}

/// Waits until somebody has connected; false if the deadline came first.
fn wait_readable(listener: &OwnDescriptor, deadline: Deadline) -> bool {
    while !deadline.has_passed() {
        let mut entries = [PollFd::new(listener, PollFlags::IN)];
        match poll(&mut entries, Some(&deadline.timeout())) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixStream;

    /// A user whom no process of these tests belongs to.
    const NOBODY: usize = 65534;

    /// Connects to the socket as soon as it is there.
    fn connect(number: u64) -> UnixStream {
        let address = SocketAddrUnix::new_abstract_name(socket_name(number).as_bytes()).unwrap();
        loop {
            let flags = SocketFlags::CLOEXEC;
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
            if rustix::net::connect(&socket, &address).is_ok() {
                return socket.into();
            }
            thread::yield_now();
        }
    }

    #[test]
    fn another_user_is_told_so_and_the_owner_is_still_waited_for() {
        if !geteuid().is_root() {
            // Who is not root cannot become another user.
            return;
        }
        process::set_process();
        let number = 0x6e6f_626f_6479;
        let door = thread::spawn(move || wait_for_connection(number).is_some());
        let other = thread::spawn(move || {
            let arguments = [NOBODY, NOBODY, NOBODY, 0, 0, 0];
            // SAFETY: the arguments are those of setresuid(2), which concerns this thread alone.
            let result = unsafe { arch::system_call(libc::SYS_setresuid, arguments) };
            assert_eq!(result, 0);
            let mut line = String::new();
            BufReader::new(connect(number))
                .read_line(&mut line)
                .unwrap();
            line
        });
        let line = other.join().unwrap();
        assert!(
            line.contains("user 65534 may not look into a process of user 0"),
            "{line}"
        );
        let _owner = connect(number);
        assert!(door.join().unwrap());
    }
}
