//! Places for the files of tests.

use std::ffi::CString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::c::ok;

/// A new directory, which is removed in the end.
pub struct Directory(PathBuf);

impl Directory {
    /// An empty one. Its path is short enough for the addresses of sockets.
    #[expect(clippy::new_without_default, reason = "it has an effect")]
    pub fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("greenpatch-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("the directory for temporary files can be written to");
        Directory(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of `name` in it, for C functions.
    pub fn c_path(&self, name: &str) -> CString {
        let path = self.0.join(name).into_os_string().into_encoded_bytes();
        CString::new(path).expect("a path has no NUL")
    }

    /// Makes a FIFO.
    pub fn fifo(&self, name: &str) -> CString {
        let path = self.c_path(name);
        // SAFETY: a C string.
        ok(unsafe { libc::mkfifo(path.as_ptr(), 0o600) });
        path
    }

    /// Makes a file with this content, opened for reading and writing.
    pub fn file(&self, name: &str, content: &[u8]) -> File {
        let path = self.0.join(name);
        fs::write(&path, content).expect("the directory is ours");
        File::options()
            .read(true)
            .write(true)
            .open(path)
            .expect("the file is ours")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Cargo's folder for what tests write, which is beside the one of the profile that this test is built with. It stays.
pub fn written_by_tests() -> PathBuf {
    let program = std::env::current_exe().expect("a test has a program");
    // The program is in `target/debug/deps` or the like.
    let target = program.ancestors().nth(3);
    target.expect("Cargo has put it there").join("tmp")
}
