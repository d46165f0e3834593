//! Message queues of System V and of POSIX, and System V's semaphores, keep their promises on every kind of thread.

use std::ffi::{CString, c_int, c_long};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use harness::c::{errno, fails, ok, on_clock, timespec};
use harness::{SHORT, on_every_kind_of_thread, on_one_worker};

use crate::waits_in_vain;

on_every_kind_of_thread! {
    system_v_messages_are_waited_for,
    many_threads_wait_for_one_message_each,
    system_v_semaphores_are_waited_for,
    posix_messages_are_waited_for,
}

unsafe extern "C" {
    fn semtimedop(
        set: c_int,
        operations: *mut libc::sembuf,
        count: usize,
        timeout: *const libc::timespec,
    ) -> c_int;
}

/// A System V message queue that is removed in the end.
struct MessageQueue(c_int);

#[repr(C)]
struct Message {
    kind: c_long,
    text: [u8; 8],
}

impl MessageQueue {
    fn new() -> MessageQueue {
        // SAFETY: integers only.
        MessageQueue(ok(unsafe { libc::msgget(libc::IPC_PRIVATE, 0o600) }))
    }

    fn send(&self, kind: c_long, flags: c_int) -> c_int {
        let message = Message { kind, text: [1; 8] };
        // SAFETY: a message of that length.
        unsafe { libc::msgsnd(self.0, (&raw const message).cast(), 8, flags) }
    }

    fn receive(&self, kind: c_long, flags: c_int) -> isize {
        let mut message = Message {
            kind: 0,
            text: [0; 8],
        };
        // SAFETY: room for a message of that length.
        unsafe { libc::msgrcv(self.0, (&raw mut message).cast(), 8, kind, flags) }
    }
}

impl Drop for MessageQueue {
    fn drop(&mut self) {
        // SAFETY: no buffer is needed to remove it.
        unsafe { libc::msgctl(self.0, libc::IPC_RMID, null_mut()) };
    }
}

fn system_v_messages_are_waited_for() {
    let queue = Arc::new(MessageQueue::new());
    fails(queue.receive(1, libc::IPC_NOWAIT), libc::ENOMSG);
    fails(queue.send(0, 0), libc::EINVAL);
    let its = queue.clone();
    thread::spawn(move || {
        thread::sleep(SHORT);
        ok(its.send(1, 0));
    });
    assert_eq!(queue.receive(1, 0), 8);
    while queue.send(1, libc::IPC_NOWAIT) == 0 {}
    assert_eq!(errno(), libc::EAGAIN);
    let its = queue.clone();
    thread::spawn(move || {
        thread::sleep(SHORT);
        assert_eq!(its.receive(1, 0), 8);
    });
    ok(queue.send(1, 0));
}

fn many_threads_wait_for_one_message_each() {
    const THREADS: u32 = 100;
    let queue = Arc::new(MessageQueue::new());
    let waiting = Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (1..=THREADS)
        .map(|kind| {
            let (queue, waiting) = (queue.clone(), waiting.clone());
            thread::spawn(move || {
                waiting.fetch_add(1, Ordering::SeqCst);
                queue.receive(kind.into(), 0)
            })
        })
        .collect();
    while waiting.load(Ordering::SeqCst) < THREADS {
        thread::sleep(Duration::from_millis(1));
    }
    for kind in 1..=THREADS {
        ok(queue.send(kind.into(), 0));
    }
    for thread in threads {
        assert_eq!(thread.join().unwrap(), 8);
    }
}

fn system_v_semaphores_are_waited_for() {
    // SAFETY: integers only.
    let set = ok(unsafe { libc::semget(libc::IPC_PRIVATE, 1, 0o600) });
    let by = |count: i16, flags: c_int| libc::sembuf {
        sem_num: 0,
        sem_op: count,
        sem_flg: flags as i16,
    };
    // SAFETY: one operation each, and valid times.
    unsafe {
        fails(
            libc::semop(set, &mut by(-1, libc::IPC_NOWAIT), 1),
            libc::EAGAIN,
        );
        let short = timespec(SHORT);
        fails(semtimedop(set, &mut by(-1, 0), 1, &short), libc::EAGAIN);
        thread::spawn(move || {
            thread::sleep(SHORT);
            ok(libc::semop(set, &mut by(1, 0), 1));
        });
        ok(libc::semop(set, &mut by(-1, 0), 1));
        ok(libc::semctl(set, 0, libc::IPC_RMID));
        fails(libc::semop(set, &mut by(-1, 0), 1), libc::EINVAL);
    }
}

fn posix_messages_are_waited_for() {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = CString::new(format!("/greenpatch-{}-{count}", std::process::id())).unwrap();
    // SAFETY: plain data, for which zero is a value.
    let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
    (attributes.mq_maxmsg, attributes.mq_msgsize) = (1, 8);
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
    // SAFETY: a C string and valid attributes.
    let queue = unsafe { libc::mq_open(name.as_ptr(), flags, 0o600, &attributes) };
    if queue == -1 && [libc::ENOSYS, libc::EACCES].contains(&errno()) {
        // Some sandboxes have none.
        return;
    }
    ok(queue);
    let send = move || {
        // SAFETY: a message of that length.
        unsafe { libc::mq_send(queue, c"abc".as_ptr(), 3, 0) }
    };
    let receive = move || {
        let mut message = [0; 8];
        // SAFETY: a buffer of the queue's message size.
        unsafe { libc::mq_receive(queue, message.as_mut_ptr(), 8, null_mut()) }
    };
    thread::spawn(move || {
        thread::sleep(SHORT);
        ok(send());
    });
    assert_eq!(receive(), 3);
    ok(send());
    thread::spawn(move || {
        thread::sleep(SHORT);
        assert_eq!(receive(), 3);
    });
    ok(send());
    assert_eq!(receive(), 3);
    let mut message = [0; 8];
    // SAFETY: buffers of these lengths, and valid times.
    unsafe {
        let until = on_clock(libc::CLOCK_REALTIME, SHORT);
        let text = message.as_mut_ptr();
        fails(
            libc::mq_timedreceive(queue, text, 8, null_mut(), &until),
            libc::ETIMEDOUT,
        );
        fails(libc::mq_receive(queue, text, 1, null_mut()), libc::EMSGSIZE);
        let mut nonblocking = attributes;
        nonblocking.mq_flags = libc::O_NONBLOCK.into();
        ok(libc::mq_setattr(queue, &nonblocking, null_mut()));
        fails(libc::mq_receive(queue, text, 8, null_mut()), libc::EAGAIN);
        ok(libc::mq_close(queue));
        ok(libc::mq_unlink(name.as_ptr()));
    }
}

#[test]
fn a_deadline_scope_ends_the_wait_for_a_message() {
    on_one_worker(|| {
        let queue = MessageQueue::new();
        waits_in_vain(|| queue.receive(1, 0) as c_int);
    });
}
