//! Server-sent events: a response that goes on, from a function that blocks.
//!
//! The format is that of the HTML standard, "Server-sent events". Each event is sent at once.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use greenpatch::sync::Event as Flag;
use http::{HeaderName, HeaderValue, header};
use serde::Serialize;

use super::producer::Writer;
use super::thread::spawn;
use super::{Body, IntoResponse, Response, ResponseExt};

/// A response of events, which `send` sends as they come.
///
/// ```
/// use std::sync::mpsc;
/// use greenpatch_server::application::{Event, EventStream, IntoResponse, Request, Response};
///
/// fn countdown(_request: Request) -> impl IntoResponse {
///     EventStream::new(|sender| {
///         for n in (0..3).rev() {
///             sender.send(&Event::data(n.to_string()))?;
///             std::thread::sleep(std::time::Duration::from_millis(1));
///         }
///         sender.send(&Event::data("lift-off").name("launch").id("1"))
///     })
/// }
///
/// # let body = countdown(Request::default()).into_response().into_body();
/// let text = "data: 2\n\ndata: 1\n\ndata: 0\n\nevent: launch\nid: 1\ndata: lift-off\n\n";
/// # assert_eq!(body.into_string(1000).unwrap(), text);
/// ```
///
/// When the function returns, the response ends, and a browser asks again after a while; it tells the last id it got in
/// `Last-Event-ID`. When the client leaves, the next send fails with [`BrokenPipe`](io::ErrorKind::BrokenPipe).
pub struct EventStream {
    send: SendEvents,
    keep_alive: Option<Duration>,
}

type SendEvents = Box<dyn FnOnce(&mut EventSender<'_>) -> io::Result<()> + Send>;

impl EventStream {
    /// Events from a function, which may block. It runs on a thread of the worker class.
    pub fn new<F>(send: F) -> EventStream
    where
        F: FnOnce(&mut EventSender<'_>) -> io::Result<()> + Send + 'static,
    {
        EventStream {
            send: Box::new(send),
            keep_alive: None,
        }
    }

    /// Sends a comment each time that so long has passed, which clients ignore and proxies take as a sign of life.
    ///
    /// It also makes the function notice sooner that the client has left. It costs a thread of the function's kind; who has
    /// an occasion to send [`comment`](EventSender::comment) from the function itself saves it.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration) -> EventStream {
        self.keep_alive = Some(interval);
        self
    }
}

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        let EventStream { send, keep_alive } = self;
        let body = Body::from_writer(move |writer| {
            let _keeper = keep_alive
                .map(|interval| Keeper::start(writer, interval))
                .transpose()?;
            send(&mut EventSender { writer })
        });
        let no_buffering = HeaderName::from_static("x-accel-buffering");
        Response::new(body)
            .with_header(
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/event-stream"),
            )
            .with_header(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))
            // nginx would hold events back otherwise.
            .with_header(no_buffering, HeaderValue::from_static("no"))
    }
}

/// Ends the thread that sends signs of life when the events end.
struct Keeper(Arc<Flag>);

impl Keeper {
    fn start(writer: &Writer, interval: Duration) -> io::Result<Keeper> {
        let ended = Arc::new(Flag::new());
        let seen = ended.clone();
        let comment = writer.aside(b":\n\n");
        spawn("keep-alive", move || {
            let is_over = |wait: Result<(), greenpatch::Interrupted>| {
                !matches!(wait, Err(greenpatch::Interrupted::TimedOut))
            };
            while !is_over(seen.wait_timeout(interval)) && comment.send() {}
        })?;
        Ok(Keeper(ended))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// Sends events, see [`EventStream`].
#[derive(Debug)]
pub struct EventSender<'a> {
    writer: &'a mut Writer,
}

impl EventSender<'_> {
    /// Sends an event at once. Waits while the client is slow.
    pub fn send(&mut self, event: &Event) -> io::Result<()> {
        self.writer.send(event.to_text()?)
    }

    /// Sends a comment, which clients ignore.
    pub fn comment(&mut self, text: &str) -> io::Result<()> {
        let mut comment = String::with_capacity(text.len() + 4);
        write_lines(&mut comment, ": ", text);
        comment.push('\n');
        self.writer.send(comment)
    }

    /// Whether the client has left.
    pub fn is_closed(&self) -> bool {
        self.writer.is_closed()
    }
}

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    data: String,
    name: Option<String>,
    id: Option<String>,
    retry: Option<Duration>,
}

impl Event {
    /// An event of text, of any number of lines.
    pub fn data(data: impl Into<String>) -> Event {
        Event {
            data: data.into(),
            ..Event::default()
        }
    }

    /// An event of JSON.
    ///
    /// # Errors
    ///
    /// If JSON cannot say the value, such as a map whose keys are no strings.
    pub fn json(value: &(impl Serialize + ?Sized)) -> serde_json::Result<Event> {
        Ok(Event::data(serde_json::to_string(value)?))
    }

    /// Names its kind; without a name it is a `message`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Event {
        self.name = Some(name.into());
        self
    }

    /// Gives it an id, which the client tells when it asks again.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Event {
        self.id = Some(id.into());
        self
    }

    /// Tells the client how long to wait before it asks again.
    #[must_use]
    pub fn retry(mut self, after: Duration) -> Event {
        self.retry = Some(after);
        self
    }

    fn to_text(&self) -> io::Result<String> {
        let mut text = String::with_capacity(self.data.len() + 32);
        if let Some(name) = &self.name {
            write_field(&mut text, "event", name)?;
        }
        if let Some(id) = &self.id {
            write_field(&mut text, "id", id)?;
        }
        if let Some(retry) = self.retry {
            write_field(&mut text, "retry", &retry.as_millis().to_string())?;
        }
        write_lines(&mut text, "data: ", &self.data);
        text.push('\n');
        Ok(text)
    }
}

/// A field of one line. One with a line end inside would be two.
fn write_field(text: &mut String, name: &str, value: &str) -> io::Result<()> {
    if value.contains(['\r', '\n', '\0']) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "the event's {name} {value:?} has a line end or NUL, which its field cannot hold"
            ),
        ));
    }
    writeln!(text, "{name}: {value}").expect("a String takes what is written");
    Ok(())
}

/// A field for each line, whichever of the three line ends the text has.
fn write_lines(text: &mut String, field: &str, mut lines: &str) {
    loop {
        text.push_str(field);
        let Some(end) = lines.find(['\r', '\n']) else {
            text.push_str(lines);
            text.push('\n');
            return;
        };
        text.push_str(&lines[..end]);
        text.push('\n');
        let length = if lines[end..].starts_with("\r\n") {
            2
        } else {
            1
        };
        lines = &lines[end + length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_data_is_a_field() {
        let text = |data: &str| Event::data(data).to_text().unwrap();
        assert_eq!(text("a"), "data: a\n\n");
        assert_eq!(text(""), "data: \n\n");
        assert_eq!(
            text("a\nb\r\nc\rd"),
            "data: a\ndata: b\ndata: c\ndata: d\n\n"
        );
        assert_eq!(text(" a\n"), "data:  a\ndata: \n\n");
    }

    #[test]
    fn an_event_has_its_fields_before_its_data() {
        let event = Event::json(&[1, 2])
            .unwrap()
            .name("numbers")
            .id("7")
            .retry(Duration::from_millis(1500));
        let text = "event: numbers\nid: 7\nretry: 1500\ndata: [1,2]\n\n";
        assert_eq!(event.to_text().unwrap(), text);
    }

    #[test]
    fn a_line_end_is_no_way_to_another_event() {
        for event in [
            Event::data("").name("a\ndata: b"),
            Event::data("").id("a\rb"),
            Event::data("").id("a\0b"),
        ] {
            let error = event.to_text().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_comment_stays_one() {
        let stream = EventStream::new(|sender| sender.comment("a\nb\n\ndata: c"));
        let response = stream.into_response();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let text = response.into_body().into_string(100).unwrap();
        assert_eq!(text, ": a\n: b\n: \n: data: c\n\n");
    }

    #[test]
    fn signs_of_life_are_sent_while_the_function_is_silent() {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let stream = EventStream::new(move |events| {
            receiver.recv().unwrap();
            events.send(&Event::data("end"))
        });
        let stream = stream.keep_alive(Duration::from_millis(1));
        let mut body = stream.into_response().into_body();
        let mut signs = [0; 30];
        io::Read::read_exact(&mut body, &mut signs).unwrap();
        assert_eq!(&signs, &b":\n\n".repeat(10)[..]);
        sender.send(()).unwrap();
        let rest = body.into_string(100_000).unwrap();
        assert!(
            rest.trim_start_matches(":\n\n")
                .starts_with("data: end\n\n"),
            "{rest}"
        );
    }
}
