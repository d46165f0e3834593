//! What is known of each function that a program may import from libc.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Barrier, Condvar, Mutex, Once, OnceLock, RwLock, mpsc};
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, thread};

use greenpatch_shims::{Behaviour, Known, SYMBOLS, Symbol, UNPATCHED, known};
use object::elf::STT_OBJECT;
use object::read::elf::{ElfFile64, Sym};
use object::{Endianness, Object, ObjectSymbol};

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

/// Uses the rest of std that calls libc, as far as it can be linked: this is never run.
fn refer_to_std() -> std::io::Result<()> {
    use std::io::{IoSlice, IoSliceMut, IsTerminal, Seek, SeekFrom};
    use std::os::fd::AsFd;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::fs as unix;
    use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
    use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
    use std::os::unix::process::{CommandExt, parent_id};

    let seconds = Some(Duration::from_secs(1));
    let path = Path::new("/nowhere");
    let abstract_address = SocketAddr::from_abstract_name("nowhere")?;

    let listener = UnixListener::bind(path)?;
    UnixListener::bind_addr(&abstract_address)?.set_nonblocking(true)?;
    let (mut stream, _) = listener.accept()?;
    listener.try_clone()?.take_error()?;
    stream.set_read_timeout(seconds)?;
    stream.read_timeout()?;
    drop(stream.read_vectored(&mut [IoSliceMut::new(&mut [0])]));
    drop(stream.write_vectored(&[IoSlice::new(b"x")]));
    UnixStream::connect_addr(&abstract_address)?.peer_addr()?;
    let datagram = UnixDatagram::bind(path)?;
    UnixDatagram::unbound()?.connect(path)?;
    UnixDatagram::pair()?.0.set_write_timeout(seconds)?;
    datagram.send_to(b"x", path)?;
    datagram.send_to_addr(b"x", &abstract_address)?;
    datagram.send(b"x")?;
    datagram.recv_from(&mut [0])?;
    datagram.recv(&mut [0])?;
    datagram.shutdown(std::net::Shutdown::Both)?;

    let stream = TcpStream::connect("localhost:1")?;
    stream.try_clone()?.set_ttl(stream.ttl()?)?;
    stream.nodelay()?;
    stream.take_error()?;
    stream.peer_addr()?;
    stream.set_nonblocking(true)?;
    let socket = UdpSocket::bind("localhost:0")?;
    socket.connect("localhost:1")?;
    socket.send(b"x")?;
    socket.peek_from(&mut [0])?;
    socket.recv(&mut [0])?;
    socket.set_broadcast(socket.broadcast()?)?;
    let (four, six) = (std::net::Ipv4Addr::LOCALHOST, std::net::Ipv6Addr::LOCALHOST);
    socket.join_multicast_v4(&four, &four)?;
    socket.leave_multicast_v6(&six, 0)?;
    socket.set_multicast_loop_v4(socket.multicast_loop_v4()?)?;

    let mut file = fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    file.stream_position()?;
    drop(file.read_vectored(&mut [IoSliceMut::new(&mut [0])]));
    drop(file.write_vectored(&[IoSlice::new(b"x")]));
    file.write_at(b"x", 0)?;
    file.read_exact_at(&mut [0], 0)?;
    file.sync_data()?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.set_times(fs::FileTimes::new().set_accessed(SystemTime::now()))?;
    file.metadata()?.created()?;
    file.is_terminal();
    file.try_clone()?;
    file.lock()?;
    drop(file.try_lock());
    file.unlock()?;
    file.as_fd().try_clone_to_owned()?;
    std::io::copy(&mut file, &mut fs::File::create_new(path)?)?;
    std::io::copy(&mut std::io::stdin(), &mut std::io::stderr())?;
    std::io::stdin().read_line(&mut String::new())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    fs::DirBuilder::new().mode(0o700).create(path)?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        entry.metadata()?;
        entry.file_type()?;
    }
    fs::read_link(path)?;
    fs::remove_file(path)?;
    fs::remove_dir(path)?;
    fs::exists(path)?;
    fs::metadata(path)?;
    unix::symlink(path, path)?;
    unix::chown(path, None, None)?;
    unix::fchown(&file, None, None)?;
    unix::lchown(path, None, None)?;
    unix::chroot(path)?;

    let mut command = Command::new("true");
    command.args(["x"]).env_clear().current_dir(path);
    command.uid(0).gid(0).process_group(0).arg0("x");
    // SAFETY: never run.
    unsafe { command.pre_exec(|| Ok(())) };
    let mut child = command.spawn()?;
    child.kill()?;
    child.wait_with_output()?;
    command.status()?;
    drop(command.exec());
    let _ = parent_id();

    env::set_current_dir(env::current_dir()?)?;
    // SAFETY: never run.
    unsafe { env::set_var("NAME", env::var("NAME").unwrap_or_default()) };
    // SAFETY: never run.
    unsafe { env::remove_var("NAME") };
    drop((env::home_dir(), env::temp_dir()));
    env::vars_os()
        .chain(env::args_os().zip(env::args_os()))
        .count();
    thread::Builder::new()
        .name("x".into())
        .stack_size(1 << 16)
        .spawn(thread::park)?;
    thread::available_parallelism()?;
    drop(std::collections::HashMap::<u8, u8>::new());
    drop(std::backtrace::Backtrace::force_capture().to_string());
    drop(SystemTime::now().elapsed());
    std::hint::black_box(std::process::id());
    if path.exists() {
        std::process::abort();
    }
    std::process::exit(0)
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
    std::hint::black_box(refer_to_std as fn() -> _);
    let unknown: Vec<_> = imports(&env::current_exe().unwrap())
        .into_iter()
        .filter(|name| known(name).is_none())
        .collect();
    assert!(
        unknown.is_empty(),
        "add to the tables of symbols.rs or unpatched.rs, or to never_blocking.txt: {unknown:?}"
    );
}

/// The C library that this program runs on, and the one that comes with it and holds more functions. Since glibc 2.34 all
/// others are empty.
fn c_libraries() -> Vec<PathBuf> {
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: the result is ours, and its name is a C string if the call succeeds.
    let libc = unsafe {
        let address = libc::gnu_get_libc_version as *const () as *const _;
        assert_ne!(libc::dladdr(address, info.as_mut_ptr()), 0);
        PathBuf::from(
            CStr::from_ptr(info.assume_init().dli_fname)
                .to_str()
                .unwrap(),
        )
    };
    let resolver = libc.with_file_name("libresolv.so.2");
    [libc, resolver]
        .into_iter()
        .filter(|path| path.exists())
        .collect()
}

/// The functions for which a program that is linked today can ask a library: not its data, nor what it has for old
/// programs alone or for other parts of the C library.
fn exports(path: &Path) -> BTreeSet<String> {
    let data = fs::read(path).unwrap();
    let file = ElfFile64::<Endianness>::parse(&*data).unwrap();
    let sections = file.elf_section_table();
    let versions = sections.versions(file.endian(), &*data).unwrap().unwrap();
    let symbols = file.elf_dynamic_symbol_table();
    let mut names = BTreeSet::new();
    for (index, symbol) in symbols.enumerate() {
        let version = versions.version_index(file.endian(), index);
        let is_old = version.is_hidden() || version.is_local();
        if symbol.is_undefined(file.endian()) || symbol.st_type() == STT_OBJECT || is_old {
            continue;
        }
        let version = versions.version(version.index()).unwrap();
        // The version itself is a symbol, too.
        if version.is_some_and(|version| version.name() != b"GLIBC_PRIVATE") {
            let name = symbols.symbol_name(file.endian(), symbol).unwrap();
            names.insert(str::from_utf8(name).unwrap().to_owned());
        }
    }
    names
}

/// What these make, a thread, a process or something between them, is up to their flags, so nothing is said of them.
const UP_TO_FLAGS: &[&str] = &["clone", "__clone"];

#[test]
fn every_function_of_the_c_library_is_known() {
    for library in c_libraries() {
        let exports = exports(&library);
        assert!(
            !exports.is_empty(),
            "{} has no functions",
            library.display()
        );
        let unknown: Vec<_> = exports
            .into_iter()
            .filter(|name| known(name).is_none() && !UP_TO_FLAGS.contains(&&**name))
            .collect();
        assert!(
            unknown.is_empty(),
            "{} exports functions that no table names. Find out of each whether it can wait, and add it: to \
             symbols.rs with a shim (an alias if it is another name of a function there), to the row of unpatched.rs \
             that says what it waits for, or to never_blocking.txt: {unknown:?}",
            library.display()
        );
    }
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

/// FUNCTIONS.md, with a section for each of [`UNPATCHED`].
fn functions_md() -> String {
    let mut page = FUNCTIONS_HEAD.to_owned();
    for row in UNPATCHED {
        let names: Vec<_> = row.names().collect();
        if names.is_empty() {
            continue;
        }
        page += &format!(
            "\n## What waits for {}\n\nInstead: {}.\n\n",
            row.waits_for, row.remedy,
        );
        for names in names.chunks(6) {
            page += &format!("`{}`\n", names.join("` `"));
        }
    }
    page
}

const FUNCTIONS_HEAD: &str = "\
# Every function that can block a worker

These functions of glibc can wait for something, and no shim stands in front of them. What they wait for is often short, or there
at once. `greenpatch doctor PROGRAM` tells which of them a program calls, and [LIMITATIONS.md](../LIMITATIONS.md) what it means that a
worker is blocked. The page is written from the table in `src/unpatched.rs`, and tested against it:

```console
$ GREENPATCH_WRITE_FUNCTIONS=1 cargo test -p greenpatch-shims --features patch --test unpatched
```
";

#[test]
fn functions_md_lists_the_functions_that_can_block() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/FUNCTIONS.md");
    let page = functions_md();
    if env::var_os("GREENPATCH_WRITE_FUNCTIONS").is_some() {
        fs::write(path, &page).unwrap();
    }
    let is_current = fs::read_to_string(path).is_ok_and(|text| text == page);
    assert!(
        is_current,
        "shims/FUNCTIONS.md is not what unpatched.rs says; run with GREENPATCH_WRITE_FUNCTIONS=1"
    );
}
