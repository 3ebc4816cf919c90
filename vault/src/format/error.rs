//! What can be wrong with an object, said so that someone can act on it.
//!
//! Holds: every error names the object and, for damage, the part; none holds a key, a seed or
//! a byte of sealed content.

use super::{ObjectId, SeedId};
use crate::proto::{ObjectKind, SeedKind};
use std::borrow::Cow;
use std::fmt;

/// Which object an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectName {
    /// What it was expected to be.
    pub kind: ObjectKind,
    /// Its id, where known: from the reference, else from its own header.
    pub id: Option<ObjectId>,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(kind_name(self.kind))?;
        match self.id {
            Some(id) => write!(f, " {id}"),
            None => Ok(()),
        }
    }
}

/// The word for a kind in messages.
pub(crate) fn kind_name(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Unspecified => "object",
        ObjectKind::Segment => "segment",
        ObjectKind::Body => "body",
        ObjectKind::Commit => "commit",
        ObjectKind::Page => "catalogue page",
        ObjectKind::Ledger => "ledger",
        ObjectKind::Spill => "spill",
        ObjectKind::Report => "report",
        ObjectKind::Log => "log object",
        ObjectKind::Status => "status",
    }
}

/// The word for a seed's kind in messages.
pub(crate) fn seed_kind_name(kind: SeedKind) -> &'static str {
    match kind {
        SeedKind::Unspecified => "unknown",
        SeedKind::Data => "data",
        SeedKind::Index => "index",
    }
}

/// Which part of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The 272 bytes at the front.
    Header,
    /// A data frame, counted from 0.
    Frame(u32),
    /// What a data frame holds, counted from 0: its sealed bytes are those that were recorded, but
    /// they do not open, decompress or hold what was said of them.
    Content(u32),
    /// The sealed index section: frame table and payload.
    Index,
    /// The 64 bytes at the end.
    Trailer,
    /// Its length, or no part could be singled out.
    Whole,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Header => f.write_str("header"),
            Part::Frame(number) => write!(f, "frame {number}"),
            Part::Content(number) => write!(f, "content of frame {number}"),
            Part::Index => f.write_str("index section"),
            Part::Trailer => f.write_str("trailer"),
            Part::Whole => f.write_str("whole"),
        }
    }
}

/// Why an object could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The bytes are not what was written: another copy of the object is needed.
    #[error("{object}: {part} is damaged: {reason}")]
    Damaged {
        /// The object.
        object: ObjectName,
        /// Where.
        part: Part,
        /// What was seen.
        reason: Cow<'static, str>,
    },
    /// A sound object, but not the one that was asked for: the store exchanged or replaced it.
    #[error("{object}: another object lies in its place: {reason}")]
    Exchanged {
        /// The object asked for.
        object: ObjectName,
        /// What differs.
        reason: Cow<'static, str>,
    },
    /// Written by a newer Holdfast in a way that this one must not guess at.
    #[error("{object}: {what}; read it with a newer holdfast")]
    TooNew {
        /// The object.
        object: ObjectName,
        /// What this version does not know.
        what: String,
    },
    /// The seed that seals this part is not in the keyring.
    #[error(
        "{object}: is sealed under the {} seed {seed}, which is not open; open one of its wraps \
         (`holdfast vault keys` lists them with the key ids they need)",
        seed_kind_name(*kind)
    )]
    MissingSeed {
        /// The object.
        object: ObjectName,
        /// The seed's id.
        seed: SeedId,
        /// Data or index.
        kind: SeedKind,
    },
    /// A seed of the right id is there, but it is not the one that sealed this object.
    #[error(
        "{object}: the {} seed {seed} at hand is not the one that sealed it; \
         its wrap and this object come from different histories",
        seed_kind_name(*kind)
    )]
    WrongSeed {
        /// The object.
        object: ObjectName,
        /// The seed's id.
        seed: SeedId,
        /// Data or index.
        kind: SeedKind,
    },
    /// What was to be written breaks a limit or a rule of the format.
    #[error("{object}: cannot be written: {reason}")]
    Refused {
        /// The object.
        object: ObjectName,
        /// Which rule, with figures.
        reason: Cow<'static, str>,
    },
    /// The receiver of the bytes failed; nothing is wrong with them.
    #[error("{object}: writing its bytes onward failed")]
    Sink {
        /// The object.
        object: ObjectName,
        /// The receiver's error.
        #[source]
        source: std::io::Error,
    },
}

impl FormatError {
    /// True when the stored bytes are at fault, so that another copy may help.
    pub fn is_damage(&self) -> bool {
        matches!(self, FormatError::Damaged { .. } | FormatError::Exchanged { .. })
    }
}
