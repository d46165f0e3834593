//! Which way a descriptor is waited for, and what an event tells of it.

/// Which way a green thread waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// For something to read, a connection to accept, or the end.
    Read,
    /// For room to write, or the end of a connect.
    Write,
}

impl Interest {
    pub(crate) fn edge(self) -> Edges {
        match self {
            Interest::Read => Edges::READ,
            Interest::Write => Edges::WRITE,
        }
    }
}

bitflags::bitflags! {
    /// What an event tells of a descriptor.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Edges: u32 {
        const READ = 1;
        const WRITE = 2;
        const UNUSUAL = 4;
    }
}
