//! Code that is written for Tokio's streams reads and writes sockets of this runtime (feature `tokio`).

use std::io;

use futures::future::join3;
use greenpatch_runtime::future::{AsyncFd, Handle, block_on};
use greenpatch_runtime::net::UnixStream;
use greenpatch_runtime::run;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional, join};

fn pair() -> io::Result<(AsyncFd<UnixStream>, AsyncFd<UnixStream>)> {
    let (one, other) = UnixStream::pair()?;
    Ok((AsyncFd::new(one)?, AsyncFd::new(other)?))
}

#[test]
fn bytes_go_through_both_ways_until_both_ends_are_shut() {
    run(|| {
        let (mut client, mut front) = pair()?;
        let (mut back, mut server) = pair()?;
        let sent = vec![7; 1 << 20];
        let relay = async { copy_bidirectional(&mut front, &mut back).await };
        let echo = async {
            let mut request = Vec::new();
            server.read_to_end(&mut request).await?;
            server.write_all(&request).await?;
            server.shutdown().await
        };
        let ask = async {
            client.write_all(&sent).await?;
            client.shutdown().await?;
            let mut response = Vec::new();
            client.read_to_end(&mut response).await?;
            io::Result::Ok(response)
        };
        let (relayed, echoed, response) = block_on(join3(relay, echo, ask));
        echoed?;
        assert_eq!(relayed?, (1 << 20, 1 << 20));
        assert!(response? == sent);
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn a_shared_socket_is_read_and_written_at_once() {
    run(|| {
        let (ours, theirs) = pair()?;
        block_on(async {
            let mut ours = join(&ours, &ours);
            let mut theirs = &theirs;
            theirs.write_all(b"ping").await?;
            let mut buffer = [0; 4];
            ours.read_exact(&mut buffer).await?;
            assert_eq!(&buffer, b"ping");
            let parts = [io::IoSlice::new(b"po"), io::IoSlice::new(b"ng")];
            assert_eq!(ours.write_vectored(&parts).await?, 4);
            theirs.read_exact(&mut buffer).await?;
            assert_eq!(&buffer, b"pong");
            io::Result::Ok(())
        })
    })
    .unwrap();
}

#[test]
fn a_thread_of_tokio_polls_it_too() {
    run(|| {
        let handle = Handle::current()?;
        let (ours, theirs) = UnixStream::pair()?;
        let echo = std::thread::spawn(move || {
            let tokio = tokio::runtime::Builder::new_current_thread().build()?;
            tokio.block_on(async {
                let mut ours = handle.async_fd(ours)?;
                let mut text = String::new();
                ours.read_to_string(&mut text).await?;
                ours.write_all(text.as_bytes()).await?;
                ours.shutdown().await
            })
        });
        let mut theirs = AsyncFd::new(theirs)?;
        let text = block_on(async {
            theirs.write_all(b"hello").await?;
            theirs.shutdown().await?;
            let mut text = String::new();
            theirs.read_to_string(&mut text).await?;
            io::Result::Ok(text)
        })?;
        assert_eq!(text, "hello");
        echo.join().unwrap()
    })
    .unwrap();
}
