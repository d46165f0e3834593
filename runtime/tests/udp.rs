//! `UdpSocket`: what std's promises, on std's and on ours, and what only ours does.

mod of_std {
    use std::net::UdpSocket;

    use harness::unpatched::{on_os_threads as everywhere, start};

    include!("spec/udp_spec.rs");
}

mod ours {
    use greenpatch_runtime::net::UdpSocket;

    use harness::unpatched::{everywhere, start};

    include!("spec/udp_spec.rs");
}

use std::thread;

use greenpatch_runtime::net::UdpSocket;
use greenpatch_runtime::spawn;
use harness::unpatched::on_green_threads;

#[test]
fn green_threads_and_os_threads_talk_over_ours() {
    on_green_threads(1, || {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let echo = spawn(move || {
            for _ in 0..400 {
                let mut byte = [0];
                let (_, peer) = server.recv_from(&mut byte).unwrap();
                server.send_to(&byte, peer).unwrap();
            }
        });
        let ask = move || {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.connect(address).unwrap();
            for n in 0..100 {
                let mut answer = [0];
                client.send(&[n]).unwrap();
                client.recv(&mut answer).unwrap();
                assert_eq!(answer, [n]);
            }
        };
        let (os, green) = (
            [0, 1].map(|_| thread::spawn(ask)),
            [0, 1].map(|_| spawn(ask)),
        );
        green.into_iter().for_each(|thread| thread.join().unwrap());
        echo.join().unwrap();
        os.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
