//! A new descriptor is taken for what it is, though its number is that of one whose close has not ended yet.

use std::ffi::{c_char, c_int, c_uint};
use std::io::Write;
use std::mem;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr::{null, null_mut};
use std::thread::{self, JoinHandle};

use greenpatch_runtime::hook::{self, Interest};
use greenpatch_runtime::{Patch, Runtime};
use harness::c::ok;
use harness::{Watchdog, child, eventually, patched_runtime};
use rustix::io::Errno;

/// A number that is free, while the close of the socket that had it lasts.
struct Lingering {
    number: RawFd,
    closer: JoinHandle<()>,
    _listener: TcpListener,
    peer: TcpStream,
}

impl Lingering {
    /// The number is the lowest that is free.
    fn new() -> Lingering {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        while socket.write(&[0; 1 << 16]).is_ok() {}
        let until_sent = libc::linger {
            l_onoff: 1,
            l_linger: 100,
        };
        let number = socket.as_raw_fd();
        // SAFETY: an open descriptor, and a value of that size.
        ok(unsafe {
            libc::setsockopt(
                number,
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const until_sent).cast(),
                size_of_val(&until_sent) as libc::socklen_t,
            )
        });
        let closer = thread::spawn(|| drop(socket));
        // SAFETY: no argument.
        eventually(|| unsafe { libc::fcntl(number, libc::F_GETFD) } == -1);
        Lingering {
            number,
            closer,
            _listener: listener,
            peer,
        }
    }

    fn end(self) {
        drop(self.peer);
        self.closer.join().unwrap();
    }
}

/// A call that has to try twice.
fn calls_go_on(fd: RawFd) -> Result<(), Errno> {
    let section = hook::enter(Patch::OS).expect("a green thread");
    let mut has_tried = false;
    let attempt = || match mem::replace(&mut has_tried, true) {
        false => Err(Errno::AGAIN),
        true => Ok(()),
    };
    section
        .call(fd)?
        .retry_by_timer(Interest::Read, |_, _| Ok(None), attempt)
}

/// Opens descriptors, and gives their numbers.
type Open = Box<dyn FnOnce() -> Vec<RawFd> + Send>;

/// What gives `open` what it needs.
type Prepare = fn() -> Open;

#[track_caller]
fn check(runtime: &Runtime, name: &str, prepare: Prepare, is_green: bool) {
    let open = prepare();
    let lingering = Lingering::new();
    let new = if is_green {
        runtime.spawn(open).join().unwrap()
    } else {
        open()
    };
    assert!(new.contains(&lingering.number), "{name} has no number");
    for fd in new {
        let outcome = runtime.spawn(move || calls_go_on(fd)).join().unwrap();
        assert_eq!(outcome, Ok(()), "{name}, on a green thread: {is_green}");
        // SAFETY: nobody else has it.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    lingering.end();
}

fn check_each(test: &str, ways: &[(&str, Prepare)]) {
    child::succeeds(test, || {
        let _watchdog = Watchdog::start();
        let runtime = patched_runtime(1);
        for &(name, prepare) in ways {
            for is_green in [false, true] {
                check(&runtime, name, prepare, is_green);
            }
        }
    });
}

/// Ways that need nothing before: expressions that give one descriptor each, by valid calls.
macro_rules! ways {
    ($($name:ident: $open:expr;)+) => {
        &[$((stringify!($name), || Box::new(|| {
            // SAFETY: valid arguments.
            vec![ok(unsafe { $open })]
        }))),+]
    };
}

unsafe extern "C" {
    fn getpt() -> c_int;
    fn pidfd_open(process: libc::pid_t, flags: c_uint) -> c_int;
    fn pidfd_getfd(process: c_int, fd: c_int, flags: c_uint) -> c_int;
}

const TABLE: *const c_char = c"/proc/self/mounts".as_ptr();
const READ: *const c_char = c"r".as_ptr();
const NAME: *const c_char = c"/greenpatch-new-descriptor".as_ptr();
const UNIX: c_int = libc::AF_UNIX;
const STREAM: c_int = libc::SOCK_STREAM;

fn own_id() -> libc::pid_t {
    std::process::id().cast_signed()
}

/// All zeros is the empty one.
fn no_signals() -> libc::sigset_t {
    // SAFETY: plain data.
    unsafe { mem::zeroed() }
}

#[test]
fn what_a_function_returns_is_taken_for_what_it_is() {
    check_each(
        "new_descriptors::what_a_function_returns_is_taken_for_what_it_is",
        ways! {
            socket: libc::socket(UNIX, STREAM, 0);
            open: libc::open(TABLE, libc::O_RDONLY);
            dup: libc::dup(0);
            fcntl: libc::fcntl(0, libc::F_DUPFD, 0);
            eventfd: libc::eventfd(0, 0);
            signalfd: libc::signalfd(-1, &no_signals(), 0);
            timerfd_create: libc::timerfd_create(libc::CLOCK_MONOTONIC, 0);
            epoll_create: libc::epoll_create(1);
            epoll_create1: libc::epoll_create1(0);
            inotify_init: libc::inotify_init();
            inotify_init1: libc::inotify_init1(0);
            fanotify_init: libc::fanotify_init(libc::FAN_REPORT_FID, 0);
            memfd_create: libc::memfd_create(NAME, 0);
            shm_open: libc::shm_open(NAME, libc::O_RDWR | libc::O_CREAT, 0o600);
            pidfd_open: pidfd_open(own_id(), 0);
            getpt: getpt();
            posix_openpt: libc::posix_openpt(libc::O_RDWR);
            fopen: libc::fileno(libc::fopen(TABLE, READ));
            tmpfile: libc::fileno(libc::tmpfile());
            setmntent: libc::fileno(libc::setmntent(TABLE, READ));
            opendir: libc::dirfd(libc::opendir(c"/".as_ptr()));
            popen: libc::fileno(libc::popen(c"true".as_ptr(), READ));
        },
    );
    // SAFETY: a C string.
    unsafe { libc::shm_unlink(NAME) };
}

/// A terminal's master.
fn master() -> OwnedFd {
    // SAFETY: a new descriptor, and a terminal.
    unsafe {
        let master = ok(libc::posix_openpt(libc::O_RDWR));
        ok(libc::grantpt(master));
        ok(libc::unlockpt(master));
        OwnedFd::from_raw_fd(master)
    }
}

fn peer_of(master: &OwnedFd) -> RawFd {
    // SAFETY: flags are all that it takes.
    ok(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, libc::O_RDWR) })
}

/// The descriptors of which `call` stores the numbers.
fn stored<const N: usize>(call: impl FnOnce(*mut c_int) -> c_int) -> Vec<RawFd> {
    let mut numbers = [-1; N];
    ok(call(numbers.as_mut_ptr()));
    numbers.to_vec()
}

/// The master; the child is gone.
fn fork_with_terminal() -> Vec<RawFd> {
    stored::<1>(|master| {
        let nothing = null_mut();
        // SAFETY: room for one number; the child does nothing but exit.
        let child = unsafe { libc::forkpty(master, nothing, null(), null()) };
        if child == 0 {
            // SAFETY: plain.
            unsafe { libc::_exit(0) };
        }
        // SAFETY: our child.
        unsafe { libc::waitpid(child, null_mut(), 0) }
    })
}

fn open_terminal() -> Vec<RawFd> {
    stored::<2>(|ends| {
        let slave = ends.wrapping_add(1);
        // SAFETY: room for two numbers; the rest may be left out.
        unsafe { libc::openpty(ends, slave, null_mut(), null(), null()) }
    })
}

#[test]
fn what_a_function_stores_is_taken_for_what_it_is() {
    check_each(
        "new_descriptors::what_a_function_stores_is_taken_for_what_it_is",
        &[
            ("openpty", || Box::new(open_terminal)),
            ("forkpty", || Box::new(fork_with_terminal)),
            ("pipe", || {
                // SAFETY: room for two numbers.
                Box::new(|| stored::<2>(|ends| unsafe { libc::pipe(ends) }))
            }),
            ("socketpair", || {
                // SAFETY: room for two numbers.
                Box::new(|| stored::<2>(|ends| unsafe { libc::socketpair(UNIX, STREAM, 0, ends) }))
            }),
        ],
    );
}

/// Receives by `receive`, which succeeds, the two descriptors that have been sent along with a message.
fn prepare_to_receive(receive: fn(RawFd, &mut libc::mmsghdr) -> bool) -> Open {
    let (sender, receiver) = UnixStream::pair().unwrap();
    let mut message = Message::new();
    message.hold([sender.as_raw_fd(), receiver.as_raw_fd()]);
    // SAFETY: a valid message.
    ok(unsafe { libc::sendmsg(sender.as_raw_fd(), &message.header().msg_hdr, 0) });
    Box::new(move || {
        let mut message = Message::new();
        assert!(receive(receiver.as_raw_fd(), message.header()));
        message.held().to_vec()
    })
}

/// One byte, and room for two descriptors.
struct Message {
    byte: u8,
    part: libc::iovec,
    /// The header of the control message, and the numbers.
    control: ([usize; 2], [RawFd; 2]),
    header: libc::mmsghdr,
}

impl Message {
    fn new() -> Message {
        // SAFETY: plain data, for which zero is a value.
        unsafe { mem::zeroed() }
    }

    /// With pointers to its parts, where they are now.
    fn header(&mut self) -> &mut libc::mmsghdr {
        self.part = libc::iovec {
            iov_base: (&raw mut self.byte).cast(),
            iov_len: 1,
        };
        let header = &mut self.header.msg_hdr;
        header.msg_iov = &raw mut self.part;
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut self.control).cast();
        header.msg_controllen = size_of_val(&self.control);
        &mut self.header
    }

    fn hold(&mut self, numbers: [RawFd; 2]) {
        let level_and_type = [libc::SOL_SOCKET, libc::SCM_RIGHTS].map(|word| word as usize);
        let [level, kind] = level_and_type;
        self.control = ([size_of_val(&self.control), level | kind << 32], numbers);
    }

    fn held(&self) -> [RawFd; 2] {
        assert_eq!(
            self.header.msg_hdr.msg_controllen,
            size_of_val(&self.control)
        );
        self.control.1
    }
}

fn receive(fd: RawFd, message: &mut libc::mmsghdr) -> bool {
    // SAFETY: a valid message.
    unsafe { libc::recvmsg(fd, &mut message.msg_hdr, 0) == 1 }
}

fn receive_many(fd: RawFd, message: &mut libc::mmsghdr) -> bool {
    // SAFETY: one valid message.
    unsafe { libc::recvmmsg(fd, message, 1, 0, null_mut()) == 1 }
}

fn receive_by_number(fd: RawFd, message: &mut libc::mmsghdr) -> bool {
    // SAFETY: a valid message.
    unsafe { libc::syscall(libc::SYS_recvmsg, fd, &raw mut message.msg_hdr, 0) == 1 }
}

fn receive_many_by_number(fd: RawFd, message: &mut libc::mmsghdr) -> bool {
    // SAFETY: one valid message.
    unsafe { libc::syscall(libc::SYS_recvmmsg, fd, message, 1, 0, 0) == 1 }
}

/// The process at the other end.
fn peers_process(socket: &UnixStream) -> RawFd {
    const SO_PEERPIDFD: c_int = 77;
    let (mut process, mut length) = (-1, size_of::<c_int>() as libc::socklen_t);
    // SAFETY: room for a value of that size.
    ok(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut process).cast(),
            &mut length,
        )
    });
    process
}

#[test]
fn what_comes_from_another_descriptor_is_taken_for_what_it_is() {
    check_each(
        "new_descriptors::what_comes_from_another_descriptor_is_taken_for_what_it_is",
        &[
            ("recvmsg", || prepare_to_receive(receive)),
            ("recvmmsg", || prepare_to_receive(receive_many)),
            ("SYS_recvmsg", || prepare_to_receive(receive_by_number)),
            ("SYS_recvmmsg", || {
                prepare_to_receive(receive_many_by_number)
            }),
            ("accept", || {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let address = listener.local_addr().unwrap();
                let _backlog = TcpStream::connect(address).unwrap();
                Box::new(move || vec![listener.accept().unwrap().0.into_raw_fd()])
            }),
            ("getsockopt", || {
                let (socket, _peer) = UnixStream::pair().unwrap();
                Box::new(move || vec![peers_process(&socket)])
            }),
            ("ioctl", || {
                let master = master();
                Box::new(move || vec![peer_of(&master)])
            }),
            ("pidfd_getfd", || {
                // SAFETY: integers only; a new descriptor.
                let process = unsafe { OwnedFd::from_raw_fd(ok(pidfd_open(own_id(), 0))) };
                // SAFETY: integers only.
                Box::new(move || vec![ok(unsafe { pidfd_getfd(process.as_raw_fd(), 0, 0) })])
            }),
        ],
    );
}

/// What a system call gives as a descriptor.
macro_rules! call {
    ($($argument:expr),+) => {
        libc::syscall($($argument),+) as RawFd
    };
}

#[test]
fn what_a_system_call_returns_is_taken_for_what_it_is() {
    check_each(
        "new_descriptors::what_a_system_call_returns_is_taken_for_what_it_is",
        ways! {
            socket: call!(libc::SYS_socket, UNIX, STREAM, 0);
            openat: call!(libc::SYS_openat, libc::AT_FDCWD, TABLE, libc::O_RDONLY);
            dup: call!(libc::SYS_dup, 0);
            fcntl: call!(libc::SYS_fcntl, 0, libc::F_DUPFD, 0);
            eventfd2: call!(libc::SYS_eventfd2, 0, 0);
            signalfd4: call!(libc::SYS_signalfd4, -1, &no_signals(), 8, 0);
            timerfd_create: call!(libc::SYS_timerfd_create, libc::CLOCK_MONOTONIC, 0);
            epoll_create1: call!(libc::SYS_epoll_create1, 0);
            inotify_init1: call!(libc::SYS_inotify_init1, 0);
            memfd_create: call!(libc::SYS_memfd_create, NAME, 0);
            pidfd_open: call!(libc::SYS_pidfd_open, own_id(), 0);
        },
    );
}

#[test]
fn what_a_system_call_stores_is_taken_for_what_it_is() {
    check_each(
        "new_descriptors::what_a_system_call_stores_is_taken_for_what_it_is",
        &[
            ("pipe2", || {
                // SAFETY: room for two numbers.
                Box::new(|| stored::<2>(|ends| unsafe { call!(libc::SYS_pipe2, ends, 0) }))
            }),
            ("socketpair", || {
                Box::new(|| {
                    // SAFETY: room for two numbers.
                    stored::<2>(|ends| unsafe {
                        call!(libc::SYS_socketpair, UNIX, STREAM, 0, ends)
                    })
                })
            }),
        ],
    );
}
