//! actix-web: a worker a thread.

use actix_web::{App, HttpServer, web};

use crate::{CONTENT, Outcome, Settings};

pub(crate) fn serve(settings: Settings) -> Outcome {
    let handler = move || async move {
        if !settings.wait.is_zero() {
            actix_web::rt::time::sleep(settings.wait).await;
        }
        CONTENT
    };
    let serve = async {
        HttpServer::new(move || App::new().route("/", web::get().to(handler)))
            .workers(settings.threads)
            // Its default of 25,000 a worker holds.
            .backlog(2048)
            .bind(settings.address)?
            .run()
            .await
    };
    Ok(actix_web::rt::System::new().block_on(serve)?)
}
