//! What can be set about a server: limits, time-outs and sizes, with gunicorn's names where it has
//! the setting too.

use std::time::Duration;

/// Everything that can be set about a server, whatever its worker class.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How large a request may be.
    pub limits: Limits,
    /// How long a client may take.
    pub timeouts: Timeouts,
    /// Connections that may be open at once in the classes `green` and `async`, and wait for a
    /// thread in `gthread` (gunicorn's `worker_connections`, and its default).
    pub worker_connections: usize,
    /// Connections that the kernel keeps for us until we accept them (gunicorn's `backlog`, and
    /// its default; the kernel caps it at `net.core.somaxconn`).
    pub backlog: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            worker_connections: 1000,
            backlog: 2048,
        }
    }
}

/// How large a request may be. The first three carry gunicorn's names, meanings and defaults.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes in the request line, without its line end; more is answered 414.
    pub request_line: usize,
    /// Header fields in a request; more are answered 431.
    pub request_fields: usize,
    /// Bytes in one header field, name and value, without the line end; more is answered 431.
    pub request_field_size: usize,
    /// Bytes of content in a request; more is answered 413. The default, 16 MiB, lets photos pass.
    pub request_body: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            request_line: 4094,
            request_fields: 100,
            request_field_size: 8190,
            request_body: 16 * 1024 * 1024,
        }
    }
}

/// How long a client may take.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// From the first byte of a request's head to its last, and from a connection's begin to its
    /// first byte. Later is answered 408.
    pub header: Duration,
    /// For a request's content, plus one second for every [`Timeouts::MIN_BODY_RATE`] bytes that
    /// have come, as in Apache's mod_reqtimeout. Later is answered 408.
    pub body: Duration,
    /// How long a connection may stay idle between two requests (gunicorn's `keepalive`, and its
    /// default); zero closes the connection after each response.
    pub keep_alive: Duration,
    /// How long a response may wait for the client to take any of it.
    pub write: Duration,
}

impl Timeouts {
    /// Bytes of content that earn a client one more second (the `MinRate` of mod_reqtimeout's
    /// default setting).
    pub const MIN_BODY_RATE: u64 = 500;

    /// How long to wait for more content, when this much time has passed and this much has come.
    pub(crate) fn content_wait(&self, elapsed: Duration, received: u64) -> Duration {
        let earned = Duration::from_secs(received / Self::MIN_BODY_RATE);
        (self.body + earned).saturating_sub(elapsed).min(self.body)
    }
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            header: Duration::from_secs(10),
            body: Duration::from_secs(20),
            keep_alive: Duration::from_secs(2),
            write: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_must_keep_coming() {
        let timeouts = Timeouts {
            body: Duration::from_secs(20),
            ..Timeouts::default()
        };
        let wait = |elapsed, received| {
            timeouts
                .content_wait(Duration::from_secs(elapsed), received)
                .as_secs()
        };
        assert_eq!(wait(0, 0), 20);
        assert_eq!(wait(15, 0), 5);
        assert_eq!(wait(20, 499), 0);
        assert_eq!(wait(20, 5000), 10);
        assert_eq!(
            wait(0, 1 << 20),
            20,
            "no single wait is longer than the first"
        );
    }
}
