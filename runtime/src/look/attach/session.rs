//! A connection: requests and their answers.

use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt};

use super::json::object;
use super::{PROTOCOL, SEND_TIMEOUT};
use crate::base::own_descriptor::OwnDescriptor;
use crate::base::spin::{self, SpinLock};
use crate::base::thread_counts::CountedThread;
use crate::look::dump::{DumpOptions, dump_all};
use crate::look::dump_signal;

/// Bytes of a request at most.
const LONGEST_REQUEST: usize = 1024;

/// Green threads of a runtime that are listed where the request does not say how many.
const LISTED: usize = 10_000;

/// How long a request may have green threads waited for that do not give their stacks.
const LONGEST_PATIENCE: Duration = Duration::from_secs(60);

/// The requests that every process answers.
const REQUESTS: [&str; 2] = ["dump", "text"];

/// What answers a request.
type Provider = Arc<dyn Fn() -> String + Send + Sync>;

/// Names that a program may provide.
const PLACES: usize = 8;

/// Requests that the program answers.
static PROVIDED: SpinLock<[Option<(&'static str, Provider)>; PLACES]> =
    SpinLock::new([const { None }; PLACES]);

/// Has requests by this name answered with what `answer` gives, a JSON object; in place of what was provided by that name
/// before. It is called on an OS thread for each request, and while it waits for something, its client does.
///
/// # Panics
///
/// If eight other names are provided already, or if the name is not a single word.
///
/// ```
/// use greenpatch_runtime::attach;
///
/// attach::provide("weather", || r#"{"sky":"grey"}"#.to_owned());
/// attach::open()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn provide(name: &'static str, answer: impl Fn() -> String + Send + Sync + 'static) {
    let is_word = !name.is_empty() && !name.contains(char::is_whitespace);
    assert!(is_word, "a request's name is one word, not '{name}'");
    let mut provider: Option<(&'static str, Provider)> = Some((name, Arc::new(answer)));
    let is_placed = {
        let mut places = PROVIDED.lock();
        let same = |place: &Option<(&str, Provider)>| place.as_ref().is_some_and(|it| it.0 == name);
        let index = places.iter().position(same);
        let index = index.or_else(|| places.iter().position(Option::is_none));
        // What was there is freed after the lock.
        index.inspect(|&index| mem::swap(&mut places[index], &mut provider))
    };
    assert!(
        is_placed.is_some(),
        "no more than {PLACES} names can be provided"
    );
}

/// What is provided now.
fn provided() -> [Option<(&'static str, Provider)>; PLACES] {
    PROVIDED.lock().clone()
}

/// Tells who has connected that they may not.
pub(super) fn refuse(connection: &OwnDescriptor, why: &str) {
    let _ = write_line(connection, &error(why));
}

/// Answers requests until the other side closes the connection, or does not read its answers.
pub(super) fn serve(connection: OwnDescriptor) {
    let limit = Some(SEND_TIMEOUT);
    let is_limited = sockopt::set_socket_timeout(&connection, sockopt::Timeout::Send, limit);
    if is_limited.is_err() || write_line(&connection, &greeting()).is_err() {
        return;
    }
    let mut pending = Vec::new();
    loop {
        while let Some(end) = pending.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let answer = answer(String::from_utf8_lossy(&line).trim());
            if write_line(&connection, &answer).is_err() {
                return;
            }
        }
        if pending.len() > LONGEST_REQUEST {
            let text = format!("a request has at most {LONGEST_REQUEST} bytes");
            return refuse(&connection, &text);
        }
        let _counted = CountedThread::own_thread();
        let mut buffer = [0; LONGEST_REQUEST];
        match recv(&connection, &mut buffer[..], RecvFlags::empty()) {
            Ok((received @ 1.., _)) => pending.extend_from_slice(&buffer[..received]),
            Err(Errno::INTR) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// What the process says of itself.
fn greeting() -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    let provided = provided();
    let provided = provided.iter().flatten().map(|&(name, _)| name);
    let requests: Vec<&str> = REQUESTS.into_iter().chain(provided).collect();
    object(|json| {
        json.field("protocol", &PROTOCOL)
            .field("version", env!("CARGO_PKG_VERSION"))
            .field("process", &std::process::id())
            .field("program", &*program.to_string_lossy())
            .field("requests", &requests[..]);
    })
}

fn error(text: &str) -> String {
    object(|json| {
        json.field("error", text);
    })
}

/// The answer to a request: one line, without its end.
fn answer(request: &str) -> String {
    let mut words = request.split_ascii_whitespace();
    let name = words.next().unwrap_or_default();
    if REQUESTS.contains(&name) {
        let options = match options(words) {
            Ok(options) => options,
            Err(text) => return error(&text),
        };
        return match name {
            "dump" => object(|json| {
                json.field("runtimes", &dump_all(options)[..]);
            }),
            _ => object(|json| {
                json.field("text", &*dump_signal::text(options));
            }),
        };
    }
    let provided = provided();
    let mut names: Vec<&str> = REQUESTS.to_vec();
    for (known, provider) in provided.iter().flatten() {
        if *known == name {
            let answer = panic::catch_unwind(AssertUnwindSafe(|| provider()));
            // A line has one end, and JSON means the same without.
            let answer = answer.map(|answer| answer.replace('\n', " "));
            return answer
                .unwrap_or_else(|_| error(&format!("the program's '{name}' has panicked")));
        }
        names.push(known);
    }
    error(&format!(
        "there is no request '{name}'; these are: {}",
        names.join(", ")
    ))
}

/// Reads what follows the name of a request for a dump.
fn options<'a>(words: impl Iterator<Item = &'a str>) -> Result<DumpOptions, String> {
    let mut options = DumpOptions::new().limit(LISTED);
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let number = || {
            value
                .parse::<u64>()
                .map_err(|_| format!("{name} cannot be '{value}'; give a number"))
        };
        options = match name {
            "backtraces" if value.is_empty() => options.backtraces(true),
            "running" if value.is_empty() => options.running(true),
            "only" => options.only(number()?),
            "limit" => options.limit(usize::try_from(number()?).unwrap_or(usize::MAX)),
            "patience" => options.patience(Duration::from_millis(number()?).min(LONGEST_PATIENCE)),
            _ => {
                let known =
                    "backtraces, running, only=ID, limit=GREEN_THREADS, patience=MILLISECONDS";
                return Err(format!("there is no option '{word}'; these are: {known}"));
            }
        };
    }
    Ok(options)
}

/// Writes a line, as long as the other side reads.
fn write_line(connection: &OwnDescriptor, line: &str) -> Result<(), Errno> {
    for part in [line, "\n"] {
        let mut rest = part.as_bytes();
        while !rest.is_empty() {
            match send(connection, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => rest = &rest[sent..],
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// After a fork: whoever provided something does not answer here, and may have held the lock.
///
/// # Safety
///
/// The process has one thread.
pub(crate) unsafe fn reset_after_fork() {
    // SAFETY: the process has one thread, by this function's contract. What is forgotten is not freed, as its program's
    // code may count on threads that are gone.
    unsafe { spin::seize(&PROVIDED, |places| mem::forget(mem::take(places))) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(request: &str) -> String {
        let answer: serde_json::Value = serde_json::from_str(&answer(request)).unwrap();
        answer["error"].as_str().expect("an error").to_owned()
    }

    #[test]
    fn a_faulty_request_is_answered_with_what_could_be_asked() {
        assert!(error_of("dumb").contains("these are: dump, text"));
        assert!(error_of("").contains("these are: dump, text"));
        assert!(error_of("dump frontally").contains("limit=GREEN_THREADS"));
        assert!(error_of("dump limit=few").contains("'few'"));
    }

    #[test]
    fn what_a_program_provides_is_answered_in_one_line() {
        provide("two-lines", || "{\"a\":\n1}".to_owned());
        assert_eq!(answer("two-lines"), "{\"a\": 1}");
        provide("two-lines", || panic!("no answer"));
        assert!(error_of("two-lines").contains("panicked"));
        assert!(greeting().contains("\"two-lines\""));
    }
}
