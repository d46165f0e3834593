//! Counts and bytes.

use std::marker::PhantomData;
use std::num::{NonZeroU64, NonZeroUsize};
use std::thread::available_parallelism;

use toml::Value;

use super::Kind;

/// Whole numbers of the program, with their least.
pub(crate) trait Whole: Sized {
    const LEAST: u64;
    const MOST: u64;

    fn from_number(number: u64) -> Option<Self>;
    fn to_number(&self) -> u64;
}

macro_rules! whole {
    ($($type:ty)*) => {
        $(impl Whole for $type {
            const LEAST: u64 = 0;
            // What TOML can write, if the type could hold more.
            const MOST: u64 = {
                let (most, limit) = (<$type>::MAX as u64, i64::MAX as u64);
                if most < limit { most } else { limit }
            };

            fn from_number(number: u64) -> Option<$type> {
                number.try_into().ok()
            }

            fn to_number(&self) -> u64 {
                *self as u64
            }
        })*
    };
}

whole! { u32 u64 usize }

impl Whole for NonZeroUsize {
    const LEAST: u64 = 1;
    const MOST: u64 = usize::MOST;

    fn from_number(number: u64) -> Option<NonZeroUsize> {
        usize::try_from(number).ok().and_then(NonZeroUsize::new)
    }

    fn to_number(&self) -> u64 {
        self.get() as u64
    }
}

/// 0 is `None`.
impl Whole for Option<NonZeroU64> {
    const LEAST: u64 = 0;
    const MOST: u64 = u64::MOST;

    fn from_number(number: u64) -> Option<Option<NonZeroU64>> {
        Some(NonZeroU64::new(number))
    }

    fn to_number(&self) -> u64 {
        self.map_or(0, NonZeroU64::get)
    }
}

/// Reads digits, after `0x`, `0o` or `0b` such of that base; underscores may stand between them, as in TOML.
fn digits(text: &str) -> Option<u64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x', ..] => (&text[2..], 16),
        [b'0', b'o', ..] => (&text[2..], 8),
        [b'0', b'b', ..] => (&text[2..], 2),
        _ => (text, 10),
    };
    let digits = digits.replace('_', "");
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    u64::from_str_radix(&digits, radix).ok()
}

fn whole<T: Whole>(text: &str, least: u64, most: u64) -> Result<T, String> {
    digits(text)
        .filter(|number| (least..=most).contains(number))
        .and_then(T::from_number)
        .ok_or_else(|| match most {
            most if most >= usize::MOST => format!("give a whole number, {least} or more"),
            most => format!("give a whole number, {least} to {most}"),
        })
}

pub(super) fn integer(number: u64) -> Option<Value> {
    // All kinds read at most what TOML can write.
    Some(Value::Integer(i64::try_from(number).unwrap_or(i64::MAX)))
}

/// A whole number, `LEAST` to `MOST`.
pub(crate) struct Number<T, const LEAST: u64 = 0, const MOST: u64 = { u64::MAX }>(PhantomData<T>);

impl<T: Whole, const LEAST: u64, const MOST: u64> Kind for Number<T, LEAST, MOST> {
    type Value = T;
    const PLACEHOLDER: &'static str = "N";

    fn read(text: &str) -> Result<T, String> {
        whole(text, LEAST.max(T::LEAST), MOST.min(T::MOST))
    }

    fn show(value: &T) -> Option<Value> {
        integer(value.to_number())
    }
}

/// More processes, or threads that compute, are a slip of the hand, and would take the machine down.
const MOST_PROCESSORS: u64 = 1024;

/// OS threads that wait. Those of a few workers are as many as Linux lets a machine have by default.
pub(crate) type Threads = Number<NonZeroUsize, 1, 4096>;

/// A whole number, 1 to 1024, or `auto`: as many as the process may use processors, by its affinity and its cgroup's quota.
pub(crate) struct Processors;

impl Kind for Processors {
    type Value = NonZeroUsize;
    const PLACEHOLDER: &'static str = "N|auto";

    fn read(text: &str) -> Result<NonZeroUsize, String> {
        if text == "auto" {
            // std looks at both; where it cannot tell, one is always right.
            return Ok(available_parallelism().unwrap_or(NonZeroUsize::MIN));
        }
        whole(text, 1, MOST_PROCESSORS).map_err(|remedy| format!("{remedy}, or auto"))
    }

    fn show(value: &NonZeroUsize) -> Option<Value> {
        integer(value.to_number())
    }
}

/// A number that 0 makes unlimited.
pub(crate) struct CountLimit;

impl Kind for CountLimit {
    type Value = usize;
    const PLACEHOLDER: &'static str = "N";

    fn read(text: &str) -> Result<usize, String> {
        match whole(text, 0, usize::MOST) {
            Ok(0) => Ok(usize::MAX),
            other => other.map_err(|remedy| format!("{remedy}; 0 is no limit")),
        }
    }

    fn show(value: &usize) -> Option<Value> {
        integer(if *value == usize::MAX {
            0
        } else {
            value.to_number()
        })
    }
}

/// Reads a number of bytes, with a unit of 1024 or alone.
fn bytes(text: &str) -> Option<u64> {
    let split = text
        .find(|character: char| character.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit {
        "" | "B" => 0,
        "K" | "k" | "KiB" => 10,
        "M" | "m" | "MiB" => 20,
        "G" | "g" | "GiB" => 30,
        "T" | "t" | "TiB" => 40,
        _ => return None,
    };
    let number = digits(number.trim_end())?;
    number
        .checked_mul(1 << shift)
        .filter(|number| *number <= u64::MOST)
}

/// The remedy for what is no number of bytes.
const BYTES: &str = "give a number of bytes, such as 65536, 64K, 16M or 1G";

/// Bytes, of which 0 is no limit.
pub(crate) struct ByteLimit<T>(PhantomData<T>);

macro_rules! byte_limit {
    ($($type:ty)*) => {
        $(impl Kind for ByteLimit<$type> {
            type Value = $type;
            const PLACEHOLDER: &'static str = "BYTES";

            fn read(text: &str) -> Result<$type, String> {
                match bytes(text).and_then(<$type>::from_number) {
                    Some(0) => Ok(<$type>::MAX),
                    Some(number) => Ok(number),
                    None => Err(format!("{BYTES}; 0 is no limit")),
                }
            }

            fn show(value: &$type) -> Option<Value> {
                integer(if *value == <$type>::MAX { 0 } else { value.to_number() })
            }
        })*
    };
}

byte_limit! { u64 usize }

/// Bytes, or what the server chooses if it is not set.
pub(crate) struct Bytes<T>(PhantomData<T>);

impl<T: Whole> Kind for Bytes<T> {
    type Value = Option<T>;
    const PLACEHOLDER: &'static str = "BYTES";

    fn read(text: &str) -> Result<Option<T>, String> {
        match bytes(text) {
            Some(0) => Ok(None),
            Some(number) => T::from_number(number).map(Some).ok_or(BYTES.to_owned()),
            None => Err(BYTES.to_owned()),
        }
    }

    fn show(value: &Option<T>) -> Option<Value> {
        value.as_ref().and_then(|value| integer(value.to_number()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_and_within_their_type() {
        assert_eq!(Number::<u32>::read("0"), Ok(0));
        assert_eq!(Number::<u32>::read("1_000"), Ok(1000));
        assert_eq!(Number::<u32>::read("0x10"), Ok(16));
        for text in ["", "-1", "+1", "1.5", "4294967296", "many", "1 2"] {
            let remedy = Number::<u32>::read(text).expect_err(text);
            assert_eq!(remedy, "give a whole number, 0 to 4294967295", "{text}");
        }
    }

    #[test]
    fn what_must_not_be_zero_is_not() {
        let least = "give a whole number, 1 or more";
        assert_eq!(Number::<NonZeroUsize>::read("0"), Err(least.to_owned()));
        assert_eq!(Number::<usize, 1>::read("0"), Err(least.to_owned()));
        assert_eq!(Number::<usize, 1>::read("1"), Ok(1));
        assert_eq!(Number::<Option<NonZeroU64>>::read("0"), Ok(None));
    }

    #[test]
    fn numbers_that_toml_cannot_write_are_refused() {
        assert_eq!(
            Number::<u64>::read("9223372036854775807"),
            Ok(i64::MAX as u64)
        );
        assert!(Number::<u64>::read("9223372036854775808").is_err());
        assert!(ByteLimit::<u64>::read("8388608T").is_err());
    }

    #[test]
    fn a_slip_of_the_hand_starts_no_million_threads() {
        assert_eq!(Threads::read("4096").map(NonZeroUsize::get), Ok(4096));
        for text in ["0", "4097", "99999999999"] {
            let remedy = Threads::read(text).expect_err(text);
            assert_eq!(remedy, "give a whole number, 1 to 4096", "{text}");
            let remedy = Processors::read(&text.replace("4097", "1025")).expect_err(text);
            assert_eq!(remedy, "give a whole number, 1 to 1024, or auto", "{text}");
        }
    }

    #[test]
    fn workers_can_follow_the_processors() {
        let all = available_parallelism().expect("a number of processors");
        assert_eq!(Processors::read("auto"), Ok(all));
        assert_eq!(
            Processors::read("3"),
            Ok(NonZeroUsize::new(3).expect("not zero"))
        );
        assert_eq!(
            Processors::read("0"),
            Err("give a whole number, 1 to 1024, or auto".to_owned())
        );
    }

    #[test]
    fn bytes_have_units_of_1024() {
        for (text, number) in [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("64K", 64 << 10),
            ("64k", 64 << 10),
            ("64 KiB", 64 << 10),
            ("16M", 16 << 20),
            ("1GiB", 1 << 30),
            ("2T", 2 << 40),
        ] {
            assert_eq!(bytes(text), Some(number), "{text}");
        }
        for text in ["", "K", "1.5M", "-1", "64KB", "64 K B", "16777216T"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn zero_is_no_limit() {
        assert_eq!(ByteLimit::<usize>::read("0"), Ok(usize::MAX));
        assert_eq!(
            ByteLimit::<usize>::show(&usize::MAX),
            Some(Value::Integer(0))
        );
        assert_eq!(CountLimit::read("0"), Ok(usize::MAX));
        assert_eq!(CountLimit::show(&usize::MAX), Some(Value::Integer(0)));
        assert_eq!(Bytes::<u64>::read("0"), Ok(None));
        assert_eq!(Bytes::<u64>::show(&None), None);
    }
}
