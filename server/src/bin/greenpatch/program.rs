//! Programs on disk: finding them as a shell does, and seeing whether they can run with their threads green.

use std::env;
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use object::elf::{EM_X86_64, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind};

/// Interpreters of interpreters that are followed.
const DEPTH: usize = 4;

/// Bytes of a script's first line that the kernel looks at.
const FIRST_LINE: u64 = 256;

/// Why a program is not run, and the exit status that says so.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: u8,
    text: String,
}

impl Refusal {
    /// It is not the program's fault, or greenpatch does not run such ones.
    pub(crate) fn own(text: String) -> Refusal {
        Refusal { status: 125, text }
    }

    pub(crate) fn not_executable(path: &Path, reason: &dyn fmt::Display) -> Refusal {
        Refusal {
            status: 126,
            text: format!("cannot execute '{}': {reason}", path.display()),
        }
    }

    fn not_found(name: &OsStr, where_to: &str) -> Refusal {
        Refusal {
            status: 127,
            text: format!("'{}' is not {where_to}", name.to_string_lossy()),
        }
    }

    fn unfit(path: &Path, what: &str) -> Refusal {
        Refusal::own(format!("'{}' {what}", path.display()))
    }

    pub(crate) fn status(&self) -> u8 {
        self.status
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Refusal {}

/// The file that a shell would execute for `name`.
pub(crate) fn find(name: &OsStr) -> Result<PathBuf, Refusal> {
    if name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return match fs::metadata(&path) {
            Ok(found) if is_executable(&found) => Ok(path),
            Ok(found) if found.is_dir() => {
                Err(Refusal::not_executable(&path, &"it is a directory"))
            }
            Ok(_) => Err(Refusal::not_executable(
                &path,
                &"it is no executable file; see chmod +x",
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Refusal::not_found(name, "there"))
            }
            Err(error) => Err(Refusal::not_executable(&path, &error)),
        };
    }
    let path = env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    let found: Vec<_> = env::split_paths(&path)
        .map(|directory| directory.join(name))
        .filter_map(|path| Some((fs::metadata(&path).ok()?, path)))
        .filter(|(found, _)| found.is_file())
        .collect();
    match found.iter().find(|(found, _)| is_executable(found)) {
        Some((_, path)) => Ok(path.clone()),
        None => Err(match found.first() {
            Some((_, path)) => {
                Refusal::not_executable(path, &"it is no executable file; see chmod +x")
            }
            None => Refusal::not_found(name, "in any directory of PATH"),
        }),
    }
}

fn is_executable(found: &fs::Metadata) -> bool {
    found.is_file() && found.permissions().mode() & 0o111 != 0
}

/// Whether the preload library would be loaded and could do its work, as far as can be told from the file.
pub(crate) fn check(path: &Path) -> Result<(), Refusal> {
    let path = binary(path)?;
    let metadata = fs::metadata(&path).map_err(|error| Refusal::not_executable(&path, &error))?;
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
    let mode = metadata.permissions().mode();
    let changes_user = mode & 0o4000 != 0 && metadata.uid() != user.as_raw();
    let changes_group = mode & 0o2000 != 0 && metadata.gid() != group.as_raw();
    if changes_user || changes_group {
        return Err(Refusal::unfit(
            &path,
            "is a set-user-ID or set-group-ID program, for which the dynamic linker ignores LD_PRELOAD; run it as its owner",
        ));
    }
    let data = fs::read(&path).map_err(|error| Refusal::not_executable(&path, &error))?;
    check_image(&data).map_err(|what| Refusal::unfit(&path, what))
}

/// What the dynamic linker gets to load: the program itself, or the interpreter of a script.
pub(crate) fn binary(path: &Path) -> Result<PathBuf, Refusal> {
    let mut path = path.to_path_buf();
    for _ in 0..DEPTH {
        match interpreter(&path).map_err(|error| Refusal::not_executable(&path, &error))? {
            Some(next) => path = find(&next)?,
            None => return Ok(path),
        }
    }
    Err(Refusal::not_executable(
        &path,
        &"too many interpreters, one for the other",
    ))
}

/// The program that the first line of a script names.
fn interpreter(path: &Path) -> io::Result<Option<OsString>> {
    let mut start = Vec::new();
    File::open(path)?.take(FIRST_LINE).read_to_end(&mut start)?;
    if start.starts_with(&object::elf::ELFMAG) {
        return Ok(None);
    }
    let Some(line) = start.strip_prefix(b"#!") else {
        // The shells, and execvp, take it for a script of sh.
        return Ok(Some(OsString::from("/bin/sh")));
    };
    let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let program = words.next().unwrap_or(b"/bin/sh");
    let word = if program.ends_with(b"/env") {
        let is_program = |word: &&[u8]| !word.starts_with(b"-") && !word.contains(&b'=');
        words.find(is_program).unwrap_or(program)
    } else {
        program
    };
    Ok(Some(OsString::from_vec(word.to_vec())))
}

/// What is in the way in this ELF file.
fn check_image(data: &[u8]) -> Result<(), &'static str> {
    match FileKind::parse(data) {
        Ok(FileKind::Elf64) => {}
        Ok(FileKind::Elf32) => {
            return Err("is a 32-bit program; greenpatch runs those of x86-64");
        }
        _ => return Err("is no ELF program"),
    }
    let damaged = |_| "is a damaged ELF file";
    let header = FileHeader64::<Endianness>::parse(data).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    if header.e_machine(endian) != EM_X86_64 {
        return Err("is built for another processor than x86-64");
    }
    let segments = header.program_headers(endian, data).map_err(damaged)?;
    let linker = segments
        .iter()
        .find_map(|segment| segment.interpreter(endian, data).transpose())
        .transpose()
        .map_err(damaged)?;
    let Some(linker) = linker else {
        return Err(
            "is linked statically: no library can be preloaded. Link it dynamically; a Rust program can link the crate \
             greenpatch instead",
        );
    };
    let name = linker.rsplit(|&byte| byte == b'/').next().unwrap_or(linker);
    if !name.starts_with(b"ld-linux") {
        return Err("is linked to another C library than glibc");
    }
    let sections = header.sections(endian, data).map_err(damaged)?;
    if sections.section_by_name(endian, b".go.buildinfo").is_some() {
        return Err(
            "is a Go program, whose runtime makes its system calls by itself, where no library can step in between; its \
             goroutines are green threads already",
        );
    }
    Ok(())
}
