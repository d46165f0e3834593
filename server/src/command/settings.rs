//! What can be set about a server, as plain data.
//!
//! The names, meanings and defaults are gunicorn's where it has the setting. [`Settings::default`] and the other `Default`s here
//! are the only place where a default is written: the [table](super::table) of settings, and with it help, reference page and
//! man page, shows what stands here. A library that serves without a command line fills in a [`Settings`] by hand.

use std::fmt;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use greenpatch::Patch;

use super::bind::Bind;
use super::networks::Networks;
use crate::observe::access::DEFAULT_FORMAT;
use crate::worker::WorkerClass;

/// Everything that can be set about a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen; 127.0.0.1:8000 by default.
    pub bind: Vec<Bind>,
    /// Where the admin application listens, which shows health and metrics; nowhere by default.
    pub admin_bind: Vec<Bind>,
    /// Connections that the kernel keeps for us until we accept them (gunicorn's `backlog`, and
    /// its default; the kernel caps it at `net.core.somaxconn`).
    pub backlog: u32,
    /// Which kind of worker serves. [`Settings::effective_class`] says what comes of it.
    pub worker_class: WorkerClass,
    /// Worker processes.
    pub workers: NonZeroUsize,
    /// OS threads of a worker of class `gthread`.
    pub threads: NonZeroUsize,
    /// OS threads of a worker of class `green`, on which its green threads run.
    pub green_workers: NonZeroUsize,
    /// Connections that may be open at once in a worker; further ones wait in the kernel (gunicorn's `worker_connections`, and
    /// its default).
    pub worker_connections: usize,
    /// Bytes of stack of a thread that runs handlers, by default as many as std's threads have: what runs on one of those runs here.
    /// `None` is the runtime's own default.
    pub stack_size: Option<usize>,
    /// Which blocking calls yield; `None` leaves it to the class, see [`Settings::effective_patch`].
    pub patch: Option<Patch>,
    /// Whether a client that has closed its side of the connection still waits for the response. If not, it counts as gone.
    pub half_close: bool,
    /// Requests at once on one HTTP/2 connection.
    pub http2_streams: u32,
    /// How large a request may be.
    pub limits: Limits,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// When a worker is replaced by a new one.
    pub recycling: Recycling,
    /// Certificates; without one the server speaks plain HTTP.
    pub tls: Tls,
    /// Whose word about a client's address is taken.
    pub proxy: Proxy,
    /// What is logged, and where.
    pub logging: Logging,
    /// What concerns the process as such.
    pub process: Process,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            bind: vec![Bind::Tcp {
                host: "127.0.0.1".to_owned(),
                port: 8000,
            }],
            admin_bind: Vec::new(),
            backlog: 2048,
            worker_class: WorkerClass::Sync,
            workers: NonZeroUsize::MIN,
            threads: NonZeroUsize::MIN,
            green_workers: NonZeroUsize::MIN,
            worker_connections: 1000,
            stack_size: Some(2 * 1024 * 1024),
            patch: None,
            half_close: false,
            http2_streams: 200,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            recycling: Recycling::default(),
            tls: Tls::default(),
            proxy: Proxy::default(),
            logging: Logging::default(),
            process: Process::default(),
        }
    }
}

impl Settings {
    /// The class that serves: as in gunicorn, more threads than one make a `gthread` worker of a `sync` one.
    pub fn effective_class(&self) -> WorkerClass {
        match self.worker_class {
            WorkerClass::Sync if self.threads.get() > 1 => WorkerClass::Gthread,
            class => class,
        }
    }

    /// Whether a connection serves more than one request.
    pub(crate) fn keeps_connections(&self) -> bool {
        self.effective_class() != WorkerClass::Sync && !self.timeouts.keep_alive.is_zero()
    }

    /// Which blocking calls yield: as set, or else all in class `green` and none in the others.
    pub fn effective_patch(&self) -> Patch {
        self.patch.unwrap_or(match self.effective_class() {
            WorkerClass::Green => Patch::all(),
            WorkerClass::Sync | WorkerClass::Gthread | WorkerClass::Async => Patch::none(),
        })
    }
}

/// How large a request may be. Each number's maximum means that there is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in the request line, without its line end; more is answered 414.
    pub request_line: usize,
    /// Header fields in a request; more are answered 431.
    pub request_fields: usize,
    /// Bytes in one header field, name and value, without the line end; more is answered 431.
    pub request_field_size: usize,
    /// Bytes of a request before its content, all together; more is answered 431.
    pub request_head: usize,
    /// Bytes of content in a request; more is answered 413. The default, 16 MiB, lets photos pass.
    pub request_body: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            request_line: 4094,
            request_fields: 100,
            request_field_size: 8190,
            request_head: 64 * 1024,
            request_body: 16 * 1024 * 1024,
        }
    }
}

/// How long a client, a request or a worker may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// How long a worker may give no sign of life before it is killed (gunicorn's `timeout`, and its default); `None` is for
    /// ever.
    pub worker: Option<Duration>,
    /// How long requests under way may take to finish when a worker is to stop (gunicorn's `graceful_timeout`, and its default).
    pub graceful: Duration,
    /// How long a request may take from its head to its response's head; later it is cancelled and answered 503. `None` is for
    /// ever.
    pub request: Option<Duration>,
    /// From the first byte of a request's head to its last, and from a connection's begin to its
    /// first byte. Later is answered 408.
    pub header: Duration,
    /// For a request's content, plus one second for every [`Timeouts::MIN_BODY_RATE`] bytes that
    /// have come, as in Apache's mod_reqtimeout. Later is answered 408.
    pub body: Duration,
    /// How long a connection may stay idle between two requests (gunicorn's `keepalive`, and its
    /// default); zero closes the connection after each response.
    pub keep_alive: Duration,
    /// How long a response may wait for the client to take any of it.
    pub write: Duration,
}

impl Timeouts {
    /// Bytes of content that earn a client one more second (the `MinRate` of mod_reqtimeout's
    /// default setting).
    pub const MIN_BODY_RATE: u64 = 500;

    /// How long to wait for more content, when this much time has passed and this much has come.
    pub(crate) fn content_wait(&self, elapsed: Duration, received: u64) -> Duration {
        let earned = Duration::from_secs(received / Self::MIN_BODY_RATE);
        (self.body + earned).saturating_sub(elapsed).min(self.body)
    }
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            worker: Some(Duration::from_secs(30)),
            graceful: Duration::from_secs(30),
            request: None,
            header: Duration::from_secs(10),
            body: Duration::from_secs(20),
            keep_alive: Duration::from_secs(2),
            write: Duration::from_secs(30),
        }
    }
}

/// When a worker is replaced by a new one, which starts before the old one stops.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recycling {
    /// After so many requests (gunicorn's `max_requests`); never by default.
    pub max_requests: Option<NonZeroU64>,
    /// Up to so many requests later, by chance, so that workers are not replaced all at once.
    pub max_requests_jitter: u64,
    /// When it holds more than so many bytes of memory; never by default.
    pub max_memory: Option<u64>,
    /// When it has lived so long; never by default.
    pub max_lifetime: Option<Duration>,
}

/// Certificates and keys, as PEM files. TLS is on if there is a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificate chains, the server's own certificate first; several for several names.
    pub certfile: Vec<PathBuf>,
    /// The key of each certificate, in the same order; none if each stands in its certificate's file.
    pub keyfile: Vec<PathBuf>,
    /// The authorities whose client certificates are accepted.
    pub ca_certs: Option<PathBuf>,
    /// Whether clients are asked for a certificate.
    pub client_certs: ClientCerts,
}

impl Tls {
    /// Whether the server speaks TLS.
    pub fn is_on(&self) -> bool {
        !self.certfile.is_empty()
    }
}

/// Makes a choice among words: each value has a name, by which it is set and shown.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $($(#[$value_doc:meta])* $value:ident = $word:literal,)+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $name {
            $($(#[$value_doc])* $value,)+
        }

        impl $name {
            /// Every value with its name.
            pub(crate) const WORDS: &[(&str, $name)] = &[$(($word, $name::$value),)+];

            /// Every name.
            pub(crate) const NAMES: &[&str] = &[$($word,)+];

            /// The name by which it is set.
            pub fn name(self) -> &'static str {
                match self {
                    $($name::$value => $word,)+
                }
            }

            /// The value of that name.
            pub fn from_name(name: &str) -> Option<$name> {
                let found = $name::WORDS.iter().find(|(word, _)| *word == name);
                found.map(|(_, value)| *value)
            }
        }
    };
}

words! {
    /// Whether clients are asked for a certificate.
    ClientCerts:
    /// They are not.
    #[default]
    None = "none",
    /// They are asked; what they show must be valid.
    Optional = "optional",
    /// Who shows none is refused.
    Required = "required",
}

words! {
    /// With which version of the PROXY protocol connections begin.
    ProxyProtocol:
    /// None.
    #[default]
    Off = "off",
    /// Version 1, as text; a connection without it is closed.
    V1 = "v1",
    /// Version 2, in binary; a connection without it is closed.
    V2 = "v2",
    /// Either; a connection without it is closed.
    Required = "required",
    /// Either, where one is sent by whom it is taken from; other connections are served as they are.
    Auto = "auto",
}

words! {
    /// How grave a line must be to be logged.
    LogLevel:
    /// Everything.
    Debug = "debug",
    /// What is usual too.
    #[default]
    Info = "info",
    /// What the operator should look at, and worse.
    Warning = "warning",
    /// What went wrong, and worse.
    Error = "error",
    /// Only what ends the server.
    Critical = "critical",
}

words! {
    /// What the server's own log looks like.
    LogFormat:
    /// A line as gunicorn writes it.
    #[default]
    Text = "text",
    /// A JSON object a line.
    Json = "json",
}

/// Whose word about a client's address is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Whether connections begin with the PROXY protocol.
    pub protocol: ProxyProtocol,
    /// Who may send it (gunicorn's `proxy_allow_ips`, and its default and Unix sockets).
    pub allow_from: Networks,
    /// Who may say for whom it forwards, by `X-Forwarded-For` and its kin (gunicorn's `forwarded_allow_ips`, and
    /// its default; Unix sockets, which gunicorn always trusts, are in the list).
    pub forwarded_allow_ips: Networks,
}

impl Default for Proxy {
    fn default() -> Proxy {
        Proxy {
            protocol: ProxyProtocol::Off,
            allow_from: Networks::local(),
            forwarded_allow_ips: Networks::local(),
        }
    }
}

/// Where a log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFile {
    /// Standard output for the access log, standard error for the server's own.
    Standard,
    /// The end of a file.
    Path(PathBuf),
}

/// As it is set: a path, or `-`.
impl fmt::Display for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogFile::Standard => f.write_str("-"),
            LogFile::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What is logged, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// Where each request gets a line; nowhere by default.
    pub access_file: Option<LogFile>,
    /// What the line tells, as [`Format`](crate::access::Format) reads it; gunicorn's default.
    pub access_format: String,
    /// Where the server's own log goes.
    pub error_file: LogFile,
    /// How grave a line must be to be in it.
    pub level: LogLevel,
    /// What its lines look like.
    pub format: LogFormat,
    /// Whether responses tell their request's id.
    pub request_id: bool,
}

impl Default for Logging {
    fn default() -> Logging {
        Logging {
            access_file: None,
            access_format: DEFAULT_FORMAT.to_owned(),
            error_file: LogFile::Standard,
            level: LogLevel::default(),
            format: LogFormat::default(),
            request_id: true,
        }
    }
}

/// What concerns the process as such.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Where the master's process id is written.
    pub pid_file: Option<PathBuf>,
    /// As whom the workers run; as who started the server by default.
    pub user: Option<User>,
    /// The group that the workers run in; by default the user's if one is set.
    pub group: Option<Group>,
    /// Which permissions the files lack that the server makes. By default Unix sockets lack none, so that whoever reaches the
    /// directory may connect, as with gunicorn, and other files lack what the server was started with.
    pub umask: Option<u32>,
    /// The directory to go to before anything is opened.
    pub chdir: Option<PathBuf>,
    /// What the process is called.
    pub name: Option<String>,
    /// Whether workers are replaced when the program's file changes.
    pub reload: bool,
    /// Further files whose change replaces the workers.
    pub reload_extra_files: Vec<PathBuf>,
}

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name, or the number where there is no name.
    pub name: String,
    /// The number.
    pub uid: u32,
    /// The primary group; of a number without a user, the same number.
    pub gid: u32,
}

/// A group of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The name, or the number where there is no name.
    pub name: String,
    /// The number.
    pub gid: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_follows_from_the_threads_and_the_patch_from_the_class() {
        let mut settings = Settings::default();
        assert_eq!(settings.effective_class(), WorkerClass::Sync);
        assert_eq!(settings.effective_patch(), Patch::none());
        settings.threads = NonZeroUsize::new(2).expect("not zero");
        assert_eq!(settings.effective_class(), WorkerClass::Gthread);
        settings.worker_class = WorkerClass::Green;
        assert_eq!(settings.effective_class(), WorkerClass::Green);
        assert_eq!(settings.effective_patch(), Patch::all());
        settings.patch = Some(Patch::TIME);
        assert_eq!(settings.effective_patch(), Patch::TIME);
    }

    #[test]
    fn a_choice_is_found_by_its_name() {
        for (word, level) in LogLevel::WORDS {
            assert_eq!(LogLevel::from_name(word), Some(*level));
            assert_eq!(level.name(), *word);
        }
        assert_eq!(LogLevel::from_name("loud"), None);
    }

    #[test]
    fn content_must_keep_coming() {
        let timeouts = Timeouts {
            body: Duration::from_secs(20),
            ..Timeouts::default()
        };
        let wait = |elapsed, received| {
            timeouts
                .content_wait(Duration::from_secs(elapsed), received)
                .as_secs()
        };
        assert_eq!(wait(0, 0), 20);
        assert_eq!(wait(15, 0), 5);
        assert_eq!(wait(20, 499), 0);
        assert_eq!(wait(20, 5000), 10);
        assert_eq!(
            wait(0, 1 << 20),
            20,
            "no single wait is longer than the first"
        );
    }
}
