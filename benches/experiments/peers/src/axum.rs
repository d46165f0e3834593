//! axum, as `axum::serve` sets it up.

use axum::Router;
use axum::routing::get;
use axum::serve::ListenerExt;

use crate::{CONTENT, Outcome, Settings};

pub(crate) fn serve(settings: Settings) -> Outcome {
    let handler = move || async move {
        if !settings.wait.is_zero() {
            tokio::time::sleep(settings.wait).await;
        }
        CONTENT
    };
    let router = Router::new().route("/", get(handler));
    crate::hyper::runtime(settings.threads)?.block_on(async {
        let listener = crate::hyper::tokio_listener(settings.address)?;
        let listener = listener.tap_io(|stream| {
            // A connection that is gone already is no error here.
            let _ = stream.set_nodelay(true);
        });
        Ok(axum::serve(listener, router).await?)
    })
}
