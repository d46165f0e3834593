//! The door for the shims: what a replacement of a libc function may ask of the runtime.
//!
//! [`enter`] is the guard that every shim begins with. `Some(section)` means: the caller is user
//! code on a green thread of a runtime whose patch set holds the family. While the section lives,
//! every libc function called passes straight through its shim, so a shim may call what it replaces.
//! `None` means: make the original call.
//!
//! The same functions carry [`net`](crate::net), [`sync`](crate::sync) and [`time`](crate::time).
//!
//! **Belongs here** the names that shims may use: most are only given on from `wait`. What is at home here is what a
//! pthread is. **May use** `runtime`, `wait` and what is below. **Used by** the shims alone, which may name nothing else of
//! this crate but `Patch`, `blocking`, `deadline` and `futex`.
//!
//! | what | files |
//! |---|---|
//! | pthreads: create (on `EINVAL` the shim calls libc's), join, detach, attributes | `thread` |
//! | how a pthread's start routine ends | `exit` |
//! | the runtime of a whole program, whose threads are made green | `process` |

pub mod exit;
pub mod process;
pub mod thread;

pub use crate::base::arch::system_call;
pub use crate::base::interest::Interest;
pub use crate::base::own_descriptor::{first_in as first_own, holds as is_own};
pub use crate::wait::accept::Accepting;
pub use crate::wait::call::{Call, Patience};
pub use crate::wait::descriptor::{
    Closing, GoingOn, Kind, closed, closed_range, closing, closing_if, closing_range,
    is_nonblocking, kind, opened, outdated, timeouts_changed,
};
pub use crate::wait::retry::retry_by_timer;
pub use crate::wait::section::{Section, enter, enter_any, enter_either, yield_if_owed};
