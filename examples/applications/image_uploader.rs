//! Uploads that take 100 to 200 ms, five of them at a time, and a handler that computes.
//!
//! ```text
//! cargo run --release -p greenpatch-examples --bin image_uploader -- -k green
//! ab -n 50 -c 50 -m POST http://127.0.0.1:8000/upload
//! ab -n 50 -c 10 http://127.0.0.1:8000/calc
//! ```

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::process::ExitCode;
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use greenpatch_server::application::{Json, Router};
use serde_json::{Value, json};

/// Uploads images, so many at a time.
struct ImageUploader {
    connections: Mutex<usize>,
    freed: Condvar,
}

impl ImageUploader {
    fn new(connections: usize) -> ImageUploader {
        ImageUploader {
            connections: Mutex::new(connections),
            freed: Condvar::new(),
        }
    }

    fn upload(&self) {
        let free = self.connections.lock().unwrap();
        *self.freed.wait_while(free, |free| *free == 0).unwrap() -= 1;
        thread::sleep(Duration::from_millis(fastrand::u64(100..=200)));
        println!("Image has been uploaded.");
        *self.connections.lock().unwrap() += 1;
        self.freed.notify_one();
    }
}

fn calculate() -> Json<Value> {
    let result: u64 = (0..1_000_000).map(|number: u64| number.pow(2)).sum();
    Json(json!({ "result": result }))
}

fn application() -> Router {
    let uploader = ImageUploader::new(5);
    let upload = move || {
        uploader.upload();
        Json(json!({ "success": true }))
    };
    Router::new()
        .post("/upload", upload)
        .get("/calc", calculate)
}

fn main() -> ExitCode {
    greenpatch_server::main(application())
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use greenpatch_server::test::Client;
    use serde_json::{Value, json};

    #[test]
    fn the_sum_of_squares_is_right() {
        let client = Client::new(super::application());
        let sum: Value = client.get("/calc").send().assert_status(200).json();
        assert_eq!(sum, json!({ "result": 333_332_833_333_500_000u64 }));
    }

    #[test]
    fn no_more_than_five_images_are_uploaded_at_a_time() {
        let client = Client::new(super::application());
        let start = Instant::now();
        let uploads: Vec<_> = (0..11)
            .map(|_| {
                let client = client.clone();
                thread::spawn(move || client.post("/upload").send().json())
            })
            .collect();
        for upload in uploads {
            let answer: Value = upload.join().unwrap();
            assert_eq!(answer, json!({ "success": true }));
        }
        // Eleven need three rounds.
        assert!(start.elapsed() >= Duration::from_millis(300));
    }
}
