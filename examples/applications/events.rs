//! Server-sent events: the machine's load, once a second, for as long as somebody watches.
//!
//! ```text
//! cargo run --release -p greenpatch-examples --bin events -- -k green
//! curl -N http://localhost:8000/events
//! ```
//!
//! Or open <http://localhost:8000>. What sends the events is a loop with `thread::sleep` in it, one for each client; the first send
//! after the client has left fails, and ends it.

use std::process::ExitCode;
use std::time::Duration;
use std::{fs, thread};

use greenpatch_server::application::{
    Event, EventStream, HttpError, Request, RequestExt, Response, Router, response,
};
use greenpatch_server::http::StatusCode;
use serde_json::json;

fn load(request: Request) -> Result<EventStream, HttpError> {
    let every = request
        .query("milliseconds")
        .map(|text| text.parse::<u64>());
    let every = every
        .transpose()
        .map_err(|_| HttpError::new(StatusCode::BAD_REQUEST, "`milliseconds` is a whole number"))?;
    let every = Duration::from_millis(every.unwrap_or(1000));
    // A browser that asks again tells which event it has seen last.
    let last = request.headers().get("last-event-id");
    let last: Option<u64> = last.and_then(|id| id.to_str().ok()?.parse().ok());
    Ok(EventStream::new(move |sender| {
        for number in last.map_or(0, |last| last + 1).. {
            let load = fs::read_to_string("/proc/loadavg")?;
            let load: Vec<f32> = load
                .split(' ')
                .map_while(|text| text.parse().ok())
                .collect();
            let event = Event::json(&json!({ "number": number, "load": load }))?;
            sender.send(&event.name("load").id(number.to_string()))?;
            thread::sleep(every);
        }
        Ok(())
    }))
}

fn page() -> Response {
    response::html(include_str!("events.html"))
}

fn application() -> Router {
    Router::new().get("/", page).get("/events", load)
}

fn main() -> ExitCode {
    greenpatch_server::main(application())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use greenpatch_server::test::Client;

    #[test]
    fn events_go_on_where_the_client_has_seen_the_last_one() {
        let client = Client::new(super::application());
        let asked = client
            .get("/events?milliseconds=1")
            .header("last-event-id", "6");
        let response = asked.send().assert_status(200);
        assert_eq!(response.header("content-type"), Some("text/event-stream"));
        let lines = BufReader::new(response).lines().map(Result::unwrap);
        let ids: Vec<String> = lines
            .filter(|line| line.starts_with("id:"))
            .take(2)
            .collect();
        assert_eq!(ids, ["id: 7", "id: 8"]);
    }
}
