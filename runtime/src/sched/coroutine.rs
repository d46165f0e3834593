//! What a switch between a green thread and its worker is made of: corosensei's coroutine on the stack of a slot, and what the
//! green thread asks for as it leaves.

use corosensei::Coroutine;
use corosensei::stack::{Stack, StackPointer};

/// What a green thread asks of its worker as it switches away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Action {
    /// Run me again after the others.
    Yield,
    /// Run me again after an unpark.
    Park,
    /// I have ended, and my stack may be abandoned as it is.
    Exit,
}

impl Action {
    /// The action of a number that was made by `as usize`.
    #[inline(always)]
    pub(super) fn from_number(number: usize) -> Action {
        match number {
            _ if number == Action::Yield as usize => Action::Yield,
            _ if number == Action::Park as usize => Action::Park,
            _ => Action::Exit,
        }
    }
}

/// The stack of a slot.
pub(super) struct SlotStack {
    pub(super) base: usize,
    pub(super) limit: usize,
}

// SAFETY: a slot's stack is at least 64 KiB with a guard below it, and nobody else uses it
// while its green thread lives.
unsafe impl Stack for SlotStack {
    fn base(&self) -> StackPointer {
        StackPointer::new(self.base).expect("a slot does not stand at address zero")
    }

    fn limit(&self) -> StackPointer {
        StackPointer::new(self.limit).expect("a slot does not stand at address zero")
    }
}

/// The code of a green thread that was spawned.
pub(super) type GreenCoroutine = Coroutine<(), Action, (), SlotStack>;
