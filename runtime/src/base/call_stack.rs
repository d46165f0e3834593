//! Call stacks as bare instruction pointers. `look/trace.rs` gives them names later.
//!
//! A stack is taken on the stack itself, which may be small: that needs a few kilobytes and does not allocate.

/// Frames kept of one stack, the innermost.
const DEPTH: usize = 128;

/// The instruction pointers of a call stack, innermost first.
pub(crate) struct CallStack {
    pointers: [usize; DEPTH],
    length: usize,
}

impl CallStack {
    pub(crate) const fn new() -> CallStack {
        CallStack {
            pointers: [0; DEPTH],
            length: 0,
        }
    }

    /// Takes the calling stack up to the frame whose stack pointer is `end`, where functions may have been inlined
    /// into. Allocates nothing.
    #[inline(never)]
    pub(crate) fn capture(&mut self, end: usize) {
        self.length = 0;
        // SAFETY: what the function wants synchronised is another platform's unwinder; this one may be used by any
        // number of threads at once.
        unsafe {
            backtrace::trace_unsynchronized(|frame| {
                self.length < DEPTH && (frame.sp() as usize) <= end && {
                    self.pointers[self.length] = frame.ip() as usize;
                    self.length += 1;
                    true
                }
            });
        }
    }

    /// In a signal handler: takes the interrupted stack, from the frame of the interrupted instruction up to the frame
    /// whose stack pointer is `end`. Allocates nothing.
    pub(crate) fn capture_interrupted(&mut self, instruction: usize, end: usize) {
        self.pointers[0] = instruction;
        self.length = 1;
        let mut is_in_handler = true;
        // SAFETY: this platform's unwinder may be used by any number of threads at once, without being synchronised.
        unsafe {
            backtrace::trace_unsynchronized(|frame| {
                if is_in_handler {
                    is_in_handler = frame.ip() as usize != instruction;
                    return true;
                }
                self.length < DEPTH && (frame.sp() as usize) <= end && {
                    self.pointers[self.length] = frame.ip() as usize;
                    self.length += 1;
                    true
                }
            });
        }
    }

    pub(crate) fn pointers(&self) -> &[usize] {
        &self.pointers[..self.length]
    }
}
