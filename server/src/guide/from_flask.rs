//! Flask, Sanic, and the same here, construct by construct.
//!
//! Between Flask and Sanic a program is converted: functions become coroutines, waits are awaited, libraries are exchanged for others that
//! do so too. The last column is about the program in Flask's form: it stays one of plain functions that wait as they like.
//!
//! Flask's and Sanic's lines are Python, ours Rust; those are compiled and run when this crate is tested. They have around them:
//!
//! ```
//! use greenpatch_server::application::{HttpError, Json, Request, RequestExt, Response, Router, response};
//! use greenpatch_server::test::Client;
//! ```
//!
//! # Application and route
//!
//! ```python
//! app = Flask(__name__)                     # Sanic: app = Sanic(__name__)
//!
//! @app.route("/")                           # @app.route("/")
//! def hello():                              # async def hello(request):
//!     return {"hello": "world"}             #     return json({"hello": "world"})
//!
//! if __name__ == "__main__":
//!     app.run()
//! ```
//!
//! ```no_run
//! use std::collections::HashMap;
//! use std::process::ExitCode;
//!
//! use greenpatch_server::application::{Json, Router};
//!
//! fn hello() -> Json<HashMap<&'static str, &'static str>> {
//!     Json(HashMap::from([("hello", "world")]))
//! }
//!
//! fn application() -> Router {
//!     Router::new().get("/", hello)
//! }
//!
//! fn main() -> ExitCode {
//!     greenpatch_server::main(application())
//! }
//! ```
//!
//! # The request
//!
//! In Flask it is a global variable, in Sanic the first argument. Here it is the only argument, and functions that do not need it leave it
//! away.
//!
//! | | Flask | Sanic | here |
//! |---|---|---|---|
//! | method | `request.method` | `request.method` | `request.method()` |
//! | parameter of the path | an argument of the function | the same | [`request.parameter("name")?`](crate::application::RequestExt::parameter) |
//! | query | `request.args.get("page")` | `request.args.get("page")` | [`request.query("page")`](crate::application::RequestExt::query) |
//! | field | `request.headers["accept"]` | `request.headers["accept"]` | `request.headers()["accept"]` |
//! | client | `request.remote_addr` | `request.ip` | [`PeerAddress`](crate::application::PeerAddress) in `request.extensions()` |
//! | JSON | `request.json` | `request.json` | [`request.into_body().into_json(limit)?`](crate::Body::into_json) |
//! | text, bytes | `request.data` | `request.body` | [`into_string`](crate::Body::into_string), [`into_bytes`](crate::Body::into_bytes) |
//! | content as it arrives | `request.stream.read(n)` | `await request.stream.read()` | `request.body_mut().read(…)?`, by [`Read`](std::io::Read) |
//!
//! # Responses
//!
//! | | Flask | Sanic | here |
//! |---|---|---|---|
//! | text | `return "text"` | `return text("text")` | `"text"`, or a `String` |
//! | JSON | `return jsonify(value)` | `return json(value)` | `Json(value)` |
//! | nothing | `return "", 204` | `return empty()` | `()` |
//! | a status | `return "text", 201` | `return text("text", 201)` | `(StatusCode::CREATED, "text")` |
//! | elsewhere | `return redirect("/")` | `return redirect("/")` | [`response::redirect("/")`](crate::application::response::redirect) |
//! | a file | `return send_file(path)` | `return await file(path)` | [`file(&request, path)`](crate::application::file) |
//! | a stream | a generator | `await response.send(…)` | [`Body::from_writer`](crate::Body::from_writer), [`Body::from_reader`](crate::Body::from_reader) |
//! | an error | `abort(404)` | `raise NotFound()` | `return Err(HttpError::new(…))`, or `?` |
//!
//! A response with everything to be said about it, such as an error of RFC 9457:
//!
//! ```python
//! return Response(                                      # return json(
//!     response=json.dumps({"title": "No package"}),     #     body={"title": "No package"},
//!     status=404,                                       #     status=404,
//!     content_type="application/problem+json",          #     content_type="application/problem+json",
//! )                                                     # )
//! ```
//!
//! ```
//! use greenpatch_server::application::{Response, ResponseExt, response};
//! use http::{StatusCode, header};
//! use serde_json::json;
//!
//! fn no_package() -> Response {
//!     response::json(&json!({ "title": "No package" }))
//!         .with_status(StatusCode::NOT_FOUND)
//!         .with_header(header::CONTENT_TYPE, "application/problem+json")
//! }
//! # assert_eq!(no_package().headers()["content-type"], "application/problem+json");
//! ```
//!
//! # Blueprints
//!
//! ```python
//! packages = Blueprint("packages", __name__)            # packages = Blueprint("packages")
//!
//! @packages.route("/<name>", methods=["PUT"])           # @packages.route("/<name>", methods=["PUT"])
//! def update(name):                                     # async def update(request, name):
//!     return request.json["short_desc"] + name          #     return text(request.json["short_desc"] + name)
//!
//! app.register_blueprint(packages,                      # app.blueprint(packages,
//!                        url_prefix="/packages")        #               url_prefix="/packages")
//! ```
//!
//! ```
//! # use greenpatch_server::application::{HttpError, Request, RequestExt, Router};
//! # use greenpatch_server::test::Client;
//! # use serde_json::{Value, json};
//! fn update(request: Request) -> Result<String, HttpError> {
//!     let name: String = request.parameter("name")?;
//!     let update: Value = request.into_body().into_json(10_000)?;
//!     Ok(format!("{} {name}", update["short_desc"]))
//! }
//!
//! let packages = Router::new().put("/{name}", update);
//! let application = Router::new().nest("/packages", packages);
//! # let client = Client::new(application);
//! # let response = client.put("/packages/flask").json(&json!({ "short_desc": 1 })).send();
//! # assert_eq!(response.text(), "1 flask");
//! ```
//!
//! `before_request` and Sanic's middleware are [`Router::middleware`](crate::application::Router::middleware).
//!
//! # What is shared by requests
//!
//! ```python
//! app.db = connect()                                    # app.ctx.db = await connect()
//! ```
//!
//! ```
//! # use greenpatch_server::application::Router;
//! # use greenpatch_server::test::Client;
//! use std::sync::Mutex;
//!
//! let visits = Mutex::new(0);
//! let application = Router::new().get("/", move || {
//!     let mut visits = visits.lock().unwrap();
//!     *visits += 1;
//!     format!("visit {visits}")
//! });
//! # let client = Client::new(application);
//! # assert_eq!(client.get("/").send().text(), "visit 1");
//! # assert_eq!(client.get("/").send().text(), "visit 2");
//! ```
//!
//! What is to be there before the server starts, and gone after it stops, Sanic has listeners for:
//!
//! ```python
//! @app.listener("before_server_start")
//! async def setup_db(app, loop):
//!     app.ctx.db = await create_redis_pool(REDIS_URI, loop=loop)
//!
//! @app.listener("after_server_stop")
//! async def close_db(app, loop):
//!     app.ctx.db.close()
//!     await app.ctx.db.wait_closed()
//! ```
//!
//! Here each worker builds its application in [`Program::run`](crate::Program::run), and drops it, with everything in it, after its last
//! response. If it cannot be built, the server does not start.
//!
//! ```no_run
//! use std::fs::File;
//! use std::process::ExitCode;
//! use greenpatch_server::Program;
//!
//! fn main() -> ExitCode {
//!     Program::new().run(|_settings| {
//!         let database = File::open("/dev/null")?;
//!         Ok::<_, std::io::Error>(move || format!("{database:?}"))
//!     })
//! }
//! ```
//!
//! # Waiting
//!
//! This is what the conversion from Flask to Sanic is about, and the program in the last column is the one in the first.
//!
//! | | Flask | Sanic | here |
//! |---|---|---|---|
//! | sleep | `time.sleep(1)` | `await asyncio.sleep(1)` | `thread::sleep(…)` |
//! | lock | `with lock:` of `threading` | `async with lock:` of `asyncio` | `std::sync::Mutex` |
//! | ask another server | `requests` | `aiohttp`, `httpx` | `ureq`, `reqwest::blocking` |
//! | PostgreSQL | `psycopg2` | `asyncpg`, `aiopg` | `diesel`, `postgres` |
//! | Redis | `redis` | `aioredis` | `redis` |
//! | S3 | `boto3` | `aioboto3` | `rusty-s3` with `ureq` |
//! | a mistake | none to be made | `time.sleep` in a coroutine holds up everybody | none to be made: `thread::sleep` in an `async fn` holds up its own request |
//! | computing | holds up its thread | `loop.run_in_executor` | holds up its worker's other requests; `--green-workers` |
//!
//! # Tests
//!
//! ```python
//! with app.test_client() as client:                     # client = app.test_client
//!     response = client.get("/rand")                    # _, response = client.get("/rand")
//!     assert response.status_code == 200                # assert response.status == 200
//!     assert response.json["name"] == "flask"           # assert response.json["name"] == "flask"
//! ```
//!
//! ```
//! # use greenpatch_server::application::{Json, Router};
//! # use serde_json::{Value, json};
//! # fn application() -> Router { Router::new().get("/rand", || Json(json!({ "name": "flask" }))) }
//! use greenpatch_server::test::Client;
//!
//! let client = Client::new(application());
//! let response = client.get("/rand").send();
//! assert_eq!(response.status(), 200);
//! assert_eq!(response.json::<Value>()["name"], "flask");
//! ```
//!
//! # Development and production
//!
//! | | Flask | Sanic | here |
//! |---|---|---|---|
//! | run | `flask run` | `sanic main:app` | `cargo run` |
//! | anew when the program has changed | `flask run --debug` | `sanic main:app --dev` | `app --reload` |
//! | four processes | `gunicorn -w 4 main:app -b :5000` | `sanic main:app -w 4 -p 8000` | `app -w 4 -b :8000` |
//!
//! The whole of it, an application of packages with its test, is `examples/applications/pyaday.rs` in the repository; the command lines are
//! told in [`before_and_after`](super::before_and_after).
