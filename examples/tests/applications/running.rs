//! An application's program under way, as its first lines say how to start it.

use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use greenpatch_server::WorkerClass;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program under way; killed when dropped.
pub(crate) struct Running {
    process: Child,
    address: String,
    lines: Receiver<String>,
}

/// Where the program of that name is.
pub(crate) fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_sleep")).with_file_name(name)
}

impl Running {
    /// Starts a program in this class on a free port, with a variable in its environment.
    pub(crate) fn start_with(name: &str, class: WorkerClass, variable: (&str, &str)) -> Running {
        let (reader, writer) = io::pipe().unwrap();
        let (key, value) = variable;
        let mut command = Command::new(program(name));
        command
            .args(["-k", class.name(), "-b", "127.0.0.1:0"])
            .env(key, value)
            .stdout(writer.try_clone().unwrap())
            .stderr(writer);
        if class == WorkerClass::Gthread {
            command.args(["--threads", "4"]);
        }
        let process = command.spawn().unwrap();
        // It keeps the writing end of the pipe.
        drop(command);
        let (sender, lines) = channel();
        thread::spawn(move || {
            let lines = BufReader::new(reader).lines().map_while(Result::ok);
            lines.map(|line| sender.send(line)).all(|sent| sent.is_ok())
        });
        let mut running = Running {
            process,
            address: String::new(),
            lines,
        };
        let listening = running.wait_for_line("Listening at: http://");
        let address = listening.split("http://").nth(1);
        let address = address.and_then(|rest| rest.split([' ', ',']).next());
        running.address = address.expect("an address").to_owned();
        running
    }

    /// Starts a program in this class on a free port.
    pub(crate) fn start(name: &str, class: WorkerClass) -> Running {
        Running::start_with(name, class, ("RUST_BACKTRACE", "0"))
    }

    /// Where it serves `path`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next line that it prints with this text in it.
    pub(crate) fn wait_for_line(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("'{text}' did not come ({error}), only: {seen:#?}"),
            }
        }
    }

    /// Stops it in good order; what it prints until then.
    pub(crate) fn stop(mut self) -> Vec<String> {
        let pid = self.process.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(told.success());
        let status = self.process.wait().unwrap();
        let lines: Vec<String> = self.lines.iter().collect();
        assert!(status.success(), "{status}: {lines:#?}");
        lines
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Tests a program in each class.
pub(crate) fn in_each_class(name: &str, test: impl Fn(&mut Running, WorkerClass)) {
    for class in WorkerClass::ALL {
        eprintln!("{name} in class {class}");
        let mut running = Running::start(name, class);
        test(&mut running, class);
        running.stop();
    }
}
