//! Settings as a file: what `--print-config` prints, and what the master hands to its workers.

use std::fmt::Write;

use super::load::Loaded;
use super::table::{Group, TABLE};

/// A line a setting, with its origin; what is not set stands there as a comment. **Invariant:** read as a file, the text gives the
/// same settings.
pub(crate) fn toml(loaded: &Loaded) -> String {
    let mut text = String::new();
    for group in Group::ALL {
        let separator = if text.is_empty() { "" } else { "\n" };
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "{separator}# {}", group.title());
        for (setting, origin) in TABLE.iter().zip(&loaded.origins) {
            if setting.group != group {
                continue;
            }
            let key = setting.key();
            let _ = match (setting.show)(&loaded.settings) {
                Some(value) => {
                    // A comment ends with its line, whatever the file is called.
                    let origin = origin.to_string().replace(char::is_control, "?");
                    writeln!(text, "{key} = {value} # {origin}")
                }
                None => writeln!(text, "# {key} is not set: {}", setting.unset),
            };
        }
    }
    text
}
