//! The area of a thread control block in which the kernel tells a thread's processor: rseq(2).
//!
//! glibc registers it for each thread that it starts. While another kernel's thread runs on the block, the kernel must not
//! write there, and code that relies on being restarted by it must see that it would not be.
//!
//! A child that was forked on a green thread has a copy of the worker's kernel's thread, and with it the area of the worker's
//! block. To glibc, that block is one of a thread which is gone, so it gives the memory to the child's next thread. The child
//! takes the area back and registers that of the block which it goes on on.

use crate::base::arch;
use crate::body::tls;

/// The word that glibc registers areas with on this architecture.
const SIGNATURE: u32 = 0x5305_3053;

const UNREGISTER: usize = 1;

/// The lengths that glibc registers: the original one, and later ones for what newer kernels tell.
const LENGTHS: [usize; 4] = [32, 64, 96, 128];

/// What was taken back, for [`register`](RseqArea::register).
pub(crate) struct RseqArea {
    address: usize,
    length: usize,
}

/// Takes the calling OS thread's area back from the kernel, which leaves "not registered" in it. `None` if the kernel does
/// not have it.
pub(crate) fn unregister() -> Option<RseqArea> {
    unregister_of(arch::thread_pointer())
}

/// In a forked child, whose area is still that of the block at `before`: from now on it is the calling thread's.
/// Async-signal-safe.
pub(crate) fn move_after_fork(before: usize) {
    let here = arch::thread_pointer();
    if let Some(area) = unregister_of(before) {
        let address = area.address.wrapping_sub(before).wrapping_add(here);
        RseqArea { address, ..area }.register();
    }
}

/// As [`unregister`], if the area is in the block at `block`.
fn unregister_of(block: usize) -> Option<RseqArea> {
    let offset = tls::layout().rseq?;
    let address = block.wrapping_add_signed(offset);
    LENGTHS
        .into_iter()
        .map(|length| RseqArea { address, length })
        .find(|area| area.call(UNREGISTER))
}

impl RseqArea {
    /// Gives the area to the kernel again. On the same OS thread.
    pub(crate) fn register(self) {
        self.call(0);
    }

    fn call(&self, flags: usize) -> bool {
        let arguments = [self.address, self.length, flags, SIGNATURE as usize, 0, 0];
        // SAFETY: the area is glibc's for this purpose. It is registered in the calling thread's own block only, and in
        // another one it is only taken back, which the kernel refuses if it has not got it.
        unsafe { arch::system_call(libc::SYS_rseq, arguments) == 0 }
    }
}
