//! Clients that hold on to a connection without using it do not keep others out.

#[macro_use]
mod server;

use std::fs::{self, File};
use std::time::{Duration, Instant};

use harness::Directory;
use server::{Client, Server};

/// A client that never finishes its head.
fn unfinished(server: &Server) -> Client {
    let mut client = Client::connect(server);
    client.send("GET / HTTP/1.1\r\nHost: test\r\nX-Slow: ");
    client
}

#[test]
fn sync_goes_on_after_the_header_timeout() {
    let server = Server::start(&["-k", "sync", "--app", "plain", "--header-timeout", "0.5"]);
    let mut slow = unfinished(&server);
    assert_eq!(Client::connect(&server).get().status, 200);
    assert_eq!(slow.receive().status, 408);
}

/// The time-out is for the whole head: a client that sends a byte now and then gains nothing.
#[test]
fn sync_goes_on_though_bytes_keep_trickling_in() {
    let server = Server::start(&["-k", "sync", "--app", "plain", "--header-timeout", "0.5"]);
    let mut slow = unfinished(&server);
    let slow = std::thread::spawn(move || {
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(150));
            slow.send("x");
        }
        slow.receive().status
    });
    assert_eq!(Client::connect(&server).get().status, 200);
    assert_eq!(
        slow.join()
            .expect("the server does not reset the connection"),
        408
    );
}

#[test]
fn gthread_lets_no_idle_connection_keep_a_thread_from_others() {
    let arguments = [
        "-k",
        "gthread",
        "--threads",
        "2",
        "--app",
        "plain",
        "--keep-alive",
        "60",
    ];
    let server = Server::start(&arguments);
    let mut idle = [Client::connect(&server), Client::connect(&server)];
    for client in &mut idle {
        assert_eq!(client.get().status, 200);
    }
    let began = Instant::now();
    assert_eq!(Client::connect(&server).get().status, 200);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn gthread_shares_its_threads_among_busy_connections() {
    let arguments = ["-k", "gthread", "--threads", "1", "--app", "plain"];
    let server = Server::start(&arguments);
    let mut clients = [Client::connect(&server), Client::connect(&server)];
    for _ in 0..10 {
        for client in &mut clients {
            let response = client.get();
            assert_eq!(
                (response.status, response.field("connection")),
                (200, None),
                "a connection holds no thread, so none has to end for another"
            );
        }
    }
}

#[test]
fn green_serves_others_while_hundreds_are_slow() {
    serves_others_while_hundreds_are_slow(&["-k", "green", "--patch", "none"]);
}

#[test]
fn event_loop_serves_others_while_hundreds_are_slow() {
    serves_others_while_hundreds_are_slow(&["-k", "async"]);
}

/// The slow ones have longer than others wait for an answer.
fn serves_others_while_hundreds_are_slow(class: &[&str]) {
    let server = Server::start(&[class, &["--app", "plain", "--header-timeout", "60"]].concat());
    let slow: Vec<Client> = (0..300).map(|_| unfinished(&server)).collect();
    assert_eq!(Client::connect(&server).get().status, 200);
    drop(slow);
}

in_each_class! { {
    gthread: ["-k", "gthread", "--threads", "1"],
    green: ["-k", "green"],
    event_loop: ["-k", "async"],
} {
    a_client_that_takes_nothing_is_cut_off_after_the_write_timeout
    a_client_that_pauses_for_longer_than_an_idle_one_may_gets_all_of_its_answer
    slow_content_holds_no_thread
} }

/// It holds the only place there is, and until then the other one waits.
fn a_client_that_takes_nothing_is_cut_off_after_the_write_timeout(class: &[&str]) {
    // More than the buffers of both sides hold.
    const LENGTH: usize = 12 * 1024 * 1024;
    let arguments = [
        "--app",
        "echo",
        "--write-timeout",
        "0.5",
        "--worker-connections",
        "1",
    ];
    let server = Server::start(&[class, &arguments].concat());
    let mut greedy = Client::connect(&server);
    greedy.send(format!(
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {LENGTH}\r\n\r\n"
    ));
    greedy.send(vec![b'x'; LENGTH]);
    let mut other = Client::connect(&server);
    other.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(other.receive().content, "ok");
}

/// The handler is done with it long before the client is.
fn a_client_that_pauses_for_longer_than_an_idle_one_may_gets_all_of_its_answer(class: &[&str]) {
    // More than the buffers of both sides hold.
    const LENGTH: usize = 12 * 1024 * 1024;
    let server = Server::start(&[class, &["--app", "echo", "--keep-alive", "0.2"]].concat());
    let mut client = Client::connect(&server);
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {LENGTH}\r\n\r\n"
    ));
    client.send(vec![b'x'; LENGTH]);
    // An idle connection is closed after 0.2 s, and cut off after 5 more.
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(client.receive().content.len(), LENGTH);
}

fn slow_content_holds_no_thread(class: &[&str]) {
    let server = Server::start(&[class, &["--app", "echo"]].concat());
    let mut slow: Vec<Client> = (0..20).map(|_| Client::connect(&server)).collect();
    for client in &mut slow {
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nsl");
    }
    let mut quick = Client::connect(&server);
    quick.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nquick");
    assert_eq!(quick.receive().content, "quick");
    for client in &mut slow {
        client.send("ow");
        assert_eq!(client.receive().content, "slow");
    }
}

#[test]
fn green_accepts_no_more_than_worker_connections() {
    let arguments = ["-k", "green", "--app", "plain", "--worker-connections", "2"];
    let server = Server::start(&arguments);
    let mut first = Client::connect(&server);
    let mut second = Client::connect(&server);
    assert_eq!(first.get().status, 200);
    assert_eq!(second.get().status, 200);
    let mut third = Client::connect(&server);
    third.send_get();
    drop(first);
    assert_eq!(third.receive().status, 200);
}

/// Nobody leaves, and no time-out comes to help.
#[test]
fn the_connection_that_is_idle_for_longest_makes_room_for_a_newcomer() {
    for class in ["gthread", "green", "async"] {
        let server = Server::start(&[
            "-k",
            class,
            "--app",
            "plain",
            "--worker-connections",
            "2",
            "--keep-alive",
            "600",
            "--header-timeout",
            "600",
        ]);
        let mut first = Client::connect(&server);
        assert_eq!(first.get().status, 200);
        let mut second = Client::connect(&server);
        assert_eq!(second.get().status, 200);
        let mut third = Client::connect(&server);
        assert_eq!(third.get().status, 200, "{class}");
        first.expect_end();
        assert_eq!(second.get().status, 200, "{class}");
        // A head that has begun keeps its place.
        second.send("GET / HTTP/1.1\r\n");
        let mut fourth = Client::connect(&server);
        assert_eq!(fourth.get().status, 200, "{class}");
        third.expect_end();
        second.send("Host: test\r\n\r\n");
        assert_eq!(second.receive().status, 200, "{class}");
    }
}

/// The pool has one thread, and nobody leaves.
#[test]
fn gthread_holds_no_thread_for_clients_that_do_not_read_a_file() {
    let directory = Directory::new();
    let large = File::create(directory.path().join("large")).expect("a file");
    large.set_len(64 << 20).expect("it can be long");
    fs::write(directory.path().join("small"), "small").expect("a file");
    let path = directory.path().to_str().expect("ASCII");
    let arguments = ["-k", "gthread", "--threads", "1", "--write-timeout", "600"];
    let server = Server::start(&[&arguments[..], &["files", path]].concat());
    let mut slow: Vec<Client> = (0..8).map(|_| Client::connect(&server)).collect();
    for client in &mut slow {
        client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(client.receive_head().status, 200);
    }
    let mut other = Client::connect(&server);
    other.send("GET /small HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(other.receive().content, "small");
}
