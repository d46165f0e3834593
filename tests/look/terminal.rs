//! A terminal that a test types on and looks at, by tmux.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{GREENPATCH, Scratch};

/// How long what a test waits for may take to appear.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is printed behind the command when that has ended.
pub(crate) const END: &str = "ended with";

/// A terminal in which `greenpatch` runs; gone when dropped.
pub(crate) struct Terminal {
    /// The name of the tmux server, which only this terminal has.
    server: String,
    scratch: Scratch,
}

impl Terminal {
    /// Runs `greenpatch` with these arguments and variables on a terminal of 80 columns and 24 lines. When it has ended, its
    /// exit status and the terminal's settings are printed.
    pub(crate) fn run(variables: &[&str], arguments: &[&str]) -> Terminal {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let terminal = Terminal {
            server: format!("greenpatch-{}-{number}", std::process::id()),
            scratch: Scratch::new(),
        };
        let script = terminal.scratch.file(
            "script.sh",
            format!(
                "cd {}\nenv {} sh -c 'echo $$ >pid; exec {GREENPATCH} {}'\necho {END} $?\nstty -a | grep -oE -e '-?(icanon|echo)( |$)'\ncat\n",
                terminal.scratch.path().display(),
                variables.join(" "),
                arguments.join(" "),
            ),
        );
        let script = format!("sh {}", script.display());
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
            &script,
        ]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-L", &self.server])
            .args(arguments)
            .env_remove("TMUX")
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .output()
            .expect("tmux is installed, as tests/run does");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {arguments:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Types keys, by the names that tmux gives them.
    pub(crate) fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types text.
    pub(crate) fn write(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    pub(crate) fn resize(&self, columns: u16, lines: u16) {
        let (columns, lines) = (columns.to_string(), lines.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &lines]);
    }

    /// What is on the screen.
    pub(crate) fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The same with colours, as escape sequences.
    pub(crate) fn coloured(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// What tmux knows of the terminal by this name.
    pub(crate) fn property(&self, name: &str) -> String {
        let format = format!("#{{{name}}}");
        self.tmux(&["display-message", "-p", &format])
            .trim()
            .to_owned()
    }

    /// Waits until the screen is so, and gives it.
    #[track_caller]
    pub(crate) fn until(&self, is_so: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let screen = self.screen();
            if is_so(&screen) {
                return screen;
            }
            assert!(start.elapsed() < PATIENCE, "the screen stays\n{screen}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until all these texts are on the screen, and gives it.
    #[track_caller]
    pub(crate) fn until_shown(&self, texts: &[&str]) -> String {
        self.until(|screen| texts.iter().all(|text| screen.contains(text)))
    }

    /// The command's process.
    pub(crate) fn pid(&self) -> Pid {
        let path = self.scratch.path().join("pid");
        let pid = std::fs::read_to_string(path).expect("it has begun");
        let pid = Pid::from_raw(pid.trim().parse().expect("a number"));
        pid.expect("not 0")
    }

    /// Sends the command a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .args(["-L", &self.server, "kill-server"])
            .output();
    }
}
