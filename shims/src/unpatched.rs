//! The functions of libc that can block and are not replaced, and those that never do.
//!
//! Together with [`SYMBOLS`] this says of each function what it does on a green thread. What is neither replaced nor named
//! here is unknown: [`known`] gives nothing, and a test fails where Rust's std calls such a function.

use crate::symbols::{SYMBOLS, Symbol};

/// Functions that pass through although they can block, for one reason.
#[derive(Clone, Copy, Debug)]
pub struct Unpatched {
    functions: &'static str,
    /// What they wait for.
    pub waits_for: &'static str,
    /// What to do instead.
    pub remedy: &'static str,
}

impl Unpatched {
    /// Their names in the symbol table; without those that a family replaces that is compiled in.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let is_patched = |name: &&str| SYMBOLS.iter().any(|symbol| symbol.name == *name);
        self.functions
            .split_whitespace()
            .filter(move |name| !is_patched(name))
    }
}

/// What a function of libc does on a green thread.
#[derive(Clone, Copy, Debug)]
pub enum Known {
    /// A shim stands in front of it.
    Patched(&'static Symbol),
    /// It blocks the worker if it has to wait.
    Unpatched(&'static Unpatched),
    /// It waits for nothing, or for no longer than memory allocation and the loading of a page do.
    NeverBlocks,
}

/// What is known of the function of this name.
pub fn known(name: &str) -> Option<Known> {
    if let Some(symbol) = SYMBOLS.iter().find(|symbol| symbol.name == name) {
        return Some(Known::Patched(symbol));
    }
    if let Some(row) = UNPATCHED
        .iter()
        .find(|row| row.functions.split_whitespace().any(|own| own == name))
    {
        return Some(Known::Unpatched(row));
    }
    is_never_blocking(name).then_some(Known::NeverBlocks)
}

/// The functions that never block, a name a line, sorted.
const NEVER_BLOCKING: &str = include_str!("never_blocking.txt");

fn is_never_blocking(name: &str) -> bool {
    NEVER_BLOCKING.lines().any(|line| line == name)
}

const BLOCKING: &str = "greenpatch::blocking";

/// The functions that can block and that nothing stands in front of. A family that is compiled in may replace some.
pub const UNPATCHED: &[Unpatched] = &[
    Unpatched {
        functions: "fgets fread getc getline fscanf fgetc fgetc_unlocked __fgets_chk fgets_unlocked \
            __fgets_unlocked_chk fgetwc fgetwc_unlocked fgetws __fgetws_chk fgetws_unlocked \
            __fgetws_unlocked_chk __fread_chk fread_unlocked __fread_unlocked_chk _IO_getc getc_unlocked \
            getchar getchar_unlocked getwc getwc_unlocked getwchar getwchar_unlocked gets __gets_chk getw \
            getdelim __getdelim __isoc99_fscanf __isoc23_fscanf scanf __isoc99_scanf __isoc23_scanf vfscanf \
            __isoc99_vfscanf __isoc23_vfscanf vscanf __isoc99_vscanf __isoc23_vscanf fwscanf __isoc99_fwscanf \
            __isoc23_fwscanf wscanf __isoc99_wscanf __isoc23_wscanf vfwscanf __isoc99_vfwscanf \
            __isoc23_vfwscanf vwscanf __isoc99_vwscanf __isoc23_vwscanf __uflow __underflow __wuflow \
            __wunderflow getpass fgetpwent fgetpwent_r fgetgrent fgetgrent_r fgetspent fgetspent_r fgetsgent \
            fgetsgent_r getmntent getmntent_r __getmntent_r getdate getdate_r _IO_fread _IO_fgets _IO_gets \
            _IO_sgetn _IO_getline _IO_getline_info _IO_peekc_locked _IO_default_uflow _IO_default_xsgetn \
            _IO_file_read _IO_file_underflow _IO_wfile_underflow _IO_wdefault_uflow _IO_wdefault_xsgetn \
            __vfscanf",
        waits_for: "the file, pipe, socket or terminal that the stream reads",
        remedy: "read the descriptor, or greenpatch::blocking",
    },
    Unpatched {
        functions: "printf puts fwrite fflush fputc fputc_unlocked fputs fputs_unlocked fputwc \
            fputwc_unlocked fputws fputws_unlocked fwrite_unlocked putc _IO_putc putc_unlocked putchar \
            putchar_unlocked putwc putwc_unlocked putwchar putwchar_unlocked putw __printf_chk fprintf \
            __fprintf_chk vprintf __vprintf_chk vfprintf __vfprintf_chk dprintf __dprintf_chk vdprintf \
            __vdprintf_chk wprintf __wprintf_chk fwprintf __fwprintf_chk vwprintf __vwprintf_chk vfwprintf \
            __vfwprintf_chk __overflow __woverflow fflush_unlocked _flushlbf fcloseall fseek fseeko fseeko64 \
            fsetpos fsetpos64 rewind perror psignal psiginfo herror error error_at_line err errx verr verrx \
            warn warnx vwarn vwarnx fmtmsg backtrace_symbols_fd malloc_stats malloc_info putpwent putgrent \
            putspent __backtrace_symbols_fd putsgent addmntent mcheck_check_all _IO_fwrite _IO_fputs _IO_puts \
            _IO_fflush _IO_printf _IO_fprintf _IO_vfprintf _IO_padn _IO_default_xsputn _IO_do_write \
            _IO_wdo_write _IO_file_write _IO_file_overflow _IO_wfile_overflow _IO_file_xsputn \
            _IO_wfile_xsputn _IO_file_sync _IO_wfile_sync _IO_file_seekoff _IO_wfile_seekoff _IO_seekoff \
            _IO_seekpos _IO_fsetpos _IO_fsetpos64 _IO_file_setbuf _IO_setbuffer _IO_setvbuf setbuf setbuffer \
            setlinebuf setvbuf _IO_switch_to_get_mode _IO_switch_to_wget_mode _IO_flush_all \
            _IO_flush_all_linebuffered _IO_file_finish _IO_file_close _IO_file_close_it __fp_nquery \
            __fp_query __fp_resstat __p_query endmntent __endmntent argp_error argp_failure argp_help \
            argp_parse argp_state_help argp_usage getopt getopt_long getopt_long_only __posix_getopt exit \
            _IO_wdefault_xsputn",
        waits_for: "the file, pipe, socket or terminal that the stream writes, when its buffer is full or flushed",
        remedy: "write the descriptor, or greenpatch::blocking",
    },
    Unpatched {
        functions: "flockfile _IO_flockfile feof ferror clearerr ftell ftello ftello64 fgetpos fgetpos64 \
            ungetc ungetwc _IO_feof _IO_ferror _IO_ftell _IO_fgetpos _IO_fgetpos64 _IO_ungetc _IO_link_in \
            _IO_un_link _IO_list_lock",
        waits_for: "the thread that holds the stream's lock, a green thread perhaps that is parked on the same worker",
        remedy: "a pthread mutex beside the stream",
    },
    Unpatched {
        functions: "pthread_spin_lock",
        waits_for: "the owner, by spinning: a green thread perhaps that is parked or waits for the same worker",
        remedy: "a pthread mutex",
    },
    Unpatched {
        functions: "pthread_mutex_setprioceiling",
        waits_for: "the owner of the mutex",
        remedy: "set the ceiling before the mutex is shared",
    },
    Unpatched {
        functions: "pread __pread_chk pread64 __pread64 __pread64_chk preadv preadv64 preadv2 preadv64v2 pwrite pwrite64 \
            __pwrite64 pwritev pwritev64 pwritev2 pwritev64v2 copy_file_range sendfile sendfile64 splice tee \
            vmsplice fsync fdatasync sync syncfs sync_file_range msync fallocate fallocate64 posix_fallocate \
            posix_fallocate64 readahead truncate truncate64 ftruncate ftruncate64 eventfd_read eventfd_write \
            aio_suspend aio_suspend64 lio_listio lio_listio64 aio_cancel aio_cancel64",
        waits_for: "the disk, or the other end of a pipe or socket",
        remedy: BLOCKING,
    },
    Unpatched {
        functions: "open open64 __open __open64 __open_2 __open64_2 openat openat64 __openat_2 __openat64_2 \
            creat creat64 fopen fopen64 _IO_fopen opendir tmpfile tmpfile64 mkstemp mkstemp64 mkostemp \
            mkostemp64 mkstemps mkstemps64 mkostemps mkostemps64 mkdtemp open_by_handle_at name_to_handle_at \
            execve execveat fexecve execv execvp execvpe execl execle execlp _IO_file_fopen _IO_file_open \
            setmntent __setmntent mtrace _mcleanup sethostid",
        waits_for: "the disk; the other end of a FIFO; a terminal's line",
        remedy: BLOCKING,
    },
    Unpatched {
        functions: "stat readdir rename unlink access eaccess euidaccess faccessat stat64 __xstat __xstat64 \
            lstat lstat64 __lxstat __lxstat64 fstat fstat64 __fxstat __fxstat64 fstatat fstatat64 __fxstatat \
            __fxstatat64 statx statfs statfs64 fstatfs fstatfs64 statvfs statvfs64 fstatvfs fstatvfs64 chmod \
            fchmod fchmodat lchmod chown fchown fchownat lchown utime utimes lutimes futimes futimens \
            futimesat utimensat link linkat symlink symlinkat readlink readlinkat __readlink_chk \
            __readlinkat_chk realpath __realpath_chk canonicalize_file_name renameat renameat2 remove \
            unlinkat mkdir mkdirat rmdir mkfifo mkfifoat mknod mknodat __xmknod __xmknodat chdir fchdir \
            chroot readdir64 readdir_r readdir64_r getdents64 getdirentries getdirentries64 scandir scandir64 \
            scandirat scandirat64 glob glob64 wordexp ftw ftw64 nftw nftw64 fts_open fts64_open fts_read \
            fts64_read fts_children fts64_children pathconf fpathconf getxattr lgetxattr fgetxattr setxattr \
            lsetxattr fsetxattr listxattr llistxattr flistxattr removexattr lremovexattr fremovexattr getcwd \
            __getcwd_chk getwd get_current_dir_name __statfs __getwd_chk _IO_file_stat ttyname ttyname_r \
            __ttyname_r_chk tmpnam tmpnam_r tempnam mktemp ftok ustat fdopendir",
        waits_for: "the disk or the file server that holds the file's metadata, if it is not cached",
        remedy: BLOCKING,
    },
    Unpatched {
        functions: "flock lockf lockf64",
        waits_for: "whoever holds the lock on the file",
        remedy: BLOCKING,
    },
    Unpatched {
        functions: "wait __wait wait3 wait4 waitpid __waitpid waitid system popen _IO_popen pclose \
            _IO_proc_close",
        waits_for: "the end of a child process",
        remedy: "read the child's output to its end before waiting for it, or greenpatch::blocking",
    },
    Unpatched {
        functions: "vfork __vfork posix_spawn posix_spawnp pidfd_spawn pidfd_spawnp fork __fork _Fork forkpty \
            daemon _IO_proc_open",
        waits_for: "the copy of the page tables, or the child's first steps up to its exec",
        remedy: BLOCKING,
    },
    Unpatched {
        functions: "pause sigpause __sigpause __xpg_sigpause sigsuspend __sigsuspend sigwait sigwaitinfo sigtimedwait",
        waits_for: "a signal to the OS thread, whose signal mask is not the green thread's own",
        remedy: "an OS thread for signals, started before the runtime",
    },
    Unpatched {
        functions: "mq_send mq_receive mq_timedsend mq_timedreceive msgsnd msgrcv semop semtimedop",
        waits_for: "another process or thread",
        remedy: "an OS thread, or greenpatch::blocking",
    },
    Unpatched {
        functions: "ioctl tcdrain tcsendbreak tcflow tcsetattr tcsetpgrp vhangup revoke",
        waits_for: "the device: a terminal's output, its line",
        remedy: BLOCKING,
    },
    Unpatched {
        functions: "syslog __syslog_chk vsyslog __vsyslog_chk openlog",
        waits_for: "the logging service, when its socket is full",
        remedy: BLOCKING,
    },
    Unpatched {
        functions: "klogctl",
        waits_for: "the kernel's next message, if told to read it",
        remedy: "read /dev/kmsg, or greenpatch::blocking",
    },
    Unpatched {
        functions: "getrandom getentropy arc4random arc4random_buf arc4random_uniform",
        waits_for: "the kernel's first random numbers, while the machine starts",
        remedy: "none is needed later",
    },
    Unpatched {
        functions: "catopen setlocale newlocale __newlocale iconv_open gettext dgettext __dgettext dcgettext \
            __dcgettext ngettext dngettext dcngettext tzset localtime localtime_r mktime timelocal ctime \
            ctime_r strftime strftime_l __strftime_l wcsftime wcsftime_l __wcsftime_l",
        waits_for: "the disk that holds locales, translations, character sets and time zones, at their first use",
        remedy: "use them before the runtime is built, or greenpatch::blocking",
    },
    Unpatched {
        functions: "dlopen dlmopen dlclose dlsym dlvsym dladdr dladdr1 dlinfo backtrace __backtrace \
            backtrace_symbols __backtrace_symbols",
        waits_for: "the disk, and the thread that loads another library",
        remedy: "load libraries before the runtime is built, or greenpatch::blocking",
    },
    Unpatched {
        functions: "setuid seteuid setreuid setresuid setgid setegid setregid setresgid setgroups initgroups",
        waits_for: "each OS thread of the process to confirm",
        remedy: BLOCKING,
    },
    Unpatched {
        functions: "getaddrinfo getaddrinfo_a gai_suspend getnameinfo gethostbyname gethostbyname_r \
            gethostbyname2 gethostbyname2_r gethostbyaddr gethostbyaddr_r gethostent gethostent_r \
            getnetbyname getnetbyname_r getnetbyaddr getnetbyaddr_r getnetent getnetent_r getservbyname \
            getservbyname_r getservbyport getservbyport_r getservent getservent_r getprotobyname \
            getprotobyname_r getprotobynumber getprotobynumber_r getprotoent getprotoent_r getpwnam \
            getpwnam_r getpwuid getpwuid_r getpwent getpwent_r getgrnam getgrnam_r getgrgid getgrgid_r \
            getgrent getgrent_r getgrouplist getspnam getspnam_r getspent getspent_r getsgnam getsgnam_r \
            getsgent getsgent_r innetgr setnetgrent getnetgrent getnetgrent_r getaliasbyname getaliasbyname_r \
            getaliasent getaliasent_r getrpcbyname getrpcbyname_r getrpcbynumber getrpcbynumber_r getrpcent \
            getrpcent_r ether_hostton ether_ntohost gethostid res_query __res_query res_search __res_search \
            res_nquery __res_nquery res_nsearch __res_nsearch res_querydomain __res_querydomain \
            res_nquerydomain __res_nquerydomain res_send __res_send res_nsend __res_nsend rcmd rcmd_af rexec \
            rexec_af ruserok ruserok_af iruserok iruserok_af getlogin getlogin_r cuserid getutent getutent_r \
            getutid getutid_r getutline getutline_r pututline getutxent getutxid getutxline pututxline \
            updwtmp updwtmpx login logout logwtmp lckpwdf __getlogin_r_chk setpwent setgrent setspent \
            setsgent setaliasent sethostent setnetent setservent setprotoent setrpcent getpw __res_init \
            __res_ninit __res_hostalias __hostalias ruserpass __ivaliduser rresvport rresvport_af \
            bindresvport __nss_configure_lookup __nss_hostname_digits_dots setutent setutxent getttyent \
            getttynam setttyent ttyslot getfsent getfsspec getfsfile setfsent getusershell setusershell",
        waits_for: "the disk, a name server, or the name service cache",
        remedy: BLOCKING,
    },
    Unpatched {
        functions: "mount umount umount2 swapon swapoff pivot_root quotactl reboot acct init_module delete_module fsopen \
            fsconfig fsmount fspick move_mount open_tree mount_setattr fanotify_mark inotify_add_watch \
            process_mrelease mlock mlock2 mlockall remap_file_pages",
        waits_for: "the kernel at work on disks, memory or modules",
        remedy: BLOCKING,
    },
];
