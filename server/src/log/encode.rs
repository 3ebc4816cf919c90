//! One line as text, as zap encodes it: the known keys first, then the fields in the order given.

use super::{Field, Level};
use serde_json::Value;
use std::panic::Location;

/// A line.
pub(super) struct Line<'a> {
    pub(super) level: Level,
    pub(super) message: &'a str,
    pub(super) fields: &'a [Field<'a>],
    pub(super) caller: &'static Location<'static>,
    pub(super) at: jiff::Zoned,
}

impl Line<'_> {
    /// One JSON object with a line's end.
    pub(super) fn json(&self) -> String {
        let mut text = format!(
            "{{\"level\":\"{}\",\"ts\":\"{}\",\"caller\":{},\"msg\":{}",
            self.level.name(),
            self.stamp(),
            quoted(&self.place()),
            quoted(self.message)
        );
        for (name, value) in self.fields {
            text.push(',');
            text.push_str(&quoted(name));
            text.push(':');
            text.push_str(&value.to_string());
        }
        text.push_str("}\n");
        text
    }

    /// Columns with a line's end.
    pub(super) fn console(&self) -> String {
        let (stamp, place) = (self.stamp(), self.place());
        let mut text = format!("{stamp}\t{}\t{place}\t{}", self.level.name(), self.message);
        if !self.fields.is_empty() {
            let fields: Vec<String> = self
                .fields
                .iter()
                .map(|(name, value)| format!("{}: {}", quoted(name), spaced(value)))
                .collect();
            text.push_str(&format!("\t{{{}}}", fields.join(", ")));
        }
        text.push('\n');
        text
    }

    /// Microseconds without trailing zeros, then the zone: `Z` or `+0100`.
    fn stamp(&self) -> String {
        let text = self.at.strftime("%Y-%m-%dT%H:%M:%S.%6f").to_string();
        let text = text.trim_end_matches('0').trim_end_matches('.');
        let zone = match self.at.offset().seconds() {
            0 => "Z".to_owned(),
            _ => self.at.strftime("%z").to_string(),
        };
        format!("{text}{zone}")
    }

    /// The last folder, the file and the line, as zap's short caller.
    fn place(&self) -> String {
        let parts: Vec<&str> = self.caller.file().rsplitn(3, '/').collect();
        match parts.as_slice() {
            [file, folder, ..] => format!("{folder}/{file}:{}", self.caller.line()),
            _ => format!("{}:{}", self.caller.file(), self.caller.line()),
        }
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// JSON with a blank after commas and colons, as zap's console has it.
fn spaced(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(spaced).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{}: {}", quoted(name), spaced(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}
