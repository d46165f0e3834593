//! Servers of their own for each test: in a new directory, on a free port, gone with the value.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use harness::{free_port, npm};
use tempfile::TempDir;

/// How long a server may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server under way.
pub struct Server {
    process: Child,
    directory: TempDir,
    port: u16,
}

impl Server {
    /// redis-server, which keeps nothing.
    pub fn redis() -> Server {
        Server::start("redis-server", Account::own(), |_, port| {
            let mut command = Command::new("redis-server");
            command.args([
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--port",
                &port.to_string(),
            ]);
            command
        })
    }

    /// A PostgreSQL cluster whose user `postgres` needs no password.
    pub fn postgres() -> Server {
        let programs = postgres_programs();
        Server::start(
            "postgres",
            Account::for_server("postgres"),
            |directory, port| {
                let data = directory.join("data");
                let mut initdb = Command::new(programs.join("initdb"));
                initdb
                    .args([
                        "--no-sync",
                        "--username=postgres",
                        "--auth=trust",
                        "--no-instructions",
                    ])
                    .arg("--pgdata")
                    .arg(&data);
                Account::for_server("postgres").run(initdb, directory);
                let mut command = Command::new(programs.join("postgres"));
                command
                    .args(["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"])
                    .args(["-p", &port.to_string()])
                    .arg("-k")
                    .arg(directory)
                    .arg("-D")
                    .arg(data);
                command
            },
        )
    }

    /// A MariaDB whose user `root` needs no password.
    pub fn mariadb() -> Server {
        Server::start(
            "mariadbd",
            Account::for_server("mysql"),
            |directory, port| {
                let data = directory.join("data");
                let mut install = Command::new("mariadb-install-db");
                install
                    .args(["--no-defaults", "--auth-root-authentication-method=normal"])
                    .arg("--skip-test-db")
                    .arg(format!("--datadir={}", data.display()));
                Account::for_server("mysql").run(install, directory);
                let mut command = Command::new("mariadbd");
                command
                    .args([
                        "--no-defaults",
                        "--bind-address=127.0.0.1",
                        "--skip-name-resolve",
                    ])
                    .arg(format!("--port={port}"))
                    .arg(format!("--datadir={}", data.display()))
                    .arg(format!("--socket={}", directory.join("socket").display()));
                command
            },
        )
    }

    /// An S3-compatible store with one bucket, whose key and secret are both `S3RVER`.
    pub fn s3(bucket: &str) -> Server {
        Server::start("s3rver", Account::own(), |directory, port| {
            let mut command = Command::new(s3rver());
            command
                .args(["--address", "127.0.0.1", "--port", &port.to_string()])
                .arg("--directory")
                .arg(directory)
                .args(["--configure-bucket", bucket]);
            command
        })
    }

    /// The port of 127.0.0.1 on which it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn start(name: &str, account: Account, command: impl FnOnce(&Path, u16) -> Command) -> Server {
        let directory =
            TempDir::with_prefix(format!("greenpatch-{name}-")).expect("a directory can be made");
        account.give(directory.path());
        let port = free_port();
        let mut command = command(directory.path(), port);
        account.apply(&mut command);
        let log = directory.path().join("log");
        let process = command
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(File::create(&log).expect("the directory is ours"))
            .stderr(
                File::options()
                    .append(true)
                    .open(&log)
                    .expect("it is there"),
            )
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{name} cannot be started ({error}); install it, as tests/run does")
            });
        let mut server = Server {
            process,
            directory,
            port,
        };
        server.wait_until_it_listens(name);
        server
    }

    fn wait_until_it_listens(&mut self, name: &str) {
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.process.try_wait().expect("our child");
            if ended.is_some() || start.elapsed() > PATIENCE {
                let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
                panic!("{name} does not come up ({ended:?}); it says:\n{log}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whose rights a server has: PostgreSQL refuses root's.
#[derive(Clone, Copy)]
struct Account(Option<(u32, u32)>);

impl Account {
    fn own() -> Account {
        Account(None)
    }

    /// The account that the server's package has made, if we may use it.
    fn for_server(name: &str) -> Account {
        // SAFETY: always sound.
        if unsafe { libc::geteuid() } != 0 {
            return Account::own();
        }
        let users = fs::read_to_string("/etc/passwd").expect("it is there");
        let fields: Vec<_> = users
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields[0] == name)
            .unwrap_or_else(|| {
                panic!("there is no user {name}; install the server, as tests/run does")
            });
        let number = |index: usize| fields[index].parse().expect("a number");
        Account(Some((number(2), number(3))))
    }

    fn give(self, directory: &Path) {
        if let Account(Some((user, group))) = self {
            chown(directory, Some(user), Some(group)).expect("we are root");
        }
        fs::set_permissions(directory, Permissions::from_mode(0o700)).expect("it is ours");
    }

    /// Lets the command run with these rights, and end with the thread that starts it.
    fn apply(self, command: &mut Command) {
        if let Account(Some((user, group))) = self {
            command.uid(user).gid(group);
        }
        // SAFETY: the system call is all that happens in the child.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
    }

    fn run(self, mut command: Command, directory: &Path) {
        self.apply(&mut command);
        let output = command
            .current_dir(directory)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| {
                panic!(
                    "{:?} cannot be started ({error}); install it, as tests/run does",
                    command.get_program()
                )
            });
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// It comes from npm, and is kept among what tests write.
fn s3rver() -> PathBuf {
    npm::installed("s3rver", &["s3rver@3.7.1"]).join("node_modules/.bin/s3rver")
}

/// Debian keeps them off the search path.
fn postgres_programs() -> PathBuf {
    fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .filter(|programs| programs.join("postgres").exists())
        .max()
        .unwrap_or_default()
}
