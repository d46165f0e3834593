//! A package a day: the metadata of Python packages, to be curated, and one of them at random.
//!
//! ```text
//! cargo run --release -p greenpatch-examples --bin pyaday -- -k green
//! curl http://localhost:8000/rand
//! curl --json '{"name": "dynaconf", "short_desc": "Settings"}' http://localhost:8000/packages
//! ```
//!
//! With `--reload` it starts anew whenever it was built anew. A [`Router`] that is nested is Flask's and Sanic's blueprint.

use std::process::ExitCode;
use std::sync::{LazyLock, RwLock};

use greenpatch_server::application::{
    HttpError, IntoResponse, Json, Request, RequestExt, Response, ResponseExt, Router, response,
};
use greenpatch_server::http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The most bytes of JSON that a client may send.
const LONGEST: usize = 10_000;

#[derive(Clone, Deserialize, Serialize)]
struct Package {
    name: String,
    short_desc: String,
}

#[derive(Deserialize)]
struct Update {
    short_desc: String,
}

static PACKAGES: LazyLock<RwLock<Vec<Package>>> = LazyLock::new(|| {
    let packages = [
        (
            "flask",
            "A simple framework for building complex web applications.",
        ),
        (
            "sanic",
            "A web server and web framework that's written to go fast. Build fast. Run fast.",
        ),
        (
            "poetry",
            "Python dependency management and packaging made easy.",
        ),
    ];
    let package = |(name, short_desc): (&str, &str)| Package {
        name: name.to_owned(),
        short_desc: short_desc.to_owned(),
    };
    RwLock::new(packages.map(package).into())
});

/// An error in the form of RFC 9457.
fn no_such_package() -> Response {
    response::json(&json!({ "title": "Could not find a package" }))
        .with_status(StatusCode::NOT_FOUND)
        .with_header(header::CONTENT_TYPE, "application/problem+json")
}

fn create(request: Request) -> Result<Response, HttpError> {
    let package: Package = request.into_body().into_json(LONGEST)?;
    let location = format!("/packages/{}", package.name);
    let location = header::HeaderValue::try_from(location).map_err(|_| {
        HttpError::new(StatusCode::BAD_REQUEST, "a name is of printable characters")
    })?;
    PACKAGES.write().unwrap().push(package);
    Ok(response::status(StatusCode::CREATED).with_header(header::LOCATION, location))
}

fn read(request: Request) -> Result<Response, HttpError> {
    let name: String = request.parameter("name")?;
    let packages = PACKAGES.read().unwrap();
    let found = packages.iter().find(|package| package.name == name);
    Ok(found.map_or_else(no_such_package, response::json))
}

fn update(request: Request) -> Result<Response, HttpError> {
    let name: String = request.parameter("name")?;
    let Update { short_desc } = request.into_body().into_json(LONGEST)?;
    let mut packages = PACKAGES.write().unwrap();
    let Some(package) = packages.iter_mut().find(|package| package.name == name) else {
        return Ok(no_such_package());
    };
    package.short_desc = short_desc;
    Ok(().into_response())
}

fn delete(request: Request) -> Result<Response, HttpError> {
    let name: String = request.parameter("name")?;
    let mut packages = PACKAGES.write().unwrap();
    let Some(index) = packages.iter().position(|package| package.name == name) else {
        return Ok(no_such_package());
    };
    packages.remove(index);
    Ok(().into_response())
}

fn random() -> Option<Json<Package>> {
    fastrand::choice(&*PACKAGES.read().unwrap())
        .cloned()
        .map(Json)
}

fn packages() -> Router {
    Router::new()
        .post("", create)
        .get("/{name}", read)
        .put("/{name}", update)
        .delete("/{name}", delete)
}

fn application() -> Router {
    Router::new()
        .nest("/packages", packages())
        .nest("/rand", Router::new().get("", random))
}

fn main() -> ExitCode {
    greenpatch_server::main(application())
}

#[cfg(test)]
mod tests {
    use greenpatch_server::test::Client;
    use serde_json::{Value, json};

    #[test]
    fn rand() {
        let client = Client::new(super::application());
        let response = client.get("/rand").send();
        assert_eq!(response.status(), 200);
        assert_eq!(response.header("content-type"), Some("application/json"));
    }

    #[test]
    fn packages_crud() {
        let client = Client::new(super::application());
        let package = json!({
            "name": "dynaconf",
            "short_desc": "The dynamic configurator for your Python Projects",
        });
        let response = client.post("/packages").json(&package).send();
        assert_eq!(response.status(), 201);
        assert_eq!(response.header("location"), Some("/packages/dynaconf"));
        let response = client.get("/packages/dynaconf").send();
        assert_eq!(response.status(), 200);
        assert_eq!(response.json::<Value>(), package);
        let update = json!({ "short_desc": "The dynamic configurator for your Python Project" });
        let response = client.put("/packages/dynaconf").json(&update).send();
        assert_eq!(response.status(), 204);
        let response = client.get("/packages/dynaconf").send();
        assert_eq!(response.status(), 200);
        assert_eq!(response.json::<Value>()["short_desc"], update["short_desc"]);
        let response = client.delete("/packages/dynaconf").send();
        assert_eq!(response.status(), 204);
        let response = client.get("/packages/dynaconf").send();
        assert_eq!(response.status(), 404);
        assert_eq!(
            response.header("content-type"),
            Some("application/problem+json")
        );
    }

    #[test]
    fn what_is_no_package_is_told_so() {
        let client = Client::new(super::application());
        let response = client.post("/packages").body("{}").send();
        assert!(
            response
                .assert_status(400)
                .text()
                .contains("missing field `name`")
        );
        client
            .put("/packages/none")
            .json(&json!({ "short_desc": "" }))
            .send()
            .assert_status(404);
        client.delete("/packages/none").send().assert_status(404);
    }
}
