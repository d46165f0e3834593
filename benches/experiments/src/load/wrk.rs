//! wrk: as many requests as its connections can carry.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use super::{Target, run};
use crate::Result;
use crate::outcome::{Outcome, Quantity};

/// Loads the target; with `reconnecting`, every tenth request asks for its connection to be closed.
pub(super) fn load(
    target: &Target,
    path: &str,
    connections: usize,
    seconds: u64,
    reconnecting: bool,
) -> Result<Outcome> {
    let mut command = target.client("wrk");
    command.args(["-t1", "--latency", "--timeout", "60s"]);
    command
        .arg(format!("-c{connections}"))
        .arg(format!("-d{seconds}s"));
    if reconnecting {
        check_that_it_closes(target.address)?;
        command
            .arg("-s")
            .arg(target.package.join("src/load/reconnecting.lua"));
    }
    parse(&output(
        command.arg(format!("http://{}{path}", target.address)),
    )?)
}

/// Sees that the server closes a connection when it is asked to. Otherwise all would go on over the first ones.
fn check_that_it_closes(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: experiments\r\nConnection: close\r\n\r\n")?;
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => Ok(()),
        Err(_) => Err("it does not close a connection when it is asked to".into()),
    }
}

fn output(command: &mut Command) -> Result<String> {
    run(command).map_err(|error| format!("wrk: {error}").into())
}

/// Reads what wrk prints.
fn parse(text: &str) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut failures = 0.0;
    for line in text.lines().map(str::trim) {
        if let Some((requests, rest)) = line.split_once(" requests in ") {
            let seconds = rest.split(',').next().and_then(milliseconds);
            let seconds = seconds.ok_or_else(|| format!("wrk's '{line}' has no time"))? / 1e3;
            let requests: f64 = requests.parse()?;
            outcome.set(Quantity::Requests, requests);
            outcome.set(Quantity::Seconds, seconds);
            outcome.set(Quantity::Rate, requests / seconds);
        } else if let Some(errors) = line.strip_prefix("Socket errors: ") {
            // "connect 0, read 12, write 0, timeout 3"
            let numbers = errors
                .split(", ")
                .filter_map(|error| error.split(' ').nth(1));
            failures += numbers
                .filter_map(|number| number.parse::<f64>().ok())
                .sum::<f64>();
        } else if let Some(number) = line.strip_prefix("Non-2xx or 3xx responses: ") {
            failures += number.parse::<f64>()?;
        } else if let Some((percent, time)) = line.split_once('%') {
            let quantity = match percent {
                "50" => Quantity::Median,
                "99" => Quantity::Percentile99,
                _ => continue,
            };
            if let Some(time) = milliseconds(time) {
                outcome.set(quantity, time);
            }
        }
    }
    outcome.set(Quantity::Failures, failures);
    match outcome.get(Quantity::Requests) {
        Some(_) => Ok(outcome),
        None => Err(format!("wrk tells of no requests: {text}").into()),
    }
}

/// A time as wrk writes it: `870.00us`, `1.20ms`, `30.10s`, `1.00m`.
fn milliseconds(text: &str) -> Option<f64> {
    let text = text.trim();
    let units = [
        ("us", 1e-3),
        ("ms", 1.0),
        ("s", 1e3),
        ("m", 60e3),
        ("h", 3600e3),
    ];
    let (number, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_understood() {
        let outcome = parse(
            "Running 2s test @ http://127.0.0.1:8000/\n  1 threads and 400 connections\n\
             \x20 Thread Stats   Avg      Stdev     Max   +/- Stdev\n\
             \x20   Latency     3.10ms    1.20ms  40.00ms   90.00%\n\
             \x20 Latency Distribution\n     50%  870.00us\n     75%    3.00ms\n     99%    1.50s \n\
             \x20 24690 requests in 2.00s, 3.10MB read\n\
             \x20 Socket errors: connect 1, read 12, write 0, timeout 3\n\
             \x20 Non-2xx or 3xx responses: 4\nRequests/sec:  12345.00\n",
        )
        .expect("it is what wrk prints");
        assert_eq!(outcome.get(Quantity::Requests), Some(24690.0));
        assert_eq!(outcome.get(Quantity::Rate), Some(12345.0));
        assert_eq!(outcome.get(Quantity::Median), Some(0.87));
        assert_eq!(outcome.get(Quantity::Percentile99), Some(1500.0));
        assert_eq!(outcome.get(Quantity::Failures), Some(20.0));
    }

    #[test]
    fn a_complaint_is_not_taken_for_an_outcome() {
        let error = parse("unable to connect to 127.0.0.1:1 Connection refused\n");
        assert!(error.is_err_and(|error| error.to_string().contains("Connection refused")));
    }
}
