//! The table of all functions that this crate defines: one row each.
//!
//! Documentation and tests are made from it. A row stands only if its feature is on, as does the
//! function.

/// What a function is about; each family is a Cargo feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Sleeping.
    Time,
    /// Sockets and pipes, and the life of descriptors.
    Socket,
    /// Waiting for several descriptors.
    Select,
    /// Futexes and pthread locks.
    Lock,
    /// Threads, and what they are asked about.
    Thread,
}

impl Family {
    /// The Cargo feature, which is also the family's name in a patch list.
    pub const fn feature(self) -> &'static str {
        match self {
            Family::Time => "time",
            Family::Socket => "socket",
            Family::Select => "select",
            Family::Lock => "lock",
            Family::Thread => "thread",
        }
    }
}

/// What a function does that the original does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Behaviour {
    /// Parks a green thread where the original blocks; is the original on other threads.
    Yields,
    /// Parks a green thread, blocks other threads: takes the original's place on all of them, so
    /// that threads of both kinds can wait for each other.
    Replaces,
    /// Is the original, and tells the runtime of descriptors that come and go, or of their options.
    Tells,
    /// Answers for a green thread what the original cannot; waits for nothing.
    Answers,
}

/// One function.
#[derive(Clone, Copy, Debug)]
pub struct Symbol {
    /// Its name in the symbol table.
    pub name: &'static str,
    /// The family, by which it can be left out.
    pub family: Family,
    /// What it does.
    pub behaviour: Behaviour,
    /// What is not as one might expect; often empty.
    pub remark: &'static str,
}

macro_rules! symbols {
    ($($feature:literal $family:ident { $($name:ident: $behaviour:ident $(, $remark:literal)?;)+ })+) => {
        /// Every function that this build of the crate defines.
        pub const SYMBOLS: &[Symbol] = &[$($(
            #[cfg(feature = $feature)]
            Symbol {
                name: stringify!($name),
                family: Family::$family,
                behaviour: Behaviour::$behaviour,
                remark: concat!($($remark)?),
            },
        )+)+];
    };
}

symbols! {
    "time" Time {
        sleep: Yields;
        usleep: Yields;
        nanosleep: Yields;
        __nanosleep: Yields;
        clock_nanosleep: Yields,
            "notices a clock step within a second; blocks the worker on a CPU clock";
        thrd_sleep: Yields;
    }
    "socket" Socket {
        socket: Tells;
        socketpair: Tells;
        setsockopt: Tells;
        accept: Yields,
            "blocks the worker if another process takes the connection first";
        accept4: Yields,
            "blocks the worker if another process takes the connection first";
        connect: Yields,
            "the socket is non-blocking during the call; waits for a full Unix queue by a timer";
        __connect: Yields;
        recv: Yields, "ignores SO_RCVLOWAT";
        __recv: Yields;
        __recv_chk: Yields;
        recvfrom: Yields, "ignores SO_RCVLOWAT";
        __recvfrom_chk: Yields;
        recvmsg: Yields, "ignores SO_RCVLOWAT";
        recvmmsg: Yields;
        send: Yields;
        __send: Yields;
        sendto: Yields,
            "with MSG_FASTOPEN blocks the worker; waits for a full Unix queue by a timer";
        sendmsg: Yields,
            "with MSG_FASTOPEN blocks the worker; waits for a full Unix queue by a timer";
        sendmmsg: Yields;
        __sendmmsg: Yields;
        read: Yields, "on a file, a page-cache miss blocks the worker";
        __read: Yields;
        __read_chk: Yields;
        readv: Yields, "on a file, a page-cache miss blocks the worker";
        write: Yields, "on a file or, if it is large, to a terminal, blocks the worker";
        __write: Yields;
        writev: Yields, "on a file or, if it is large, to a terminal, blocks the worker";
        close: Tells, "with SO_LINGER blocks the worker";
        __close: Tells;
        close_range: Tells;
        closefrom: Tells;
        fclose: Tells;
        pclose: Tells, "blocks the worker until the child ends";
        freopen: Tells;
        freopen64: Tells;
        dup: Tells;
        dup2: Tells;
        __dup2: Tells;
        dup3: Tells;
        fcntl: Tells, "F_SETLKW blocks the worker";
        fcntl64: Tells, "F_SETLKW blocks the worker";
        __fcntl: Tells;
        pipe: Tells;
        __pipe: Tells;
        pipe2: Tells;
        eventfd: Tells;
        signalfd: Tells;
        timerfd_create: Tells;
        epoll_create: Tells;
        epoll_create1: Tells;
        inotify_init: Tells;
        inotify_init1: Tells;
    }
    "select" Select {
        poll: Yields;
        __poll: Yields;
        __poll_chk: Yields;
        ppoll: Yields, "with a signal mask blocks the worker";
        __ppoll_chk: Yields;
        select: Yields;
        __select: Yields;
        pselect: Yields, "with a signal mask blocks the worker";
        epoll_wait: Yields;
        epoll_pwait: Yields, "with a signal mask blocks the worker";
        epoll_pwait2: Yields, "with a signal mask blocks the worker";
    }
    "lock" Lock {
        syscall: Replaces,
            "private futex operations only; other calls that block, block the worker";
        pthread_mutex_lock: Replaces,
            "robust, priority and process-shared mutexes block the worker";
        __pthread_mutex_lock: Replaces;
        pthread_mutex_trylock: Replaces;
        __pthread_mutex_trylock: Replaces;
        pthread_mutex_timedlock: Replaces,
            "robust, priority and process-shared mutexes block the worker";
        pthread_mutex_clocklock: Replaces,
            "robust, priority and process-shared mutexes block the worker";
        pthread_mutex_unlock: Replaces;
        __pthread_mutex_unlock: Replaces;
        pthread_cond_wait: Replaces, "if process-shared, blocks the worker";
        pthread_cond_timedwait: Replaces, "if process-shared, blocks the worker";
        pthread_cond_clockwait: Replaces, "if process-shared, blocks the worker";
        pthread_cond_signal: Replaces;
        pthread_cond_broadcast: Replaces;
        pthread_once: Replaces;
        __pthread_once: Replaces;
        call_once: Replaces;
    }
    "thread" Thread {
        pthread_create: Yields,
            "makes an OS thread if asked for an own or huge stack, a policy or an affinity";
        pthread_join: Yields, "joins an OS thread by looking again, at most every 10 ms";
        pthread_tryjoin_np: Answers;
        pthread_timedjoin_np: Yields, "joins an OS thread by looking again, at most every 10 ms";
        pthread_clockjoin_np: Yields, "joins an OS thread by looking again, at most every 10 ms";
        pthread_detach: Answers;
        pthread_exit: Answers;
        sched_yield: Yields;
        __sched_yield: Yields;
        pthread_yield: Yields;
        thrd_yield: Yields;
        pthread_getattr_np: Answers;
        pthread_setname_np: Answers;
        pthread_getname_np: Answers;
        pthread_setaffinity_np: Answers, "ENOTSUP for a green thread";
        pthread_getaffinity_np: Answers, "that of the caller's kernel thread";
        pthread_setschedparam: Answers, "ENOTSUP for a green thread, but for SCHED_OTHER at 0";
        pthread_getschedparam: Answers;
        pthread_setschedprio: Answers, "ENOTSUP for a green thread, but for 0";
        pthread_getcpuclockid: Answers, "ENOENT for a green thread";
        pthread_kill: Answers, "ENOTSUP for another green thread";
        pthread_sigqueue: Answers, "ENOTSUP for a green thread";
        pthread_cancel: Answers, "ENOTSUP for a green thread";
        sigaltstack: Answers, "on a green thread changes a record only";
    }
}
