//! How the layout is found: from glibc's symbols, and from the control block of a pthread that has done nothing yet.

use std::ffi::{c_int, c_void};
use std::mem::size_of;
use std::ptr;

use super::{Key, KeyValue, Layout, Module, Resolver, ResolverState, field, needed};
use crate::base::arch;
use crate::base::error::BuildError;
use crate::base::glibc::symbol;
use crate::body::robust::RobustMutexes;

/// Stack size of the template thread; glibc copies a quarter of it into its limit for `alloca`,
/// so it is that of the smallest green thread.
const TEMPLATE_STACK: usize = 64 * 1024;

impl Layout {
    pub(super) fn detect() -> Result<Layout, BuildError> {
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
            // SAFETY: the symbol is libc's function of this type.
            ctype_init: unsafe {
                std::mem::transmute::<*mut c_void, unsafe extern "C" fn()>(needed(c"__ctype_init")?)
            },
            // SAFETY: the symbol is libc's function of this type.
            call_tls_dtors: unsafe {
                std::mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn()>(needed(
                    c"__call_tls_dtors",
                )?)
            },
            thread_pointer: arch::ThreadPointer::detect(),
        })
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
