//! Reports as Markdown: the seeds' tables with our rows among theirs.

use std::fmt::Write;

use super::{Case, Cell, Measured, Report, Row, is_ours, number};
use crate::experiment::Layout;
use crate::outcome::Quantity;
use crate::statistics::Figure;

/// More columns than these do not fit beside each other; then each case has a table of its own.
const COLUMNS: usize = 9;

/// All reports as one page.
pub(super) fn book(reports: &[Report]) -> String {
    let mut page = "# Results of the experiments\n\n\
        <!-- Made by `cargo bench -p greenpatch-experiments --bench experiments -- --docs`. -->\n\n\
        [README.md](README.md) says how each server is set up and how it is measured. A figure is the median of its rounds, in \
        brackets the least and the most. † marks what other load on the machine had disturbed in each attempt.\n"
        .to_owned();
    for report in reports {
        // Writing to a string does not fail, here and below.
        let _ = write!(
            page,
            "\n{}\n![{}](plots/{}.svg)\n",
            section(report),
            report.title,
            report.name
        );
    }
    page
}

/// One report.
pub(super) fn section(report: &Report) -> String {
    let mut text = format!(
        "## {}\n\n{}\n\n```console\n$ {}\n```\n\n",
        report.title, report.about, report.command
    );
    let machine = &report.machine;
    let _ = writeln!(
        text,
        "{}, commit {}, {} × {}, {:.0} GiB, Linux {}; {:.0} s.\n",
        report.began,
        machine.commit,
        machine.processors,
        machine.processor,
        machine.memory_gib,
        machine.kernel,
        report.seconds,
    );
    let columns: usize = report.cases.iter().map(columns).sum();
    match report.layout {
        Layout::ServersAcross => text += &across(report),
        Layout::ServersDown if columns <= COLUMNS || report.cases.len() == 1 => {
            text += &down(report, &(0..report.cases.len()).collect::<Vec<_>>());
        }
        Layout::ServersDown => {
            for (index, case) in report.cases.iter().enumerate() {
                let _ = write!(text, "### {}\n\n{}", case.label, down(report, &[index]));
            }
        }
    }
    text + &notes(report)
}

/// A table with a row for each server, and the columns of the cases with these numbers.
fn down(report: &Report, cases: &[usize]) -> String {
    let mut table = "| |".to_owned();
    for &index in cases {
        let case = &report.cases[index];
        let prefix = if cases.len() == 1 {
            String::new()
        } else {
            format!("{}: ", case.label)
        };
        for name in case
            .words
            .iter()
            .map(String::as_str)
            .chain(case.quantities.iter().map(|quantity| quantity.name()))
        {
            let _ = write!(table, " {prefix}{name} |");
        }
    }
    let columns: usize = cases
        .iter()
        .map(|&index| columns(&report.cases[index]))
        .sum();
    let _ = writeln!(table, "\n|---|{}", "---|".repeat(columns));
    for row in &report.rows {
        let _ = write!(table, "| {} |", label(row));
        for &index in cases {
            for cell in cells(&report.cases[index], &row.cells[index]) {
                let _ = write!(table, " {cell} |");
            }
        }
        table.push('\n');
    }
    table + "\n"
}

/// A table with a column for each server, and a row for each case.
fn across(report: &Report) -> String {
    let mut table = "| |".to_owned();
    for row in &report.rows {
        let _ = write!(table, " {} |", label(row));
    }
    let _ = writeln!(table, "\n|---|{}", "---|".repeat(report.rows.len()));
    for (index, case) in report.cases.iter().enumerate() {
        let _ = write!(table, "| {} |", case.label);
        for row in &report.rows {
            let text = match &row.cells[index] {
                Cell::Measured(measured) => {
                    let named = case.quantities.iter().zip(&measured.figures);
                    let parts: Vec<String> = named
                        .filter_map(|(quantity, figure)| {
                            Some(format!("{} {}", quantity.name(), number((*figure)?.median)))
                        })
                        .collect();
                    parts.join("; ") + mark(measured)
                }
                Cell::Seed(text) => text.clone(),
                Cell::Missing(_) => "–".to_owned(),
            };
            let _ = write!(table, " {text} |");
        }
        table.push('\n');
    }
    table + "\n"
}

/// The columns that a case has.
fn columns(case: &Case) -> usize {
    case.quantities.len() + usize::from(case.words.is_some())
}

fn label(row: &Row) -> String {
    if is_ours(&row.label) {
        format!("**{}**", row.label)
    } else if row.command.is_empty() {
        format!("*{}* (the seed)", row.label)
    } else {
        row.label.clone()
    }
}

/// The cells of one case, as many as it has columns.
fn cells(case: &Case, cell: &Cell) -> Vec<String> {
    let mut cells = match cell {
        Cell::Measured(measured) => {
            let words = case
                .words
                .iter()
                .map(|_| measured.text.clone().unwrap_or_default());
            let figures = case.quantities.iter().zip(&measured.figures);
            words
                .chain(figures.map(|(quantity, figure)| figure_cell(*quantity, *figure, measured)))
                .collect()
        }
        Cell::Seed(text) => vec![text.clone()],
        Cell::Missing(_) => vec!["–".to_owned()],
    };
    cells.resize(columns(case), String::new());
    cells
}

fn figure_cell(quantity: Quantity, figure: Option<Figure>, measured: &Measured) -> String {
    let Some(figure) = figure else {
        return "–".to_owned();
    };
    let Figure {
        median,
        least,
        most,
        rounds,
    } = figure;
    let spread = if rounds > 1 && quantity != Quantity::Failures {
        format!(" ({}–{})", number(least), number(most))
    } else {
        String::new()
    };
    format!("{}{spread}{}", number(median), mark(measured))
}

fn mark(measured: &Measured) -> &'static str {
    if measured.disturbed > 0 { " †" } else { "" }
}

/// Why there is nothing where there is nothing, and what the figures do not tell.
fn notes(report: &Report) -> String {
    let mut notes = Vec::new();
    let mut thrown_away = 0;
    for row in &report.rows {
        for (case, cell) in report.cases.iter().zip(&row.cells) {
            match cell {
                Cell::Missing(reason) => notes.push(format!(
                    "{}, {}: {}",
                    row.label,
                    case.label,
                    one_line(reason)
                )),
                Cell::Measured(measured) => {
                    thrown_away += measured.thrown_away;
                    if let (None, Some(text)) = (&case.words, &measured.text) {
                        notes.push(format!(
                            "{}, {}: failures: {}",
                            row.label,
                            case.label,
                            one_line(text)
                        ));
                    }
                }
                Cell::Seed(_) => {}
            }
        }
    }
    if thrown_away > 0 {
        notes.push(format!(
            "Measured again because other load had disturbed it: {thrown_away} times."
        ));
    }
    notes.iter().map(|note| format!("- {note}\n")).collect()
}

/// The beginning of a text that may be long and have lines.
fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(160) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
