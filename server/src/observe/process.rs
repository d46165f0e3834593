//! What the kernel says of a process and of its listeners, from /proc: no call for these is to be had without unsafe code.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// What a process uses. What the kernel does not tell is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessFigures {
    /// Bytes of memory.
    pub(crate) resident: u64,
    /// Processor time, by the process and by the kernel for it.
    pub(crate) cpu_microseconds: u64,
    /// Open file descriptors, and how many there may be.
    pub(crate) descriptors: u64,
    pub(crate) descriptors_limit: u64,
    /// OS threads.
    pub(crate) threads: u64,
}

impl ProcessFigures {
    /// Of this process.
    pub(crate) fn now() -> ProcessFigures {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        let mut figures = ProcessFigures {
            descriptors_limit: limit.current.unwrap_or(u64::MAX),
            // The one that lists them is none of ours.
            descriptors: (open as u64).saturating_sub(1),
            ..ProcessFigures::default()
        };
        if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
            let second = rustix::param::clock_ticks_per_second();
            let page = rustix::param::page_size() as u64;
            figures.read_stat(&stat, second, page);
        }
        figures
    }

    /// Fields 14, 15, 20 and 24 of proc_pid_stat(5). The second, a name in parentheses, may hold blanks and parentheses.
    fn read_stat(&mut self, stat: &str, ticks_a_second: u64, page: u64) {
        let Some((_, rest)) = stat.rsplit_once(") ") else {
            return;
        };
        let fields: Vec<u64> = rest
            .split_whitespace()
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
        self.cpu_microseconds = (field(14) + field(15)) * 1_000_000 / ticks_a_second;
        self.threads = field(20);
        self.resident = field(24) * page;
    }
}

/// A listener's queue of connections that wait to be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Backlog {
    pub(crate) address: String,
    pub(crate) waiting: u64,
}

/// The queues of the listeners at these addresses; of TCP only, since the kernel tells of no other.
pub(crate) fn backlogs(listeners: &[SocketAddr]) -> Vec<Backlog> {
    let mut found = Vec::new();
    for (path, is_wanted) in [
        ("/proc/self/net/tcp", SocketAddr::is_ipv4 as fn(&_) -> bool),
        ("/proc/self/net/tcp6", SocketAddr::is_ipv6),
    ] {
        if !listeners.iter().any(is_wanted) {
            continue;
        }
        let Ok(file) = fs::File::open(path) else {
            continue;
        };
        // Listeners come first, so a table of many connections is not read to its end.
        let lines = BufReader::new(file).lines().skip(1).map_while(Result::ok);
        for (address, waiting) in lines.map_while(|line| listening(&line)) {
            if listeners.contains(&address) {
                let address = address.to_string();
                found.push(Backlog { address, waiting });
            }
        }
    }
    found
}

/// The address and the queue's length in a line of /proc/net/tcp that tells of a listener (state 0A): the fields are number,
/// local address, remote address, state, `send queue:receive queue`, …; all hexadecimal, addresses in words of the machine.
fn listening(line: &str) -> Option<(SocketAddr, u64)> {
    let mut fields = line.split_whitespace().skip(1);
    let local = fields.next()?;
    let is_listening = fields.nth(1)? == "0A";
    let (_, waiting) = fields.next()?.split_once(':')?;
    if !is_listening {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(address.get(8 * at..8 * at + 8)?, 16).ok();
    let ip = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?.to_ne_bytes())),
        32 => {
            let mut bytes = [0; 16];
            for (at, place) in bytes.chunks_exact_mut(4).enumerate() {
                place.copy_from_slice(&word(at)?.to_ne_bytes());
            }
            IpAddr::from(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    let waiting = u64::from_str_radix(waiting, 16).ok()?;
    Some((SocketAddr::new(ip, port), waiting))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_is_skipped() {
        let stat = "4711 (a ) b) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 15 16 7 18 19 20 3000 22";
        let mut figures = ProcessFigures::default();
        figures.read_stat(stat, 100, 4096);
        assert_eq!(figures.cpu_microseconds, 3_000_000);
        assert_eq!((figures.threads, figures.resident), (7, 3000 * 4096));
    }

    #[test]
    fn this_process_uses_something() {
        let figures = ProcessFigures::now();
        assert!(figures.resident > 1 << 20);
        assert!(figures.threads >= 1 && figures.descriptors >= 3);
        assert!(figures.descriptors <= figures.descriptors_limit);
    }

    #[test]
    fn connections_that_nobody_accepts_are_counted() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(any).unwrap();
            let address = listener.local_addr().unwrap();
            let waiting = || match &backlogs(&[address])[..] {
                [backlog] => backlog.waiting,
                other => panic!("{other:?}"),
            };
            assert_eq!(waiting(), 0);
            let _clients = [(); 3].map(|()| TcpStream::connect(address).unwrap());
            assert_eq!(waiting(), 3);
            let _accepted = listener.accept().unwrap();
            assert_eq!(waiting(), 2);
        }
    }
}
