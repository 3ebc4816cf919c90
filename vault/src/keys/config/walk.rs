//! Reading fields out of a document, with the path to each.
//!
//! Holds: a mapping has no field twice and none that is unknown, checked before any of its fields
//! is read.

use super::super::wrap::MAX_NAME_BYTES;
use super::yaml::{Node, Step};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::time::Duration;
use zeroize::Zeroizing;

/// What is wrong, and the way to it.
pub(super) struct Problem {
    pub(super) steps: Vec<Step>,
    pub(super) field: String,
    pub(super) message: String,
}

/// A node and the way to it.
pub(super) struct At<'n> {
    node: &'n Node,
    steps: Vec<Step>,
    field: String,
}

/// A mapping whose fields are all known and there once.
pub(super) struct Fields<'n> {
    at: At<'n>,
    entries: &'n [(String, Node)],
}

impl<'n> At<'n> {
    pub(super) fn root(node: &'n Node) -> At<'n> {
        At { node, steps: Vec::new(), field: String::new() }
    }

    pub(super) fn problem(&self, message: &str) -> Problem {
        let (steps, field) = (self.steps.clone(), self.field.clone());
        Problem { steps, field, message: message.to_owned() }
    }

    fn expected(&self, wanted: &str) -> Problem {
        self.problem(&format!("{wanted} is expected, {} stands here", self.node.what()))
    }

    /// A mapping with no other fields than these.
    pub(super) fn map(&self, known: &[&str]) -> Result<Fields<'n>, Problem> {
        let entries: &'n [(String, Node)] = match self.node {
            Node::Map(entries) => entries,
            _ => return Err(self.expected("a mapping")),
        };
        for (index, (key, _)) in entries.iter().enumerate() {
            let at_key = |message: &str| {
                let mut problem = self.problem(message);
                problem.steps.push(Step::Key(index));
                problem
            };
            if !known.contains(&key.as_str()) {
                let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                // A key or a value may have slipped here by indentation: long texts are not shown.
                let shown =
                    if key.len() <= 24 { format!("{key:?}") } else { "of this name".into() };
                return Err(at_key(&format!("unknown field {shown}; known here: {known}")));
            }
            if entries[..index].iter().any(|(before, _)| before == key) {
                return Err(at_key(&format!("{key} stands here twice")));
            }
        }
        let at = At { node: self.node, steps: self.steps.clone(), field: self.field.clone() };
        Ok(Fields { at, entries })
    }

    /// The items of a list that is not empty.
    pub(super) fn items(&self) -> Result<Vec<At<'n>>, Problem> {
        let items: &'n [Node] = match self.node {
            Node::List(items) => items,
            _ => return Err(self.expected("a list")),
        };
        if items.is_empty() {
            return Err(self.problem("the list is empty"));
        }
        let item = |(index, node)| At {
            node,
            steps: [&self.steps[..], &[Step::Item(index)]].concat(),
            field: format!("{}[{index}]", self.field),
        };
        Ok(items.iter().enumerate().map(item).collect())
    }

    pub(super) fn text(&self) -> Result<&'n str, Problem> {
        match self.node {
            Node::Text(text) => Ok(text),
            _ => Err(self.expected("text")),
        }
    }

    /// Text that is not empty and not long.
    pub(super) fn name(&self) -> Result<&'n str, Problem> {
        let text = self.text()?;
        if text.is_empty() || text.len() > MAX_NAME_BYTES {
            return Err(self.problem(&format!("must be 1 to {MAX_NAME_BYTES} bytes long")));
        }
        Ok(text)
    }

    /// Standard base64 with padding; line breaks are skipped, as Go's decoder does.
    pub(super) fn base64(&self) -> Result<Zeroizing<Vec<u8>>, Problem> {
        let text = self.text()?;
        let compact: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        let compact = Zeroizing::new(compact);
        let decoded = STANDARD.decode(compact.as_bytes());
        decoded.map(Zeroizing::new).map_err(|_| self.problem("is not standard base64 with padding"))
    }

    /// A positive duration as Go writes it: `3s`, `1m30s`, `500ms`.
    pub(super) fn duration(&self) -> Result<Duration, Problem> {
        let wrong = || self.problem("must be a positive duration such as 3s or 500ms");
        let mut rest = self.text()?;
        let mut seconds = 0.0;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(end);
            let number: f64 = number.parse().map_err(|_| wrong())?;
            let units = [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)];
            let units = units.into_iter().chain([("m", 60.0), ("h", 3600.0)]);
            let fitting =
                units.filter_map(|(unit, factor)| Some((tail.strip_prefix(unit)?, factor)));
            // `ms` before `m`: the first in the list that fits.
            let (tail, factor) = fitting.into_iter().next().ok_or_else(wrong)?;
            seconds += number * factor;
            rest = tail;
        }
        let duration = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
        if duration.is_zero() { Err(wrong()) } else { Ok(duration) }
    }
}

impl<'n> Fields<'n> {
    fn value(&self, index: usize) -> At<'n> {
        let (name, node) = &self.entries[index];
        let dot = if self.at.field.is_empty() { "" } else { "." };
        At {
            node,
            steps: [&self.at.steps[..], &[Step::Value(index)]].concat(),
            field: format!("{}{dot}{name}", self.at.field),
        }
    }

    pub(super) fn optional(&self, name: &str) -> Option<At<'n>> {
        let index = self.entries.iter().position(|(key, _)| key == name)?;
        Some(self.value(index))
    }

    pub(super) fn required(&self, name: &str) -> Result<At<'n>, Problem> {
        self.optional(name).ok_or_else(|| self.at.problem(&format!("{name} is missing")))
    }

    pub(super) fn entries(&self) -> Vec<(&'n str, At<'n>)> {
        let entries = self.entries.iter().enumerate();
        entries.map(|(index, (name, _))| (name.as_str(), self.value(index))).collect()
    }
}
