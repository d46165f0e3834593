//! The area of a thread control block in which the kernel tells a thread's processor: rseq(2).
//!
//! glibc registers it for each thread that it starts. While another kernel's thread runs on the block, the kernel must not
//! write there, and code that relies on being restarted by it must see that it would not be.

use crate::arch;
use crate::tls;

/// The word that glibc registers areas with on this architecture.
const SIGNATURE: u32 = 0x5305_3053;

const UNREGISTER: usize = 1;

/// The lengths that glibc registers: the original one, and later ones for what newer kernels tell.
const LENGTHS: [usize; 4] = [32, 64, 96, 128];

/// What was taken back, for [`register`](Registration::register).
pub(crate) struct Registration {
    area: usize,
    length: usize,
}

/// Takes the calling OS thread's area back from the kernel, which leaves "not registered" in it. `None` if the kernel does
/// not have it.
pub(crate) fn unregister() -> Option<Registration> {
    let offset = tls::layout().rseq?;
    let area = arch::thread_pointer().wrapping_add_signed(offset);
    LENGTHS
        .into_iter()
        .map(|length| Registration { area, length })
        .find(|registration| registration.call(UNREGISTER))
}

impl Registration {
    /// Gives the area to the kernel again. On the same OS thread.
    pub(crate) fn register(self) {
        self.call(0);
    }

    fn call(&self, flags: usize) -> bool {
        let arguments = [self.area, self.length, flags, SIGNATURE as usize, 0, 0];
        // SAFETY: the area is glibc's for this purpose, in the calling thread's own block; the kernel checks the rest.
        unsafe { arch::system_call(libc::SYS_rseq, arguments) == 0 }
    }
}
