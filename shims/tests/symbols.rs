//! The table of functions, the definitions in the source and the symbols of the program are the
//! same.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_void};
use std::mem::MaybeUninit;
use std::path::Path;
use std::process::Command;

use greenpatch_runtime::Patch;
use greenpatch_shims::{SYMBOLS, Symbol, compiled};
use object::{Object, ObjectSymbol};

fn table() -> BTreeSet<String> {
    SYMBOLS
        .iter()
        .map(|symbol| symbol.name.to_owned())
        .collect()
}

/// The names that follow `#[unsafe(no_mangle)]` in the source, and those in lists of sections, aliases and new descriptors.
fn defined() -> BTreeSet<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut names = BTreeSet::new();
    for file in std::fs::read_dir(source).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let lists = [
            ("\nsections! {", "\n}\n}"),
            ("\naliases! {", "\n}"),
            ("\nnew_descriptors! {", "\n}"),
        ];
        for (start, end) in lists {
            for list in text.split(start).skip(1) {
                let (list, _) = list.split_once(end).unwrap();
                let lines = list.lines().filter_map(|line| line.strip_prefix("    fn "));
                names.extend(lines.map(|line| line.split_once('(').unwrap().0.to_owned()));
            }
        }
        for definition in text.split("#[unsafe(no_mangle)]\n").skip(1) {
            let (before, rest) = definition.split_once(" fn ").unwrap();
            assert_eq!(before.trim_start(), "unsafe extern \"C-unwind\"");
            let name = rest.split_once('(').unwrap().0;
            // In the definition of a macro it is a variable.
            if !name.starts_with('$') {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

fn file_of(address: *const c_void) -> CString {
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: the result is ours, and its name is a C string if the call succeeds.
    unsafe {
        assert_ne!(libc::dladdr(address, info.as_mut_ptr()), 0);
        CStr::from_ptr(info.assume_init().dli_fname).to_owned()
    }
}

fn find(handle: *mut c_void, name: &str) -> *mut c_void {
    let name = CString::new(name).unwrap();
    // SAFETY: a C string.
    unsafe { libc::dlsym(handle, name.as_ptr()) }
}

#[test]
fn the_table_has_one_row_for_each_definition() {
    assert_eq!(table().len(), SYMBOLS.len());
    if compiled() == Patch::all() {
        assert_eq!(table(), defined());
    } else {
        assert!(table().is_subset(&defined()));
    }
}

/// Names that only programs linked long ago look for: no lookup by name finds libc's.
const OLD: &[&str] = &[
    "__pthread_mutex_lock",
    "__pthread_mutex_trylock",
    "__pthread_mutex_unlock",
    "__pthread_once",
    "__pthread_rwlock_rdlock",
    "__pthread_rwlock_tryrdlock",
    "__pthread_rwlock_trywrlock",
    "__pthread_rwlock_unlock",
    "__pthread_rwlock_wrlock",
    "pthread_yield",
    "__res_query",
    "__res_search",
    "__res_querydomain",
    "__res_send",
    "__res_nquery",
    "__res_nsearch",
    "__res_nquerydomain",
    "__res_nsend",
];

#[test]
fn each_symbol_is_defined_in_this_program_and_stands_before_one_of_libc() {
    let here = file_of(table as fn() -> _ as *const c_void);
    for symbol in SYMBOLS.iter().filter(|symbol| !OLD.contains(&symbol.name)) {
        let ours = find(libc::RTLD_DEFAULT, symbol.name);
        assert!(!ours.is_null(), "{} is not found", symbol.name);
        assert_eq!(file_of(ours), here, "{} is not ours", symbol.name);
        let next = find(libc::RTLD_NEXT, symbol.name);
        assert!(!next.is_null(), "libc has no {}", symbol.name);
        assert_ne!(next, ours, "{} stands before itself", symbol.name);
    }
}

/// The symbols that a program defines, as nm lists them.
fn defined_in(program: &Path) -> BTreeSet<String> {
    let data = std::fs::read(program).unwrap();
    let file = object::File::parse(&*data).unwrap();
    file.symbols()
        .chain(file.dynamic_symbols())
        .filter(|symbol| symbol.is_definition())
        .map(|symbol| symbol.name().unwrap().to_owned())
        .collect()
}

#[test]
fn a_function_whose_feature_is_off_is_not_defined_in_this_program() {
    let program = defined_in(&std::env::current_exe().unwrap());
    // The linker leaves out what no library could ask for.
    let mut kept = table();
    kept.retain(|name| !OLD.contains(&&**name));
    assert!(kept.is_subset(&program));
    let off = &defined() - &table();
    assert!(program.is_disjoint(&off), "{:?}", &program & &off);
}

/// A C library that takes the address of each function, under `address_of_NAME`.
fn c_library(directory: &Path) -> CString {
    let mut source = String::new();
    for Symbol { name, .. } in SYMBOLS.iter().filter(|symbol| !OLD.contains(&symbol.name)) {
        source += &format!("extern char {name}[]; char *const address_of_{name} = {name};\n");
    }
    let (file, library) = (directory.join("library.c"), directory.join("library.so"));
    std::fs::write(&file, source).unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-fno-builtin", "-w", "-o"])
        .args([&library, &file])
        .status();
    assert!(compiled.unwrap().success());
    CString::new(library.into_os_string().into_encoded_bytes()).unwrap()
}

#[test]
fn a_c_library_of_this_program_calls_these_definitions() {
    let directory = std::env::temp_dir().join(format!("greenpatch-c-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = c_library(&directory);
    // SAFETY: a C string; the library has no initialisers.
    let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    assert!(!library.is_null(), "the library cannot be loaded");
    std::fs::remove_dir_all(&directory).unwrap();
    let here = file_of(table as fn() -> _ as *const c_void);
    for symbol in SYMBOLS.iter().filter(|symbol| !OLD.contains(&symbol.name)) {
        let place = find(library, &format!("address_of_{}", symbol.name));
        // SAFETY: a pointer in the library's data.
        let called = unsafe { *place.cast::<*const c_void>() };
        assert_eq!(
            file_of(called),
            here,
            "the library calls another {}",
            symbol.name
        );
    }
}

#[test]
fn the_original_of_a_symbol_with_versions_is_the_newest() {
    for name in [
        "pthread_cond_wait",
        "pthread_cond_timedwait",
        "pthread_cond_signal",
    ] {
        let name = CString::new(name).unwrap();
        // SAFETY: C strings.
        let (next, newest) = unsafe {
            (
                libc::dlsym(libc::RTLD_NEXT, name.as_ptr()),
                libc::dlvsym(libc::RTLD_NEXT, name.as_ptr(), c"GLIBC_2.3.2".as_ptr()),
            )
        };
        assert_eq!(next, newest);
    }
}

#[test]
fn each_family_is_a_feature() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    for (family, _) in Patch::all().iter_names() {
        assert!(text.contains(&format!("\n{} = []\n", family.to_ascii_lowercase())));
    }
}

#[test]
fn the_families_that_have_symbols_of_their_own_are_those_that_are_compiled_in() {
    let own = |family| SYMBOLS.iter().any(|symbol| symbol.families == family);
    for (name, family) in Patch::all().iter_names() {
        assert_eq!(own(family), compiled().contains(family), "{name}");
    }
    let brought = |symbol: &Symbol| symbol.families.intersects(compiled());
    assert!(SYMBOLS.iter().all(brought));
}
