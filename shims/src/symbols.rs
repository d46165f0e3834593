//! The table of all functions that this crate defines: one row each.
//!
//! Documentation and tests are made from it. A row stands only if its feature is on, as does the
//! function. The file is as long as the table.

use greenpatch_runtime::Patch;

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
    /// Is the original, as a [`blocking`](greenpatch_runtime::blocking) section if it could block a green thread: a spare
    /// worker serves the others meanwhile.
    Blocks,
}

/// One function.
#[derive(Clone, Copy, Debug)]
pub struct Symbol {
    /// Its name in the symbol table.
    pub name: &'static str,
    /// The family, by which it can be left out; or the families, one of which brings it.
    pub families: Patch,
    /// What it does.
    pub behaviour: Behaviour,
    /// What is not as one might expect; often empty.
    pub remark: &'static str,
}

macro_rules! symbols {
    ($(#[$condition:meta] $families:expr => { $($name:ident: $behaviour:ident $(, $remark:literal)?;)+ })+) => {
        /// Every function that this build of the crate defines.
        pub const SYMBOLS: &[Symbol] = &[$($(
            #[$condition]
            Symbol {
                name: stringify!($name),
                families: $families,
                behaviour: Behaviour::$behaviour,
                remark: concat!($($remark)?),
            },
        )+)+];
    };
}

symbols! {
    #[cfg(feature = "time")]
    Patch::TIME => {
        sleep: Yields;
        usleep: Yields;
        nanosleep: Yields;
        __nanosleep: Yields;
        clock_nanosleep: Yields,
            "notices a clock step within a second; on a CPU clock, a blocking section";
        thrd_sleep: Yields;
    }
    #[cfg(feature = "socket")]
    Patch::SOCKET => {
        socket: Tells;
        socketpair: Tells;
        setsockopt: Tells;
        getsockopt: Tells;
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
            "with MSG_FASTOPEN, a blocking section; waits for a full Unix queue by a timer";
        sendmsg: Yields,
            "with MSG_FASTOPEN, a blocking section; waits for a full Unix queue by a timer";
        sendmmsg: Yields, "with MSG_FASTOPEN, a blocking section";
        __sendmmsg: Yields;
    }
    #[cfg(any(feature = "socket", feature = "os"))]
    Patch::SOCKET.union(Patch::OS) => {
        read: Yields, "on a file, a blocking section";
        __read: Yields;
        __read_chk: Yields;
        readv: Yields, "on a file, a blocking section";
        write: Yields, "on a file or, if it is large, to a terminal, a blocking section";
        __write: Yields;
        writev: Yields, "on a file or, if it is large, to a terminal, a blocking section";
        preadv2: Yields, "with flags or an offset, a blocking section";
        pwritev2: Yields, "with flags or an offset, a blocking section";
        preadv64v2: Yields;
        pwritev64v2: Yields;
        eventfd_read: Yields;
        eventfd_write: Yields;
    }
    #[cfg(any(
        feature = "socket",
        feature = "os",
        feature = "select",
        feature = "process"
    ))]
    Patch::SOCKET.union(Patch::OS).union(Patch::SELECT).union(Patch::PROCESS) => {
        close: Tells, "a blocking section";
        __close: Tells;
        close_range: Tells;
        closefrom: Tells;
        fclose: Tells, "a blocking section";
        _IO_fclose: Tells;
        pclose: Tells, "a blocking section";
        closedir: Tells, "a blocking section";
        freopen: Tells, "a blocking section";
        freopen64: Tells, "a blocking section";
        endmntent: Tells, "a blocking section";
        __endmntent: Tells;
        dup: Tells;
        dup2: Tells;
        __dup2: Tells;
        dup3: Tells;
        fcntl: Tells, "F_SETLKW and F_OFD_SETLKW look again and again, at most every 10 ms; no EDEADLK";
        fcntl64: Tells;
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
        fanotify_init: Tells;
        memfd_create: Tells;
        shm_open: Tells;
        pidfd_open: Tells;
        pidfd_getfd: Tells;
        getpt: Tells;
        posix_openpt: Tells;
        openpty: Tells;
        forkpty: Tells;
        ioctl: Blocks;
    }
    #[cfg(feature = "select")]
    Patch::SELECT => {
        poll: Yields;
        __poll: Yields;
        __poll_chk: Yields;
        ppoll: Yields, "with a signal mask, a blocking section";
        __ppoll_chk: Yields;
        select: Yields;
        __select: Yields;
        pselect: Yields, "with a signal mask, a blocking section";
        epoll_wait: Yields;
        epoll_pwait: Yields, "with a signal mask, a blocking section";
        epoll_pwait2: Yields, "with a signal mask, a blocking section";
    }
    #[cfg(feature = "lock")]
    Patch::LOCK => {
        syscall: Replaces,
            "on a green thread makes calls by the function of their name, or in a blocking section; gettid gives the worker's id";
        pthread_mutex_lock: Replaces,
            "ENOTSUP if protecting a priority";
        __pthread_mutex_lock: Replaces;
        pthread_mutex_trylock: Replaces;
        __pthread_mutex_trylock: Replaces;
        pthread_mutex_timedlock: Replaces,
            "ENOTSUP if protecting a priority";
        pthread_mutex_clocklock: Replaces,
            "ENOTSUP if protecting a priority";
        pthread_mutex_unlock: Replaces;
        __pthread_mutex_unlock: Replaces;
        pthread_mutex_consistent: Answers;
        pthread_cond_wait: Replaces;
        pthread_cond_timedwait: Replaces;
        pthread_cond_clockwait: Replaces;
        pthread_cond_signal: Replaces;
        pthread_cond_broadcast: Replaces;
        pthread_cond_destroy: Replaces;
        pthread_rwlock_rdlock: Replaces;
        __pthread_rwlock_rdlock: Replaces;
        pthread_rwlock_tryrdlock: Replaces;
        __pthread_rwlock_tryrdlock: Replaces;
        pthread_rwlock_timedrdlock: Replaces;
        pthread_rwlock_clockrdlock: Replaces;
        pthread_rwlock_wrlock: Replaces;
        __pthread_rwlock_wrlock: Replaces;
        pthread_rwlock_trywrlock: Replaces;
        __pthread_rwlock_trywrlock: Replaces;
        pthread_rwlock_timedwrlock: Replaces;
        pthread_rwlock_clockwrlock: Replaces;
        pthread_rwlock_unlock: Replaces;
        __pthread_rwlock_unlock: Replaces;
        pthread_barrier_wait: Replaces;
        pthread_barrier_destroy: Replaces;
        sem_wait: Replaces;
        sem_trywait: Replaces;
        sem_timedwait: Replaces;
        sem_clockwait: Replaces;
        sem_post: Replaces;
        pthread_once: Replaces;
        __pthread_once: Replaces;
        call_once: Replaces;
        mtx_lock: Replaces;
        mtx_trylock: Replaces;
        mtx_timedlock: Replaces;
        mtx_unlock: Replaces;
        cnd_wait: Replaces;
        cnd_timedwait: Replaces;
        cnd_signal: Replaces;
        cnd_broadcast: Replaces;
        cnd_destroy: Replaces;
    }
    #[cfg(feature = "thread")]
    Patch::THREAD => {
        pthread_create: Yields,
            "makes an OS thread if asked for an own or huge stack, a policy or an affinity";
        pthread_join: Yields, "joins an OS thread by looking again, at most every 10 ms";
        pthread_tryjoin_np: Answers;
        pthread_timedjoin_np: Yields, "joins an OS thread by looking again, at most every 10 ms";
        pthread_clockjoin_np: Yields, "joins an OS thread by looking again, at most every 10 ms";
        pthread_detach: Answers;
        pthread_exit: Answers;
        __pthread_register_cancel: Answers;
        __pthread_unregister_cancel: Answers;
        __pthread_unwind_next: Answers;
        sched_yield: Yields;
        __sched_yield: Yields;
        pthread_yield: Yields;
        thrd_yield: Yields;
        thrd_create: Yields;
        thrd_join: Yields, "joins an OS thread by looking again, at most every 10 ms";
        thrd_detach: Answers;
        thrd_exit: Answers;
        pthread_getattr_np: Answers;
        pthread_attr_getaffinity_np: Answers, "of a green thread's attributes: that of the caller's kernel thread";
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
        pause: Blocks;
        sigsuspend: Blocks;
        __sigsuspend: Blocks;
        sigpause: Blocks;
        __sigpause: Blocks;
        __xpg_sigpause: Blocks;
        sigwait: Blocks;
        sigwaitinfo: Blocks;
        sigtimedwait: Blocks;
    }
    #[cfg(feature = "os")]
    Patch::OS => {
        open: Yields,
            "of a FIFO, looks for its other end again and again, at most every 10 ms";
        openat: Yields,
            "of a FIFO, as open";
        __open_2: Yields;
        __openat_2: Yields;
        creat: Yields;
        fopen: Yields,
            "of a FIFO, as open";
        tmpfile: Blocks;
        mkstemp: Blocks;
        mkostemp: Blocks;
        mkstemps: Blocks;
        mkostemps: Blocks;
        opendir: Blocks;
        open_by_handle_at: Blocks;
        setmntent: Blocks;
        __setmntent: Blocks;
        open64: Yields;
        __open: Yields;
        __open64: Yields;
        __open64_2: Yields;
        openat64: Yields;
        __openat64_2: Yields;
        creat64: Yields;
        fopen64: Yields;
        _IO_fopen: Yields;
        tmpfile64: Blocks;
        mkstemp64: Blocks;
        mkostemp64: Blocks;
        mkstemps64: Blocks;
        mkostemps64: Blocks;
        fsync: Blocks;
        fdatasync: Blocks;
        ftruncate: Blocks;
        ftruncate64: Blocks;
        stat: Blocks;
        stat64: Blocks;
        lstat: Blocks;
        lstat64: Blocks;
        fstat: Blocks;
        fstat64: Blocks;
        fstatat: Blocks;
        fstatat64: Blocks;
        access: Blocks;
        faccessat: Blocks;
        chdir: Blocks;
        fchdir: Blocks;
        mkdir: Blocks;
        mkdirat: Blocks;
        rmdir: Blocks;
        mkfifo: Blocks;
        mkfifoat: Blocks;
        mknod: Blocks;
        mknodat: Blocks;
        link: Blocks;
        linkat: Blocks;
        symlink: Blocks;
        symlinkat: Blocks;
        readlink: Blocks;
        readlinkat: Blocks;
        __readlink_chk: Blocks;
        __readlinkat_chk: Blocks;
        unlink: Blocks;
        unlinkat: Blocks;
        rename: Blocks;
        renameat: Blocks;
        chmod: Blocks;
        fchmod: Blocks;
        fchmodat: Blocks;
        chown: Blocks;
        lchown: Blocks;
        fchown: Blocks;
        fchownat: Blocks;
        utime: Blocks;
        utimes: Blocks;
        lutimes: Blocks;
        futimes: Blocks;
        futimens: Blocks;
        utimensat: Blocks;
        tcdrain: Blocks;
        pread: Blocks;
        pread64: Blocks;
        __pread64: Blocks;
        __pread_chk: Blocks;
        __pread64_chk: Blocks;
        pwrite: Blocks;
        pwrite64: Blocks;
        __pwrite64: Blocks;
        preadv: Blocks;
        preadv64: Blocks;
        pwritev: Blocks;
        pwritev64: Blocks;
        copy_file_range: Blocks;
        sync: Blocks;
        syncfs: Blocks;
        sync_file_range: Blocks;
        msync: Blocks;
        truncate: Blocks;
        truncate64: Blocks;
        fallocate: Blocks;
        fallocate64: Blocks;
        posix_fallocate: Blocks;
        posix_fallocate64: Blocks;
        posix_fadvise: Blocks;
        posix_fadvise64: Blocks;
        readahead: Blocks;
        statx: Blocks;
        statfs: Blocks;
        statfs64: Blocks;
        fstatfs: Blocks;
        fstatfs64: Blocks;
        statvfs: Blocks;
        statvfs64: Blocks;
        fstatvfs: Blocks;
        fstatvfs64: Blocks;
        euidaccess: Blocks;
        eaccess: Blocks;
        realpath: Blocks;
        __realpath_chk: Blocks;
        canonicalize_file_name: Blocks;
        renameat2: Blocks;
        remove: Blocks;
        mkdtemp: Blocks;
        mount: Blocks;
        umount: Blocks;
        umount2: Blocks;
        getdents64: Blocks;
        readdir: Blocks;
        readdir64: Blocks;
        readdir_r: Blocks;
        readdir64_r: Blocks;
        getxattr: Blocks;
        lgetxattr: Blocks;
        fgetxattr: Blocks;
        listxattr: Blocks;
        llistxattr: Blocks;
        flistxattr: Blocks;
        setxattr: Blocks;
        lsetxattr: Blocks;
        fsetxattr: Blocks;
        removexattr: Blocks;
        lremovexattr: Blocks;
        fremovexattr: Blocks;
        fread: Blocks;
        __fread_chk: Blocks;
        fwrite: Blocks;
        fgets: Blocks;
        __fgets_chk: Blocks;
        getline: Blocks;
        getdelim: Blocks;
        __getdelim: Blocks;
        fputs: Blocks;
        puts: Blocks;
        fflush: Blocks;
        _IO_fread: Blocks;
        _IO_fwrite: Blocks;
        _IO_fgets: Blocks;
        _IO_fputs: Blocks;
        _IO_puts: Blocks;
        _IO_fflush: Blocks;
        flock: Yields,
            "looks again and again, at most every 10 ms";
        lockf: Yields,
            "looks again and again, at most every 10 ms; no EDEADLK";
        lockf64: Yields;
        splice: Yields;
        tee: Yields;
        vmsplice: Yields;
        sendfile: Yields,
            "to a datagram socket, a blocking section";
        sendfile64: Yields,
            "to a datagram socket, a blocking section";
        msgsnd: Yields,
            "looks again and again, at most every 10 ms";
        msgrcv: Yields,
            "looks again and again, at most every 10 ms";
        semtimedop: Yields,
            "looks again and again, at most every 10 ms; more than 16 operations are a blocking section";
        semop: Yields,
            "looks again and again, at most every 10 ms; more than 16 operations are a blocking section";
        mq_open: Tells;
        __mq_open_2: Tells;
        mq_close: Tells;
        mq_timedsend: Yields,
            "does not notice a step of the clock";
        mq_send: Yields;
        mq_timedreceive: Yields,
            "does not notice a step of the clock";
        mq_receive: Yields;
    }
    #[cfg(feature = "process")]
    Patch::PROCESS => {
        wait4: Yields,
            "for any child, one of a group, or more than its end, looks again and again, at most every 10 ms";
        waitpid: Yields,
            "for any child, one of a group, or more than its end, looks again and again, at most every 10 ms";
        wait3: Yields,
            "looks again and again, at most every 10 ms";
        wait: Yields,
            "looks again and again, at most every 10 ms";
        waitid: Yields,
            "for any child, one of a group, or more than its end, looks again and again, at most every 10 ms";
        system: Blocks;
        popen: Tells;
        _IO_popen: Tells;
        __wait: Yields;
        __waitpid: Yields;
    }
    #[cfg(feature = "dns")]
    Patch::DNS => {
        getaddrinfo: Blocks;
        getnameinfo: Blocks;
        getaddrinfo_a: Blocks;
        gai_suspend: Blocks;
        gethostbyname: Blocks;
        gethostbyname2: Blocks;
        gethostbyaddr: Blocks;
        gethostent: Blocks;
        gethostbyname_r: Blocks;
        gethostbyname2_r: Blocks;
        gethostbyaddr_r: Blocks;
        gethostent_r: Blocks;
        getnetbyname: Blocks;
        getnetbyaddr: Blocks;
        getnetent: Blocks;
        getnetbyname_r: Blocks;
        getnetbyaddr_r: Blocks;
        getnetent_r: Blocks;
        getservbyname: Blocks;
        getservbyport: Blocks;
        getservent: Blocks;
        getservbyname_r: Blocks;
        getservbyport_r: Blocks;
        getservent_r: Blocks;
        getprotobyname: Blocks;
        getprotobynumber: Blocks;
        getprotoent: Blocks;
        getprotobyname_r: Blocks;
        getprotobynumber_r: Blocks;
        getprotoent_r: Blocks;
        getpwnam: Blocks;
        getpwuid: Blocks;
        getpwent: Blocks;
        getpwnam_r: Blocks;
        getpwuid_r: Blocks;
        getpwent_r: Blocks;
        getspnam: Blocks;
        getspnam_r: Blocks;
        getspent: Blocks;
        getspent_r: Blocks;
        getrpcbyname: Blocks;
        getrpcbynumber: Blocks;
        getrpcent: Blocks;
        getrpcbyname_r: Blocks;
        getrpcbynumber_r: Blocks;
        getrpcent_r: Blocks;
        ether_hostton: Blocks;
        ether_ntohost: Blocks;
        getgrnam: Blocks;
        getgrgid: Blocks;
        getgrent: Blocks;
        getgrnam_r: Blocks;
        getgrgid_r: Blocks;
        getgrent_r: Blocks;
        getgrouplist: Blocks;
        setnetgrent: Blocks;
        getnetgrent: Blocks;
        getnetgrent_r: Blocks;
        innetgr: Blocks;
        res_query: Blocks;
        res_search: Blocks;
        res_querydomain: Blocks;
        res_send: Blocks;
        res_nquery: Blocks;
        res_nsearch: Blocks;
        res_nquerydomain: Blocks;
        res_nsend: Blocks;
        __res_query: Blocks;
        __res_search: Blocks;
        __res_querydomain: Blocks;
        __res_send: Blocks;
        __res_nquery: Blocks;
        __res_nsearch: Blocks;
        __res_nquerydomain: Blocks;
        __res_nsend: Blocks;
    }
}
