//! A package a day, in axum: extractors, state that is shared by a lock of std, routers nested in routers.
//!
//! ```text
//! cargo run --release -p greenpatch-examples --bin pyaday_axum -- -k green
//! curl http://localhost:8000/rand
//! ```
//!
//! `pyaday.rs` is the same in plain functions, and has the same test.

use std::process::ExitCode;
use std::sync::{Arc, RwLock};

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Clone, Deserialize, Serialize)]
struct Package {
    name: String,
    short_desc: String,
}

#[derive(Deserialize)]
struct Update {
    short_desc: String,
}

type Packages = Arc<RwLock<Vec<Package>>>;

/// An error in the form of RFC 9457.
struct NoSuchPackage;

impl IntoResponse for NoSuchPackage {
    fn into_response(self) -> Response {
        let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
        let title = Json(json!({ "title": "Could not find a package" }));
        (StatusCode::NOT_FOUND, content_type, title).into_response()
    }
}

async fn create(State(packages): State<Packages>, Json(package): Json<Package>) -> Response {
    let location = [(header::LOCATION, format!("/packages/{}", package.name))];
    packages.write().unwrap().push(package);
    (StatusCode::CREATED, location).into_response()
}

async fn read(
    State(packages): State<Packages>,
    Path(name): Path<String>,
) -> Result<Json<Package>, NoSuchPackage> {
    let packages = packages.read().unwrap();
    let found = packages.iter().find(|package| package.name == name);
    found.cloned().map(Json).ok_or(NoSuchPackage)
}

async fn update(
    State(packages): State<Packages>,
    Path(name): Path<String>,
    Json(Update { short_desc }): Json<Update>,
) -> Result<StatusCode, NoSuchPackage> {
    let mut packages = packages.write().unwrap();
    let package = packages.iter_mut().find(|package| package.name == name);
    package.ok_or(NoSuchPackage)?.short_desc = short_desc;
    Ok(StatusCode::NO_CONTENT)
}

async fn delete(
    State(packages): State<Packages>,
    Path(name): Path<String>,
) -> Result<StatusCode, NoSuchPackage> {
    let mut packages = packages.write().unwrap();
    let index = packages.iter().position(|package| package.name == name);
    packages.remove(index.ok_or(NoSuchPackage)?);
    Ok(StatusCode::NO_CONTENT)
}

async fn random(State(packages): State<Packages>) -> Result<Json<Package>, NoSuchPackage> {
    let chosen = fastrand::choice(&*packages.read().unwrap()).cloned();
    chosen.map(Json).ok_or(NoSuchPackage)
}

fn application() -> Router {
    let packages = Router::new()
        .route("/", post(create))
        .route("/{name}", get(read).put(update).delete(delete));
    let poetry = Package {
        name: "poetry".to_owned(),
        short_desc: "Python dependency management and packaging made easy.".to_owned(),
    };
    Router::new()
        .nest("/packages", packages)
        .nest("/rand", Router::new().route("/", get(random)))
        .with_state(Arc::new(RwLock::new(vec![poetry])))
}

fn main() -> ExitCode {
    greenpatch_server::main(application())
}

#[cfg(test)]
mod tests {
    use greenpatch_server::test::Client;
    use serde_json::{Value, json};

    #[test]
    fn packages_crud() {
        let client = Client::new(super::application());
        let package = json!({ "name": "dynaconf", "short_desc": "Projects" });
        let created = client
            .post("/packages")
            .json(&package)
            .send()
            .assert_status(201);
        assert_eq!(created.header("location"), Some("/packages/dynaconf"));
        let read = || client.get("/packages/dynaconf").send();
        assert_eq!(read().assert_status(200).json::<Value>(), package);
        let update = json!({ "short_desc": "Project" });
        client
            .put("/packages/dynaconf")
            .json(&update)
            .send()
            .assert_status(204);
        assert_eq!(read().json::<Value>()["short_desc"], "Project");
        client
            .delete("/packages/dynaconf")
            .send()
            .assert_status(204);
        let missing = read().assert_status(404);
        assert_eq!(
            missing.header("content-type"),
            Some("application/problem+json")
        );
        let rand: Value = client.get("/rand").send().json();
        assert_eq!(rand["name"], "poetry");
    }
}
