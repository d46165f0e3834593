//! What a program and the libraries it is linked with call of the C library, and what is known of it.
//!
//! The libraries are found by the dynamic linker itself, which lists what it would load. Calls by inline assembly, and the
//! libraries that a program loads when it runs, are not seen.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use greenpatch::shims::{Behaviour, Known, known};
use object::Endianness;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, Sym};

/// The dynamic linker of the programs that can be run.
const DYNAMIC_LINKER: &str = "/lib64/ld-linux-x86-64.so.2";

/// The files of glibc, whose calls among themselves pass through no shim.
const C_LIBRARY: [&str; 10] = [
    "ld-linux-x86-64",
    "libanl",
    "libc",
    "libdl",
    "libm",
    "libmvec",
    "libpthread",
    "libresolv",
    "librt",
    "libutil",
];

/// What calls of one file do on a green thread.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// Names of functions that park the green thread.
    pub(crate) yielding: BTreeSet<String>,
    /// That run in a blocking section.
    pub(crate) sections: BTreeSet<String>,
    /// That pass through and can block a worker.
    pub(crate) blocking: BTreeSet<String>,
    /// That wait for nothing.
    pub(crate) harmless: BTreeSet<String>,
    /// Of which nothing is known.
    pub(crate) unknown: BTreeSet<String>,
}

impl Calls {
    /// Those of an ELF file.
    pub(crate) fn of(path: &Path) -> Result<Calls, Box<dyn Error>> {
        let data = fs::read(path)?;
        let mut calls = Calls::default();
        for name in imports(&data)? {
            let class = match known(&name) {
                Some(Known::Patched(symbol)) => match symbol.behaviour {
                    Behaviour::Yields | Behaviour::Replaces => &mut calls.yielding,
                    Behaviour::Blocks => &mut calls.sections,
                    Behaviour::Tells | Behaviour::Answers => &mut calls.harmless,
                },
                Some(Known::Unpatched(_)) => &mut calls.blocking,
                Some(Known::NeverBlocks) => &mut calls.harmless,
                None => &mut calls.unknown,
            };
            class.insert(name);
        }
        Ok(calls)
    }
}

/// The names that an ELF file imports from glibc, by their versions.
fn imports(data: &[u8]) -> Result<Vec<String>, Box<dyn Error>> {
    let header = FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let symbols = sections.symbols(endian, data, object::elf::SHT_DYNSYM)?;
    let Some(versions) = sections.versions(endian, data)? else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for (index, symbol) in symbols.enumerate() {
        if !symbol.is_undefined(endian) {
            continue;
        }
        let version = versions.version(versions.version_index(endian, index).into())?;
        if version.is_some_and(|version| version.name().starts_with(b"GLIBC_")) {
            let name = symbol.name(endian, symbols.strings())?;
            names.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    Ok(names)
}

/// The file, and the libraries that the dynamic linker would load with it, but for those of the C library.
pub(crate) fn files(program: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let list = Command::new(DYNAMIC_LINKER)
        .arg("--list")
        .arg(program)
        .env_remove("LD_PRELOAD")
        .output()
        .map_err(|error| format!("cannot run the dynamic linker {DYNAMIC_LINKER}: {error}"))?;
    if !list.status.success() {
        let text = String::from_utf8_lossy(&list.stderr);
        return Err(text.trim().to_owned().into());
    }
    let mut files = vec![program.to_path_buf()];
    for line in String::from_utf8_lossy(&list.stdout).lines() {
        // `name => path (address)`, or `path (address)` for what is named by its path; the kernel's own has none.
        let Some((found, _address)) = line.trim().rsplit_once(" (") else {
            continue;
        };
        let path = Path::new(found.split_once(" => ").map_or(found, |(_, path)| path));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.split(".so").next().unwrap_or_default();
        if path.is_absolute() && !C_LIBRARY.contains(&stem) {
            files.push(path.to_path_buf());
        }
    }
    Ok(files)
}
