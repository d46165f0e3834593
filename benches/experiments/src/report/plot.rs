//! Reports as SVG: for each case a panel with a bar for each server, and a line for the spread of its rounds.

use std::path::Path;

use svg::Document;
use svg::node::element::{Group, Line, Rectangle, Style, Text};

use super::{Cell, Report, is_ours, number};
use crate::Result;
use crate::outcome::Quantity;
use crate::statistics::Figure;

const WIDTH: usize = 900;
/// Where the bars begin.
const LEFT: usize = 300;
/// The longest bar; the rest is for its number.
const LONGEST: f64 = 480.0;
const BAR: usize = 20;
const HEAD: usize = 40;

/// Both in light and in dark surroundings.
const STYLE: &str = "text { font: 13px sans-serif; fill: #222 } .head { font-weight: bold } .name { text-anchor: end } \
    rect { fill: #8a99ab } .ours { fill: #1b8a5a } line { stroke: #222 } \
    @media (prefers-color-scheme: dark) { text { fill: #ddd } line { stroke: #ddd } }";

/// Draws the first quantity of each case.
pub(super) fn write(report: &Report, path: &Path) -> Result<()> {
    let mut document = Document::new()
        .set("role", "img")
        .set("aria-label", report.title.clone())
        .add(Style::new(STYLE));
    let mut top = 10;
    for index in 0..report.cases.len() {
        let Some((group, bottom)) = panel(report, index, top) else {
            continue;
        };
        document = document.add(group);
        top = bottom;
    }
    svg::save(path, &document.set("viewBox", (0, 0, WIDTH, top + 10)))?;
    Ok(())
}

/// A case's panel, which begins at this height, and where it ends.
fn panel(report: &Report, index: usize, top: usize) -> Option<(Group, usize)> {
    let case = &report.cases[index];
    let quantity: Quantity = *case.quantities.first()?;
    let figure = |cell: &Cell| match cell {
        Cell::Measured(measured) => measured.figures.first().copied().flatten(),
        Cell::Seed(_) | Cell::Missing(_) => None,
    };
    let bars: Vec<(&str, Figure)> = report
        .rows
        .iter()
        .filter_map(|row| Some((row.label.as_str(), figure(row.cells.get(index)?)?)))
        .collect();
    let most = bars
        .iter()
        .map(|(_, figure)| figure.most)
        .fold(0.0, f64::max);
    if most == 0.0 {
        return None;
    }
    let at = |value: f64| LEFT as f64 + value / most * LONGEST;
    let title = format!("{}: {}", case.label, quantity.name());
    let mut group = Group::new().add(
        Text::new(title)
            .set("x", 10)
            .set("y", top + 22)
            .set("class", "head"),
    );
    let mut y = top + HEAD;
    for (label, figure) in bars {
        let middle = y + BAR / 2;
        let class = if is_ours(label) { "ours" } else { "peer" };
        let bar = Rectangle::new()
            .set("x", LEFT)
            .set("y", y + 2)
            .set("width", at(figure.median) - LEFT as f64)
            .set("height", BAR - 4)
            .set("class", class);
        let name = Text::new(label)
            .set("x", LEFT - 8)
            .set("y", middle + 5)
            .set("class", "name");
        let value = Text::new(number(figure.median))
            .set("x", at(figure.most) + 8.0)
            .set("y", middle + 5);
        group = group.add(bar).add(name).add(value);
        if figure.rounds > 1 {
            let spread = Line::new()
                .set("x1", at(figure.least))
                .set("x2", at(figure.most))
                .set("y1", middle)
                .set("y2", middle);
            group = group.add(spread);
        }
        y += BAR;
    }
    Some((group, y))
}
