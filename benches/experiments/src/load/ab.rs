//! ab: a number of requests, each on a connection of its own, as the seeds have it.

use super::{Target, run};
use crate::Result;
use crate::outcome::{Outcome, Quantity};

/// Sends so many requests, so many at once.
pub(super) fn load(
    target: &Target,
    method: &str,
    path: &str,
    requests: usize,
    at_once: usize,
) -> Result<Outcome> {
    let mut command = target.client("ab");
    // Contents may differ in length, as those of /rand do.
    command.args(["-q", "-l", "-s", "120", "-m", method]);
    command
        .arg("-n")
        .arg(requests.to_string())
        .arg("-c")
        .arg(at_once.to_string());
    command.arg(format!("http://{}{path}", target.address));
    let text = run(&mut command).map_err(|error| format!("ab: {error}"))?;
    parse(&text)
}

/// Reads what ab prints.
fn parse(text: &str) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut failures = 0.0;
    for line in text.lines().map(str::trim) {
        if let Some((name, value)) = line.split_once(':') {
            let number = value
                .split_whitespace()
                .next()
                .and_then(|word| word.parse().ok());
            let Some(number) = number else { continue };
            match name {
                "Complete requests" => outcome.set(Quantity::Requests, number),
                "Time taken for tests" => outcome.set(Quantity::Seconds, number),
                "Requests per second" => outcome.set(Quantity::Rate, number),
                "Failed requests" | "Non-2xx responses" => failures += number,
                _ => {}
            }
        } else if let Some((percent, value)) = line.split_once('%') {
            let quantity = match percent {
                "50" => Quantity::Median,
                "95" => Quantity::Percentile95,
                "99" => Quantity::Percentile99,
                _ => continue,
            };
            if let Some(Ok(number)) = value.split_whitespace().next().map(str::parse) {
                outcome.set(quantity, number);
            }
        }
    }
    outcome.set(Quantity::Failures, failures);
    match outcome.get(Quantity::Requests) {
        Some(_) => Ok(outcome),
        None => Err(format!("ab tells of no requests: {text}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ab_prints_is_understood() {
        let outcome = parse(
            "Concurrency Level:      100\nTime taken for tests:   1.552 seconds\n\
             Complete requests:      10000\nFailed requests:        2\nNon-2xx responses:      3\n\
             Requests per second:    6445.09 [#/sec] (mean)\n\
             Time per request:       15.516 [ms] (mean)\n\n\
             Percentage of the requests served within a certain time (ms)\n  50%     14\n  66%     15\n\
             \x20 95%     20\n  99%     28\n 100%     31 (longest request)\n",
        )
        .expect("it is what ab prints");
        let told = Quantity::Requests..=Quantity::Failures;
        let values: Vec<(Quantity, f64)> = outcome.values.into_iter().collect();
        assert!(values.iter().all(|(quantity, _)| told.contains(quantity)));
        let values: Vec<f64> = values.into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, [10000.0, 6445.09, 1.552, 14.0, 20.0, 28.0, 5.0]);
    }

    #[test]
    fn a_complaint_is_not_taken_for_an_outcome() {
        assert!(parse("apr_socket_recv: Connection reset by peer (104)\n").is_err());
    }
}
