//! The table, in Markdown, with a row printed when it is complete.

use crate::measure::Figure;
use crate::peer::{PEERS, ROWS};

const WIDTH: usize = 28;

pub(crate) fn print_head() {
    let width = ROWS.iter().map(|row| row.name.len()).max().unwrap_or(0);
    print!("| {:width$} ", "");
    for peer in PEERS {
        print!("| {:WIDTH$} ", peer.name);
    }
    print!("|\n|{:-<1$}", "", width + 2);
    for _ in PEERS {
        print!("|{:-<1$}", "", WIDTH + 2);
    }
    println!("|");
}

/// Prints a row, given the figures of all rounds for each peer.
pub(crate) fn print_row(name: &str, figures: &[Vec<Figure>]) {
    let width = ROWS.iter().map(|row| row.name.len()).max().unwrap_or(0);
    print!("| {name:width$} ");
    let base = times(&figures[0]).map(|(_, median, _)| median);
    for figures in figures {
        print!("| {:WIDTH$} ", cell(figures, base));
    }
    println!("|");
}

/// The least, the median and the most, of figures that are times.
fn times(figures: &[Figure]) -> Option<(f64, f64, f64)> {
    let mut times: Vec<f64> = figures
        .iter()
        .filter_map(|figure| match figure {
            Figure::Time(nanos) => Some(*nanos),
            Figure::Sleepers { .. } | Figure::Shares { .. } => None,
        })
        .collect();
    times.sort_unstable_by(f64::total_cmp);
    Some((*times.first()?, times[times.len() / 2], *times.last()?))
}

/// The least, the median and the most of the ratios of the largest share to the smallest, of figures that are shares.
fn shares(figures: &[Figure]) -> Option<String> {
    let mut ratios = Vec::new();
    let mut without = 0;
    for figure in figures {
        if let Figure::Shares { most, least, none } = *figure {
            ratios.push(most as f64 / least as f64);
            without = without.max(none);
        }
    }
    ratios.sort_unstable_by(f64::total_cmp);
    let (least, median, most) = (ratios.first()?, ratios[ratios.len() / 2], ratios.last()?);
    Some(match without {
        0 => format!("{median:.2} ({least:.2}–{most:.2})"),
        // The smallest share is nothing.
        _ => format!("up to {without} get nothing"),
    })
}

/// A peer's figures, and how they compare with `base`.
fn cell(figures: &[Figure], base: Option<f64>) -> String {
    if let Some((least, median, most)) = times(figures) {
        let (unit, scale, digits) = match median {
            ..1e3 => ("ns", 1.0, 0),
            ..1e5 => ("µs", 1e3, 2),
            _ => ("µs", 1e3, 0),
        };
        let ratio = base.map_or(String::new(), |base| format!(" {:.2}×", median / base));
        let [least, median, most] =
            [least, median, most].map(|time| format!("{:.digits$}", time / scale));
        return format!("{median} {unit} ({least}–{most}){ratio}");
    }
    if let Some(cell) = shares(figures) {
        return cell;
    }
    match figures.first() {
        Some(Figure::Sleepers {
            count,
            seconds,
            peak,
            each,
        }) => format!("{count}: {seconds:.2} s {} MB {each} B", peak / 1_000_000),
        _ => "–".to_owned(),
    }
}
