//! A piece of a response's content in hyper's hands.
//!
//! hyper takes as much of it in as it gets, and drops it once it is sent. In HTTP/2 that may be long after, since a client says how
//! much of each stream it will take; and nothing else tells whether it does. So the connection counts those pieces.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::registry::Connection;

/// See the module's page.
pub(crate) struct Piece {
    bytes: Bytes,
    /// Which connection counts it.
    connection: Option<Arc<Connection>>,
}

impl Piece {
    /// One that the connection counts until it is sent.
    pub(super) fn of(connection: &Arc<Connection>, bytes: Bytes) -> Piece {
        connection.note_unsent();
        Piece {
            bytes,
            connection: Some(Arc::clone(connection)),
        }
    }
}

impl From<Bytes> for Piece {
    /// One that nobody counts.
    fn from(bytes: Bytes) -> Piece {
        Piece {
            bytes,
            connection: None,
        }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some(connection) = &self.connection {
            connection.note_sent(false);
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.note_sent(true);
        }
    }
}
