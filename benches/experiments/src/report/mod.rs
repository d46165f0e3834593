//! What an experiment found, as it is kept: JSON, from which the tables and plots are made.

mod markdown;
mod plot;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::experiment::Layout;
use crate::machine::Machine;
use crate::outcome::Quantity;
use crate::statistics::Figure;

/// What an experiment found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) about: String,
    /// How to do it again.
    pub(crate) command: String,
    /// When it began.
    pub(crate) began: String,
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
    pub(crate) machine: Machine,
    pub(crate) layout: Layout,
    pub(crate) cases: Vec<Case>,
    pub(crate) rows: Vec<Row>,
}

/// What was measured of each server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) label: String,
    pub(crate) quantities: Vec<Quantity>,
    /// What stands before the quantities, where a load tells something in words.
    pub(crate) words: Option<String>,
}

/// A server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) label: String,
    /// How it was started; empty in the seed's own rows.
    pub(crate) command: String,
    /// One for each case.
    pub(crate) cells: Vec<Cell>,
}

/// A server in a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cell {
    /// What was measured.
    Measured(Measured),
    /// What a seed says, in its own words.
    Seed(String),
    /// Why there is nothing.
    Missing(String),
}

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// In the order of the case's quantities. None is one that this load does not tell.
    pub(crate) figures: Vec<Option<Figure>>,
    /// What the load told in words, in the last round.
    pub(crate) text: Option<String>,
    /// Rounds that other load had disturbed, and that were measured again.
    pub(crate) thrown_away: usize,
    /// Rounds that count though they were disturbed, since no other could be had.
    pub(crate) disturbed: usize,
}

impl Report {
    /// Writes the report, its table and its plot into a directory.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        let path = |extension: &str| directory.join(format!("{}.{extension}", self.name));
        fs::write(path("json"), serde_json::to_string_pretty(self)? + "\n")?;
        fs::write(path("md"), self.page())?;
        plot::write(self, &path("svg"))?;
        Ok(())
    }

    /// The report as a page of Markdown.
    pub(crate) fn page(&self) -> String {
        markdown::section(self)
    }

    /// The report of that name, if the directory has one.
    fn read(directory: &Path, name: &str) -> Result<Option<Report>> {
        let path = directory.join(format!("{name}.json"));
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("cannot read {}: {error}", path.display()).into()),
        };
        let report = serde_json::from_str(&text);
        Ok(Some(report.map_err(|error| {
            format!(
                "{} is no report of these experiments: {error}; remove it",
                path.display()
            )
        })?))
    }
}

/// Puts the latest report of each experiment into one page, `RESULTS.md`, with the plots beside; gives the page's path.
pub(crate) fn publish(from: &Path, names: &[&str], to: &Path) -> Result<PathBuf> {
    let reports: Result<Vec<Option<Report>>> =
        names.iter().map(|name| Report::read(from, name)).collect();
    let reports: Vec<Report> = reports?.into_iter().flatten().collect();
    if reports.is_empty() {
        return Err(format!("{} has no report; run an experiment first", from.display()).into());
    }
    let plots = to.join("plots");
    fs::create_dir_all(&plots)?;
    for report in &reports {
        plot::write(report, &plots.join(format!("{}.svg", report.name)))?;
    }
    let page = to.join("RESULTS.md");
    fs::write(&page, markdown::book(&reports))?;
    Ok(page)
}

/// Whether a row is about us.
fn is_ours(label: &str) -> bool {
    label.starts_with("ours") || label.starts_with("greenpatch")
}

/// A number as people read it: three digits that matter, and none that do not.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        ..1.0 => 3,
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if rest.is_empty() {
        grouped
    } else {
        format!("{grouped}.{rest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_matter() {
        let texts = [0.0, 0.1234, 6.789, 45.67, 1234.5, 1_234_567.0].map(number);
        assert_eq!(texts, ["0", "0.123", "6.79", "45.7", "1,234", "1,234,567"]);
    }
}
