//! A glibc thread control block, thread-local storage and thread identity for each green thread.
//!
//! glibc finds everything that belongs to a thread through the thread pointer: above it stands
//! `struct pthread` (identity, cancellation, pthread keys), below it the static thread-local
//! storage of all modules. A [`Block`] is such an area in memory of ours. It is made once for each
//! stack slot, in four steps:
//!
//! 1. copy the bytes of a template, the control block of a fresh pthread, and move each word
//!    that points into the template by the distance between the two;
//! 2. give it a `tid` of its own, a list node that points at itself, and an rseq area that says
//!    "not registered";
//! 3. let glibc's `_dl_allocate_tls` build the dtv and the initial thread-local storage, and point the resolver
//!    at the state that the block has room for;
//! 4. run glibc's `__ctype_init` first thing on the new thread.
//!
//! Where the fields stand, glibc tells debuggers in its `_thread_db_*` data symbols, and us.
//!
//! A block is never given back to glibc: its malloc keeps a cache in each thread's storage that
//! only a real thread exit could return. It is used again by the next green thread in its slot;
//! then [`Block::reset`] puts the storage of every module but libc and ld.so back to its initial
//! image, and [`run_exit_destructors`] has run what the previous owner registered.
//!
//! Rejected: `arch_prctl` with one shared block (std's park, mpsc and panic count break as soon as
//! two threads share them); real pthreads whose kernel thread has ended as blocks (23 µs each).

use std::ffi::{CStr, c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::arch;
use crate::base::error::BuildError;
use crate::base::glibc::symbol;
use crate::body::robust::RobustMutexes;

pub(crate) use block::Block;
pub(crate) use exit::{run_exit_destructors, start_thread};

mod block;
mod exit;
mod fresh;

/// An entry of glibc's `_thread_db_*` tables: field width in bits, element count, byte offset.
type FieldDescriptor = [u32; 3];

/// `struct pthread_key_data`: one value of one thread.
#[repr(C)]
struct KeyValue {
    sequence: usize,
    data: *mut c_void,
}

/// `struct pthread_key_struct`: one key of the process.
#[repr(C)]
struct Key {
    sequence: usize,
    destructor: Option<unsafe extern "C-unwind" fn(*mut c_void)>,
}

/// The beginning of `struct __res_state`, which holds a thread's name servers and options.
#[repr(C)]
struct ResolverState {
    retransmission_time: c_int,
    attempts: c_int,
    /// Zero as long as it is not in use.
    options: u64,
}

/// Where the resolver keeps its state, in bytes from the thread pointer.
#[derive(Clone, Copy)]
struct Resolver {
    /// The thread-local pointer to the state.
    pointer: isize,
    /// The state, in the control block.
    state: usize,
}

/// A module's thread-local storage: where it stands below the thread pointer, and its image.
#[derive(Clone, Copy)]
struct Module {
    below: usize,
    image: *const u8,
    image_size: usize,
    size: usize,
}

/// What glibc told about its thread control block, and the template.
pub(crate) struct Layout {
    /// Bytes of `struct pthread`, from the thread pointer up.
    above: usize,
    /// Bytes of static thread-local storage below the thread pointer.
    below: usize,
    align: usize,
    tid: usize,
    list: usize,
    cancelhandling: usize,
    specific: usize,
    specific_count: usize,
    level2_count: usize,
    /// Where glibc notes that the thread has had a value for some key, if that is known.
    specific_used: Option<usize>,
    /// Where the area for rseq(2) stands, from the thread pointer.
    pub(crate) rseq: Option<isize>,
    resolver: Resolver,
    res_nclose: unsafe extern "C" fn(*mut ResolverState),
    robust: Option<RobustMutexes>,
    keys: *const Key,
    template: Box<[usize]>,
    template_address: usize,
    modules: Vec<Module>,
    allocate_tls: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
    ctype_init: unsafe extern "C" fn(),
    call_tls_dtors: unsafe extern "C-unwind" fn(),
    /// How the thread pointer is changed here.
    pub(crate) thread_pointer: arch::ThreadPointer,
}

// SAFETY: written once by `Layout::detect`, only read afterwards; the pointers are to data of
// libc and of loaded modules that stays where it is.
unsafe impl Send for Layout {}
// SAFETY: nobody writes to it once `Layout::detect` has made it, and what its pointers lead to stays where it is.
unsafe impl Sync for Layout {}

static LAYOUT: OnceLock<Layout> = OnceLock::new();
/// Finds the layout, or says what this libc lacks.
pub(crate) fn initialize() -> Result<&'static Layout, BuildError> {
    if let Some(layout) = LAYOUT.get() {
        return Ok(layout);
    }
    let layout = Layout::detect()?;
    Ok(LAYOUT.get_or_init(|| layout))
}

/// The layout, which building a runtime has found.
#[inline]
pub(crate) fn layout() -> &'static Layout {
    LAYOUT
        .get()
        .expect("a green thread exists only after a runtime was built")
}

/// The id in the calling thread's control block: the kernel's for an OS thread, our own for a
/// green one. glibc's locks name their owner by it. Works before a runtime was built.
#[inline]
pub(crate) fn thread_id() -> i32 {
    let offset = match TID_OFFSET.load(Ordering::Relaxed) {
        0 => find_tid_offset(),
        offset => offset,
    };
    if offset == usize::MAX {
        return rustix::thread::gettid().as_raw_nonzero().get();
    }
    // SAFETY: the offset of an `int` in the calling thread's own control block.
    unsafe { *((arch::thread_pointer() + offset) as *const i32) }
}

/// Where `tid` stands in the control block; 0 before it was looked for, `MAX` if libc does not tell.
static TID_OFFSET: AtomicUsize = AtomicUsize::new(0);

#[cold]
fn find_tid_offset() -> usize {
    let offset = field(c"_thread_db_pthread_tid").map_or(usize::MAX, |(offset, _)| offset);
    TID_OFFSET.store(offset, Ordering::Relaxed);
    offset
}

fn needed(name: &'static CStr) -> Result<*mut c_void, BuildError> {
    symbol(name).ok_or_else(|| BuildError::missing_symbol(name))
}

/// The byte offset and the size in bytes that glibc's table gives for a field of `struct pthread`.
fn field(name: &'static CStr) -> Result<(usize, usize), BuildError> {
    // SAFETY: the `_thread_db_pthread_*` symbols are arrays of three 32-bit words.
    let [bits, count, offset] = unsafe { *needed(name)?.cast::<FieldDescriptor>() };
    Ok((offset as usize, bits as usize / 8 * count as usize))
}

impl Layout {
    /// Bytes that a block takes at the top of a slot, with the worst alignment.
    pub(crate) fn block_size(&self) -> usize {
        self.above + self.below + self.align
    }
}
