//! The settings' file: TOML, a key a setting.

use std::fs;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::absent;
use super::kinds::Form;
use super::origin::{Given, Origin};
use super::table::{self, TABLE};

/// The file that is read if none is named and it is there.
pub(crate) const DEFAULT_FILE: &str = "greenpatch.toml";

/// The table that the server leaves alone: an application may keep its own settings in it.
pub(crate) const APPLICATION: &str = "application";

/// Reads what a file sets; its path is relative to `directory`. Faults are added to `faults`.
pub(crate) fn read(directory: &Path, path: &Path, faults: &mut Vec<String>) -> Vec<Given> {
    match fs::read_to_string(directory.join(path)) {
        Ok(text) => parse(&text, path, faults),
        Err(error) => {
            faults.push(format!(
                "{}: cannot read the settings' file: {error}; name another with -c, or correct this one",
                path.display()
            ));
            Vec::new()
        }
    }
}

/// Reads what `text`, the content of the file `path`, sets.
pub(crate) fn parse(text: &str, path: &Path, faults: &mut Vec<String>) -> Vec<Given> {
    let line_of = |offset: usize| {
        let before = text.as_bytes().get(..offset).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    };
    let place = |offset: usize| format!("{}:{}", path.display(), line_of(offset));
    let table = match DeTable::parse(text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            faults.push(format!(
                "{}: this is not TOML: {}; write a line a setting, as in workers = 4",
                place(offset),
                error.message()
            ));
            return Vec::new();
        }
    };
    let mut given = Vec::new();
    for (key, value) in &table {
        let (name, offset) = (key.get_ref().as_ref(), key.span().start);
        if name == APPLICATION {
            continue;
        }
        let Some(setting) = table::find(name) else {
            faults.push(format!(
                "{}: {name} is no setting; {}",
                place(offset),
                absent::remedy(name)
            ));
            continue;
        };
        match texts(value.get_ref(), TABLE[setting].form) {
            Ok(texts) => given.push(Given {
                setting,
                written: name.to_owned(),
                texts,
                origin: Origin::File {
                    path: path.to_owned(),
                    line: line_of(offset),
                },
            }),
            Err(remedy) => faults.push(format!("{}: {name} {remedy}", place(offset))),
        }
    }
    // The table is sorted by name; people read a file from the top.
    given.sort_by(|one, other| one.origin.cmp(&other.origin));
    given
}

/// The texts that a value stands for.
fn texts(value: &DeValue<'_>, form: Form) -> Result<Vec<String>, String> {
    match (value, form) {
        (DeValue::Array(values), Form::Several | Form::Joined) => {
            let texts = values.iter().map(|value| text(value.get_ref()));
            let texts = texts.collect::<Result<Vec<String>, String>>()?;
            Ok(match form {
                Form::Joined => vec![texts.join(",")],
                _ => texts,
            })
        }
        (DeValue::String(list), Form::Several) => Ok(super::load::split_list(list)),
        _ => text(value).map(|text| vec![text]),
    }
}

fn text(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::Float(number) => Ok(number.to_string()),
        DeValue::Boolean(value) => Ok(value.to_string()),
        DeValue::Array(_) => Err("is an array; give one value".to_owned()),
        DeValue::Table(_) => Err("is a table; give a value".to_owned()),
        DeValue::Datetime(_) => Err("is a date; give a value".to_owned()),
    }
}
