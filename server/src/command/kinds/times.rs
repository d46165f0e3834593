//! Times: seconds, with a fraction if need be, or with units.

use std::time::Duration;

use jiff::SignedDuration;
use toml::Value;

use super::Kind;
use super::numbers::integer;

/// Longer times than a century are slips, and too near the ends of the clock.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Reads a time: a number of seconds, or one with units.
fn duration(text: &str) -> Option<Duration> {
    let duration = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        Err(_) => text.parse::<SignedDuration>().ok()?.try_into().ok()?,
    };
    (duration <= LONGEST).then_some(duration)
}

fn seconds(duration: Duration) -> Option<Value> {
    if duration.subsec_nanos() == 0 {
        return integer(duration.as_secs());
    }
    Some(Value::Float(duration.as_secs_f64()))
}

/// The remedy for what is no time.
const TIME: &str =
    "give seconds, such as 30 or 1.5, or a time with units, such as 500ms, 5m or 1h 30m";

/// A time that may be zero.
pub(crate) struct Time;

impl Kind for Time {
    type Value = Duration;
    const PLACEHOLDER: &'static str = "SECONDS";

    fn read(text: &str) -> Result<Duration, String> {
        duration(text).ok_or_else(|| TIME.to_owned())
    }

    fn show(value: &Duration) -> Option<Value> {
        seconds(*value)
    }
}

/// A time above zero.
pub(crate) struct PositiveTime;

impl Kind for PositiveTime {
    type Value = Duration;
    const PLACEHOLDER: &'static str = "SECONDS";

    fn read(text: &str) -> Result<Duration, String> {
        duration(text)
            .filter(|duration| !duration.is_zero())
            .ok_or_else(|| format!("{TIME}; it cannot be 0"))
    }

    fn show(value: &Duration) -> Option<Value> {
        seconds(*value)
    }
}

/// A time that 0 makes endless.
pub(crate) struct TimeLimit;

impl Kind for TimeLimit {
    type Value = Option<Duration>;
    const PLACEHOLDER: &'static str = "SECONDS";

    fn read(text: &str) -> Result<Option<Duration>, String> {
        match duration(text) {
            Some(duration) => Ok(Some(duration).filter(|duration| !duration.is_zero())),
            None => Err(format!("{TIME}; 0 is no limit")),
        }
    }

    fn show(value: &Option<Duration>) -> Option<Value> {
        seconds(value.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_have_units() {
        for (text, milliseconds) in [
            ("0", 0),
            ("30", 30_000),
            ("1.5", 1_500),
            ("500ms", 500),
            ("2s", 2_000),
            ("5m", 300_000),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
        ] {
            let expected = Duration::from_millis(milliseconds);
            assert_eq!(Time::read(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "-1",
            "-5m",
            "soon",
            "inf",
            "nan",
            "1e30",
            "1000000h",
            "5 parsecs",
        ] {
            assert_eq!(Time::read(text), Err(TIME.to_owned()), "{text}");
        }
    }

    #[test]
    fn zero_is_endless_for_a_limit_and_refused_where_it_makes_no_sense() {
        assert_eq!(TimeLimit::read("0"), Ok(None));
        assert_eq!(TimeLimit::show(&None), Some(Value::Integer(0)));
        assert!(PositiveTime::read("0").is_err());
        assert!(PositiveTime::read("0ms").is_err());
    }

    #[test]
    fn what_is_shown_reads_back() {
        for text in ["0", "30", "1.5", "100ms", "1h", "0.001"] {
            let time = Time::read(text).expect("a time");
            let shown = Time::show(&time).expect("something to show").to_string();
            assert_eq!(Time::read(&shown), Ok(time), "{text} is shown as {shown}");
        }
    }
}
