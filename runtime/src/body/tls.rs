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
use std::mem::size_of;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::base::arch;
use crate::base::error::BuildError;
use crate::base::glibc::symbol;
use crate::body::robust::RobustMutexes;

/// Thread ids of green threads: above the kernel's largest (2^22), below glibc's flag bits (2^30).
const FIRST_ID: u32 = 0x2000_0000;
const LAST_ID: u32 = 0x3fff_ffff;

/// glibc runs pthread key destructors again as long as they set new values, at most this often.
const DESTRUCTOR_ROUNDS: usize = 4;

/// Stack size of the template thread; glibc copies a quarter of it into its limit for `alloca`,
/// so it is that of the smallest green thread.
const TEMPLATE_STACK: usize = 64 * 1024;

/// `LC_GLOBAL_LOCALE`, which the libc crate lacks.
const GLOBAL_LOCALE: isize = -1;

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

/// An element of a dtv, the table that leads from a module to its storage.
#[repr(C)]
struct DtvEntry {
    value: *mut c_void,
    to_free: *mut c_void,
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

/// The dtv's word for "not allocated yet": `__tls_get_addr` allocates at the next use.
const DTV_UNALLOCATED: usize = usize::MAX;

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
// SAFETY: as above.
unsafe impl Sync for Layout {}

static LAYOUT: OnceLock<Layout> = OnceLock::new();
static NEXT_ID: AtomicU32 = AtomicU32::new(FIRST_ID);

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
    fn detect() -> Result<Layout, BuildError> {
        type StaticInfo = unsafe extern "C" fn(*mut usize, *mut usize);
        let (mut static_size, mut align) = (0, 0);
        // SAFETY: the symbol is ld.so's function of this type.
        let static_info: StaticInfo =
            unsafe { std::mem::transmute(needed(c"_dl_get_tls_static_info")?) };
        // SAFETY: it writes the two sizes.
        unsafe { static_info(&mut static_size, &mut align) };
        // SAFETY: a 32-bit word of libc.
        let above = unsafe { *needed(c"_thread_db_sizeof_pthread")?.cast::<u32>() } as usize;
        // SAFETY: a 32-bit word of libc.
        let key_value_size =
            unsafe { *needed(c"_thread_db_sizeof_pthread_key_data")?.cast::<u32>() } as usize;
        // SAFETY: a 32-bit word of libc.
        let key_size =
            unsafe { *needed(c"_thread_db_sizeof_pthread_key_struct")?.cast::<u32>() } as usize;
        // SAFETY: a 32-bit word of libc.
        let level2_size =
            unsafe { *needed(c"_thread_db_sizeof_pthread_key_data_level2")?.cast::<u32>() }
                as usize;
        if key_value_size != size_of::<KeyValue>() || key_size != size_of::<Key>() {
            return Err(BuildError::unknown_layout("pthread keys"));
        }
        let level2_count = level2_size / key_value_size;
        let (specific, specific_size) = field(c"_thread_db_pthread_specific")?;
        let specific_count = specific_size / size_of::<*mut KeyValue>();
        let fresh = copy_of_fresh_pthread(above, specific + specific_size)?;
        Ok(Layout {
            above,
            below: static_size
                .saturating_sub(above)
                .next_multiple_of(align.max(64)),
            align: align.max(64),
            tid: field(c"_thread_db_pthread_tid")?.0,
            list: field(c"_thread_db_pthread_list")?.0,
            cancelhandling: field(c"_thread_db_pthread_cancelhandling")?.0,
            specific,
            specific_count,
            level2_count,
            specific_used: fresh.specific_used,
            // SAFETY: `__rseq_offset` is a ptrdiff_t; libc before 2.35 does without it.
            rseq: symbol(c"__rseq_offset").map(|offset| unsafe { *offset.cast::<isize>() }),
            resolver: fresh.resolver()?,
            // SAFETY: the symbol is libc's function of this type.
            res_nclose: unsafe {
                std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut ResolverState)>(
                    needed(c"__res_nclose")?,
                )
            },
            robust: RobustMutexes::detect(above),
            keys: needed(c"__pthread_keys")?.cast(),
            template: fresh.words,
            template_address: fresh.address,
            modules: resettable_modules(static_size)?,
            // SAFETY: the symbols are ld.so's and libc's functions of these types.
            allocate_tls: unsafe {
                std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void) -> *mut c_void>(
                    needed(c"_dl_allocate_tls")?,
                )
            },
            // SAFETY: as above.
            ctype_init: unsafe {
                std::mem::transmute::<*mut c_void, unsafe extern "C" fn()>(needed(c"__ctype_init")?)
            },
            // SAFETY: as above.
            call_tls_dtors: unsafe {
                std::mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn()>(needed(
                    c"__call_tls_dtors",
                )?)
            },
            thread_pointer: arch::ThreadPointer::detect(),
        })
    }

    /// Bytes that a block takes at the top of a slot, with the worst alignment.
    pub(crate) fn block_size(&self) -> usize {
        self.above + self.below + self.align
    }

    /// Where a block whose memory ends at `top` has its thread pointer.
    pub(crate) fn block_below(&self, top: usize) -> Block {
        Block((top - self.above) & !(self.align - 1))
    }
}

/// The control block of a pthread that has done nothing yet.
struct Fresh {
    words: Box<[usize]>,
    /// The address that it had.
    address: usize,
    /// Where its thread-local pointer to the resolver's state stood, and what it was.
    resolver: Option<(usize, usize)>,
    /// The offset of the byte that tells whether a key was given a value, if it does.
    specific_used: Option<usize>,
}

impl Fresh {
    fn resolver(&self) -> Result<Resolver, BuildError> {
        let (pointer, state) = self
            .resolver
            .ok_or_else(|| BuildError::missing_symbol(c"__resp"))?;
        let state = state.wrapping_sub(self.address);
        if state > self.words.len() * 8 - size_of::<ResolverState>() {
            return Err(BuildError::unknown_layout("the resolver's state"));
        }
        Ok(Resolver {
            pointer: pointer.wrapping_sub(self.address).cast_signed(),
            state,
        })
    }
}

/// `after_keys` is the offset of what follows the table of the thread's key values: in every glibc so far, the byte that
/// tells whether one was ever set. That is tried out.
fn copy_of_fresh_pthread(size: usize, after_keys: usize) -> Result<Fresh, BuildError> {
    extern "C" fn copy_own(copy: *mut c_void) -> *mut c_void {
        // SAFETY: the creator passes a `Fresh` and waits for this thread before it looks at it.
        let copy = unsafe { &mut *copy.cast::<Fresh>() };
        copy.address = arch::thread_pointer();
        copy.resolver = symbol(c"__resp")
            // SAFETY: of a thread-local variable this is the calling thread's own, a pointer.
            .map(|pointer| (pointer as usize, unsafe { *pointer.cast::<usize>() }));
        for (index, word) in copy.words.iter_mut().enumerate() {
            // SAFETY: the control block extends `size` bytes from the thread pointer.
            *word = unsafe { ptr::read_volatile((copy.address as *const usize).add(index)) };
        }
        copy.specific_used = copy
            .specific_used
            .filter(|offset| is_set_with_a_key((copy.address + offset) as *const u8));
        ptr::null_mut()
    }

    /// Whether the byte of the calling thread goes from 0 to 1 when the thread first sets a key's value.
    fn is_set_with_a_key(byte: *const u8) -> bool {
        let mut key = 0;
        let value = ptr::from_ref(&key).cast();
        // SAFETY: plain use of pthread keys, and reads of a byte in the calling thread's control block.
        unsafe {
            let before = ptr::read_volatile(byte);
            if libc::pthread_key_create(&mut key, None) != 0 {
                return false;
            }
            libc::pthread_setspecific(key, value);
            let after = ptr::read_volatile(byte);
            libc::pthread_key_delete(key);
            (before, after) == (0, 1)
        }
    }

    let mut copy = Fresh {
        words: vec![0; size.div_ceil(8)].into(),
        address: 0,
        resolver: None,
        specific_used: (after_keys < size).then_some(after_keys),
    };
    // SAFETY: plain use of the pthread interface; the thread is joined before `copy` is read.
    let error = unsafe {
        let mut attributes = std::mem::zeroed();
        libc::pthread_attr_init(&mut attributes);
        libc::pthread_attr_setstacksize(&mut attributes, TEMPLATE_STACK);
        let mut thread = std::mem::zeroed();
        let error = libc::pthread_create(
            &mut thread,
            &attributes,
            copy_own,
            ptr::from_mut(&mut copy).cast(),
        );
        libc::pthread_attr_destroy(&mut attributes);
        if error == 0 {
            libc::pthread_join(thread, ptr::null_mut())
        } else {
            error
        }
    };
    if error != 0 {
        return Err(BuildError::system("create the template pthread", error));
    }
    Ok(copy)
}

/// The modules whose storage is put back to its image between two owners of a block: all that
/// have static storage, except libc and ld.so, which keep what belongs to the block.
fn resettable_modules(static_size: usize) -> Result<Vec<Module>, BuildError> {
    struct Search {
        modules: Vec<Module>,
        thread_pointer: usize,
        static_size: usize,
        kept: [usize; 2],
    }
    unsafe extern "C" fn visit(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        search: *mut c_void,
    ) -> c_int {
        // SAFETY: dl_iterate_phdr passes a valid record and our own argument.
        let (info, search) = unsafe { (&*info, &mut *search.cast::<Search>()) };
        // SAFETY: the record says where the module's program headers stand.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        let kept = headers
            .iter()
            .filter(|header| header.p_type == libc::PT_LOAD)
            .any(|header| {
                let start = (info.dlpi_addr + header.p_vaddr) as usize;
                search
                    .kept
                    .iter()
                    .any(|&address| (start..start + header.p_memsz as usize).contains(&address))
            });
        let storage = info.dlpi_tls_data as usize;
        let below = search.thread_pointer.wrapping_sub(storage);
        if kept || storage == 0 || below > search.static_size {
            return 0;
        }
        if let Some(header) = headers.iter().find(|header| header.p_type == libc::PT_TLS) {
            search.modules.push(Module {
                below,
                image: (info.dlpi_addr + header.p_vaddr) as *const u8,
                image_size: header.p_filesz as usize,
                size: header.p_memsz as usize,
            });
        }
        0
    }
    let mut search = Search {
        modules: Vec::new(),
        thread_pointer: arch::thread_pointer(),
        static_size,
        kept: [
            needed(c"__ctype_init")? as usize,
            needed(c"_dl_allocate_tls")? as usize,
        ],
    };
    // SAFETY: `visit` has the type dl_iterate_phdr calls and gets its own `Search`.
    unsafe { libc::dl_iterate_phdr(Some(visit), ptr::from_mut(&mut search).cast()) };
    Ok(search.modules)
}

/// A thread control block, most often in a stack slot, by its address, which is also its `pthread_t`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block(usize);

impl Block {
    /// Makes a block whose memory ends at `top`. `None` if glibc has no memory for the dtv.
    ///
    /// # Safety
    ///
    /// The [`Layout::block_size`] bytes below `top` are zeroed memory that nobody else uses and
    /// that is never unmapped.
    pub(crate) unsafe fn create(layout: &Layout, top: usize) -> Option<Block> {
        let Block(address) = layout.block_below(top);
        let distance = address.wrapping_sub(layout.template_address);
        let template = layout.template_address..layout.template_address + layout.above;
        let words = address as *mut usize;
        for (index, &word) in layout.template.iter().enumerate() {
            let word = if template.contains(&word) {
                word.wrapping_add(distance)
            } else {
                word
            };
            // SAFETY: within the `above` bytes from `address`, which end at or below `top`.
            unsafe { *words.add(index) = word };
        }
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        assert!(
            id <= LAST_ID,
            "a process has at most {} green thread slots",
            LAST_ID - FIRST_ID
        );
        // SAFETY: the offsets are those of glibc's fields in the block just written.
        unsafe {
            *((address + layout.tid) as *mut u32) = id;
            let list = address + layout.list;
            *(list as *mut [usize; 2]) = [list, list];
            // `cpu_id` of struct rseq: RSEQ_CPU_ID_UNINITIALIZED.
            if let Some(rseq) = layout.rseq {
                *(address.wrapping_add_signed(rseq + 4) as *mut i32) = -1;
            }
            // The dtv pointer, `header.dtv`.
            *words.add(1) = 0;
            if (layout.allocate_tls)(address as *mut c_void).is_null() {
                return None;
            }
            let resolver = layout.resolver;
            *(address.wrapping_add_signed(resolver.pointer) as *mut usize) =
                address + resolver.state;
        }
        Some(Block(address))
    }

    /// The calling thread's, be it a slot's or not.
    pub(crate) fn of_caller() -> Block {
        Block(arch::thread_pointer())
    }

    /// The thread pointer that selects this block.
    #[inline]
    pub(crate) fn address(self) -> usize {
        self.0
    }

    /// The id by which glibc's locks name the thread on this block.
    pub(crate) fn thread_id(self, layout: &Layout) -> i32 {
        // SAFETY: an `int` of the block, written as it was made and not again in this process.
        unsafe { ptr::read_volatile((self.0 + layout.tid) as *const i32) }
    }

    /// The first byte above the block.
    pub(crate) fn end(self, layout: &Layout) -> usize {
        self.0 + layout.above
    }

    /// The lowest byte the block uses.
    pub(crate) fn bottom(self, layout: &Layout) -> usize {
        self.0 - layout.below
    }

    /// Puts thread-local storage back to its initial image for the next owner.
    ///
    /// # Safety
    ///
    /// No thread runs on the block, and its last owner's destructors have run.
    pub(crate) unsafe fn reset(self, layout: &Layout) {
        for module in &layout.modules {
            let storage = (self.0 - module.below) as *mut u8;
            // SAFETY: the module's storage in this block, as `_dl_allocate_tls` placed it, and
            // the image it is initialised from.
            unsafe {
                ptr::copy_nonoverlapping(module.image, storage, module.image_size);
                ptr::write_bytes(
                    storage.add(module.image_size),
                    0,
                    module.size - module.image_size,
                );
            }
        }
        // SAFETY: the cancellation state is an `int` at this offset, in the template too.
        unsafe {
            let fresh = layout
                .template
                .as_ptr()
                .cast::<u8>()
                .add(layout.cancelhandling);
            *((self.0 + layout.cancelhandling) as *mut i32) = *fresh.cast();
        }
        // SAFETY: the word at offset 8 leads to the dtv; the element before the first counts them.
        unsafe {
            let dtv = *((self.0 + 8) as *const *mut DtvEntry);
            let count = (*dtv.sub(1)).value as usize;
            for module in 1..=count {
                let entry = &mut *dtv.add(module);
                if !entry.to_free.is_null() {
                    libc::free(entry.to_free);
                    entry.value = DTV_UNALLOCATED as *mut c_void;
                    entry.to_free = ptr::null_mut();
                }
            }
        }
    }
}

/// What glibc does first on a new thread: points its character tables at the global locale.
///
/// # Safety
///
/// Runs on a green thread's own block.
pub(crate) unsafe fn start_thread() {
    // SAFETY: both only write the calling thread's storage.
    unsafe {
        libc::uselocale(GLOBAL_LOCALE as libc::locale_t);
        (layout().ctype_init)();
    }
}

/// What glibc does last on a thread: thread-local destructors (C++'s and Rust's), then those of
/// pthread keys, then the resolver's. And what the kernel does then about robust mutexes; `wake` wakes one green thread
/// that waits for a word.
///
/// # Safety
///
/// Runs on a green thread's own block, after all other code of that thread.
pub(crate) unsafe fn run_exit_destructors(wake: fn(*const u32)) {
    let layout = layout();
    // SAFETY: the caller's promise.
    unsafe {
        run_key_destructors(layout);
        let state = (arch::thread_pointer() + layout.resolver.state) as *mut ResolverState;
        if (*state).options != 0 {
            (layout.res_nclose)(state);
            (*state).options = 0;
        }
        if let Some(robust) = layout.robust {
            robust.abandon(thread_id() as u32, wake);
        }
    }
}

/// # Safety
///
/// As for [`run_exit_destructors`].
unsafe fn run_key_destructors(layout: &Layout) {
    for _ in 0..DESTRUCTOR_ROUNDS {
        // SAFETY: the function runs and clears the calling thread's list.
        unsafe { (layout.call_tls_dtors)() };
        // SAFETY: the calling thread's own block.
        let again = unsafe { take_keys_used(layout) && for_key_values(layout, run_key_destructor) };
        if !again {
            return;
        }
    }
    // SAFETY: as above. What key destructors registered must not wait for the block's next owner, nor may
    // values that they set again.
    unsafe {
        (layout.call_tls_dtors)();
        take_keys_used(layout);
        for_key_values(layout, |value, _| {
            (*value).data = ptr::null_mut();
            false
        });
    }
}

/// Whether the calling thread may have set a key's value since the last call. The values stand in a dozen cache lines
/// that few green threads use.
///
/// # Safety
///
/// Runs on a green thread's own block.
unsafe fn take_keys_used(layout: &Layout) -> bool {
    layout.specific_used.is_none_or(|offset| {
        let byte = (arch::thread_pointer() + offset) as *mut u8;
        // SAFETY: glibc's flag in the calling thread's control block, which glibc clears in the same way.
        unsafe { *byte != 0 && ptr::replace(byte, 0) != 0 }
    })
}

/// Calls `act` for each pthread key that the calling thread may have a value for; whether any call gave true.
///
/// # Safety
///
/// Runs on a green thread's own block.
unsafe fn for_key_values(layout: &Layout, act: fn(*mut KeyValue, &Key) -> bool) -> bool {
    let level1 = (arch::thread_pointer() + layout.specific) as *const *mut KeyValue;
    let mut any = false;
    for first in 0..layout.specific_count {
        // SAFETY: `specific` has `specific_count` pointers to blocks of `level2_count` values.
        let block = unsafe { *level1.add(first) };
        if block.is_null() {
            continue;
        }
        for second in 0..layout.level2_count {
            // SAFETY: as above; libc's table has an entry for each key there can be.
            any |= unsafe {
                let value = block.add(second);
                !(*value).data.is_null()
                    && act(
                        value,
                        &*layout.keys.add(first * layout.level2_count + second),
                    )
            };
        }
    }
    any
}

/// Clears the value and runs the key's destructor, if it has one.
fn run_key_destructor(value: *mut KeyValue, key: &Key) -> bool {
    // SAFETY: the calling thread's value; the destructor may set it again, so nothing is borrowed meanwhile.
    unsafe {
        let data = std::mem::replace(&mut (*value).data, ptr::null_mut());
        let Some(destructor) = key.destructor.filter(|_| key.sequence == (*value).sequence) else {
            return false;
        };
        destructor(data);
    }
    true
}
