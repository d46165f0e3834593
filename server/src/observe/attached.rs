//! Figures for who attaches to the process, `greenpatch top` say: the answer to the request `server` is what the
//! status page is sent.

use std::sync::{Arc, Weak};

use greenpatch::attach;

use crate::log;
use crate::observe::Observer;
use crate::observe::admin::figures;
use crate::observe::fleet::Fleet;

/// The name of the request.
const REQUEST: &str = "server";

/// A worker tells its own figures from now on. Requests are timed as soon as somebody has asked.
pub(crate) fn tell_of_worker(observer: &Arc<Observer>) {
    tell(Arc::downgrade(observer), |observer| {
        observer.time_requests();
        figures(observer)
    });
}

/// A master tells those of its workers.
pub(crate) fn tell_of_master(fleet: &Arc<Fleet>) {
    tell(Arc::downgrade(fleet), |fleet| figures(fleet));
}

fn tell<T: Send + Sync + 'static>(source: Weak<T>, figures: fn(&T) -> String) {
    attach::provide(REQUEST, move || match source.upgrade() {
        Some(source) => figures(&source),
        None => r#"{"error":"the server has ended"}"#.to_owned(),
    });
    if let Err(error) = attach::open() {
        log::warning(format_args!(
            "greenpatch top cannot attach to this process: no thread can be started for it: {error}"
        ));
    }
}
