//! Which fields a message may have, at one look.
//!
//! The server looks at a dozen fields itself, of which nearly all messages have none or one. To look each of them up is to hash as many
//! names; to note how long the names are that there are costs less, and most of the dozen are ruled out by that.

use http::HeaderMap;
use http::header::HeaderName;

/// The lengths of a message's field names, a bit for each; the highest stands for all that are longer.
#[derive(Clone, Copy)]
pub(crate) struct NameLengths(u64);

impl NameLengths {
    pub(crate) fn of(fields: &HeaderMap) -> NameLengths {
        let bits = fields.keys().map(bit);
        NameLengths(bits.fold(0, |all, bit| all | bit))
    }

    /// False if there is no field of that name.
    #[inline]
    pub(crate) fn may_have(self, name: &HeaderName) -> bool {
        self.0 & bit(name) != 0
    }
}

#[inline]
fn bit(name: &HeaderName) -> u64 {
    1 << name.as_str().len().min(63)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::{EXPECT, HOST};

    use super::*;

    #[test]
    fn fields_that_are_there_may_be_there_and_others_are_ruled_out_by_their_length() {
        let mut fields = HeaderMap::new();
        let long = HeaderName::try_from("x".repeat(80)).unwrap();
        for name in [HOST, long.clone()] {
            fields.insert(name, HeaderValue::from_static("value"));
        }
        let lengths = NameLengths::of(&fields);
        assert!(lengths.may_have(&HOST) && lengths.may_have(&long));
        assert!(!lengths.may_have(&EXPECT));
        assert!(!NameLengths::of(&HeaderMap::new()).may_have(&HOST));
    }
}
