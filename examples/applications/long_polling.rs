//! Long polling: a request for messages waits until there is one.
//!
//! ```text
//! cargo run --release -p greenpatch-examples --bin long_polling -- -k green
//! ```
//!
//! Then open <http://localhost:8000> in several windows. Who waits is a function in [`Condvar::wait_timeout_while`]: ten thousand of
//! them in class `green`, as many as there are `--threads` in `gthread`. In `sync` and `async` nobody could be answered beside them.

use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use greenpatch_server::application::{
    HttpError, Json, Request, RequestExt, Response, Router, response,
};
use greenpatch_server::http::StatusCode;
use serde_json::{Value, json};

/// After that a client is to ask again, which shows that it is still there.
const PATIENCE: Duration = Duration::from_secs(30);

const LONGEST: usize = 1000;

/// Everything that was said, in order.
#[derive(Default)]
struct Messages {
    all: Mutex<Vec<String>>,
    more: Condvar,
}

impl Messages {
    fn say(&self, request: Request) -> Result<(), HttpError> {
        let message = request.into_body().into_string(LONGEST)?;
        self.all.lock().unwrap().push(message);
        self.more.notify_all();
        Ok(())
    }

    /// What was said after so many messages; waits for the first.
    fn listen(&self, request: &Request) -> Result<Json<Value>, HttpError> {
        let number = |name| {
            request
                .query(name)
                .map(|text| text.parse::<usize>())
                .transpose()
        };
        let wrong = |_| HttpError::new(StatusCode::BAD_REQUEST, "`after` and `wait` are numbers");
        let after = number("after").map_err(wrong)?.unwrap_or(0);
        let wait = number("wait").map_err(wrong)?.map_or(PATIENCE, |seconds| {
            PATIENCE.min(Duration::from_secs(seconds as u64))
        });
        let all = self.all.lock().unwrap();
        // Who has heard more than was said has heard it of a server before this one.
        let after = if after > all.len() { 0 } else { after };
        let nothing_new = |all: &mut Vec<String>| all.len() <= after;
        let waited = self.more.wait_timeout_while(all, wait, nothing_new);
        let (all, _) = waited.unwrap();
        let new = all.get(after..).unwrap_or_default();
        Ok(Json(json!({ "messages": new, "next": after + new.len() })))
    }
}

fn page() -> Response {
    response::html(include_str!("long_polling.html"))
}

fn application() -> Router {
    let messages = Arc::new(Messages::default());
    let said = messages.clone();
    Router::new()
        .get("/", page)
        .get("/messages", move |request: Request| {
            messages.listen(&request)
        })
        .post("/messages", move |request: Request| said.say(request))
}

fn main() -> ExitCode {
    greenpatch_server::main(application())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use greenpatch_server::test::Client;
    use serde_json::{Value, json};

    #[test]
    fn who_listens_waits_for_what_is_said() {
        let client = Client::new(super::application());
        let listening = client.clone();
        let listening = thread::spawn(move || listening.get("/messages").send().json::<Value>());
        client
            .post("/messages")
            .body("hello")
            .send()
            .assert_status(204);
        let heard = json!({ "messages": ["hello"], "next": 1 });
        assert_eq!(listening.join().unwrap(), heard);
        client.post("/messages").body("again").send();
        let rest: Value = client.get("/messages?after=1").send().json();
        assert_eq!(rest, json!({ "messages": ["again"], "next": 2 }));
    }

    #[test]
    fn who_has_heard_another_server_hears_all_of_this_one() {
        let client = Client::new(super::application());
        client.post("/messages").body("hello").send();
        let all: Value = client.get("/messages?after=9&wait=0").send().json();
        assert_eq!(all, json!({ "messages": ["hello"], "next": 1 }));
    }

    #[test]
    fn who_has_heard_all_is_told_so_in_the_end() {
        let client = Client::new(super::application());
        let nothing: Value = client.get("/messages?wait=0").send().json();
        assert_eq!(nothing, json!({ "messages": [], "next": 0 }));
        client.get("/messages?after=x").send().assert_status(400);
    }
}
