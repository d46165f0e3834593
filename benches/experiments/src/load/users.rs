//! Users that send a request, think, and send the next: this program itself, as a process of its own.
//!
//! A user has a connection as long as the server keeps it, like locust's, and opens the next one when it needs one, which counts as part
//! of the request's time. What counts begins when all have come. Requests under way at the end are given up, and do not count.

use std::cell::RefCell;
use std::env;
use std::net::SocketAddr;
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::{sleep, sleep_until, timeout};

use super::{Target, Users, run};
use crate::Result;
use crate::outcome::{Outcome, Quantity};
use crate::statistics::percentile;

/// Tells this program that it is to be the users, and which.
const USERS: &str = "GREENPATCH_EXPERIMENT_USERS";

/// After so long a request has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the users' process prints.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Tally {
    requests: usize,
    failures: usize,
    /// What the first failures were.
    reasons: Vec<String>,
    seconds: f64,
    /// Milliseconds: p50, p95, p99, p99.9.
    percentiles: [f64; 4],
    /// The most and the fewest requests that one user had answered.
    extremes: [usize; 2],
}

/// Loads the target with users.
pub(super) fn load(target: &Target, users: &Users) -> Result<Outcome> {
    let program = env::current_exe()?;
    let mut command: Command =
        target.client(program.to_str().ok_or("this program's path is no text")?);
    let Users {
        users,
        ramp,
        think: (least, most),
        seconds,
    } = users;
    command.env(
        USERS,
        format!("{} {users} {ramp} {least} {most} {seconds}", target.address),
    );
    let text = run(&mut command).map_err(|error| format!("the users: {error}"))?;
    let tally: Tally = serde_json::from_str(&text)?;
    if tally.requests == 0 {
        return Err(format!("no request was answered: {}", tally.reasons.join("; ")).into());
    }
    let mut outcome = Outcome::default();
    outcome.set(Quantity::Requests, tally.requests as f64);
    outcome.set(Quantity::Rate, tally.requests as f64 / tally.seconds);
    outcome.set(Quantity::Seconds, tally.seconds);
    outcome.set(Quantity::Failures, tally.failures as f64);
    let quantities = [
        Quantity::Median,
        Quantity::Percentile95,
        Quantity::Percentile99,
        Quantity::Percentile999,
    ];
    for (quantity, value) in quantities.into_iter().zip(tally.percentiles) {
        outcome.set(quantity, value);
    }
    let [most, fewest] = tally.extremes;
    outcome.set(Quantity::Inequality, most as f64 / fewest.max(1) as f64);
    if tally.failures > 0 {
        outcome.text = Some(tally.reasons.join("; "));
    }
    Ok(outcome)
}

/// Becomes the users, if the environment says so; says then how that went.
pub(crate) fn client() -> Option<Result<()>> {
    let told = env::var(USERS).ok()?;
    Some(be(&told))
}

#[allow(clippy::print_stdout, reason = "the parent reads it")]
fn be(told: &str) -> Result<()> {
    let words: Vec<&str> = told.split(' ').collect();
    let [address, users, ramp, least, most, seconds] = words[..] else {
        return Err(format!("{USERS} is '{told}'").into());
    };
    let users = Users {
        users: users.parse()?,
        ramp: ramp.parse()?,
        think: (least.parse()?, most.parse()?),
        seconds: seconds.parse()?,
    };
    let tally = play(address.parse()?, &users)?;
    println!("{}", serde_json::to_string(&tally)?);
    Ok(())
}

/// What all users write down.
#[derive(Default)]
struct Book {
    /// Microseconds of each request that counts.
    times: Vec<u32>,
    failures: usize,
    reasons: Vec<String>,
    /// Requests that count, by user.
    answered: Vec<usize>,
}

fn play(address: SocketAddr, users: &Users) -> Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let book = Rc::new(RefCell::new(Book {
        answered: vec![0; users.users],
        ..Book::default()
    }));
    let began = Instant::now();
    let counted = began + Duration::from_secs_f64(users.ramp);
    let end = began + Duration::from_secs_f64(users.seconds);
    let tasks = LocalSet::new();
    for number in 0..users.users {
        let comes =
            began + Duration::from_secs_f64(users.ramp * number as f64 / users.users as f64);
        let user = User {
            number,
            address,
            counted,
            end,
            stream: None,
            book: book.clone(),
        };
        tasks.spawn_local(user.live(comes, users.think));
    }
    tasks.block_on(&runtime, async { sleep_until(end.into()).await });
    let mut book = book.borrow_mut();
    let Book {
        times,
        failures,
        reasons,
        answered,
    } = &mut *book;
    times.sort_unstable();
    let percentiles = [500, 950, 990, 999].map(|share| f64::from(percentile(times, share)) / 1e3);
    Ok(Tally {
        requests: times.len(),
        failures: *failures,
        reasons: std::mem::take(reasons),
        seconds: users.seconds - users.ramp,
        percentiles,
        extremes: [
            answered.iter().copied().max().unwrap_or(0),
            answered.iter().copied().min().unwrap_or(0),
        ],
    })
}

/// One user.
struct User {
    number: usize,
    address: SocketAddr,
    /// When all have come.
    counted: Instant,
    end: Instant,
    stream: Option<TcpStream>,
    book: Rc<RefCell<Book>>,
}

impl User {
    async fn live(mut self, comes: Instant, (least, most): (f64, f64)) {
        sleep_until(comes.into()).await;
        while Instant::now() < self.end {
            self.ask().await;
            if most > 0.0 {
                let think = least + fastrand::f64() * (most - least);
                sleep(Duration::from_secs_f64(think)).await;
            }
        }
    }

    /// Sends a request and writes down what came of it.
    async fn ask(&mut self) {
        let asked = Instant::now();
        let outcome = timeout(PATIENCE, self.request()).await;
        let outcome = outcome.unwrap_or_else(|_| Err("no answer in time".into()));
        let mut book = self.book.borrow_mut();
        match outcome {
            Ok(()) if asked >= self.counted => {
                let time = u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX);
                book.times.push(time);
                book.answered[self.number] += 1;
            }
            Ok(()) => {}
            Err(error) => {
                self.stream = None;
                book.failures += 1;
                let reason = error.to_string();
                if book.reasons.len() < 3 && !book.reasons.contains(&reason) {
                    book.reasons.push(reason);
                }
            }
        }
    }

    async fn request(&mut self) -> Result<()> {
        // One that the server has closed meanwhile is no failure.
        if let Some(stream) = &self.stream
            && stream.try_read(&mut [0]).is_ok()
        {
            self.stream = None;
        }
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            self.stream = Some(stream);
        }
        let stream = self.stream.as_mut().ok_or("there is a connection")?;
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: experiments\r\n\r\n")
            .await?;
        if !answer(stream).await? {
            self.stream = None;
        }
        Ok(())
    }
}

/// Reads an answer, and says whether the connection goes on after it.
async fn answer(stream: &mut TcpStream) -> Result<bool> {
    let mut bytes = Vec::with_capacity(512);
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err("closed within an answer".into());
        }
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = head.parse(&bytes)? else {
            continue;
        };
        if head.code != Some(200) {
            return Err(format!("status {}", head.code.unwrap_or(0)).into());
        }
        let find = |name: &str| {
            let header = head
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case(name));
            header.and_then(|header| str::from_utf8(header.value).ok())
        };
        let content = find("content-length").ok_or("an answer without a content-length")?;
        let whole = length + content.parse::<usize>()?;
        let goes_on = !find("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        while bytes.len() < whole {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err("closed within an answer's content".into());
            }
        }
        return Ok(goes_on);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Answers so many requests on each connection and closes it after them.
    fn server(requests: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let address = listener.local_addr().expect("it has an address");
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a client has come");
                thread::spawn(move || {
                    for _ in 0..requests {
                        if stream.read(&mut [0; 512]).unwrap_or(0) == 0 {
                            return;
                        }
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                    }
                });
            }
        });
        address
    }

    #[test]
    fn users_open_a_new_connection_when_the_server_has_closed_theirs() {
        let users = Users {
            users: 4,
            ramp: 0.0,
            think: (0.02, 0.03),
            seconds: 0.5,
        };
        let tally = play(server(2), &users).expect("they play");
        assert!(tally.requests > 8, "{tally:?}");
        assert_eq!(tally.failures, 0, "{tally:?}");
        assert!(
            tally.extremes[0] >= tally.extremes[1] && tally.extremes[1] > 2,
            "{tally:?}"
        );
    }

    #[test]
    fn a_server_that_closes_instead_of_answering_is_told() {
        let users = Users {
            users: 2,
            ramp: 0.0,
            think: (0.02, 0.03),
            seconds: 0.2,
        };
        let tally = play(server(0), &users).expect("they play");
        assert_eq!(tally.requests, 0);
        assert!(tally.failures > 0 && !tally.reasons.is_empty(), "{tally:?}");
    }
}
