//! What several rounds of one measurement amount to.

use serde::{Deserialize, Serialize};

/// The median of some rounds, with their spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    /// Rounds that count.
    pub(crate) rounds: usize,
}

impl Figure {
    /// The figure of these values; none, if there are no values.
    pub(crate) fn of(values: &[f64]) -> Option<Figure> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let (&least, &most) = (sorted.first()?, sorted.last()?);
        let half = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(sorted[half - 1], sorted[half]),
            _ => sorted[half],
        };
        Some(Figure {
            median,
            least,
            most,
            rounds: sorted.len(),
        })
    }
}

/// The value below which so many thousandths of the sorted values lie, by the nearest rank; 0 if there are none.
pub(crate) fn percentile(sorted: &[u32], thousandths: usize) -> u32 {
    let rank = (thousandths * sorted.len()).div_ceil(1000);
    sorted.get(rank.max(1) - 1).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        let figure = Figure::of(&[4.0, 1.0, 3.0, 100.0]).expect("there are values");
        assert_eq!(
            figure,
            Figure {
                median: 3.5,
                least: 1.0,
                most: 100.0,
                rounds: 4
            }
        );
        assert_eq!(
            Figure::of(&[7.0, 1.0, 2.0]).map(|figure| figure.median),
            Some(2.0)
        );
        assert_eq!(Figure::of(&[]), None);
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let sorted: Vec<u32> = (1..=1000).collect();
        assert_eq!(percentile(&sorted, 500), 500);
        assert_eq!(percentile(&sorted, 999), 999);
        assert_eq!(percentile(&sorted, 1000), 1000);
        assert_eq!(percentile(&[5], 500), 5);
        assert_eq!(percentile(&[], 500), 0);
    }
}
