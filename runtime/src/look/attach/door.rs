//! The process's side until somebody is connected: the thread that waits, and the socket that it has opened.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};

use super::{CLIENTS, CONNECT_TIMEOUT, SIGNAL, THREAD, peer, session, socket_name};
use crate::base::arch;
use crate::base::deadline::Deadline;
use crate::base::own_descriptor::OwnDescriptor;
use crate::base::process;
use crate::base::signal::{self, SignalInfo};
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

/// The numbers of the latest requests whose clients have connected. A client that has waited for long asks again with the same
/// number, and may be heard then after it has connected: nobody would come to a second socket.
static CONNECTED: [AtomicU64; CLIENTS] = [const { AtomicU64::new(0) }; CLIENTS];

/// How many clients have connected so far.
static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);

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
    match signal::spawn_undisturbed(thread, main) {
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
    // If the first socket of that number is there still, this fails; else its client is noted.
    let listener = listen_at(&socket_name(number)).ok()?;
    let is_number = |connected: &AtomicU64| connected.load(Ordering::SeqCst) == number;
    if CONNECTED.iter().any(is_number) {
        return None;
    }
    while wait_readable(&listener, deadline) {
        let connection = match accept_with(&listener, SocketFlags::CLOEXEC) {
            Ok(connection) => connection,
            Err(error) if is_passing(error) => continue,
            // Closing the socket tells the client.
            Err(_) => return None,
        };
        let connection = OwnDescriptor::keep(connection);
        match refusal(&connection) {
            None => {
                let place = CONNECTIONS.fetch_add(1, Ordering::SeqCst) % CLIENTS;
                CONNECTED[place].store(number, Ordering::SeqCst);
                return Some(connection);
            }
            Some(refusal) => session::refuse(&connection, &refusal),
        }
    }
    None
}

/// Whether another connection may be accepted after this error: this one was taken back. Otherwise, without a descriptor left say,
/// it would stay, and the socket readable.
fn is_passing(error: Errno) -> bool {
    matches!(error, Errno::AGAIN | Errno::CONNABORTED | Errno::INTR)
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
    match peer(connection) {
        Ok(peer) => stranger_to(peer.uid, users()).map(|owner| {
            format!(
                "user {} may not look into a process of user {owner}; only its owner and root may",
                peer.uid
            )
        }),
        Err(error) => Some(format!(
            "the kernel does not tell who has connected: {error}"
        )),
    }
}

/// The user whose secrets a process may have that this one, who is not root, must not see: as for ptrace, a process is of all three
/// users that it can become, whichever it acts for at the moment.
fn stranger_to(user: u32, owners: [u32; 3]) -> Option<u32> {
    const ROOT: u32 = 0;
    let mut owners = owners.into_iter();
    owners.find(|owner| user != ROOT && *owner != user)
}

/// The real, the effective and the saved user of the process.
fn users() -> [u32; 3] {
    let mut users = [0_u32; 3];
    let [real, effective, saved] = users.each_mut().map(|user| ptr::from_mut(user) as usize);
    // SAFETY: the arguments are those of getresuid(2): places for three user ids. It does not fail with them.
    unsafe { arch::system_call(libc::SYS_getresuid, [real, effective, saved, 0, 0, 0]) };
    users
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

    use rustix::process::geteuid;

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
    fn a_process_is_looked_into_by_whom_it_is_in_every_respect_and_by_root() {
        let (alice, bob) = (1000, 1001);
        assert_eq!(stranger_to(alice, [alice; 3]), None);
        assert_eq!(stranger_to(0, [alice, bob, bob]), None);
        assert_eq!(stranger_to(bob, [alice; 3]), Some(alice));
        let set_user_id = [alice, 0, 0];
        assert_eq!(stranger_to(alice, set_user_id), Some(0));
        let acts_for_alice = [0, alice, 0];
        assert_eq!(stranger_to(alice, acts_for_alice), Some(0));
        assert_eq!(users()[1], geteuid().as_raw());
    }

    #[test]
    fn a_lack_of_descriptors_ends_the_wait_and_a_client_that_is_gone_does_not() {
        assert!(is_passing(Errno::CONNABORTED));
        for lack in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
            assert!(!is_passing(lack), "{lack}");
        }
    }

    #[test]
    fn a_thread_begins_with_its_signals_blocked_and_its_starter_goes_on_with_its_own() {
        let is_blocked = || {
            let mut set = MaybeUninit::<libc::sigset_t>::uninit();
            // SAFETY: no set is given, and the one in force is filled in.
            unsafe {
                libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), set.as_mut_ptr());
                libc::sigismember(set.as_ptr(), libc::SIGTERM) == 1
            }
        };
        let before = is_blocked();
        let thread = signal::spawn_undisturbed(thread::Builder::new(), is_blocked).unwrap();
        assert!(thread.join().unwrap());
        assert_eq!(is_blocked(), before);
        assert!(!before);
    }

    #[test]
    fn no_second_socket_is_opened_for_a_client_that_has_connected() {
        process::set_process();
        let number = 0x7477_6963;
        let door = thread::spawn(move || wait_for_connection(number).is_some());
        let _client = connect(number);
        assert!(door.join().unwrap());
        let address = SocketAddrUnix::new_abstract_name(socket_name(number).as_bytes()).unwrap();
        let door = thread::spawn(move || wait_for_connection(number).is_some());
        while !door.is_finished() {
            let flags = SocketFlags::CLOEXEC;
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
            let _ = rustix::net::connect(&socket, &address);
        }
        assert!(!door.join().unwrap());
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
