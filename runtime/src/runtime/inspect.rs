//! What a [`Runtime`] says of itself when it is asked, and gives back.

use std::time::Duration;

use crate::body::slot_pool;
use crate::look::dump::{self, Dump, DumpOptions};
use crate::look::metrics::{self, Metrics};
use crate::runtime::handle::Runtime;
use crate::sched::context::NativeSection;
use crate::sched::trim;

impl Runtime {
    /// Figures of this runtime: how many green threads there are and in which state, what was done so far. Takes some
    /// microseconds.
    pub fn metrics(&self) -> Metrics {
        let _native = NativeSection::enter();
        Metrics::of(&self.shared)
    }

    /// The most stack that any living green thread of this runtime has in memory, in bytes: how deep it has been, or
    /// an earlier one in the same slot whose memory was not given back yet. For choosing a
    /// [`stack_size`](crate::RuntimeBuilder::stack_size). Asks the kernel once for each green thread.
    ///
    /// ```
    /// let runtime = greenpatch_runtime::Runtime::builder().build()?;
    /// let sleeper = runtime.spawn(greenpatch_runtime::thread::park);
    /// # while runtime.stack_high_water() == 0 {}
    /// assert!(runtime.stack_high_water() > 0);
    /// # sleeper.thread().unpark();
    /// # Ok::<(), greenpatch_runtime::BuildError>(())
    /// ```
    pub fn stack_high_water(&self) -> usize {
        let _native = NativeSection::enter();
        metrics::stack_high_water(&self.shared)
    }

    /// Gives memory back to the kernel that is not needed now: of the stacks of green threads that have been parked for at least
    /// `parked_for`, what stands below where they are; of green threads that have ended, all that the process has kept for the
    /// next ones. Gives the number of bytes that the stacks of parked ones had.
    ///
    /// From any thread, at any time. Takes a microsecond or so for each green thread, and what the kernel needs to free the memory:
    /// 30 µs for 200 KiB. One that is woken meanwhile continues a few microseconds later. What a green thread gives back it takes anew as it goes on, at a
    /// fault for each page; so this is for those that have waited for long. The setting
    /// [`trim_after`](crate::RuntimeBuilder::trim_after) does it by itself.
    ///
    /// # Safety
    ///
    /// No green thread of the runtime is parked on a stack that stands within its own, as an array of a function's that is given to
    /// `makecontext` or to a coroutine as its stack: the frames of the function that has switched there are below, where the
    /// memory goes. Stacks anywhere else, as crates for coroutines make them, are none of that; nor is code that makes none.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// fn deep(depth: u32) -> u32 {
    ///     let frame = std::hint::black_box([depth; 1024]);
    ///     if depth == 0 { 0 } else { deep(depth - 1) + frame[7] }
    /// }
    ///
    /// let runtime = greenpatch_runtime::Runtime::builder().build()?;
    /// let parked = runtime.spawn(|| {
    ///     deep(20);
    ///     greenpatch_runtime::thread::park();
    ///     deep(20)
    /// });
    /// # while runtime.metrics().parked != 1 { std::thread::yield_now(); }
    /// // SAFETY: no code here makes stacks.
    /// assert!(unsafe { runtime.trim(Duration::ZERO) } >= 64 << 10);
    /// parked.thread().unpark();
    /// assert_eq!(parked.join().unwrap(), 210);
    /// # Ok::<(), greenpatch_runtime::BuildError>(())
    /// ```
    pub unsafe fn trim(&self, parked_for: Duration) -> usize {
        let _native = NativeSection::enter();
        if self.shared.is_inherited() {
            return 0;
        }
        // Those that were free at the beginning of the monitor's period, and then the rest.
        slot_pool::trim();
        slot_pool::trim();
        // SAFETY: by this function's contract.
        unsafe { trim::trim_parked(&self.shared, parked_for) }
    }

    /// What each green thread of this runtime is doing; see [`dump`](mod@crate::dump). From any thread, at any time.
    ///
    /// # Panics
    ///
    /// On a green thread, if backtraces are asked for and the kernel gives no OS thread to name their frames on.
    pub fn dump(&self, options: DumpOptions) -> Dump {
        let _native = NativeSection::enter();
        dump::of(&self.shared, &options)
    }
}
