//! How a green thread is named in a sentence.

use std::fmt;

/// A green thread in a sentence: `12 'conn-17'`.
pub(crate) struct Label<'a>(pub(crate) u64, pub(crate) Option<&'a str>);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(name) => write!(f, "{} '{name}'", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}
