//! What a request costs in an HTTP server: ours, and the same application on hyper and axum over Tokio, in one run.
//!
//! | server | what |
//! |---|---|
//! | hyper, Tokio | hyper's HTTP/1.1 connections as tasks of Tokio's current-thread runtime |
//! | axum, Tokio | `axum::serve` on the same |
//! | function, green | a plain function, class green, one worker |
//! | axum, green | the same axum router, class green, one worker |
//!
//! All answer `GET /` with the same twelve bytes. Each server is a process of its own on one processor, and `wrk` (Debian's
//! package) loads it from another one. What is compared is the server's processor time for a request, which the load's own limits
//! and most of what else the machine does leave alone: the sum over its threads that the kernel keeps in
//! `/proc/PID/task/*/schedstat`. The servers take turns, several rounds long, so all see the machine in much the same state.
//!
//! The last row is memory: resident bytes that each of some thousand idle connections adds, when one request has been answered on
//! each and it waits for the next.
//!
//! The table gives the median of the rounds, in brackets the least and the most, and the ratio to the server's own peer (hyper for
//! the function, axum for axum). An argument picks rows and servers by a part of `row/server`. The shims are linked into all four;
//! where no runtime of ours runs they cost a look at one word for each call.
//!
//! ```text
//! cargo bench -p greenpatch-server --bench http
//! cargo bench -p greenpatch-server --bench http -- 64
//! ```

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

mod load;
#[path = "../mode/mod.rs"]
mod mode;
mod process;
mod servers;

use std::env;
use std::error::Error;
use std::process::ExitCode;

use load::Row;
use process::Process;
use servers::{SERVERS, Server};

/// Figures for each row and server.
const ROUNDS: usize = 5;

/// Tells a child which server it is to be.
const SERVER: &str = "GREENPATCH_BENCH_SERVER";

fn main() -> ExitCode {
    let outcome = match env::var(SERVER) {
        Ok(name) => servers::serve(&name),
        Err(_) => measure_all(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("http: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure_all() -> Result<(), Box<dyn Error>> {
    let is_test = mode::is_test();
    if !is_test {
        print_head();
    }
    for row in Row::ALL {
        let mut figures: Vec<Vec<f64>> = vec![Vec::new(); SERVERS.len()];
        for _ in 0..if is_test { 1 } else { ROUNDS } {
            for (server, figures) in SERVERS.iter().zip(&mut figures) {
                if mode::is_wanted(&format!("{}/{}", row.name(), server.name)) {
                    let process = Process::start(server.name)?;
                    figures.push(row.measure(&process, is_test)?);
                }
            }
        }
        if !is_test && figures.iter().any(|figures| !figures.is_empty()) {
            print_row(row, &figures);
        }
    }
    Ok(())
}

const WIDTH: usize = 30;

fn print_head() {
    let cells: Vec<String> = SERVERS
        .iter()
        .map(|server| format!(" {:WIDTH$} |", server.name))
        .collect();
    println!("| {:28} |{}", "", cells.concat());
    println!(
        "|{:-<30}|{}",
        "",
        format!("{:-<1$}|", "", WIDTH + 2).repeat(SERVERS.len())
    );
}

/// Prints a row, given the figures of all rounds for each server.
fn print_row(row: Row, figures: &[Vec<f64>]) {
    let sorted: Vec<Vec<f64>> = figures
        .iter()
        .map(|figures| {
            let mut figures = figures.clone();
            figures.sort_unstable_by(f64::total_cmp);
            figures
        })
        .collect();
    let median = |index: usize| sorted[index].get(sorted[index].len() / 2).copied();
    let cell = |(index, server): (usize, &Server)| {
        let (Some(median_here), Some(least), Some(most)) =
            (median(index), sorted[index].first(), sorted[index].last())
        else {
            return format!(" {:WIDTH$} |", "–");
        };
        let ratio = server
            .peer
            .and_then(|peer| SERVERS.iter().position(|other| other.name == peer))
            .and_then(median)
            .map_or(String::new(), |peer| format!(" {:.2}×", median_here / peer));
        format!(
            " {:WIDTH$} |",
            format!("{median_here:.2} ({least:.2}–{most:.2}){ratio}")
        )
    };
    let cells: Vec<String> = SERVERS.iter().enumerate().map(cell).collect();
    println!("| {:28} |{}", row.name(), cells.concat());
}
