//! A YAML (or JSON) document as a tree whose every node can be found again by line and column.
//!
//! Holds: no text of the document comes into an error message but names of fields, since a
//! misplaced line may be a key. Positions are looked up only when something is wrong, by walking
//! the same path once more.

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use std::fmt;
use zeroize::Zeroizing;

/// A node.
pub(super) enum Node {
    Null,
    Bool,
    Number,
    Text(Zeroizing<String>),
    List(Vec<Node>),
    /// Entries in the order of the document, duplicates included.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// What it is, for messages.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Node::Null => "nothing",
            Node::Bool => "true or false",
            Node::Number => "a number",
            Node::Text(_) => "text",
            Node::List(_) => "a list",
            Node::Map(_) => "a mapping",
        }
    }
}

/// One step into a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Into the n-th item of a list.
    Item(usize),
    /// Into the value of the n-th entry of a mapping.
    Value(usize),
    /// To the key of the n-th entry of a mapping.
    Key(usize),
}

/// Line and column, from 1.
pub(super) type Position = Option<(usize, usize)>;

/// Reads one document; a syntax error comes with its position and the parser's words, which name no
/// content.
pub(super) fn parse(text: &str) -> Result<Node, (Position, String)> {
    serde_yaml::from_str::<Node>(text).map_err(|error| {
        let at = error.location().map(|location| (location.line(), location.column()));
        (at, "it is not a YAML or JSON document of mappings, lists and text".to_owned())
    })
}

/// Where a node begins.
pub(super) fn locate(text: &str, steps: &[Step]) -> Position {
    let found = Locate(steps).deserialize(serde_yaml::Deserializer::from_str(text));
    let location = found.err()?.location()?;
    Some((location.line(), location.column()))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(Build)
    }
}

struct Build;

impl<'de> Visitor<'de> for Build {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mappings, lists and text")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Bool)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Number)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Number)
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Node, E> {
        Ok(Node::Number)
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Node, E> {
        Ok(Node::Number)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Number)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Node>()? {
            let Node::Text(key) = key else { return Err(A::Error::custom("a key is not text")) };
            map.push((key.to_string(), entries.next_value()?));
        }
        Ok(Node::Map(map))
    }
}

/// Walks to a node and fails there, so that the parser tells where it is.
struct Locate<'s>(&'s [Step]);

impl<'de> DeserializeSeed<'de> for Locate<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Locate<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing: the walk ends here")
    }

    // All kinds but the two below fail by themselves, which is what the end of the walk wants.

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((Step::Item(index), rest)) = self.0.split_first() else {
            return Err(A::Error::custom("here"));
        };
        for _ in 0..*index {
            items.next_element::<IgnoredAny>()?;
        }
        items.next_element_seed(Locate(rest))?;
        Err(A::Error::custom("not found"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Some((Step::Value(index) | Step::Key(index), rest)) = self.0.split_first() else {
            return Err(A::Error::custom("here"));
        };
        for _ in 0..*index {
            entries.next_entry::<IgnoredAny, IgnoredAny>()?;
        }
        if matches!(self.0[0], Step::Key(_)) {
            entries.next_key_seed(Locate(&[]))?;
        } else {
            entries.next_key::<IgnoredAny>()?;
            entries.next_value_seed(Locate(rest))?;
        }
        Err(A::Error::custom("not found"))
    }
}
