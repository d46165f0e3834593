//! The look at all connections, several times a second, that ends what lasts too long.
//!
//! One task a worker does it, so a request costs no timer. What happens so has the resolution of [`PERIOD`]. Between two looks
//! at a worker without connections nothing happens.
//!
//! | what lasts too long | setting | what is done |
//! |---|---|---|
//! | from the accept to the first byte | `header_timeout` | the connection is closed |
//! | a head | `header_timeout` | 408 |
//! | content that is waited for | `body_timeout` | an error for the handler, 408 |
//! | a handler | `request_timeout` | its waits are cancelled, 503 |
//! | a handler whose client has gone | [`UNWATCHED`] | its waits are cancelled |
//! | a client that takes nothing | `write_timeout` | the connection is reset |
//! | between two requests | `keep_alive`; [`GRACE`] in a drain; until a newcomer needs its place | the connection is closed |

use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use super::clock::Moment;
use super::refusal::Refusal;
use super::registry::{Connection, Registry};
use crate::observe::{self, Observer};
use crate::settings::Settings;

/// How often all connections are looked at.
pub(crate) const PERIOD: Duration = Duration::from_millis(100);

/// How long a handler runs before anybody looks whether its client is still there.
const UNWATCHED: Duration = Duration::from_millis(100);

/// How long a connection without a request is kept when the worker is to stop, for a request that is on its way.
const GRACE: Duration = Duration::from_secs(1);

/// How long a connection is quiet before it rests.
const QUIET: Duration = Duration::from_millis(200);

/// How long a connection that is to end may take for that: in HTTP/2 the client has a word in it.
const FAREWELL: Duration = Duration::from_secs(5);

/// Looks at all connections once.
pub(crate) fn sweep(registry: &Registry, settings: &Settings, observer: &Observer) {
    let now = registry.clock.turn();
    let draining = registry.draining();
    registry.for_each(|connection| {
        if let Some(blocked) = connection.blocked_since(now)
            && now.since(blocked) >= settings.timeouts.write
        {
            connection.socket().abort();
        } else if connection.is_busy() {
            look_at_busy(connection, settings, now);
        } else if connection.is_sending() {
            connection.put_quiet_off(now);
        } else if !connection.is_upgraded() {
            look_at_quiet(connection, settings, observer, now, draining);
        }
    });
}

fn look_at_busy(connection: &Connection, settings: &Settings, now: Moment) {
    let timeouts = &settings.timeouts;
    let is_gone = || connection.socket().is_peer_gone(settings.half_close);
    connection.for_each_exchange(|exchange| {
        exchange.check_content(timeouts, now);
        let Some(age) = exchange.age(now) else {
            return;
        };
        if timeouts.request.is_some_and(|limit| age >= limit) {
            exchange.expire();
        } else if age >= UNWATCHED && is_gone() {
            exchange.cancel();
        }
    });
}

fn look_at_quiet(
    connection: &Arc<Connection>,
    settings: &Settings,
    observer: &Observer,
    now: Moment,
    draining: Option<Moment>,
) {
    let timeouts = &settings.timeouts;
    if !connection.is_http2()
        && let Some(head) = connection.head_since(now)
    {
        if now.since(head) >= timeouts.header {
            connection.linger();
            let refusal = Refusal::timed_out("head");
            if connection.note_refusal(&refusal) {
                observer.refused(observe::Refusal::Timeout);
            }
            connection.socket().refuse(refusal.to_bytes(true));
            connection.wake();
        }
        return;
    }
    let patience = if connection.is_fresh() {
        timeouts.header
    } else {
        timeouts.keep_alive
    };
    let is_over = connection.is_to_end() || now.since(connection.quiet_since()) >= patience;
    if is_over || draining.is_some_and(|began| now.since(began) >= GRACE) {
        let ordered = connection.order_end(now);
        // What was sent last may still be on its way to a client that is slow.
        let is_taken =
            now.since(connection.quiet_since()) >= timeouts.write || connection.is_fresh();
        if now.since(ordered) >= FAREWELL && is_taken {
            // Fails if the client has gone meanwhile.
            let _ = connection.socket().shutdown(Shutdown::Both);
        }
    } else if !connection.is_http2()
        && !connection.is_fresh()
        && now.since(connection.quiet_since()) >= QUIET
    {
        connection.order_rest();
    }
}
