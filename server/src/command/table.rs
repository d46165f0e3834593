//! The table of settings, one row a setting.
//!
//! Options, variables, the file's keys, help, completions, the man page, the reference page and `--print-config` are all made from
//! these rows, so that they cannot drift apart. A row names a setting once: `worker-class` is the option `--worker-class`, the
//! variable `GREENPATCH_WORKER_CLASS` and the key `worker_class`. Its default is what stands in
//! [`Settings::default`](super::settings::Settings).
//!
//! To add a setting: a field in [`settings`](super::settings) with its default, a row here, and
//! `greenpatch --generate reference > server/SETTINGS.md`.

use toml::Value;

use super::kinds::{
    AccessFormat, Account, AccountGroup, Address, ByteLimit, Bytes, Choice, Class, CountLimit,
    Directory, Families, File, Form, Hint, Kind, Log, Maybe, Networks, Number, PositiveTime,
    Processors, Switch, Text, Threads, Time, TimeLimit, Umask,
};
use super::settings::{ClientCerts, LogFormat, LogLevel, ProxyProtocol, Settings};

/// What settings are listed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Where connections come from.
    Listening,
    /// What serves them.
    Workers,
    /// How long things may take.
    Times,
    /// How large requests may be.
    Limits,
    /// When workers are replaced.
    Recycling,
    /// Certificates.
    Tls,
    /// Whose word is taken.
    Proxies,
    /// What is written down.
    Logs,
    /// The process as such.
    Process,
}

impl Group {
    /// Every group, in the order in which they are shown.
    pub(crate) const ALL: [Group; 9] = [
        Group::Listening,
        Group::Workers,
        Group::Times,
        Group::Limits,
        Group::Recycling,
        Group::Tls,
        Group::Proxies,
        Group::Logs,
        Group::Process,
    ];

    /// The heading.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Group::Listening => "Listening",
            Group::Workers => "Workers",
            Group::Times => "Time-outs",
            Group::Limits => "Limits",
            Group::Recycling => "Replacing workers",
            Group::Tls => "TLS",
            Group::Proxies => "Behind a proxy",
            Group::Logs => "Logs",
            Group::Process => "Process",
        }
    }
}

/// A variable of other programs that a setting follows when nothing else sets it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fallback {
    /// The variable.
    pub(crate) variable: &'static str,
    /// What stands before its value: `0.0.0.0:` makes an address of a port.
    pub(crate) prefix: &'static str,
}

/// A text that is no value of its setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Which of the texts.
    pub(crate) text: usize,
    /// What to do instead.
    pub(crate) remedy: String,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// The option's name; with underscores the key in the file, with capitals the variable's end.
    pub(crate) name: &'static str,
    /// The option's letter.
    pub(crate) short: Option<char>,
    /// Other names of the option and the key: gunicorn's, where ours is another.
    pub(crate) aliases: &'static [&'static str],
    /// A variable of other programs.
    pub(crate) fallback: Option<Fallback>,
    /// What it is listed under.
    pub(crate) group: Group,
    /// What stands for the value in help.
    pub(crate) placeholder: &'static str,
    /// Of how many texts its value is made.
    pub(crate) form: Form,
    /// What its value can be, if that is a choice among a few.
    pub(crate) choices: &'static [&'static str],
    /// What completion offers.
    pub(crate) hint: Hint,
    /// What it does, in one line of Markdown.
    pub(crate) summary: &'static str,
    /// What else there is to know, likewise.
    pub(crate) details: &'static str,
    /// What is shown as the default where `show` shows nothing.
    pub(crate) unset: &'static str,
    /// Reads it.
    pub(crate) read: fn(&mut Settings, &[&str]) -> Result<(), Refusal>,
    /// Shows it as it is read; `None` if it is not set.
    pub(crate) show: fn(&Settings) -> Option<Value>,
}

impl Setting {
    /// The key in the file.
    pub(crate) fn key(&self) -> String {
        self.name.replace('-', "_")
    }

    /// The environment variable.
    pub(crate) fn variable(&self) -> String {
        format!("GREENPATCH_{}", self.key().to_ascii_uppercase())
    }

    /// The default, as help shows it.
    pub(crate) fn default(&self) -> String {
        match (self.show)(&Settings::default()) {
            Some(Value::String(text)) => text,
            Some(Value::Array(values)) if values.is_empty() => self.unset.to_owned(),
            Some(Value::Array(values)) => {
                let words = values.iter().filter_map(Value::as_str);
                words.collect::<Vec<_>>().join(", ")
            }
            Some(value) => value.to_string(),
            None => self.unset.to_owned(),
        }
    }

    const fn short(mut self, letter: char) -> Setting {
        self.short = Some(letter);
        self
    }

    const fn aliases(mut self, aliases: &'static [&'static str]) -> Setting {
        self.aliases = aliases;
        self
    }

    const fn follows(mut self, variable: &'static str, prefix: &'static str) -> Setting {
        self.fallback = Some(Fallback { variable, prefix });
        self
    }

    const fn unset(mut self, text: &'static str) -> Setting {
        self.unset = text;
        self
    }
}

/// A row: name, group, kind, field, and what it does.
macro_rules! row {
    ($name:literal, $group:ident, [$kind:ty], $($field:ident).+, $summary:literal, $details:literal) => {
        Setting {
            form: Form::Several,
            read: |settings, texts| {
                let read = |(index, text): (usize, &&str)| {
                    <$kind>::read(text).map_err(|remedy| Refusal { text: index, remedy })
                };
                settings.$($field).+ = texts.iter().enumerate().map(read).collect::<Result<_, _>>()?;
                Ok(())
            },
            show: |settings| {
                Some(Value::Array(settings.$($field).+.iter().filter_map(<$kind>::show).collect()))
            },
            ..row!(@ $name, $group, $kind, $summary, $details)
        }
    };
    ($name:literal, $group:ident, $kind:ty, $($field:ident).+, $summary:literal, $details:literal) => {
        Setting {
            read: |settings, texts| {
                let last = texts.len().saturating_sub(1);
                let text = texts.get(last).copied().unwrap_or_default();
                settings.$($field).+ = <$kind>::read(text).map_err(|remedy| Refusal { text: last, remedy })?;
                Ok(())
            },
            show: |settings| <$kind>::show(&settings.$($field).+),
            ..row!(@ $name, $group, $kind, $summary, $details)
        }
    };
    (@ $name:literal, $group:ident, $kind:ty, $summary:literal, $details:literal) => {
        Setting {
            name: $name,
            short: None,
            aliases: &[],
            fallback: None,
            group: Group::$group,
            placeholder: <$kind>::PLACEHOLDER,
            form: <$kind>::FORM,
            choices: <$kind>::CHOICES,
            hint: <$kind>::HINT,
            summary: $summary,
            details: $details,
            unset: "none",
            read: |_, _| Ok(()),
            show: |_| None,
        }
    };
}

/// Every setting, group by group.
pub(crate) const TABLE: &[Setting] = &[
    row!(
        "bind", Listening, [Address], bind,
        "Where to listen",
        "`HOST:PORT`, `[IPV6]:PORT`, `:PORT` for every address of the machine, `unix:PATH`, or `fd://NUMBER` for a socket that was inherited. \
         Given several times, it listens in several places. Port 0 takes a free one. Sockets that systemd hands over come first."
    )
    .short('b')
    .follows("PORT", "0.0.0.0:"),
    row!(
        "admin-bind", Listening, [Address], admin_bind,
        "Where the admin application listens: `/livez`, `/readyz`, `/metrics`, `/threads`, `/status`",
        "Keep it from the public: it asks for no password, and shows what the handlers do."
    )
    .unset("nowhere"),
    row!(
        "backlog", Listening, Number<u32, 1>, backlog,
        "Connections that wait in the kernel to be accepted",
        "The kernel's own limit, `net.core.somaxconn`, holds too."
    ),
    row!(
        "worker-class", Workers, Class, worker_class,
        "What handlers run on: `sync`, `gthread`, `green` or `async`",
        "`sync`: the worker's one thread, one request at a time, one request a connection. `gthread`: a pool of OS threads. `green`: green \
         threads, so that what blocks parks its request alone; `gevent` and `eventlet` mean the same. `async`: the event loop \
         itself, which a blocking handler holds up."
    )
    .short('k'),
    row!(
        "workers", Workers, Processors, workers,
        "Worker processes; `auto`: as many as there are processors",
        "`auto` respects the process's affinity and its cgroup's CPU quota."
    )
    .short('w')
    .follows("WEB_CONCURRENCY", ""),
    row!(
        "threads", Workers, Threads, threads,
        "OS threads of a worker of class `gthread`",
        "As in gunicorn, more than one makes a `gthread` worker of a `sync` one."
    ),
    row!(
        "green-workers", Workers, Processors, green_workers,
        "OS threads of a worker of class `green`, on which its green threads run",
        "One is enough for handlers that wait. More let handlers that compute use more processors, as more `--workers` do; \
         then handlers truly run at the same time."
    ),
    row!(
        "worker-connections", Workers, Number<usize, 1>, worker_connections,
        "Connections open at once in a worker",
        "Further ones wait in the kernel's queue until others close. While one waits there, the connection that has been idle for \
         longest is closed, if that is a second or more."
    ),
    row!(
        "stack-size", Workers, Bytes<usize>, stack_size,
        "Bytes of stack of the threads that run handlers",
        "As many as std's threads have. A stack takes memory only as far as it is used, and 4 KiB of the kernel's beside it if it may \
         have more than 256K. 0 is what green threads have by themselves, 256K."
    ),
    row!(
        "patch", Workers, Families, patch,
        "Which blocking calls yield: `all`, `none`, or a list of `time`, `socket`, `select`, `lock`, `thread`, `os`, `dns`, `process`",
        "Only on green threads does it matter."
    )
    .unset("all in class green, none in the others"),
    row!(
        "half-close", Workers, Switch, half_close,
        "Answer clients that have closed their side of the connection",
        "Without it such a client counts as gone, and its request is cancelled: few clients do this on purpose, and over TCP it looks \
         the same as one that has left."
    ),
    row!(
        "http2-streams", Workers, Number<u32, 1>, http2_streams,
        "Requests at once on one HTTP/2 connection",
        "A client that has more keeps them until others are answered."
    ),
    row!(
        "timeout", Times, TimeLimit, timeouts.worker,
        "How long a worker may give no sign of life before it is killed; 0 is for ever",
        "It is about the worker's own loop, not about requests: in the classes `gthread` and `green` a request may take longer. What its \
         green threads did is logged before."
    )
    .short('t'),
    row!(
        "graceful-timeout", Times, Time, timeouts.graceful,
        "How long requests under way may take to finish when a worker stops",
        "What has not finished then is cut off."
    ),
    row!(
        "request-timeout", Times, TimeLimit, timeouts.request,
        "How long a handler may take before its request is answered 503; 0 is for ever",
        "What it waits for is cancelled: the call that waits fails. A response that has begun is not cut off. Where handlers run on the \
         event loop unpatched (classes `sync` and `async`), one that blocks is not cut off either: only `--timeout` ends that, and the \
         worker with it. In class `gthread` its client is answered, and it keeps its thread until it is done."
    ),
    row!(
        "keep-alive", Times, Time, timeouts.keep_alive,
        "How long a connection may stay idle between two requests; 0 closes it after each",
        "Behind a proxy let it be longer than the proxy's own, which otherwise may send a request just when the server closes."
    )
    .aliases(&["keepalive"]),
    row!(
        "header-timeout", Times, PositiveTime, timeouts.header,
        "How long a request's head may take, and a TLS handshake",
        "Later is answered 408."
    ),
    row!(
        "body-timeout", Times, PositiveTime, timeouts.body,
        "How long a request's content may take, plus a second for every 500 bytes of it",
        "The rule is that of Apache's `mod_reqtimeout`. Later is answered 408."
    ),
    row!(
        "write-timeout", Times, PositiveTime, timeouts.write,
        "How long a response may wait for the client to take any of it",
        "Later the connection is closed."
    ),
    row!(
        "limit-request-line", Limits, ByteLimit<usize>, limits.request_line,
        "Bytes in a request line; 0 is no limit of its own",
        "More is answered 414."
    ),
    row!(
        "limit-request-fields", Limits, CountLimit, limits.request_fields,
        "Header fields in a request; 0 is no limit of its own",
        "More are answered 431."
    ),
    row!(
        "limit-request-field-size", Limits, ByteLimit<usize>, limits.request_field_size,
        "Bytes in a header field, name and value; 0 is no limit of its own",
        "More is answered 431."
    )
    .aliases(&["limit-request-field_size"]),
    row!(
        "limit-request-head", Limits, ByteLimit<usize>, limits.request_head,
        "Bytes of a request before its content, all together; 0 is no limit",
        "More is answered 431."
    ),
    row!(
        "limit-request-body", Limits, ByteLimit<u64>, limits.request_body,
        "Bytes of content in a request; 0 is no limit",
        "More is answered 413."
    ),
    row!(
        "max-requests", Recycling, Number<Option<std::num::NonZeroU64>>, recycling.max_requests,
        "Requests after which a worker is replaced; 0 is never",
        "The new worker starts before the old one stops."
    ),
    row!(
        "max-requests-jitter", Recycling, Number<u64>, recycling.max_requests_jitter,
        "Requests up to which `--max-requests` is raised by chance",
        "So workers that started together are not replaced together."
    ),
    row!(
        "max-memory", Recycling, Bytes<u64>, recycling.max_memory,
        "Bytes of memory above which a worker is replaced; 0 is never",
        "What counts is the memory that is resident."
    )
    .unset("0"),
    row!(
        "max-lifetime", Recycling, TimeLimit, recycling.max_lifetime,
        "Time after which a worker is replaced; 0 is never",
        "Up to a tenth less, by chance, so that workers that started together are not replaced together."
    ),
    row!(
        "certfile", Tls, [File], tls.certfile,
        "Certificate chain, as PEM; with it the server speaks HTTPS",
        "Given several times, the client's wish (SNI) decides which is shown. SIGHUP reads it again."
    ),
    row!(
        "keyfile", Tls, [File], tls.keyfile,
        "Private key of each `--certfile`, as PEM, in the same order",
        "Without one, the key is looked for in the certificate's file."
    ),
    row!(
        "ca-certs", Tls, Maybe<File>, tls.ca_certs,
        "Certificates of the authorities that client certificates must come from, as PEM",
        "It goes with `--client-certs`."
    ),
    row!(
        "client-certs", Tls, Choice<ClientCerts>, tls.client_certs,
        "Whether clients need a certificate: `none`, `optional` or `required`",
        "With `optional`, a client that shows a certificate must show a valid one."
    ),
    row!(
        "proxy-protocol", Proxies, Choice<ProxyProtocol>, proxy.protocol,
        "PROXY protocol at the beginning of connections: `off`, `v1`, `v2`, `required` or `auto`",
        "A connection that must begin with it and does not is closed: with `v1` and `v2` in that version, with `required` in either. \
         `auto`, and the option without a value, take either version where one is sent."
    ),
    row!(
        "proxy-allow-from", Proxies, Networks, proxy.allow_from,
        "Who may send the PROXY protocol: addresses, networks, `unix`, or `*` for everybody",
        "It is a list with commas. Others' connections are closed where the protocol is required, and with `auto` served as they are."
    )
    .aliases(&["proxy-allow-ips"])
    .unset("nobody"),
    row!(
        "forwarded-allow-ips", Proxies, Networks, proxy.forwarded_allow_ips,
        "Whose `X-Forwarded-For`, `-Proto`, `-Host` and `Forwarded` fields are believed: addresses, networks, `unix`, or `*` for everybody",
        "It is a list with commas. Others' are ignored, so that nobody can claim an address that is not theirs."
    )
    .follows("FORWARDED_ALLOW_IPS", ""),
    row!(
        "access-logfile", Logs, Maybe<Log>, logging.access_file,
        "File in which each request gets a line; `-` is standard output",
        "SIGUSR1 opens it again, after logrotate has moved it."
    )
    .aliases(&["accesslog"]),
    row!(
        "access-logformat", Logs, AccessFormat, logging.access_format,
        "What a request's line tells: gunicorn's atoms, or `common`, `combined` or `json`",
        "The atoms are `%(h)s`, `%(r)s` and so on, with `%({name}i)s` and `%({name}o)s` for header fields."
    )
    .aliases(&["access-log-format"]),
    row!(
        "error-logfile", Logs, Log, logging.error_file,
        "File of the server's own log; `-` is standard error",
        "SIGUSR1 opens it again, after logrotate has moved it."
    )
    .aliases(&["log-file", "errorlog"]),
    row!(
        "log-level", Logs, Choice<LogLevel>, logging.level,
        "What is logged: `debug`, `info`, `warning`, `error` or `critical`, and what is graver",
        "The access log is not meant by it."
    )
    .aliases(&["loglevel"]),
    row!(
        "log-format", Logs, Choice<LogFormat>, logging.format,
        "What the server's own log looks like: `text` as gunicorn writes it, or `json`",
        "`json` is an object a line."
    ),
    row!(
        "request-id", Logs, Switch, logging.request_id,
        "Tell clients their request's id, in the field `X-Request-Id` of the response",
        "The id is the client's own, from `X-Request-Id` or `traceparent`, if it has sent a sound one. The logs have it in any case: \
         an application's lines, and `%({request_id}e)s` of the access log."
    ),
    row!(
        "pid", Process, Maybe<File>, process.pid_file,
        "File in which the master's process id is written",
        "It is removed at the end."
    )
    .short('p')
    .aliases(&["pidfile"]),
    row!(
        "user", Process, Maybe<Account>, process.user,
        "User as whom the workers run",
        "A name or a number. The server must be started by root to change it."
    )
    .short('u')
    .unset("who starts the server"),
    row!(
        "group", Process, Maybe<AccountGroup>, process.group,
        "Group in which the workers run",
        "A name or a number. The server must be started by root to change it."
    )
    .short('g')
    .unset("the user's"),
    row!(
        "umask", Process, Maybe<Umask>, process.umask,
        "Permissions that the files lack which the server makes",
        "In octal digits that begin with 0, such as `027`. By default whoever reaches a Unix socket's directory may connect, as with \
         gunicorn."
    )
    .short('m')
    .unset("0 for Unix sockets, what is inherited for files"),
    row!(
        "chdir", Process, Maybe<Directory>, process.chdir,
        "Directory to go to before anything is opened",
        "The settings' file itself is looked for before."
    )
    .unset("where the server is started"),
    row!(
        "name", Process, Maybe<Text>, process.name,
        "Name of the processes, as `ps` shows it",
        "Linux shows 15 bytes of it."
    )
    .short('n')
    .aliases(&["proc-name"])
    .unset("the program's"),
    row!(
        "reload", Process, Switch, process.reload,
        "Start new workers when the program's file changes",
        "For development: `cargo build` in another terminal is enough."
    ),
    row!(
        "reload-extra-file", Process, [File], process.reload_extra_files,
        "Further file whose change starts new workers",
        "It goes with `--reload`, and can be given several times."
    )
    .aliases(&["reload-extra-files"]),
];

/// Finds a row by the name of an option or a key.
pub(crate) fn find(name: &str) -> Option<usize> {
    let name = name.replace('_', "-");
    TABLE.iter().position(|setting| {
        setting.name == name
            || setting
                .aliases
                .iter()
                .any(|alias| alias.replace('_', "-") == name)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_letters_and_aliases_are_given_once() {
        let mut seen = HashSet::new();
        for setting in TABLE {
            assert!(seen.insert(setting.name.to_owned()), "{}", setting.name);
            for alias in setting.aliases {
                assert!(seen.insert((*alias).to_owned()), "{alias}");
            }
            if let Some(letter) = setting.short {
                assert!(seen.insert(letter.to_string()), "-{letter}");
            }
        }
    }

    #[test]
    fn rows_of_a_group_stand_together() {
        let mut groups: Vec<Group> = TABLE.iter().map(|setting| setting.group).collect();
        groups.dedup();
        assert_eq!(groups, Group::ALL);
    }

    #[test]
    fn every_default_reads_back_as_itself() {
        let defaults = Settings::default();
        for setting in TABLE {
            let texts: Vec<String> = match (setting.show)(&defaults) {
                None => continue,
                Some(Value::Array(values)) => {
                    let texts = values.iter().filter_map(Value::as_str);
                    texts.map(str::to_owned).collect()
                }
                Some(Value::String(text)) => vec![text],
                Some(value) => vec![value.to_string()],
            };
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let mut settings = Settings::default();
            (setting.read)(&mut settings, &texts).expect(setting.name);
            assert_eq!(settings, defaults, "{}", setting.name);
        }
    }

    #[test]
    fn rows_read_into_the_field_that_they_show() {
        // Values that no setting has as its default.
        let candidates = [
            "7", "/x", "[::1]:9", "green", "json", "debug", "true", "required", "v1", "0", "*",
            "033", "time",
        ];
        for setting in TABLE {
            let changed = candidates.iter().find_map(|text| {
                let mut settings = Settings::default();
                (setting.read)(&mut settings, &[text]).ok()?;
                (settings != Settings::default()).then_some(settings)
            });
            let changed = changed.unwrap_or_else(|| panic!("{} reads nothing", setting.name));
            for other in TABLE {
                let same = (other.show)(&changed) == (other.show)(&Settings::default());
                assert_eq!(
                    same,
                    other.name != setting.name,
                    "{} by {}",
                    other.name,
                    setting.name
                );
            }
        }
    }

    #[test]
    fn gunicorns_names_lead_to_our_rows() {
        for (name, ours) in [
            ("bind", "bind"),
            ("accesslog", "access-logfile"),
            ("access_log_format", "access-logformat"),
            ("errorlog", "error-logfile"),
            ("log-file", "error-logfile"),
            ("keepalive", "keep-alive"),
            ("limit-request-field_size", "limit-request-field-size"),
            ("limit_request_field_size", "limit-request-field-size"),
            ("pidfile", "pid"),
            ("proc_name", "name"),
            ("proxy_allow_ips", "proxy-allow-from"),
            ("reload_extra_files", "reload-extra-file"),
        ] {
            let found = find(name).map(|index| TABLE[index].name);
            assert_eq!(found, Some(ours), "{name}");
        }
        assert_eq!(find("wrokers"), None);
    }

    #[test]
    fn every_row_says_what_it_does() {
        for setting in TABLE {
            let (summary, details) = (setting.summary, setting.details);
            assert!(
                !summary.ends_with('.') && !summary.contains('\n'),
                "{}",
                setting.name
            );
            assert!(
                details.ends_with('.') && !details.contains('\n'),
                "{}",
                setting.name
            );
        }
    }
}
