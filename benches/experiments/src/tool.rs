//! What the experiments need, set up by themselves: our programs and the peers' are built, Python's are installed in virtual
//! environments of their own, what Debian has comes from there. What cannot be had is told with the reason, and its servers have no figures.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::place::Place;

/// Something that must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Tool {
    /// Our programs.
    Ours,
    /// The Rust peers.
    Peers,
    /// Go's peer.
    Go,
    /// Ruby's server.
    Puma,
    /// The directory of Java's classes.
    Java,
    /// The virtual environment with gunicorn 25, and all that works with it.
    Gunicorn25,
    /// That with gunicorn 19.
    Gunicorn19,
    /// The load.
    Wrk,
    Ab,
}

impl Tool {
    /// What is told while it is set up.
    fn name(self) -> &'static str {
        match self {
            Tool::Ours => "our programs",
            Tool::Peers => "the Rust peers",
            Tool::Go => "Go's peer",
            Tool::Puma => "puma",
            Tool::Java => "Java's peer",
            Tool::Gunicorn25 => "gunicorn 25, Sanic, Granian",
            Tool::Gunicorn19 => "gunicorn 19",
            Tool::Wrk => "wrk",
            Tool::Ab => "ab",
        }
    }
}

/// What was found or made, each once: a directory of programs, or a program.
pub(crate) struct Workshop {
    place: Place,
    known: HashMap<Tool, Result<PathBuf, String>>,
}

impl Workshop {
    pub(crate) fn new(place: Place) -> Workshop {
        Workshop {
            place,
            known: HashMap::new(),
        }
    }

    /// Where the tool is; sets it up the first time.
    pub(crate) fn get(&mut self, tool: Tool) -> Result<PathBuf, String> {
        if let Some(known) = self.known.get(&tool) {
            return known.clone();
        }
        let outcome = self.set_up(tool);
        if let Err(reason) = &outcome {
            eprintln!("{} cannot be had: {reason}", tool.name());
        }
        self.known.insert(tool, outcome.clone());
        outcome
    }

    /// What came of setting it up, if that was tried.
    pub(crate) fn known(&self, tool: Tool) -> Option<&Result<PathBuf, String>> {
        self.known.get(&tool)
    }

    fn set_up(&self, tool: Tool) -> Result<PathBuf, String> {
        let place = &self.place;
        match tool {
            Tool::Ours => self.ours(),
            Tool::Peers => {
                let directory = place.work.join("peers");
                let manifest = place.package.join("peers/Cargo.toml");
                tell(tool);
                let mut cargo = cargo(place);
                cargo.args([
                    "build",
                    "--release",
                    "--quiet",
                    "--locked",
                    "--manifest-path",
                ]);
                run(cargo.arg(manifest).arg("--target-dir").arg(&directory))?;
                Ok(directory.join("release/greenpatch-peers"))
            }
            Tool::Go => {
                debian("go", "golang-go")?;
                tell(tool);
                let program = place.work.join("go-hello");
                let mut go = Command::new("go");
                go.args(["build", "-o"])
                    .arg(&program)
                    .arg(place.package.join("go/hello.go"));
                run(&mut go)?;
                Ok(program)
            }
            Tool::Puma => debian("puma", "puma"),
            Tool::Java => {
                debian("javac", "default-jdk-headless")?;
                tell(tool);
                let classes = place.work.join("java");
                let source = place.package.join("java/Text.java");
                run(Command::new("javac").arg("-d").arg(&classes).arg(source))?;
                Ok(classes)
            }
            Tool::Gunicorn25 => self.environment(tool, "gunicorn-25", Path::new("python3")),
            Tool::Gunicorn19 => {
                let python = old_python().ok_or(
                    "its eventlet needs Python 3.9 or older, and neither a python3.9, python3.8 or python3.7 is there nor pyenv's",
                )?;
                self.environment(tool, "gunicorn-19", &python)
            }
            Tool::Wrk => debian("wrk", "wrk"),
            Tool::Ab => debian("ab", "apache2-utils"),
        }
    }

    /// The directory of our programs.
    fn ours(&self) -> Result<PathBuf, String> {
        let place = &self.place;
        if let Some(directory) = &place.built {
            return Ok(directory.clone());
        }
        tell(Tool::Ours);
        let mut cargo = cargo(place);
        cargo.args(["build", "--release", "--quiet", "--bins"]);
        cargo.args([
            "-p",
            "greenpatch-server",
            "-p",
            "greenpatch-experiments-ours",
        ]);
        run(&mut cargo)?;
        Ok(place.target.join("release"))
    }

    /// A virtual environment with the packages that a file of `python/` lists; made anew when that has changed.
    fn environment(&self, tool: Tool, name: &str, python: &Path) -> Result<PathBuf, String> {
        let wanted = self.place.package.join(format!("python/{name}.txt"));
        let directory = self.place.work.join(format!("python-{name}"));
        let installed = directory.join("requirements.txt");
        let programs = directory.join("bin");
        let text = |path: &Path| fs::read_to_string(path).ok();
        if text(&installed).is_some() && text(&installed) == text(&wanted) {
            return Ok(programs);
        }
        tell(tool);
        run(Command::new(python)
            .args(["-m", "venv", "--clear"])
            .arg(&directory))?;
        let mut pip = Command::new(programs.join("pip"));
        pip.args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--requirement",
        ]);
        run(pip.arg(&wanted))?;
        fs::copy(&wanted, &installed).map_err(|error| error.to_string())?;
        Ok(programs)
    }
}

fn tell(tool: Tool) {
    eprintln!("setting up {}", tool.name());
}

fn cargo(place: &Place) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(&place.repository);
    cargo
}

/// A program of Debian's, installed if it is not there.
fn debian(program: &str, package: &str) -> Result<PathBuf, String> {
    if let Some(path) = find(program) {
        return Ok(path);
    }
    eprintln!("installing {package}");
    let mut words = vec![
        "apt-get",
        "install",
        "-y",
        "-q",
        "--no-install-recommends",
        package,
    ];
    if !rustix::process::getuid().is_root() {
        words.splice(0..0, ["sudo", "-n"]);
    }
    run(Command::new(words[0])
        .args(&words[1..])
        .env("DEBIAN_FRONTEND", "noninteractive"))?;
    find(program).ok_or_else(|| format!("Debian's {package} has no {program}"))
}

/// A program that the search path leads to.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

/// A Python that is old enough for gunicorn 19 and the eventlet of its time.
fn old_python() -> Option<PathBuf> {
    let home = env::var_os("PYENV_ROOT").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".pyenv")))?;
    let versions = fs::read_dir(home.join("versions"))
        .into_iter()
        .flatten()
        .flatten();
    let of_pyenv: Vec<PathBuf> = versions
        .map(|version| version.path().join("bin/python3"))
        .collect();
    ["3.9", "3.8", "3.7"].iter().find_map(|version| {
        let is_it = |path: &&PathBuf| {
            path.to_string_lossy()
                .contains(&format!("versions/{version}."))
        };
        let installed = find(&format!("python{version}"));
        // What pyenv puts into the search path is no Python, and may lead to none.
        let installed = installed.filter(|path| !path.to_string_lossy().contains("shims"));
        installed.or_else(|| of_pyenv.iter().find(is_it).cloned())
    })
}

/// Runs a command; its output comes into the error.
fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run {}: {error}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.trim().lines().collect();
    let last = lines[lines.len().saturating_sub(3)..].join(" | ");
    Err(format!(
        "{} ended with {}: {last}",
        command.get_program().display(),
        output.status
    ))
}
