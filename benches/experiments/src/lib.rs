//! The experiments of the seed documents, and what the years have added to them: ours and every peer, on this machine, in one run.
//!
//! ```text
//! cargo bench -p greenpatch-experiments --bench experiments                   # all, within ten minutes
//! cargo bench -p greenpatch-experiments --bench experiments -- order wrk      # these
//! cargo bench -p greenpatch-experiments --bench experiments -- --full hello   # as long as the seeds have it
//! cargo bench -p greenpatch-experiments --bench experiments -- --docs         # RESULTS.md of what there is
//! ```
//!
//! An `experiment` is a table of servers and loads, a `server` a command; both are data. `measure` does them,
//! `report` keeps and shows what was found, `tool` sets up what is needed. The package's README.md says how each peer was set
//! up and why so.

mod arguments;
mod experiment;
mod load;
mod machine;
mod measure;
mod outcome;
mod place;
mod process;
mod report;
mod server;
mod statistics;
mod tool;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;
use experiment::{Experiment, Mode};
use measure::Session;
use place::Place;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Does what the command line asks for.
pub fn main() -> ExitCode {
    let outcome = load::client().unwrap_or_else(|| run(Arguments::parse()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("experiments: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let mode = if arguments.full {
        Mode::Full
    } else {
        Mode::Quick
    };
    let place = Place::new(arguments.work.as_deref(), arguments.built.as_deref());
    let experiments = experiment::all(mode);
    if arguments.list {
        list(&experiments);
        return Ok(());
    }
    let names: Vec<&str> = experiments
        .iter()
        .map(|experiment| experiment.name)
        .collect();
    if arguments.docs {
        let page = report::publish(&place.work, &names, &place.package)?;
        eprintln!("written: {}", page.display());
        return Ok(());
    }
    if arguments.is_test() {
        return Ok(());
    }
    let wanted: Vec<&Experiment> = experiments
        .iter()
        .filter(|experiment| arguments.wants(experiment.name))
        .collect();
    if wanted.is_empty() {
        return Err(format!("no experiment is named so; there are {}", names.join(", ")).into());
    }
    let mut session = Session::new(arguments, place.clone())?;
    for experiment in wanted {
        let report = session.run(experiment)?;
        report.write(&place.work)?;
        show(&report);
    }
    eprintln!("tables, plots and JSON are in {}", place.work.display());
    Ok(())
}

#[allow(clippy::print_stdout, reason = "a program for the terminal")]
fn list(experiments: &[Experiment]) {
    for experiment in experiments {
        println!("{:14} {}", experiment.name, experiment.title);
        for entry in &experiment.entries {
            println!("{:16} {}", "", entry.label());
        }
    }
}

#[allow(clippy::print_stdout, reason = "a program for the terminal")]
fn show(report: &report::Report) {
    println!("{}", report.page());
}
