//! What must hold for any bytes, for the fuzz targets in `fuzz/` and the test that runs them for a moment.
//!
//! Each function panics when it does not. It is no part of the crate's interface.

use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use crate::command::bind::Bind;
use crate::command::load::Loaded;
use crate::command::networks::Networks;
use crate::settings::Settings;

/// Settings files: what was read and shown is read again as the same, and a fault is told in words.
pub fn settings(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    match Loaded::from_toml(text, Path::new("fuzz.toml")) {
        Ok(loaded) => {
            let shown = loaded.to_toml();
            let again = Settings::from_toml(&shown, "shown.toml");
            let again = again.unwrap_or_else(|error| panic!("shown as {shown:?}: {error}"));
            assert_eq!(again, loaded.settings, "shown as {shown:?}");
        }
        Err(error) => assert!(error.to_string().starts_with("fuzz.toml"), "{error}"),
    }
}

/// Addresses to listen on, and lists of networks.
pub fn addresses(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        reads_what_it_shows::<Bind>(text);
        reads_what_it_shows::<Networks>(text);
    }
}

/// What is read from `text` is shown so that it is read again as the same.
fn reads_what_it_shows<T>(text: &str)
where
    T: FromStr + Display + PartialEq + std::fmt::Debug,
    T::Err: Display,
{
    match text.parse::<T>() {
        Ok(value) => match value.to_string().parse::<T>() {
            Ok(again) => assert_eq!(again, value, "shown as '{value}'"),
            Err(error) => panic!("shown as '{value}': {error}"),
        },
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
