//! Call stacks with names: functions, files and lines to the instruction pointers of a [call stack](crate::base::call_stack).
//!
//! To give names to frames means reading debug information, for which a green thread's stack is too small; so an OS thread
//! does it, see [`Names`].

use std::collections::HashMap;
use std::ffi::c_void;
use std::fmt;
use std::sync::Arc;

#[cfg(feature = "json")]
use serde::Serialize;

/// A frame of a call stack. What the program's debug information does not tell is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize))]
#[non_exhaustive]
pub struct Frame {
    /// The instruction to return to.
    pub address: usize,
    /// The function's full name.
    pub function: Option<String>,
    /// The source file.
    pub file: Option<String>,
    /// The line in it.
    pub line: Option<u32>,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.function {
            Some(function) => f.write_str(function)?,
            None => write!(f, "{:#x}", self.address)?,
        }
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, " at {file}:{line}"),
            (Some(file), None) => write!(f, " at {file}"),
            _ => Ok(()),
        }
    }
}

/// The names of the frames met so far: many green threads have many frames in common.
#[derive(Default)]
pub(crate) struct Names(HashMap<usize, Arc<[Frame]>>);

impl Names {
    /// The frames of a stack, innermost first, without those of the runtime and std at both ends: the first is the
    /// function that waits. To be called on an OS thread's stack.
    pub(crate) fn resolve(&mut self, stack: &[usize]) -> Vec<Frame> {
        let mut frames = Vec::new();
        for &address in stack {
            let resolved = self
                .0
                .entry(address)
                .or_insert_with(|| resolve_one(address));
            frames.extend_from_slice(resolved);
        }
        trim(frames)
    }
}

/// The functions at an address: more than one where some were inlined into others.
fn resolve_one(address: usize) -> Arc<[Frame]> {
    let mut frames = Vec::new();
    backtrace::resolve(address as *mut c_void, |symbol| {
        frames.push(Frame {
            address,
            function: symbol.name().map(|name| format!("{name:#}")),
            file: symbol.filename().map(|file| file.display().to_string()),
            line: symbol.lineno(),
        });
    });
    if frames.is_empty() {
        frames.push(Frame {
            address,
            function: None,
            file: None,
            line: None,
        });
    }
    frames.into()
}

/// Crates whose frames between a green thread's code and its switch, and between its start and its code, tell the
/// reader nothing: by the beginning of a function's name, and by what the path of a source file holds. Debug information
/// that is cut down to line tables has no full names of inlined functions, and a program may be without any.
const PLUMBING: [(&str, &str); 9] = [
    ("greenpatch_runtime", "/greenpatch-runtime-"),
    ("greenpatch_shims", "/greenpatch-shims-"),
    ("std", "/library/std/src/"),
    ("core", "/library/core/src/"),
    ("alloc", "/library/alloc/src/"),
    ("lock_api", "/lock_api-"),
    ("backtrace", "/backtrace-"),
    ("corosensei", "/corosensei-"),
    ("tracing", "/tracing-"),
];

/// How many of those are this project's.
const OURS: usize = 2;

/// The crate that a function's name begins with: `std` of `<&std::net::TcpStream as std::io::Read>::read`. A plain name
/// has none.
fn crate_of(function: &str) -> Option<&str> {
    let path = function.trim_start_matches(['<', '&', '*', '(', '[']);
    let path = ["mut ", "const ", "dyn "]
        .iter()
        .find_map(|prefix| path.strip_prefix(prefix))
        .unwrap_or(path);
    path.split_once("::").map(|(name, _)| name)
}

/// Whether a file is one of this project's, where that is built from its repository.
fn is_in_repository(file: &str) -> bool {
    let Some(runtime) = file!().strip_suffix("look/trace.rs") else {
        return false;
    };
    let Some(repository) = runtime.strip_suffix("runtime/src/") else {
        return false;
    };
    ["runtime/src/", "shims/src/"].iter().any(|folder| {
        let place = file.rfind(folder).map(|start| &file[..start]);
        place.is_some_and(|before| before.ends_with(repository) && before.ends_with('/'))
    })
}

fn is_plumbing(frame: &Frame) -> bool {
    if let Some(file) = &frame.file {
        return is_in_repository(file) || PLUMBING.iter().any(|(_, path)| file.contains(path));
    }
    frame.function.as_deref().is_some_and(|function| {
        let of = crate_of(function);
        function == "__rust_try" || PLUMBING.iter().any(|(name, _)| of == Some(name))
    })
}

/// Without debug information: a function of libc's that a shim replaces has a plain name and calls into this project.
fn is_shim(frame: &Frame, callee: Option<&Frame>) -> bool {
    let is_plain = |function: &String| crate_of(function).is_none();
    let callee = callee.and_then(|callee| crate_of(callee.function.as_ref()?));
    frame.file.is_none()
        && frame.function.as_ref().is_some_and(is_plain)
        && PLUMBING[..OURS]
            .iter()
            .any(|(name, _)| callee == Some(name))
}

/// Takes off the frames of the runtime and std at both ends. That leaves nothing of a green thread whose own code has
/// no frame, as a wait at its very end was compiled to a jump.
fn trim(mut frames: Vec<Frame>) -> Vec<Frame> {
    let mut first = 0;
    while first < frames.len()
        && (is_plumbing(&frames[first])
            || is_shim(&frames[first], first.checked_sub(1).map(|i| &frames[i])))
    {
        first += 1;
    }
    let last = frames.iter().rposition(|frame| !is_plumbing(frame));
    frames.truncate(last.map_or(first, |last| first.max(last + 1)));
    frames.split_off(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::call_stack::CallStack;

    fn trimmed(functions: &[&str]) -> Vec<String> {
        let frames = functions.iter().map(|function| Frame {
            address: 1,
            function: Some((*function).to_owned()),
            file: None,
            line: None,
        });
        trim(frames.collect())
            .into_iter()
            .filter_map(|frame| frame.function)
            .collect()
    }

    #[test]
    fn the_first_frame_is_the_users_and_so_is_the_last() {
        let stack = [
            "greenpatch_runtime::green::Green::park_until",
            "clock_nanosleep",
            "std::thread::sleep",
            "app::nap",
            "core::iter::traits::iterator::Iterator::for_each",
            "app::main::{{closure}}",
            "__rust_try",
            "greenpatch_runtime::spawn::Builder::spawn_on::{{closure}}",
        ];
        let user = [
            "app::nap",
            "core::iter::traits::iterator::Iterator::for_each",
            "app::main::{{closure}}",
        ];
        assert_eq!(trimmed(&stack), user);
    }

    #[test]
    fn methods_of_traits_belong_to_the_type() {
        let stack = [
            "<&greenpatch_runtime::net::tcp::TcpStream as std::io::Read>::read",
            "<app::Stream as std::io::Read>::read",
            "<alloc::boxed::Box<F> as core::ops::function::FnOnce<A>>::call_once",
        ];
        assert_eq!(trimmed(&stack), ["<app::Stream as std::io::Read>::read"]);
    }

    #[test]
    fn functions_of_c_are_the_users_unless_a_shim() {
        let stack = [
            "greenpatch_shims::receive::recv",
            "recv",
            "read_reply",
            "app::ask",
        ];
        assert_eq!(trimmed(&stack), ["read_reply", "app::ask"]);
    }

    #[test]
    fn inlined_functions_are_told_by_their_files() {
        let at = |function: &str, file: &str| Frame {
            address: 1,
            function: Some(function.to_owned()),
            file: Some(file.to_owned()),
            line: Some(1),
        };
        let frames = vec![
            at(
                "trace",
                "/registry/backtrace-0.3.77/src/backtrace/libunwind.rs",
            ),
            at("park", &format!("/home/me/{}", file!())),
            at("sleep", "/rustc/abc/library/std/src/thread/functions.rs"),
            at("nap", "/home/me/app/src/runtime/src.rs"),
            at("app::main", "/home/me/app/src/main.rs"),
            at("call_once", "/rustc/abc/library/core/src/ops/function.rs"),
        ];
        let kept: Vec<_> = trim(frames)
            .into_iter()
            .filter_map(|frame| frame.function)
            .collect();
        assert_eq!(kept, ["nap", "app::main"]);
    }

    #[test]
    fn of_a_stack_without_users_nothing_is_left() {
        let stack = ["greenpatch_runtime::thread::park", "__rust_try"];
        assert!(trimmed(&stack).is_empty());
    }

    #[test]
    fn a_captured_stack_names_its_callers() {
        #[inline(never)]
        fn takes_its_stack() -> CallStack {
            let mut stack = CallStack::new();
            stack.capture(usize::MAX);
            std::hint::black_box(stack)
        }
        let stack = takes_its_stack();
        let named = stack
            .pointers()
            .iter()
            .flat_map(|&at| resolve_one(at).to_vec());
        let names: Vec<_> = named.filter_map(|frame| frame.function).collect();
        assert!(
            names.iter().any(|name| name.ends_with("takes_its_stack")),
            "{names:?}"
        );
    }
}
