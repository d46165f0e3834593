//! What a [`Runtime`] says of itself when it is asked.

use crate::look::dump::{self, Dump, DumpOptions};
use crate::look::metrics::{self, Metrics};
use crate::runtime::handle::Runtime;
use crate::sched::context::NativeSection;

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
