//! Waiting for children keeps its promises on every kind of thread.

use std::ffi::{CStr, CString, c_int};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::ptr::null_mut;
use std::sync::mpsc;
use std::{fs, thread};

use harness::c::{errno, fails, ok};
use harness::{Directory, Kind, SHORT, on_every_kind_of_thread};
use libc::pid_t;

on_every_kind_of_thread! {
    waitpid_waits_for_the_end_of_a_child,
    who_has_no_such_child_is_told_so,
    wait4_tells_what_the_child_has_used,
    children_of_many_threads_are_waited_for_at_once,
    one_of_many_who_wait_for_a_child_gets_it,
    the_children_of_a_group_are_waited_for,
    a_child_that_stops_and_goes_on_is_told,
    waitid_leaves_the_child_if_asked_to,
    a_pidfd_is_waited_for,
    a_child_is_waited_for_by_system_call,
    popen_reads_what_a_command_prints;
    blocking:
    system_runs_a_command_beside_other_threads,
}

/// A child that ends when its standard input does.
fn child() -> Child {
    Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn pid(child: &Child) -> pid_t {
    child.id() as pid_t
}

/// Ends the child after a while.
fn end_later(child: &mut Child) {
    let stdin = child.stdin.take();
    thread::spawn(move || {
        thread::sleep(SHORT);
        drop(stdin);
    });
}

fn waitpid(child: pid_t, options: c_int) -> (pid_t, c_int) {
    let mut status = -1;
    // SAFETY: a place for the status.
    (
        unsafe { libc::waitpid(child, &mut status, options) },
        status,
    )
}

#[expect(clippy::zombie_processes, reason = "reaped by waitpid")]
fn waitpid_waits_for_the_end_of_a_child() {
    let mut child = child();
    assert_eq!(waitpid(pid(&child), libc::WNOHANG).0, 0);
    end_later(&mut child);
    assert_eq!(waitpid(pid(&child), 0), (pid(&child), 0));
    fails(waitpid(pid(&child), 0).0, libc::ECHILD);
    let failing = Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap();
    let (ended, status) = waitpid(pid(&failing), 0);
    assert_eq!((ended, libc::WEXITSTATUS(status)), (pid(&failing), 3));
}

fn who_has_no_such_child_is_told_so() {
    fails(waitpid(1, 0).0, libc::ECHILD);
    fails(waitpid(pid_t::MIN, 0).0, libc::ESRCH);
    fails(waitpid(1, 1 << 20).0, libc::EINVAL);
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: a place for the result.
    unsafe {
        fails(
            libc::waitid(libc::P_PID, 1, info.as_mut_ptr(), libc::WEXITED),
            libc::ECHILD,
        );
        fails(
            libc::waitid(libc::P_PID, 1, info.as_mut_ptr(), 0),
            libc::EINVAL,
        );
        let no_descriptor = -1_i32 as libc::id_t;
        fails(
            libc::waitid(libc::P_PIDFD, no_descriptor, null_mut(), libc::WEXITED),
            libc::EINVAL,
        );
    }
}

fn wait4_tells_what_the_child_has_used() {
    let mut child = child();
    end_later(&mut child);
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let mut status = -1;
    // SAFETY: places for the results.
    let usage = unsafe {
        let ended = libc::wait4(pid(&child), &mut status, 0, usage.as_mut_ptr());
        assert_eq!((ended, status), (pid(&child), 0));
        usage.assume_init()
    };
    assert!(usage.ru_maxrss > 0);
}

fn children_of_many_threads_are_waited_for_at_once() {
    // More than there are spare workers.
    const THREADS: usize = 100;
    let (sender, receiver) = mpsc::channel();
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let sender = sender.clone();
            thread::spawn(move || {
                let mut child = child();
                sender.send(child.stdin.take()).unwrap();
                child.wait().unwrap()
            })
        })
        .collect();
    // Each child has its end from us, which is after all threads have come this far.
    let ends: Vec<_> = receiver.iter().take(THREADS).collect();
    drop(ends);
    for thread in threads {
        assert!(thread.join().unwrap().success());
    }
}

fn one_of_many_who_wait_for_a_child_gets_it() {
    let mut child = child();
    let number = pid(&child);
    let threads: Vec<_> = (0..5)
        .map(|_| {
            thread::spawn(move || match waitpid(number, 0) {
                (-1, _) => {
                    assert_eq!(errno(), libc::ECHILD);
                    0
                }
                ended => {
                    assert_eq!(ended, (number, 0));
                    1
                }
            })
        })
        .collect();
    end_later(&mut child);
    assert_eq!(
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum::<u32>(),
        1
    );
}

fn the_children_of_a_group_are_waited_for() {
    let in_group = |group| {
        let mut command = Command::new("cat");
        command
            .stdin(Stdio::piped())
            .process_group(group)
            .spawn()
            .unwrap()
    };
    let mut first = in_group(0);
    let group = pid(&first);
    let mut second = in_group(group);
    assert_eq!(waitpid(-group, libc::WNOHANG).0, 0);
    end_later(&mut second);
    assert_eq!(waitpid(-group, 0), (pid(&second), 0));
    end_later(&mut first);
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: a place for the result, which is that of a child.
    let ended = unsafe {
        let options = libc::WEXITED;
        ok(libc::waitid(
            libc::P_PGID,
            group as libc::id_t,
            info.as_mut_ptr(),
            options,
        ));
        info.assume_init().si_pid()
    };
    assert_eq!(ended, group);
    fails(waitpid(-group, 0).0, libc::ECHILD);
}

fn a_child_that_stops_and_goes_on_is_told() {
    let mut child = child();
    let number = pid(&child);
    let signal_later = |signal| {
        thread::spawn(move || {
            thread::sleep(SHORT);
            // SAFETY: our child.
            ok(unsafe { libc::kill(number, signal) });
        })
    };
    signal_later(libc::SIGSTOP);
    let (_, status) = waitpid(number, libc::WUNTRACED);
    assert!(libc::WIFSTOPPED(status));
    signal_later(libc::SIGCONT);
    let (_, status) = waitpid(number, libc::WCONTINUED);
    assert!(libc::WIFCONTINUED(status));
    assert!(child.wait().unwrap().success());
}

fn waitid_leaves_the_child_if_asked_to() {
    let mut child = child();
    end_later(&mut child);
    let wait = |options| {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: a place for the result, which is that of a child.
        unsafe {
            ok(libc::waitid(
                libc::P_PID,
                child.id(),
                info.as_mut_ptr(),
                options,
            ));
            let info = info.assume_init();
            assert_eq!(
                (info.si_signo, info.si_code),
                (libc::SIGCHLD, libc::CLD_EXITED)
            );
            assert_eq!((info.si_pid(), info.si_status()), (pid(&child), 0));
        }
    };
    wait(libc::WEXITED | libc::WNOWAIT);
    wait(libc::WEXITED | libc::WNOWAIT);
    wait(libc::WEXITED);
    // SAFETY: no place is needed.
    fails(
        unsafe { libc::waitid(libc::P_PID, child.id(), null_mut(), libc::WEXITED) },
        libc::ECHILD,
    );
}

fn a_pidfd_is_waited_for() {
    let mut child = child();
    // SAFETY: given out just now.
    let process = unsafe {
        let fd = ok(libc::syscall(libc::SYS_pidfd_open, child.id(), 0)) as c_int;
        OwnedFd::from_raw_fd(fd)
    };
    let id = process.as_raw_fd() as libc::id_t;
    end_later(&mut child);
    // SAFETY: no place is needed.
    unsafe {
        ok(libc::waitid(libc::P_PIDFD, id, null_mut(), libc::WEXITED));
        fails(
            libc::waitid(libc::P_PIDFD, id, null_mut(), libc::WEXITED),
            libc::ECHILD,
        );
    }
}

#[allow(clippy::zombie_processes, reason = "waited for by system call")]
fn a_child_is_waited_for_by_system_call() {
    let child = Command::new("/bin/sh")
        .args(["-c", "exit 3"])
        .spawn()
        .unwrap();
    let (id, none) = (child.id() as c_int, null_mut::<libc::rusage>());
    let mut status = 0;
    // SAFETY: a place for the status.
    unsafe {
        let waited = ok(libc::syscall(libc::SYS_wait4, id, &raw mut status, 0, none));
        assert_eq!((waited as c_int, libc::WEXITSTATUS(status)), (id, 3));
        let again = libc::syscall(libc::SYS_wait4, id, &raw mut status, 0, none);
        fails(again, libc::ECHILD);
    }
}

fn system_runs_a_command_beside_other_threads() {
    let directory = Directory::new();
    directory.fifo("fifo");
    let path = directory.path().join("fifo");
    // The command waits for this.
    let writer = thread::spawn({
        let path = path.clone();
        move || fs::write(path, "exit 5\n").unwrap()
    });
    let command = CString::new(format!(". '{}'", path.display())).unwrap();
    // SAFETY: a C string.
    let status = unsafe { libc::system(command.as_ptr()) };
    assert_eq!(libc::WEXITSTATUS(status), 5);
    writer.join().unwrap();
}

fn popen_reads_what_a_command_prints() {
    let mut line = [0; 16];
    // SAFETY: C strings, a buffer of that length, a stream that is closed once.
    unsafe {
        let stream = libc::popen(c"sleep 0.02; echo line; exit 4".as_ptr(), c"r".as_ptr());
        assert!(!stream.is_null());
        assert!(!libc::fgets(line.as_mut_ptr(), 16, stream).is_null());
        assert_eq!(CStr::from_ptr(line.as_ptr()), c"line\n");
        let status = libc::pclose(stream);
        assert_eq!(libc::WEXITSTATUS(status), 4);
        let stream = libc::popen(c"exit 3".as_ptr(), c"r".as_ptr());
        assert_eq!(libc::WEXITSTATUS(libc::pclose(stream)), 3);
    }
}

#[test]
fn a_deadline_scope_ends_the_wait_for_a_child() {
    Kind::Green { workers: 1 }.run(|| {
        let mut child = child();
        for options in [0, libc::WUNTRACED] {
            let outcome = greenpatch_runtime::time::timeout(SHORT, || {
                fails(waitpid(pid(&child), options).0, libc::ETIMEDOUT);
            });
            assert!(outcome.is_err());
        }
        end_later(&mut child);
        assert_eq!(waitpid(pid(&child), 0), (pid(&child), 0));
    });
}
