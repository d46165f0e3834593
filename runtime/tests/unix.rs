//! The Unix socket types: what std's promise, on std's and on ours, and what only ours do.

mod of_std {
    use std::os::unix::net::{Incoming, UnixDatagram, UnixListener, UnixStream};

    use harness::unpatched::{on_os_threads as everywhere, start};

    include!("spec/unix_spec.rs");
}

mod ours {
    use greenpatch_runtime::net::unix::{Incoming, UnixDatagram, UnixListener, UnixStream};

    use harness::unpatched::{everywhere, start};

    include!("spec/unix_spec.rs");
}

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream as StdStream};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use greenpatch_runtime::net::{UnixDatagram, UnixListener};
use greenpatch_runtime::spawn;
use harness::unpatched::{everywhere, on_green_threads};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType};

/// A name that no other test uses.
fn fresh_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("greenpatch-{}-{number}", process::id())
}

#[test]
fn green_threads_and_os_threads_talk_over_ours() {
    on_green_threads(1, || {
        let address = SocketAddr::from_abstract_name(fresh_name()).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let clients = [0, 1, 2, 3].map(|n: u8| {
            let address = address.clone();
            thread::spawn(move || {
                let mut stream = StdStream::connect_addr(&address).unwrap();
                for _ in 0..100 {
                    stream.write_all(&[n]).unwrap();
                    let mut answer = [0];
                    stream.read_exact(&mut answer).unwrap();
                    assert_eq!(answer, [n]);
                }
            })
        });
        let echoes: Vec<_> = listener
            .incoming()
            .take(4)
            .map(|stream| {
                spawn(move || {
                    let mut stream = stream.unwrap();
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() {
                        stream.write_all(&byte).unwrap();
                    }
                })
            })
            .collect();
        echoes.into_iter().for_each(|echo| echo.join().unwrap());
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
    });
}

#[test]
fn a_sender_whose_path_fills_the_kernels_structure_goes_unnamed() {
    everywhere(|| {
        let directory = std::env::temp_dir().join(fresh_name());
        std::fs::create_dir(&directory).unwrap();
        let length = size_of::<libc::sockaddr_un>() - size_of::<libc::sa_family_t>();
        let rest = length - directory.as_os_str().len() - 1;
        let path = directory.join("x".repeat(rest));
        // std could not make this one.
        let sender = rustix::net::socket(AddressFamily::UNIX, SocketType::DGRAM, None).unwrap();
        rustix::net::bind(&sender, &SocketAddrUnix::new(&path).unwrap()).unwrap();

        let name = fresh_name();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let ours = UnixDatagram::bind_addr(&address).unwrap();
        let to = SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
        rustix::net::sendto(&sender, b"hello", SendFlags::empty(), &to).unwrap();
        let (length, from) = ours.recv_from(&mut [0; 10]).unwrap();
        assert!(length == 5 && from.is_unnamed());
        std::fs::remove_dir_all(directory).unwrap();
    });
}
