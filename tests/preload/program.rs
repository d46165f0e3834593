//! Programs to run, natively or under `greenpatch run`, and what became of them.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a program may take before it counts as hung.
const LIMIT: Duration = Duration::from_secs(100);

/// The command line under test.
pub(crate) const GREENPATCH: &str = env!("CARGO_BIN_EXE_greenpatch");

/// What became of a program.
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// The exit status; that of a program that a signal ended is told with what it said.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| {
            panic!(
                "ended by signal {:?}: {}\n{}",
                self.status.signal(),
                self.text(),
                self.stderr
            )
        })
    }

    pub(crate) fn succeeds(self) -> Outcome {
        assert_eq!(self.code(), 0, "{}\n{}", self.text(), self.stderr);
        self
    }

    /// Threads that were run as green threads, as the report says.
    pub(crate) fn green_threads(&self) -> usize {
        self.figure("threads run as green threads")
    }

    /// The number before `what` in the report; the sum of all, if children have reported too.
    pub(crate) fn figure(&self, what: &str) -> usize {
        self.stderr
            .lines()
            .filter(|line| line.starts_with("greenpatch: ") && line.ends_with(" blocking sections"))
            .filter_map(|line| {
                let (before, _) = line.split_once(&format!(" {what}"))?;
                before.rsplit(' ').next()?.parse::<usize>().ok()
            })
            .sum()
    }
}

/// `greenpatch run --report` with two workers, and `options`, of a program.
pub(crate) fn green<S: AsRef<OsStr>>(options: &[&str], command: &[S]) -> Command {
    let mut all = vec!["--report"];
    all.extend(options);
    green_silent(&all, command)
}

/// As [`green`], without the report, which children of the program write too.
pub(crate) fn green_silent<S: AsRef<OsStr>>(options: &[&str], command: &[S]) -> Command {
    let mut greenpatch = Command::new(GREENPATCH);
    greenpatch
        .args(["run", "--workers", "2"])
        .args(options)
        .arg("--")
        .args(command);
    greenpatch
}

/// The program without us.
pub(crate) fn native<S: AsRef<OsStr>>(command: &[S]) -> Command {
    let mut native = Command::new(&command[0]);
    native.args(&command[1..]);
    native
}

/// Runs a command to its end, with `input` as its standard input.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Outcome {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    thread::scope(|scope| {
        // It may not read all of it.
        scope.spawn(move || drop(stdin.write_all(input)));
        let watched = Watched::new(&child);
        let output = child.wait_with_output().expect("our child");
        drop(watched);
        Outcome {
            status: output.status,
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    })
}

/// Kills a child that hangs, or whose test fails.
pub(crate) struct Watched {
    pid: rustix::process::Pid,
    _done: std::sync::mpsc::Sender<()>,
}

impl Watched {
    pub(crate) fn new(child: &Child) -> Watched {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let pid = rustix::process::Pid::from_child(child);
        thread::spawn(move || {
            let end = receiver.recv_timeout(LIMIT);
            if end == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        });
        Watched { pid, _done: sender }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = rustix::process::kill_process(self.pid, rustix::process::Signal::KILL);
        }
    }
}

/// A server program; killed when dropped.
pub(crate) struct Server {
    child: Child,
    stderr: Option<thread::JoinHandle<String>>,
}

impl Server {
    /// Starts it, and waits until it listens on the port.
    pub(crate) fn start(command: &mut Command, port: u16) -> Server {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut pipe = child.stderr.take().expect("a pipe");
        let stderr = thread::spawn(move || {
            let mut said = Vec::new();
            let _ = pipe.read_to_end(&mut said);
            String::from_utf8_lossy(&said).into_owned()
        });
        let mut server = Server {
            child,
            stderr: Some(stderr),
        };
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = server.child.try_wait().expect("our child");
            assert_eq!(ended, None, "{command:?} has ended");
            assert!(start.elapsed() < LIMIT, "{command:?} does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Has it end as servers do, by SIGTERM. What it said on standard output is not kept.
    pub(crate) fn terminate(mut self) -> Outcome {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("our child");
        let watched = Watched::new(&self.child);
        let status = self.child.wait().expect("our child");
        drop(watched);
        let stderr = self.stderr.take().expect("taken here only");
        Outcome {
            status,
            stdout: Vec::new(),
            stderr: stderr.join().expect("it only reads"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(stderr) = self.stderr.take() else {
            return;
        };
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{}", stderr.join().unwrap_or_default());
        }
    }
}

/// A directory of this test process's own, gone at its end if that is in order.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("preload-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("the target directory can be written to");
        Scratch(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("the directory can be written to");
        path
    }

    /// Compiles C source, with `options` after the usual ones.
    pub(crate) fn compile(&self, name: &str, source: &str, options: &[&str]) -> PathBuf {
        self.compile_with("cc", &format!("{name}.c"), source, options)
    }

    /// As [`compile`](Self::compile), by the compiler of another language, and with the source's whole name.
    pub(crate) fn compile_with(
        &self,
        compiler: &str,
        name: &str,
        source: &str,
        options: &[&str],
    ) -> PathBuf {
        let source = self.file(name, source);
        let program = source.with_extension("");
        let mut compiler = Command::new(compiler);
        compiler
            .args([
                "-O1",
                "-g",
                "-Wall",
                "-Werror",
                "-D_GNU_SOURCE",
                "-pthread",
                "-o",
            ])
            .arg(&program)
            .arg(&source)
            .args(options);
        run(&mut compiler, b"").succeeds();
        program
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
