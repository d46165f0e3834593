//! The server's own log: lines in gunicorn's shape, or JSON, on standard error or in a file.
//!
//! `[2026-01-01 12:00:00 +0000] [4711] [INFO] Starting greenpatch 0.1.0`
//!
//! What is logged is an event of the `tracing` crate. [`start`] makes a subscriber of ours the program's, unless the program
//! has one already: then that hears of everything, and this log has nothing to write. So an application's own events appear
//! among the server's, after the name of what they come from, and with the request's id and the thread's name:
//!
//! `[…] [4711] [INFO] shop::orders: order{number=17}: paid amount=3 request_id=5f2a… thread=conn-9`
//!
//! Messages of the `log` crate appear in the same way. Before `start`, and in programs that never call it, lines of the server
//! itself go to standard error.
//!
//! The subscriber is ours because `tracing-subscriber`'s registry gives each thread that has been in a span a shard of its
//! slab, of which there are 4,096, and panics for the next one; and threads are many here. What belongs to it: [`spans`] keeps
//! spans, [`fields`] the values of an event, [`repeated`] holds back what would be said a thousand times.
//!
//! Locks: none is held while user code (a `Debug` of a field) runs, since that may park.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write as _};
use std::process;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use jiff::{Timestamp, Zoned};
use serde_json::{Map, Value};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{self, Interest, NoSubscriber};
use tracing::{Event, Metadata, Subscriber, dispatcher};
use tracing_core::span::Current;
use tracing_log::{AsLog, LogTracer, NormalizeEvent};

use crate::command::settings::{LogFile, LogFormat, Logging};
use crate::observe::lines;
use crate::observe::request_id::RequestId;
use fields::Fields;
use spans::Spans;

pub use crate::command::settings::LogLevel as Level;
pub use repeated::{Repeated, tell_repeated};

mod fields;
mod repeated;
mod spans;

/// The target of the server's own events.
const OURS: &str = "greenpatch_server";
/// The target of those that are more than errors; `tracing` has no level for them.
const CRITICAL: &str = "greenpatch_server::critical";
/// The target of the runtime's events and spans.
const RUNTIME: &str = "greenpatch";
/// It warns of what strangers send, with which they could fill the log.
const TLS: &str = "rustls";

/// The log cannot be written where it shall be.
#[derive(Debug)]
pub struct LogError {
    file: LogFile,
    cause: io::Error,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot open the error log {} for appending: {}; name a file in a directory that the server's user may write \
             to, or - for standard error",
            self.file, self.cause
        )
    }
}

impl Error for LogError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

/// Logs as these settings say from now on. May be called again, with others.
///
/// # Errors
///
/// The file cannot be opened for appending. Then all stays as it was.
pub fn start(logging: &Logging) -> Result<(), LogError> {
    let open = Open::new(logging.clone())?;
    let mut is_new = false;
    let log = LOG.get_or_init(|| {
        is_new = true;
        Log {
            open: RwLock::new(Arc::new(open.clone())),
            spans: Spans::default(),
        }
    });
    let most_verbose = most_verbose(logging.level).as_log();
    if !is_new {
        log.replace(open);
        tracing::callsite::rebuild_interest_cache();
        tracing_log::log::set_max_level(most_verbose);
    } else if subscriber::set_global_default(Heard(log)).is_ok() {
        // It fails if the program has a logger of its own, whose affair its messages are then.
        let _ = LogTracer::builder().with_max_level(most_verbose).init();
    }
    Ok(())
}

/// Opens the log's file again: a program that rotates logs has given the old one another name. If it cannot be opened, an error
/// is logged, in the old one.
pub fn reopen() {
    let Some(log) = LOG.get() else { return };
    let open = log.open();
    if open.logging.error_file == LogFile::Standard {
        return;
    }
    match Open::new(open.logging.clone()) {
        Ok(new) => log.replace(new),
        Err(problem) => error(format_args!("{problem}; lines go on to the old file")),
    }
}

/// Logs one line of this level.
///
/// A log that cannot be written to is no reason to stop serving: the line is lost.
pub fn line(level: Level, message: impl fmt::Display) {
    if !is_heard() {
        let text = text_line(&level.name().to_uppercase(), &message);
        let _ = io::stderr().write_all(text.as_bytes());
        return;
    }
    match level {
        Level::Debug => tracing::debug!(target: OURS, "{message}"),
        Level::Info => tracing::info!(target: OURS, "{message}"),
        Level::Warning => tracing::warn!(target: OURS, "{message}"),
        Level::Error => tracing::error!(target: OURS, "{message}"),
        Level::Critical => tracing::error!(target: CRITICAL, "{message}"),
    }
}

/// Logs a line of level [`Level::Debug`].
pub fn debug(message: impl fmt::Display) {
    if is_heard() {
        line(Level::Debug, message);
    }
}

/// Logs a line of level [`Level::Info`].
pub fn info(message: impl fmt::Display) {
    line(Level::Info, message);
}

/// Logs a line of level [`Level::Warning`].
pub fn warning(message: impl fmt::Display) {
    line(Level::Warning, message);
}

/// Logs a line of level [`Level::Error`].
pub fn error(message: impl fmt::Display) {
    line(Level::Error, message);
}

/// Logs a line of level [`Level::Critical`].
pub fn critical(message: impl fmt::Display) {
    line(Level::Critical, message);
}

/// Whether the program listens to events.
fn is_heard() -> bool {
    dispatcher::get_default(|dispatch| !dispatch.is::<NoSubscriber>())
}

/// The program's log, once it is started.
static LOG: OnceLock<Log> = OnceLock::new();

#[derive(Debug)]
struct Log {
    open: RwLock<Arc<Open>>,
    spans: Spans,
}

/// A log as it is set at some time.
#[derive(Clone, Debug)]
struct Open {
    logging: Logging,
    file: Arc<File>,
}

impl Open {
    fn new(logging: Logging) -> Result<Open, LogError> {
        match lines::open(&logging.error_file, io::stderr()) {
            Ok(file) => Ok(Open {
                file: Arc::new(file),
                logging,
            }),
            Err(cause) => Err(LogError {
                file: logging.error_file,
                cause,
            }),
        }
    }

    /// The line's one write, so that lines of several threads and processes do not mix.
    fn write(&self, line: &str) {
        let _ = (&*self.file).write_all(line.as_bytes());
    }
}

impl Log {
    fn open(&self) -> Arc<Open> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.clone()
    }

    fn replace(&self, open: Open) {
        let mut place = self.open.write().unwrap_or_else(PoisonError::into_inner);
        *place = Arc::new(open);
    }

    fn text(&self, event: &Event<'_>, metadata: &Metadata<'_>) -> String {
        let fields = Fields::of(event);
        let is_ours = is_ours(metadata.target());
        let mut text = String::new();
        if !is_ours {
            text.push_str(metadata.target());
            text.push_str(": ");
        }
        self.spans.of_event(event, |name, fields| {
            if !fields.is_empty() {
                let _ = write!(text, "{name}{{{fields}}}: ");
            } else {
                let _ = write!(text, "{name}: ");
            }
        });
        let separator = if fields.message.is_empty() || fields.is_empty() {
            ""
        } else {
            " "
        };
        let _ = write!(text, "{}{separator}{fields}", fields.message);
        let id = RequestId::current();
        if let Some(id) = &id {
            let _ = write!(text, " request_id={id}");
        }
        if (id.is_some() || !is_ours)
            && let Some(name) = thread_name()
        {
            let _ = write!(text, " thread={name}");
        }
        text_line(level_name(metadata), &text)
    }

    fn json(&self, event: &Event<'_>, metadata: &Metadata<'_>) -> String {
        let fields = Fields::of(event);
        let mut line = Map::new();
        let mut put = |name: &str, value: Value| line.insert(name.to_owned(), value);
        put("time", format!("{:.3}", Timestamp::now()).into());
        put("pid", process::id().into());
        put("level", level_name(metadata).into());
        put("target", metadata.target().into());
        put("message", fields.message.clone().into());
        if let Some(id) = RequestId::current() {
            put("request_id", id.to_string().into());
        }
        if let Some(name) = thread_name() {
            put("thread", name.into());
        }
        if !fields.is_empty() {
            put("fields", fields.to_object());
        }
        let mut spans = Vec::new();
        self.spans.of_event(event, |name, fields| {
            let mut span = Map::new();
            span.insert("name".to_owned(), name.into());
            if !fields.is_empty() {
                span.insert("fields".to_owned(), fields.to_object());
            }
            spans.push(Value::Object(span));
        });
        if !spans.is_empty() {
            put("spans", spans.into());
        }
        format!("{}\n", Value::Object(line))
    }
}

/// The log as a subscriber.
struct Heard(&'static Log);

impl Subscriber for Heard {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_runtimes_span = metadata.is_span() && metadata.target() == RUNTIME;
        let level = self.0.open().logging.level;
        let is_left_out = match level {
            Level::Critical => metadata.target() != CRITICAL,
            level if level != Level::Debug && is_of(metadata.target(), TLS) => true,
            level => *metadata.level() > most_verbose(level),
        };
        // The runtime's spans are its green threads: where a line comes from is said by the thread's name, and a span for each
        // would cost more than most threads do.
        !is_runtimes_span && !is_left_out
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Messages of the `log` crate share a callsite for each level, whatever module they come from.
        if metadata.target() == "log" {
            return Interest::sometimes();
        }
        match self.enabled(metadata) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(most_verbose(self.0.open().logging.level))
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        self.0.spans.open(attributes)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.0.spans.record(span, values);
    }

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        let open = self.0.open();
        let line = match open.logging.format {
            LogFormat::Text => self.0.text(event, metadata),
            LogFormat::Json => self.0.json(event, metadata),
        };
        open.write(&line);
    }

    fn enter(&self, span: &Id) {
        self.0.spans.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.0.spans.exit(span);
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.0.spans.hold(span);
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        self.0.spans.let_go(&span)
    }

    fn current_span(&self) -> Current {
        self.0.spans.current()
    }
}

fn most_verbose(level: Level) -> LevelFilter {
    match level {
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Warning => LevelFilter::WARN,
        Level::Error | Level::Critical => LevelFilter::ERROR,
    }
}

fn level_name(metadata: &Metadata<'_>) -> &'static str {
    match *metadata.level() {
        _ if metadata.target() == CRITICAL => "CRITICAL",
        tracing::Level::ERROR => "ERROR",
        tracing::Level::WARN => "WARNING",
        tracing::Level::INFO => "INFO",
        tracing::Level::DEBUG => "DEBUG",
        tracing::Level::TRACE => "TRACE",
    }
}

fn is_ours(target: &str) -> bool {
    is_of(target, OURS) || is_of(target, RUNTIME)
}

/// Whether this is the module, or one inside of it.
fn is_of(target: &str, module: &str) -> bool {
    let rest = target.strip_prefix(module);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Of the calling thread, green or not.
fn thread_name() -> Option<String> {
    let green = greenpatch::thread::is_green().then(greenpatch::thread::current);
    match green.as_ref().and_then(|thread| thread.name()) {
        Some(name) => Some(name.to_owned()),
        None => std::thread::current().name().map(str::to_owned),
    }
}

/// A line of text. Control characters that a terminal would obey are written as escapes.
fn text_line(level: &str, message: &impl fmt::Display) -> String {
    let mut line = format!(
        "[{}] [{}] [{level}] ",
        Zoned::now().strftime("%Y-%m-%d %H:%M:%S %z"),
        process::id(),
    );
    let _ = write!(Escaping(&mut line), "{message}");
    line.push('\n');
    line
}

struct Escaping<'a>(&'a mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(|c: char| c.is_control()) {
            let last = piece.chars().next_back();
            match last.filter(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
                Some(control) => {
                    self.0.push_str(&piece[..piece.len() - control.len_utf8()]);
                    write!(self.0, "\\x{:02x}", u32::from(control))?;
                }
                None => self.0.push_str(piece),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
