//! The patch set: which shim families a runtime's green threads see.

use std::fmt;
use std::str::FromStr;

use bitflags::Flags;

bitflags::bitflags! {
    /// Which shim families make the green threads of a runtime yield.
    ///
    /// The families bear the names of eventlet's and gevent's modules and of the Cargo features
    /// that compile them in. A family that is compiled in but not in a runtime's patch set
    /// passes every call through to libc, so its calls block the worker.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Patch: u32 {
        /// The sleep family.
        const TIME = 1;
        /// Sockets.
        const SOCKET = 1 << 1;
        /// poll and its kin.
        const SELECT = 1 << 2;
        /// futex and the pthread locks.
        const LOCK = 1 << 3;
        /// Thread creation, joining and identity.
        const THREAD = 1 << 4;
        /// Files, pipes, FIFOs, terminals; locks on files; message queues.
        const OS = 1 << 5;
        /// Names: hosts, services, users, groups.
        const DNS = 1 << 6;
        /// Waiting for child processes.
        const PROCESS = 1 << 7;
    }
}

impl Patch {
    /// No family: every libc call of a green thread blocks its worker.
    pub const fn none() -> Patch {
        Patch::empty()
    }

    fn write_names(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, _) in self.iter_names() {
            write!(f, "{separator}{}", name.to_ascii_lowercase())?;
            separator = ",";
        }
        Ok(())
    }
}

/// A word in a patch list that names no family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFamily(String);

impl fmt::Display for UnknownFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is no patch family; use all, none, or a comma-separated list of ",
            self.0
        )?;
        Patch::all().write_names(f)
    }
}

impl std::error::Error for UnknownFamily {}

impl FromStr for Patch {
    type Err = UnknownFamily;

    /// Reads `all`, `none`, or a comma-separated list of family names.
    fn from_str(list: &str) -> Result<Patch, UnknownFamily> {
        let mut patch = Patch::none();
        for word in list.split(',') {
            patch |= match word.trim() {
                "all" => Patch::all(),
                "none" => Patch::none(),
                family => Patch::FLAGS
                    .iter()
                    .find(|flag| flag.name().eq_ignore_ascii_case(family))
                    .ok_or_else(|| UnknownFamily(family.to_owned()))?
                    .value()
                    .to_owned(),
            };
        }
        Ok(patch)
    }
}

impl fmt::Display for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Patch::all() {
            return f.write_str("all");
        }
        if self.is_empty() {
            return f.write_str("none");
        }
        self.write_names(f)
    }
}
