//! `greenpatch doctor`: what this machine offers, what is patched, and which calls of a program yield.

use std::collections::BTreeSet;
use std::error::Error;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use greenpatch::Patch;
use greenpatch::platform::{self, State};
use greenpatch::shims::{Behaviour, SYMBOLS, UNPATCHED};

use crate::arguments::DoctorArguments;
use crate::imports::{self, Calls};
use crate::program;

/// The width of a line.
const WIDTH: usize = 110;

/// Prints all of it; fails if green threads cannot run here, or the program cannot be run on them.
pub(crate) fn run(arguments: &DoctorArguments) -> Result<ExitCode, Box<dyn Error>> {
    let is_fit = print_platform();
    print_table();
    let is_program_fit = match &arguments.program {
        Some(name) => print_program(name)?,
        None => true,
    };
    Ok(if is_fit && is_program_fit {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What the kernel and the C library offer; whether that is enough.
fn print_platform() -> bool {
    println!("This machine");
    let features = platform::features();
    for feature in &features {
        let mark = match feature.state {
            State::Here => "yes",
            State::Needed(_) => "NO",
            _ => "no",
        };
        println!("  {mark:<4}{feature}");
    }
    let is_fit = !features
        .iter()
        .any(|feature| matches!(feature.state, State::Needed(_)));
    if !is_fit {
        println!("  Green threads cannot run here.");
    }
    is_fit
}

/// How many functions of each family are patched, and what is not.
fn print_table() {
    println!("\nPatched functions of the C library");
    println!(
        "  {:<18}{:>8}{:>10}{:>8}",
        "family", "yields", "section", "other"
    );
    let of = |families: Patch, behaviours: &[Behaviour]| {
        let counted = |symbol: &&greenpatch::shims::Symbol| {
            symbol.families == families && behaviours.contains(&symbol.behaviour)
        };
        SYMBOLS.iter().filter(counted).count()
    };
    let mut families: Vec<Patch> = Vec::new();
    for symbol in SYMBOLS {
        if !families.contains(&symbol.families) {
            families.push(symbol.families);
        }
    }
    families.sort_by_key(|families| families.bits().count_ones());
    for family in families {
        println!(
            "  {:<18}{:>8}{:>10}{:>8}",
            family.to_string(),
            of(family, &[Behaviour::Yields, Behaviour::Replaces]),
            of(family, &[Behaviour::Blocks]),
            of(family, &[Behaviour::Tells, Behaviour::Answers]),
        );
    }
    println!("\nFunctions that pass through although they can block a worker");
    for row in UNPATCHED {
        print_row(&row.names().collect::<Vec<_>>(), row.waits_for, row.remedy);
    }
}

/// A row of the table of what blocks, if it has functions.
fn print_row(names: &[&str], waits_for: &str, remedy: &str) {
    /// Functions that are named, of each row.
    const NAMED: usize = 4;
    if names.is_empty() {
        return;
    }
    let more = names.len().saturating_sub(NAMED);
    let named = names[..names.len().min(NAMED)].join(", ");
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    println!("  {named}{more}\n      wait for {waits_for}\n      instead: {remedy}");
}

/// What is to be said of one program; whether it can be run with its threads green.
fn print_program(name: &OsStr) -> Result<bool, Box<dyn Error>> {
    let given = Path::new(name);
    // A library is no executable file, and need not be.
    let path = if given.components().count() > 1 && given.is_file() {
        PathBuf::from(given)
    } else {
        program::find(name)?
    };
    println!("\n{}", path.display());
    if let Err(refusal) = program::check(&path) {
        println!("  {refusal}");
        return Ok(false);
    }
    let files = imports::files(&program::binary(&path)?)?;
    println!(
        "  {:>7}{:>9}{:>8}{:>7}{:>9}   calls of",
        "yield", "section", "block", "never", "unknown"
    );
    let (mut blocking, mut unknown) = (BTreeSet::new(), BTreeSet::new());
    for file in &files {
        let calls = Calls::of(file).map_err(|error| format!("{}: {error}", file.display()))?;
        println!(
            "  {:>7}{:>9}{:>8}{:>7}{:>9}   {}",
            calls.yielding.len(),
            calls.sections.len(),
            calls.blocking.len(),
            calls.harmless.len(),
            calls.unknown.len(),
            file.display()
        );
        blocking.extend(calls.blocking);
        unknown.extend(calls.unknown);
    }
    for row in UNPATCHED {
        let names: Vec<&str> = row
            .names()
            .filter(|&name| blocking.contains(name))
            .collect();
        if !names.is_empty() {
            println!(
                "\n  These can block a worker: they wait for {};\n  instead: {}",
                row.waits_for, row.remedy
            );
            print_names(&names);
        }
    }
    if !unknown.is_empty() {
        println!("\n  Of these nothing is known");
        print_names(&unknown.iter().map(String::as_str).collect::<Vec<_>>());
    }
    println!(
        "\n  Libraries that it loads when it runs are not listed; name one as the program to see it."
    );
    Ok(true)
}

/// Names in lines.
fn print_names(names: &[&str]) {
    let mut line = "     ".to_owned();
    for name in names {
        if line.len() + name.len() >= WIDTH {
            println!("{line}");
            line.truncate("     ".len());
        }
        line.push(' ');
        line.push_str(name);
    }
    println!("{line}");
}
