//! What a run is to be: what the page's form says.

use std::time::Duration;

use greenpatch::Patch;
use serde::Deserialize;

use crate::waiting::Wait;

/// Requests to each side.
const MOST_REQUESTS: u32 = 32;

/// Seconds that the handler waits.
const SECONDS: std::ops::RangeInclusive<f64> = 0.1..=5.0;

/// Threads of class gthread, as in the demonstration's table.
const THREADS: &str = "4";

/// A run that can be performed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Choice {
    /// To each side.
    pub(super) requests: u32,
    /// That the handler waits.
    seconds: f64,
    wait: Wait,
    pub(super) sides: [Side; 2],
}

/// One of the two servers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Side {
    class: Class,
    /// As `--patch` has it.
    patch: String,
}

/// Worker classes, the last of which the handler can be written for in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Class {
    Sync,
    Gthread,
    Green,
    /// The handler is an async function, which awaits.
    Async,
    /// The handler blocks the event loop.
    AsyncBlocking,
}

impl Choice {
    /// Reads JSON.
    ///
    /// # Errors
    ///
    /// It is none, or says what cannot be: what, and what could.
    pub(super) fn read(text: &str) -> Result<Choice, String> {
        let choice: Choice = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if !(1..=MOST_REQUESTS).contains(&choice.requests) {
            return Err(format!("requests: from 1 to {MOST_REQUESTS}"));
        }
        if !SECONDS.contains(&choice.seconds) {
            let (least, most) = (SECONDS.start(), SECONDS.end());
            return Err(format!("seconds: from {least} to {most}"));
        }
        for side in &choice.sides {
            let patch: Result<Patch, _> = side.patch.parse();
            patch.map_err(|error| format!("patch: {error}"))?;
            if side.class == Class::Async && choice.wait != Wait::Time {
                return Err("an async handler that awaits can wait for time only".to_owned());
            }
        }
        Ok(choice)
    }

    /// How long the handler waits.
    pub(super) fn wait(&self) -> Duration {
        // It is among those that are allowed.
        Duration::from_secs_f64(self.seconds)
    }

    /// The command line that a person would type for a side: of `greenpatch`.
    pub(super) fn arguments(&self, side: &Side) -> Vec<String> {
        let (class, form) = match side.class {
            Class::Sync => ("sync", "function"),
            Class::Gthread => ("gthread", "function"),
            Class::Green => ("green", "function"),
            Class::Async => ("async", "async"),
            Class::AsyncBlocking => ("async", "function"),
        };
        let mut words = vec!["serve", "-k", class];
        if side.class == Class::Gthread {
            words.extend(["--threads", THREADS]);
        }
        let seconds = self.seconds.to_string();
        words.extend(["--patch", &side.patch, "hello", "--sleep", &seconds]);
        let wait = serde_json::to_value(self.wait).unwrap_or_default();
        if let Some(wait) = wait.as_str().filter(|_| self.wait != Wait::Time) {
            words.extend(["--wait", wait]);
        }
        if class == "async" {
            words.extend(["--handler", form]);
        }
        words.into_iter().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(requests: u32, seconds: f64, wait: &str, class: &str, patch: &str) -> String {
        let side = format!(r#"{{"class": "{class}", "patch": "{patch}"}}"#);
        format!(
            r#"{{"requests": {requests}, "seconds": {seconds}, "wait": "{wait}", "sides": [{side}, {side}]}}"#
        )
    }

    fn arguments(text: &str) -> String {
        let choice = Choice::read(text).unwrap();
        choice.arguments(&choice.sides[0]).join(" ")
    }

    #[test]
    fn each_class_is_a_command_line() {
        for (class, expected) in [
            ("sync", "serve -k sync --patch time hello --sleep 0.5"),
            (
                "gthread",
                "serve -k gthread --threads 4 --patch time hello --sleep 0.5",
            ),
            ("green", "serve -k green --patch time hello --sleep 0.5"),
            (
                "async",
                "serve -k async --patch time hello --sleep 0.5 --handler async",
            ),
            (
                "async-blocking",
                "serve -k async --patch time hello --sleep 0.5 --handler function",
            ),
        ] {
            assert_eq!(arguments(&json(2, 0.5, "time", class, "time")), expected);
        }
        let waits = arguments(&json(2, 1.0, "socket", "green", "none"));
        assert_eq!(
            waits,
            "serve -k green --patch none hello --sleep 1 --wait socket"
        );
    }

    #[test]
    fn what_cannot_be_is_told_with_what_could() {
        let error = |text: &str| Choice::read(text).unwrap_err();
        assert_eq!(
            error(&json(0, 1.0, "time", "sync", "all")),
            "requests: from 1 to 32"
        );
        assert_eq!(
            error(&json(33, 1.0, "time", "sync", "all")),
            "requests: from 1 to 32"
        );
        assert_eq!(
            error(&json(2, 6.0, "time", "sync", "all")),
            "seconds: from 0.1 to 5"
        );
        assert_eq!(
            error(&json(2, -1.0, "time", "sync", "all")),
            "seconds: from 0.1 to 5"
        );
        assert!(error(&json(2, 1.0, "time", "sync", "tiem")).contains("is no patch family"));
        assert!(error(&json(2, 1.0, "time", "gevent", "all")).contains("expected one of"));
        assert!(error(&json(2, 1.0, "dns", "sync", "all")).contains("expected one of"));
        assert!(error(&json(2, 1.0, "lock", "async", "all")).contains("time only"));
        assert!(error("{}").contains("missing field"));
    }
}
