//! A chat in rooms, by WebSockets: what one says, all in the same room hear.
//!
//! ```text
//! cargo run --release -p greenpatch-examples --bin chat -- -k green
//! ```
//!
//! Then open <http://localhost:8000> in several windows. Each member has two threads, green ones in class `green`: one reads what it
//! says, the other sends what the room says, so that a slow member holds up nobody else.

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use greenpatch_server::application::websocket::Upgrade;
use greenpatch_server::application::{HttpError, Request, RequestExt, Response, Router, response};
use greenpatch_server::http::StatusCode;
use serde_json::json;

/// A member that is so many messages behind misses the next ones.
const BEHIND: usize = 100;

const LONGEST: usize = 1000;

/// The members of each room, by their numbers.
#[derive(Default)]
struct Chat {
    rooms: Mutex<HashMap<String, HashMap<u64, SyncSender<String>>>>,
    members: AtomicU64,
}

impl Chat {
    fn enter(self: Arc<Self>, request: Request) -> Result<Response, HttpError> {
        let room: String = request.parameter("room")?;
        let name = request.query("name").map(String::from);
        let name = name.filter(|name| !name.is_empty() && name.len() <= 50);
        let name = name.ok_or_else(|| {
            HttpError::new(
                StatusCode::BAD_REQUEST,
                "say who you are, in 50 bytes: ?name=Ada",
            )
        })?;
        let upgrade = Upgrade::new().max_message_size(LONGEST);
        Ok(upgrade.accept(request, move |socket| {
            let sender = socket.sender();
            let (heard, hears) = sync_channel::<String>(BEHIND);
            thread::spawn(move || hears.iter().all(|message| sender.send(message).is_ok()));
            let member = Member::enter(self, room, name, heard);
            while let Some(message) = socket.read()? {
                member.say(message.into_text()?.as_str());
            }
            Ok(())
        }))
    }
}

/// Somebody in a room, until this is dropped.
struct Member {
    chat: Arc<Chat>,
    room: String,
    name: String,
    number: u64,
}

impl Member {
    fn enter(chat: Arc<Chat>, room: String, name: String, heard: SyncSender<String>) -> Member {
        let number = chat.members.fetch_add(1, Ordering::Relaxed);
        let mut rooms = chat.rooms.lock().unwrap();
        rooms.entry(room.clone()).or_default().insert(number, heard);
        drop(rooms);
        let member = Member {
            chat,
            room,
            name,
            number,
        };
        member.say("enters");
        member
    }

    fn say(&self, text: &str) {
        let message = json!({ "name": self.name, "text": text }).to_string();
        let rooms = self.chat.rooms.lock().unwrap();
        for heard in rooms.get(&self.room).into_iter().flat_map(HashMap::values) {
            // Full, or its member is about to leave.
            let _ = heard.try_send(message.clone());
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut rooms = self.chat.rooms.lock().unwrap();
        let members = rooms.entry(self.room.clone()).or_default();
        members.remove(&self.number);
        if members.is_empty() {
            rooms.remove(&self.room);
        }
        drop(rooms);
        self.say("leaves");
    }
}

fn page() -> Response {
    response::html(include_str!("chat.html"))
}

fn application() -> Router {
    let chat = Arc::new(Chat::default());
    Router::new()
        .get("/", page)
        .get("/rooms/{room}", move |request: Request| {
            chat.clone().enter(request)
        })
}

fn main() -> ExitCode {
    greenpatch_server::main(application())
}

#[cfg(test)]
mod tests {
    use greenpatch_server::test::Client;

    #[test]
    fn a_room_is_for_websockets_of_those_with_a_name() {
        let client = Client::new(super::application());
        client.get("/rooms/kitchen").send().assert_status(400);
        client
            .get("/rooms/kitchen?name=Ada")
            .send()
            .assert_status(426);
        let page = client.get("/").send().assert_status(200).text();
        assert!(page.contains("WebSocket"));
    }
}
