//! Uploads images from a page to an S3-compatible store, and shows them.
//!
//! ```text
//! S3_URL=http://127.0.0.1:4568 cargo run --release -p greenpatch-examples --bin images -- -k green
//! npx s3rver -d /tmp/images --configure-bucket images        # a store to try it with
//! ```
//!
//! Then open <http://localhost:8000>. The store's other settings are `S3_BUCKET`, `AWS_REGION`, `AWS_ACCESS_KEY_ID` and
//! `AWS_SECRET_ACCESS_KEY`. Forms are read by axum; the store is asked by `ureq`, which blocks.

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::extract::multipart::MultipartError;
use axum::extract::{DefaultBodyLimit, Multipart, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use greenpatch_server::Program;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};

/// How long a signed request may be under way.
const VALIDITY: Duration = Duration::from_secs(60);

const LARGEST: usize = 10 * 1024 * 1024;

#[derive(Clone)]
struct Store {
    bucket: Bucket,
    credentials: Credentials,
}

impl Store {
    fn from_environment() -> Result<Store, Box<dyn Error + Send + Sync>> {
        let setting = |name, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
        let url = setting("S3_URL", "http://127.0.0.1:4568").parse()?;
        let (bucket, region) = (
            setting("S3_BUCKET", "images"),
            setting("AWS_REGION", "us-east-1"),
        );
        let key = setting("AWS_ACCESS_KEY_ID", "S3RVER");
        Ok(Store {
            bucket: Bucket::new(url, UrlStyle::Path, bucket, region)?,
            credentials: Credentials::new(key, setting("AWS_SECRET_ACCESS_KEY", "S3RVER")),
        })
    }

    fn put(&self, name: &str, kind: &str, image: &[u8]) -> Result<(), ureq::Error> {
        let url = self
            .bucket
            .put_object(Some(&self.credentials), name)
            .sign(VALIDITY);
        ureq::put(url.as_str()).content_type(kind).send(image)?;
        Ok(())
    }

    /// The kind of an image, and the image.
    fn get(&self, name: &str) -> Result<(String, Vec<u8>), ureq::Error> {
        let url = self
            .bucket
            .get_object(Some(&self.credentials), name)
            .sign(VALIDITY);
        let mut answer = ureq::get(url.as_str()).call()?;
        let kind = answer
            .body()
            .mime_type()
            .unwrap_or("application/octet-stream");
        Ok((kind.to_owned(), answer.body_mut().read_to_vec()?))
    }
}

/// Why there is no image.
enum Failure {
    Form(MultipartError),
    NoImage,
    Store(ureq::Error),
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Failure::Form(error) => error.into_response(),
            Failure::NoImage => {
                let text = "the form has no field `image` with an image";
                (StatusCode::BAD_REQUEST, text).into_response()
            }
            Failure::Store(ureq::Error::StatusCode(404)) => StatusCode::NOT_FOUND.into_response(),
            Failure::Store(error) => {
                (StatusCode::BAD_GATEWAY, format!("the store: {error}")).into_response()
            }
        }
    }
}

async fn upload(State(store): State<Store>, mut form: Multipart) -> Result<Redirect, Failure> {
    while let Some(field) = form.next_field().await.map_err(Failure::Form)? {
        let name = field.file_name().unwrap_or_default().to_owned();
        let kind = field.content_type().unwrap_or_default().to_owned();
        if field.name() == Some("image") && !name.is_empty() && kind.starts_with("image/") {
            let image = field.bytes().await.map_err(Failure::Form)?;
            store.put(&name, &kind, &image).map_err(Failure::Store)?;
            return Ok(Redirect::to(&format!("/images/{}", escaped(&name))));
        }
    }
    Err(Failure::NoImage)
}

/// For a path.
fn escaped(name: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let escape = |byte: u8| match plain(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    name.bytes().map(escape).collect()
}

async fn show(State(store): State<Store>, Path(name): Path<String>) -> Result<Response, Failure> {
    let (kind, image) = store.get(&name).map_err(Failure::Store)?;
    // An image may be a document with scripts of its own.
    let policy = (header::CONTENT_SECURITY_POLICY, "sandbox".to_owned());
    Ok(([(header::CONTENT_TYPE, kind), policy], image).into_response())
}

fn application(store: Store) -> Router {
    Router::new()
        .route("/", get(|| async { Html(include_str!("images.html")) }))
        .route("/images", post(upload))
        .route("/images/{name}", get(show))
        .layer(DefaultBodyLimit::max(LARGEST))
        .with_state(store)
}

fn main() -> ExitCode {
    Program::new().run(|_settings| Store::from_environment().map(application))
}

#[cfg(test)]
mod tests {
    use greenpatch_server::test::{Client, Form};
    use greenpatch_third_party::servers::Server;

    use super::*;

    #[test]
    fn what_is_uploaded_is_shown() {
        let s3 = Server::s3("images");
        let url = format!("http://127.0.0.1:{}", s3.port()).parse().unwrap();
        let store = Store {
            bucket: Bucket::new(url, UrlStyle::Path, "images", "us-east-1").unwrap(),
            credentials: Credentials::new("S3RVER", "S3RVER"),
        };
        let client = Client::new(application(store)).follow_redirects();
        let upload = |form: Form| client.post("/images").multipart(&form).send();
        let image = b"\x89PNG\r\n".repeat(20_000);
        let shown = upload(Form::new().file("image", "a duck?.png", image.clone()));
        assert_eq!(shown.header("content-type"), Some("image/png"));
        assert_eq!(shown.assert_status(200).bytes(), image);
        let text = Form::new().file("image", "duck.txt", "quack");
        upload(text).assert_status(400);
        client.get("/images/goose.png").send().assert_status(404);
        assert!(
            client
                .get("/")
                .send()
                .text()
                .contains("multipart/form-data")
        );
    }
}
