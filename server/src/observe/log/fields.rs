//! The values of an event or a span, kept as JSON has them, so that both styles of line are made of the same.

use std::error::Error;
use std::fmt;

use serde_json::{Map, Value};
use tracing::Event;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Record};

/// An event's message and its other fields, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    pub(super) message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    pub(super) fn of(event: &Event<'_>) -> Fields {
        let mut fields = Fields::default();
        event.record(&mut fields);
        fields
    }

    pub(super) fn of_span(attributes: &Attributes<'_>) -> Fields {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        fields
    }

    pub(super) fn of_record(record: &Record<'_>) -> Fields {
        let mut fields = Fields::default();
        record.record(&mut fields);
        fields
    }

    /// Takes the other's values over, in the places of its own of the same names.
    pub(super) fn update(&mut self, newer: Fields) {
        for (name, value) in newer.others {
            match self.others.iter_mut().find(|(known, _)| *known == name) {
                Some((_, old)) => *old = value,
                None => self.others.push((name, value)),
            }
        }
    }

    /// Whether there are none but the message.
    pub(super) fn is_empty(&self) -> bool {
        self.others.is_empty()
    }

    pub(super) fn to_object(&self) -> Value {
        let pairs = self.others.iter();
        let object: Map<_, _> = pairs
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        Value::Object(object)
    }

    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("message", value) => self.message = value.to_string(),
            // Where a message of the `log` crate comes from, which its target says.
            (name, _) if name.starts_with("log.") => {}
            (name, value) => self.others.push((name, value)),
        }
    }
}

/// The fields without the message: `name=value`, with blanks between.
impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.others.iter().enumerate() {
            let blank = if at == 0 { "" } else { " " };
            match value {
                Value::String(text) if is_word(text) => write!(f, "{blank}{name}={text}")?,
                value => write!(f, "{blank}{name}={value}")?,
            }
        }
        Ok(())
    }
}

/// Whether a text can stand without quotes.
fn is_word(text: &str) -> bool {
    let breaks = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '=' | '\\');
    !text.is_empty() && !text.contains(breaks)
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.put(field, value.to_string().into());
    }
}
