//! What a request costs in an HTTP server: ours, and the same application on hyper and axum over Tokio, in one run.
//!
//! | server | what |
//! |---|---|
//! | hyper, Tokio | hyper's HTTP/1.1 connections as tasks of Tokio's current-thread runtime, with the time-out for heads that hyper sets once it has a timer |
//! | hyper, no time-outs | the same without a timer |
//! | axum, Tokio | an axum router on hyper-util's connections, with the same time-out |
//! | axum::serve | the router as axum serves it, which sets no time-outs |
//! | function, green | a plain function, class green, one worker, with all time-outs as they are by default |
//! | axum, green | the same axum router, likewise |
//!
//! All answer `GET /` with the same bytes but for the date, which is checked; so the field `Server`, which ours adds, is set by the
//! applications, and the request's id, which nobody else sends, is off. Each server is a process of its own on one processor, and
//! they take turns of a second each, so that all see the machine in much the same state. What is compared is a
//! server's processor time for a request, which most of what else the machine does leaves alone: the sum over its
//! threads that the kernel keeps in `/proc/PID/task/*/schedstat`.
//!
//! The load runs on another processor and never sleeps. (The client of a real server is on another machine. One on the same
//! machine that sleeps is woken at the server's expense, and the slower server finds it asleep more often: with wrk the
//! differences between the servers grow by half.)
//!
//! The last column is memory: resident bytes that each of some thousand idle connections adds, when one request has been answered on
//! each and it waits for the next.
//!
//! The table gives the median of the rounds, in brackets the least and the most; and the median of the ratios to the server's own
//! peer in the same round (hyper for the function, axum for axum). An argument picks columns and servers by a part of `column/server`.
//! The shims are linked into all; where no runtime of ours runs they cost a look at one word for each call. On a machine that does
//! other things, `chrt -f 5` before the program keeps those out.
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

use load::Load;
use servers::{SERVERS, Server};

/// Figures of processor time for each server.
const ROUNDS: usize = 15;

/// Tells a child which server it is to be.
const SERVER: &str = "GREENPATCH_BENCH_SERVER";

/// What is measured.
#[derive(Clone, Copy)]
enum Column {
    /// Microseconds of processor time a request, over so many connections that are kept alive.
    Requests(usize),
    /// Kibibytes of resident memory an idle connection.
    Idle,
}

impl Column {
    const ALL: [Column; 3] = [Column::Requests(64), Column::Requests(400), Column::Idle];

    fn name(self) -> String {
        match self {
            Column::Requests(connections) => format!("{connections} connections, µs"),
            Column::Idle => "idle connection, KiB".to_owned(),
        }
    }
}

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
    load::stay_off_the_servers_processor();
    for column in Column::ALL {
        let is_wanted =
            |server: &&Server| mode::is_wanted(&format!("{}/{}", column.name(), server.name));
        let measured: Vec<&Server> = SERVERS.iter().filter(is_wanted).collect();
        if measured.is_empty() {
            continue;
        }
        let figures = measure(column, &measured, is_test)?;
        if !is_test {
            print(column, &measured, &figures);
        }
    }
    Ok(())
}

/// The figures of each server, one a round.
fn measure(
    column: Column,
    servers: &[&Server],
    is_test: bool,
) -> Result<Vec<Vec<f64>>, Box<dyn Error>> {
    let mut figures = vec![Vec::new(); servers.len()];
    match column {
        Column::Requests(connections) => {
            let load = |server: &&Server| Load::on(server.name, connections, is_test);
            let mut loads: Vec<Load> = servers.iter().map(load).collect::<Result<_, _>>()?;
            if let Some(other) = loads.iter().find(|load| !load.is_answered_like(&loads[0])) {
                return Err(format!("responses differ:\n{}\n{other}", loads[0]).into());
            }
            for _ in 0..if is_test { 1 } else { ROUNDS } {
                for (load, figures) in loads.iter_mut().zip(&mut figures) {
                    figures.push(load.processor_time()?);
                }
            }
        }
        Column::Idle => {
            for (server, figures) in servers.iter().zip(&mut figures) {
                figures.push(load::memory_of_idle(server.name, is_test)?);
            }
        }
    }
    Ok(figures)
}

/// Prints a column as a table of its own.
fn print(column: Column, servers: &[&Server], figures: &[Vec<f64>]) {
    println!("| {:23} | {:27} | ratio |", column.name(), "");
    println!("|{:-<25}|{:-<29}|{:-<7}|", "", "", "");
    for (server, of_server) in servers.iter().zip(figures) {
        let peer = server
            .peer
            .and_then(|peer| servers.iter().position(|other| other.name == peer));
        let ratio = peer.map_or(String::new(), |peer| {
            let ratios = of_server.iter().zip(&figures[peer]);
            format!("{:.2}×", median(ratios.map(|(ours, peers)| ours / peers)))
        });
        let least = of_server.iter().copied().fold(f64::INFINITY, f64::min);
        let most = of_server.iter().copied().fold(0.0, f64::max);
        let figure = median(of_server.iter().copied());
        let figure = format!("{figure:.2} ({least:.2}–{most:.2})");
        println!("| {:23} | {figure:27} | {ratio:5} |", server.name);
    }
    println!();
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
