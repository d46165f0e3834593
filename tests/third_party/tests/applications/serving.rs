//! Servers of one worker in this process, and clients on OS threads.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};

use greenpatch_server::application::IntoApplication;
use greenpatch_server::{Server, Settings, StopHandle, WorkerClass};

/// A server under way; it stops when this is dropped.
pub(crate) struct Serving {
    address: SocketAddr,
    stop: StopHandle,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Serves on a free port.
    pub(crate) fn start<M>(
        class: WorkerClass,
        application: impl IntoApplication<M> + Send + 'static,
    ) -> Serving {
        let settings = Settings {
            worker_class: class,
            http2_streams: 2000,
            // Futures that were not optimised are large.
            stack_size: Some(2 * 1024 * 1024),
            ..Settings::default()
        };
        let server = Server::bind("127.0.0.1:0", settings).unwrap();
        let (address, stop) = (server.local_addr(), server.stop_handle());
        let thread = thread::spawn(move || server.serve(application).unwrap());
        Serving {
            address,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The content of the answer to GET.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut answer = ureq::get(self.url(path)).call().unwrap();
        answer.body_mut().read_to_string().unwrap()
    }

    /// Asks by `count` connections at the same time, and gives how many were answered 200.
    pub(crate) fn get_at_once(&self, path: &str, count: usize) -> usize {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        let ask = |_| {
            let mut connection = TcpStream::connect(self.address).unwrap();
            connection.write_all(request.as_bytes()).unwrap();
            connection
        };
        let connections: Vec<_> = (0..count).map(ask).collect();
        let is_answered = |mut connection: TcpStream| {
            let mut answer = String::new();
            connection.read_to_string(&mut answer).unwrap();
            answer.starts_with("HTTP/1.1 200 ")
        };
        connections
            .into_iter()
            .map(is_answered)
            .filter(|answered| *answered)
            .count()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.stop();
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

/// Each class, with its name for messages.
pub(crate) fn in_each_class(test: impl Fn(WorkerClass)) {
    for class in WorkerClass::ALL {
        eprintln!("class {}", class.name());
        test(class);
    }
}
