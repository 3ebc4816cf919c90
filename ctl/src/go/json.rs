//! JSON as Go's encoder writes it: fields in the order of the message, zero values left out where
//! the field says so, bytes in base64, and `<`, `>`, `&` escaped in texts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::{Display, Write};

/// An object under construction; fields come out in the order they are added.
#[derive(Debug, Default)]
pub(crate) struct Object {
    text: String,
}

impl Object {
    /// An empty one.
    pub(crate) fn new() -> Object {
        Object::default()
    }

    /// A value that is JSON already.
    pub(crate) fn raw(mut self, name: &str, json: impl Display) -> Object {
        let comma = if self.text.is_empty() { "" } else { "," };
        let _ = write!(self.text, "{comma}\"{name}\":{json}");
        self
    }

    /// A value that is JSON already, if there is one.
    pub(crate) fn some(self, name: &str, json: Option<String>) -> Object {
        match json {
            Some(json) => self.raw(name, json),
            None => self,
        }
    }

    /// A number; 0 is left out.
    pub(crate) fn number<N: Display + Default + PartialEq>(self, name: &str, value: N) -> Object {
        if value == N::default() { self } else { self.raw(name, value) }
    }

    /// A truth value; false is left out.
    pub(crate) fn truth(self, name: &str, value: bool) -> Object {
        if value { self.raw(name, true) } else { self }
    }

    /// A text; an empty one is left out.
    pub(crate) fn text(self, name: &str, value: &str) -> Object {
        if value.is_empty() { self } else { self.raw(name, text(value)) }
    }

    /// Bytes; none are left out.
    pub(crate) fn bytes(self, name: &str, value: &[u8]) -> Object {
        if value.is_empty() { self } else { self.raw(name, bytes(value)) }
    }

    /// A list; an empty one is left out.
    pub(crate) fn list<T>(self, name: &str, items: &[T], each: impl Fn(&T) -> String) -> Object {
        if items.is_empty() { self } else { self.raw(name, list(items, each)) }
    }

    /// The whole object.
    pub(crate) fn end(self) -> String {
        format!("{{{}}}", self.text)
    }
}

/// A list of values.
pub(crate) fn list<T>(items: &[T], each: impl Fn(&T) -> String) -> String {
    let items: Vec<String> = items.iter().map(each).collect();
    format!("[{}]", items.join(","))
}

/// Bytes in base64.
pub(crate) fn bytes(value: &[u8]) -> String {
    format!("\"{}\"", STANDARD.encode(value))
}

/// A text in quotes.
pub(crate) fn text(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_values_are_left_out_and_the_order_stays() {
        let object = Object::new()
            .number("b", 2)
            .number("zero", 0u64)
            .truth("no", false)
            .text("none", "")
            .bytes("a", b"a")
            .list("empty", &[0; 0], ToString::to_string)
            .list("l", &[1, 2], ToString::to_string)
            .raw("always", 0);
        assert_eq!(object.end(), r#"{"b":2,"a":"YQ==","l":[1,2],"always":0}"#);
        assert_eq!(Object::new().end(), "{}");
    }

    #[test]
    fn texts_are_escaped_as_gos() {
        assert_eq!(
            text("a<&>\"\\\n\u{1}é\u{2028}"),
            "\"a\\u003c\\u0026\\u003e\\\"\\\\\\n\\u0001é\\u2028\""
        );
    }
}
