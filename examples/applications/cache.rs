//! A cache in Redis, by a pool of connections that is set up before the server starts and closed after it stops.
//!
//! ```text
//! REDIS_URL=redis://127.0.0.1 cargo run --release -p greenpatch-examples --bin cache -- -k green
//! curl -X PUT -d 42 'http://localhost:8000/cache?key=answer'
//! curl 'http://localhost:8000/cache?key=answer'
//! ```
//!
//! The crate `redis` and the pool of `r2d2` block, and know nothing of green threads. Each worker has a pool of its own: its
//! application is built before it serves, and dropped when its last request has been answered.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::{env, mem};

use greenpatch_server::Program;
use greenpatch_server::application::{HttpError, Json, Request, RequestExt, Router};
use greenpatch_server::http::StatusCode;
use redis::{Client, Commands};
use serde_json::{Value, json};

/// Connections to Redis, for which requests wait in line.
struct Cache(r2d2::Pool<Client>);

impl Cache {
    fn connect(url: &str) -> Result<Cache, Box<dyn Error + Send + Sync>> {
        let pool = r2d2::Pool::builder()
            .max_size(8)
            .build(Client::open(url)?)?;
        println!(
            "{} connections to Redis are open.",
            pool.state().connections
        );
        Ok(Cache(pool))
    }

    fn get(&self, request: &Request) -> Result<Json<Value>, HttpError> {
        let data: Option<String> = self.0.get()?.get(key(request)?)?;
        Ok(Json(json!({ "data": data })))
    }

    fn put(&self, mut request: Request) -> Result<(), HttpError> {
        let data = mem::take(request.body_mut()).into_string(1_000_000)?;
        let () = self.0.get()?.set(key(&request)?, data)?;
        Ok(())
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        println!("The connections to Redis are closed.");
    }
}

fn key(request: &Request) -> Result<String, HttpError> {
    let key = request.query("key").map(String::from);
    key.ok_or_else(|| HttpError::new(StatusCode::BAD_REQUEST, "name a key: /cache?key=answer"))
}

fn application(cache: Cache) -> Router {
    let cache = Arc::new(cache);
    let written = cache.clone();
    Router::new()
        .get("/cache", move |request: Request| cache.get(&request))
        .put("/cache", move |request: Request| written.put(request))
}

fn main() -> ExitCode {
    let url = env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1".to_owned());
    Program::new().run(|_settings| Cache::connect(&url).map(application))
}

#[cfg(test)]
mod tests {
    use greenpatch_server::test::Client;
    use greenpatch_third_party::servers::Server;
    use serde_json::{Value, json};

    #[test]
    fn what_is_put_is_got() {
        let redis = Server::redis();
        let cache = super::Cache::connect(&format!("redis://127.0.0.1:{}", redis.port())).unwrap();
        let client = Client::new(super::application(cache));
        let get = || {
            client
                .get("/cache?key=answer")
                .send()
                .assert_status(200)
                .json::<Value>()
        };
        assert_eq!(get(), json!({ "data": null }));
        client
            .put("/cache?key=answer")
            .body("42")
            .send()
            .assert_status(204);
        assert_eq!(get(), json!({ "data": "42" }));
        client.get("/cache").send().assert_status(400);
    }
}
