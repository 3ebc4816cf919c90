//! Values of flags: read as Go reads them, kept by the flag's name.

use super::flags::{self, Flag, Kind};
use super::gates::{Gates, truth};
use super::member_url::MemberUrl;
use holdfast_core::duration::GoDuration;
use std::collections::{BTreeMap, BTreeSet};

/// A flag's value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Text as it stands.
    Text(String),
    /// A truth value.
    Bool(bool),
    /// A number.
    Number(i128),
    /// A length of time.
    Duration(GoDuration),
    /// URLs.
    Urls(Vec<MemberUrl>),
    /// Texts.
    Texts(Vec<String>),
    /// Features.
    Gates(Gates),
}

/// All values, and which of them somebody gave.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values {
    given: BTreeMap<&'static str, Value>,
    set: BTreeSet<String>,
}

impl Values {
    /// Gives a flag its value.
    ///
    /// # Errors
    /// What is wrong with the value, in the words of Go's flag package.
    pub(crate) fn set(&mut self, flag: &Flag, text: &str) -> Result<(), String> {
        let value = match (flag.kind, self.given.get(flag.name)) {
            (Kind::Gates, Some(Value::Gates(gates))) => {
                let mut gates = gates.clone();
                gates.set(text)?;
                Value::Gates(gates)
            }
            _ => read(flag.kind, text)?,
        };
        self.given.insert(flag.name, value);
        self.set.insert(flag.name.to_owned());
        Ok(())
    }

    /// Puts a value in place without its being given by somebody: an older name's to the newer.
    pub(crate) fn put(&mut self, name: &'static str, value: Value) {
        self.given.insert(name, value);
    }

    /// Notes a name that a file gave, be it a flag's or not.
    pub(crate) fn note(&mut self, name: &str) {
        self.set.insert(name.to_owned());
    }

    /// Whether somebody gave it.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.set.contains(name)
    }

    /// The value of a flag, its default when nobody gave one.
    pub(crate) fn get(&self, name: &str) -> Value {
        if let Some(value) = self.given.get(name) {
            return value.clone();
        }
        let Some(flag) = flags::find(name) else { return Value::Text(String::new()) };
        // An empty default of a number means none is said: zero.
        let text = match (flag.kind, flag.default) {
            (Kind::Unsigned | Kind::Signed | Kind::Duration, "") => "0",
            (Kind::Bool, "") => "false",
            (_, text) => text,
        };
        read(flag.kind, text).unwrap_or_else(|_| Value::Text(text.to_owned()))
    }

    /// As text; empty for other kinds.
    pub(crate) fn text(&self, name: &str) -> String {
        match self.get(name) {
            Value::Text(text) => text,
            _ => String::new(),
        }
    }

    /// As a truth value.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.get(name) == Value::Bool(true)
    }

    /// As a number that fits; what does not becomes the largest.
    pub(crate) fn number<N: TryFrom<i128>>(&self, name: &str, largest: N) -> N {
        match self.get(name) {
            Value::Number(number) => N::try_from(number).unwrap_or(largest),
            _ => largest,
        }
    }

    /// As a length of time.
    pub(crate) fn duration(&self, name: &str) -> GoDuration {
        match self.get(name) {
            Value::Duration(duration) => duration,
            _ => GoDuration(0),
        }
    }

    /// As URLs.
    pub(crate) fn urls(&self, name: &str) -> Vec<MemberUrl> {
        match self.get(name) {
            Value::Urls(urls) => urls,
            _ => Vec::new(),
        }
    }

    /// As texts.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        match self.get(name) {
            Value::Texts(texts) => texts,
            _ => Vec::new(),
        }
    }

    /// As features.
    pub(crate) fn gates(&self) -> Gates {
        match self.get("feature-gates") {
            Value::Gates(gates) => gates,
            _ => Gates::default(),
        }
    }
}

fn read(kind: Kind, text: &str) -> Result<Value, String> {
    Ok(match kind {
        Kind::Text => Value::Text(text.to_owned()),
        Kind::Bool => Value::Bool(truth(text).ok_or("parse error")?),
        Kind::Nothing => Value::Text(String::new()),
        Kind::Unsigned => number(text, 0, u64::MAX.into())?,
        Kind::Signed => number(text, i64::MIN.into(), i64::MAX.into())?,
        Kind::Unsigned32 => number(text, 0, u32::MAX.into()).map_err(|error| {
            let why = if error == "parse error" { "invalid syntax" } else { &error };
            format!("strconv.ParseUint: parsing {text:?}: {why}")
        })?,
        Kind::Duration => Value::Duration(GoDuration::parse(text).map_err(|_| "parse error")?),
        Kind::Urls if text.is_empty() => Value::Urls(Vec::new()),
        Kind::Urls => Value::Urls(MemberUrl::parse_list(text)?),
        Kind::Origins if matches!(text, "" | "*") => Value::Texts(vec![text.to_owned()]),
        Kind::Origins => {
            let urls = MemberUrl::parse_list(text)?;
            Value::Texts(urls.iter().map(ToString::to_string).collect())
        }
        Kind::Set if text.is_empty() => Value::Texts(Vec::new()),
        Kind::Set => {
            let texts: BTreeSet<String> = text.split(',').map(str::to_owned).collect();
            Value::Texts(texts.into_iter().collect())
        }
        Kind::List if text.is_empty() => Value::Texts(Vec::new()),
        Kind::List => Value::Texts(text.split(',').map(str::to_owned).collect()),
        Kind::OneOf(valid) if valid.contains(&text) => Value::Text(text.to_owned()),
        Kind::OneOf(_) => return Err("invalid value".to_owned()),
        Kind::SomeOf(valid) => match text.split(',').find(|part| !valid.contains(part)) {
            Some(part) => return Err(format!("invalid value {part:?}")),
            None => Value::Text(text.to_owned()),
        },
        Kind::Gates => {
            let mut gates = Gates::default();
            gates.set(text)?;
            Value::Gates(gates)
        }
    })
}

/// A number as Go reads it with base 0: decimal, `0x`, `0o`, `0b`, `0` for octal; `_` between
/// digits.
fn number(text: &str, least: i128, most: i128) -> Result<Value, String> {
    let syntax = || "parse error".to_owned();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) if least < 0 => (true, rest),
        _ => (false, if least < 0 { text.strip_prefix('+').unwrap_or(text) } else { text }),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    let bare: String = digits.chars().filter(|c| *c != '_').collect();
    if bare.is_empty() || !bare.chars().all(|c| c.is_digit(radix)) || digits.ends_with('_') {
        return Err(syntax());
    }
    let range = || "value out of range".to_owned();
    let value = i128::from_str_radix(&bare, radix).map_err(|_| range())?;
    let value = if negative { -value } else { value };
    if value < least || value > most { Err(range()) } else { Ok(Value::Number(value)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        let unsigned = |text| number(text, 0, u64::MAX.into());
        for (text, value) in [("0", 0), ("010", 8), ("0x1F", 31), ("1_000", 1000), ("0b11", 3)] {
            assert_eq!(unsigned(text), Ok(Value::Number(value)), "{text}");
        }
        for text in ["", "x", "-1", "1.5", "08", "1_", "+1"] {
            assert_eq!(unsigned(text), Err("parse error".to_owned()), "{text}");
        }
        let huge = "99999999999999999999999999999999999999999999";
        assert_eq!(unsigned(huge), Err("value out of range".to_owned()));
        assert_eq!(number("-5", i64::MIN.into(), i64::MAX.into()), Ok(Value::Number(-5)));
    }

    #[test]
    fn every_default_can_be_read() {
        let values = Values::default();
        for flag in flags::all() {
            let value = values.get(flag.name);
            let is_text = matches!(value, Value::Text(_));
            let may_be =
                matches!(flag.kind, Kind::Text | Kind::OneOf(_) | Kind::SomeOf(_) | Kind::Nothing);
            assert_eq!(is_text, may_be, "{}: {value:?}", flag.name);
        }
    }
}
