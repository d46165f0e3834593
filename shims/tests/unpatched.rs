//! What is known of each function that a program may import from libc.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Barrier, Condvar, Mutex, Once, OnceLock, RwLock, mpsc};
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, thread};

use greenpatch_shims::{Behaviour, Known, SYMBOLS, Symbol, UNPATCHED, known};
use object::{Object, ObjectSymbol};

/// Uses std as far as it could call what blocks; it runs, too, so that nothing of it is left out.
fn use_std() -> std::io::Result<()> {
    let listener = TcpListener::bind("localhost:0")?;
    let address = listener.local_addr()?;
    let client = thread::spawn(move || -> std::io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(60))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.write_all(b"x")?;
        stream.shutdown(std::net::Shutdown::Write)
    });
    let (mut stream, _) = listener.accept()?;
    let mut buffer = Vec::new();
    stream.peek(&mut [0])?;
    stream.read_to_end(&mut buffer)?;
    client.join().expect("the client does not panic")?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.send_to(b"x", socket.local_addr()?)?;
    socket.recv_from(&mut [0])?;
    let (mut one, mut other) = UnixStream::pair()?;
    one.write_all(b"x")?;
    other.read_exact(&mut [0])?;
    let (mut reader, mut writer) = std::io::pipe()?;
    writer.write_all(b"x")?;
    reader.read_exact(&mut [0])?;

    let directory = env::temp_dir().join(format!("greenpatch-std-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let file = directory.join("file");
    fs::write(&file, "text")?;
    fs::copy(&file, directory.join("copy"))?;
    fs::rename(directory.join("copy"), directory.join("renamed"))?;
    fs::hard_link(&file, directory.join("link"))?;
    let opened = fs::OpenOptions::new().read(true).append(true).open(&file)?;
    opened.lock_shared()?;
    opened.sync_all()?;
    opened.set_len(1)?;
    opened.set_modified(SystemTime::now())?;
    std::os::unix::fs::FileExt::read_at(&opened, &mut [0], 0)?;
    fs::read_dir(&directory)?.count();
    fs::canonicalize(&directory)?;
    fs::symlink_metadata(&file)?;
    fs::remove_dir_all(&directory)?;

    let output = Command::new("true").output()?;
    assert!(output.status.success());
    let mut child = Command::new("cat")
        .stdin(std::process::Stdio::piped())
        .spawn()?;
    drop(child.stdin.take());
    child.try_wait()?;
    child.wait()?;

    static ONCE: Once = Once::new();
    static CELL: OnceLock<u32> = OnceLock::new();
    ONCE.call_once(|| {});
    CELL.get_or_init(|| 1);
    let pair = Arc::new((
        Mutex::new(0),
        Condvar::new(),
        RwLock::new(0),
        Barrier::new(1),
    ));
    let guard = pair.0.lock().expect("nobody panics");
    let (guard, _) = pair
        .1
        .wait_timeout(guard, Duration::from_millis(1))
        .expect("nobody panics");
    drop(guard);
    drop((pair.2.read(), pair.2.try_write()));
    pair.3.wait();
    let (sender, receiver) = mpsc::sync_channel(1);
    sender.send(Instant::now()).expect("it is received");
    receiver.recv().expect("it was sent");
    thread::park_timeout(Duration::from_millis(1));
    thread::yield_now();
    thread::scope(|scope| {
        scope
            .spawn(|| thread::sleep(Duration::from_millis(1)))
            .join()
    })
    .expect("it does not panic");
    std::io::stdout().write_all(b"")?;
    std::io::stdout().flush()
}

/// The functions that a program imports from the C library.
fn imports(path: &Path) -> BTreeSet<String> {
    let data = fs::read(path).unwrap();
    let file = object::File::parse(&*data).unwrap();
    file.dynamic_symbols()
        .filter(|symbol| symbol.is_undefined())
        .map(|symbol| symbol.name().unwrap().to_owned())
        .filter(|name| {
            !name.is_empty() && !name.starts_with("_Unwind_") && !name.starts_with("__gcc_")
        })
        .collect()
}

#[test]
fn everything_that_std_imports_is_known() {
    use_std().unwrap();
    let unknown: Vec<_> = imports(&env::current_exe().unwrap())
        .into_iter()
        .filter(|name| known(name).is_none())
        .collect();
    assert!(
        unknown.is_empty(),
        "add to the tables of symbols.rs or unpatched.rs, or to never_blocking.txt: {unknown:?}"
    );
}

#[test]
fn the_functions_that_block_are_known_as_such() {
    assert!(matches!(known("recv"), Some(Known::Patched(_))));
    assert!(matches!(known("fgetc"), Some(Known::Unpatched(_))));
    assert!(matches!(known("strlen"), Some(Known::NeverBlocks)));
    assert!(known("no_such_function").is_none());
}

#[test]
fn no_function_is_named_twice() {
    let mut seen = BTreeSet::new();
    for name in UNPATCHED.iter().flat_map(|row| row.names()) {
        assert!(seen.insert(name), "{name} is in two rows of unpatched.rs");
    }
    let never = include_str!("../src/never_blocking.txt");
    let waits =
        |symbol: &&Symbol| !matches!(symbol.behaviour, Behaviour::Tells | Behaviour::Answers);
    seen.extend(SYMBOLS.iter().filter(waits).map(|symbol| symbol.name));
    for name in never.lines() {
        assert!(seen.insert(name), "{name} blocks, and never blocks");
    }
    assert!(never.lines().is_sorted());
}

/// The table as LIMITATIONS.md has it, one row for each of [`UNPATCHED`].
fn table() -> String {
    let mut table = "| functions | wait for | remedy |\n|---|---|---|\n".to_owned();
    for row in UNPATCHED {
        let names: Vec<_> = row.names().collect();
        if !names.is_empty() {
            let names = names.join(" ");
            table += &format!("| {names} | {} | {} |\n", row.waits_for, row.remedy);
        }
    }
    table
}

#[test]
fn limitations_md_ends_with_the_functions_that_can_block() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../LIMITATIONS.md");
    let text = fs::read_to_string(path).unwrap();
    let table = table();
    assert!(
        text.ends_with(&table),
        "LIMITATIONS.md should end with\n{table}"
    );
}
