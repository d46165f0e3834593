//! Numbers for people: short, and with units.

/// Seconds for people.
pub(super) fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds.is_infinite() => "longer".to_owned(),
        Some(seconds) if seconds < 0.000_999_5 => format!("{:.0} µs", seconds * 1e6),
        Some(seconds) if seconds < 0.009_995 => format!("{:.1} ms", seconds * 1e3),
        Some(seconds) if seconds < 0.999_5 => format!("{:.0} ms", seconds * 1e3),
        Some(seconds) if seconds < 99.95 => format!("{seconds:.1} s"),
        Some(seconds) if seconds < 5_999.5 => format!("{:.0} min", seconds / 60.0),
        Some(seconds) => format!("{:.1} h", seconds / 3600.0),
    }
}

/// A number a second for people.
pub(super) fn rate(rate: Option<f64>) -> String {
    match rate {
        None => "-".to_owned(),
        Some(rate) if rate >= 999_500.0 => format!("{:.1}M", rate / 1e6),
        Some(rate) if rate >= 9_995.0 => format!("{:.0}k", rate / 1e3),
        Some(rate) if rate >= 9.95 || rate == 0.0 => format!("{rate:.0}"),
        Some(rate) => format!("{rate:.1}"),
    }
}

/// Bytes for people.
pub(super) fn bytes(bytes: Option<u64>) -> String {
    let Some(bytes) = bytes else {
        return "-".to_owned();
    };
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.iter().find(|(bits, _)| bytes >> bits > 0) {
        Some((bits, unit)) => {
            let value = bytes as f64 / f64::from(1u32 << bits);
            let digits = usize::from(value < 9.95);
            format!("{value:.digits$} {unit}")
        }
        None => format!("{bytes} B"),
    }
}

/// A share of one processor for people.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (seconds, text) in [
            (0.000_012, "12 µs"),
            (0.0015, "1.5 ms"),
            (0.25, "250 ms"),
            (3.0, "3.0 s"),
            (600.0, "10 min"),
            (7200.0, "2.0 h"),
            (f64::INFINITY, "longer"),
        ] {
            assert_eq!(time(Some(seconds)), text);
        }
        assert_eq!(
            [0.0, 0.5, 123.4, 45_600.0].map(|it| rate(Some(it))),
            ["0", "0.5", "123", "46k"]
        );
        assert_eq!(bytes(Some(3 << 20)), "3.0 MiB");
        assert_eq!(bytes(Some(100 << 10)), "100 KiB");
    }
}
