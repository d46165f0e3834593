//! A package a day, with the packages in PostgreSQL: axum above, diesel below, nothing between them.
//!
//! ```text
//! DATABASE_URL=postgres://postgres@127.0.0.1 cargo run --release -p greenpatch-examples --bin packages -- -k green
//! curl --json '{"name": "dynaconf", "short_desc": "Settings"}' http://localhost:8000/packages
//! curl http://localhost:8000/rand
//! ```
//!
//! diesel blocks in an `async fn`, in libpq: on green threads that parks one request. Each worker sets up its pool before it
//! serves; the pool is closed when its application is dropped, after its last request has been answered.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]
#![allow(missing_docs, reason = "diesel's macros make public items")]

use std::env;
use std::error::Error;
use std::process::ExitCode;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use greenpatch_server::Program;
use serde::{Deserialize, Serialize};

diesel::table! {
    packages (name) {
        name -> Text,
        short_desc -> Text,
    }
}

diesel::define_sql_function! { fn random() -> diesel::sql_types::Double; }

#[derive(Deserialize, Insertable, Queryable, Serialize)]
struct Package {
    name: String,
    short_desc: String,
}

type Database = Pool<ConnectionManager<PgConnection>>;

/// Anything that goes wrong in the database.
struct Failure(Box<dyn Error + Send + Sync>);

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self.0.downcast_ref() {
            Some(diesel::NotFound) => StatusCode::NOT_FOUND.into_response(),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, self.0.to_string()).into_response(),
        }
    }
}

async fn create(
    State(database): State<Database>,
    Json(package): Json<Package>,
) -> Result<Response, Failure> {
    let insert = diesel::insert_into(packages::table).values(&package);
    insert.execute(&mut database.get()?)?;
    let location = [(header::LOCATION, format!("/packages/{}", package.name))];
    Ok((StatusCode::CREATED, location).into_response())
}

async fn read(
    State(database): State<Database>,
    Path(name): Path<String>,
) -> Result<Json<Package>, Failure> {
    let package = packages::table.find(name).first(&mut database.get()?)?;
    Ok(Json(package))
}

async fn delete(
    State(database): State<Database>,
    Path(name): Path<String>,
) -> Result<StatusCode, Failure> {
    let package = packages::table.find(name);
    match diesel::delete(package).execute(&mut database.get()?)? {
        0 => Ok(StatusCode::NOT_FOUND),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

async fn rand(State(database): State<Database>) -> Result<Json<Package>, Failure> {
    let shuffled = packages::table.order(random());
    Ok(Json(shuffled.first(&mut database.get()?)?))
}

fn connect(url: &str) -> Result<Database, Failure> {
    let database: Database = Pool::builder()
        .max_size(8)
        .build(ConnectionManager::new(url))?;
    database.get()?.batch_execute(
        "CREATE TABLE IF NOT EXISTS packages (name text PRIMARY KEY, short_desc text NOT NULL)",
    )?;
    println!(
        "{} connections to PostgreSQL are open.",
        database.state().connections
    );
    Ok(database)
}

fn application(database: Database) -> Router {
    Router::new()
        .route("/packages", post(create))
        .route("/packages/{name}", get(read).delete(delete))
        .route("/rand", get(rand))
        .with_state(database)
}

fn main() -> ExitCode {
    let url =
        env::var("DATABASE_URL").unwrap_or_else(|_| "postgres://postgres@127.0.0.1".to_owned());
    let program = Program::new().on_stop(|| println!("The connections to PostgreSQL are closed."));
    program.run(|_settings| connect(&url).map(application).map_err(|failure| failure.0))
}

#[cfg(test)]
mod tests {
    use greenpatch_server::test::Client;
    use greenpatch_third_party::servers::Server;
    use serde_json::{Value, json};

    #[test]
    fn packages_are_kept_in_the_database() {
        let postgres = Server::postgres();
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", postgres.port());
        let database = super::connect(&url).map_err(|failure| failure.0).unwrap();
        let client = Client::new(super::application(database.clone()));
        let package = json!({ "name": "dynaconf", "short_desc": "Settings" });
        client.get("/rand").send().assert_status(404);
        client
            .post("/packages")
            .json(&package)
            .send()
            .assert_status(201);
        client
            .post("/packages")
            .json(&package)
            .send()
            .assert_status(500);
        let other = Client::new(super::application(database));
        let read = other.get("/packages/dynaconf").send();
        assert_eq!(read.assert_status(200).json::<Value>(), package);
        assert_eq!(other.get("/rand").send().json::<Value>(), package);
        client
            .delete("/packages/dynaconf")
            .send()
            .assert_status(204);
        client
            .delete("/packages/dynaconf")
            .send()
            .assert_status(404);
        client.get("/packages/dynaconf").send().assert_status(404);
    }
}
