//! What growing tells: each step as it happens, and what was done in the end.

use std::fmt;

use super::EqualHash;

/// What just happened; for people to read along.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrowEvent {
    /// A member was added as a learner.
    Added {
        /// Its name.
        name: String,
        /// Its id, in hex.
        id: String,
    },
    /// The starter was asked to start it.
    Started {
        /// Its name.
        name: String,
    },
    /// It runs and receives the data.
    Appeared {
        /// Its name.
        name: String,
    },
    /// It is not in sync yet.
    CatchingUp {
        /// Its name.
        name: String,
        /// The raft index it has applied.
        applied: u64,
        /// The leader's.
        of: u64,
    },
    /// It has a vote.
    Promoted {
        /// Its name.
        name: String,
    },
    /// All members answer and agree.
    Agreed {
        /// What they agree on.
        hash: EqualHash,
    },
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct GrowReport {
    /// All members in the end.
    pub members: Vec<String>,
    /// Milliseconds for each member that was added, from the add to the agreement.
    pub joined_ms: Vec<(String, u64)>,
    /// What all members agree on.
    pub hash: EqualHash,
}

impl fmt::Display for GrowEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GrowEvent::Added { name, id } => write!(f, "{name}: added as learner {id}"),
            GrowEvent::Started { name } => write!(f, "{name}: to be started now"),
            GrowEvent::Appeared { name } => write!(f, "{name}: runs, receives the data"),
            GrowEvent::CatchingUp { name, applied, of } => {
                write!(f, "{name}: catching up, at entry {applied} of {of}")
            }
            GrowEvent::Promoted { name } => write!(f, "{name}: promoted, has a vote"),
            GrowEvent::Agreed { hash } => write!(f, "{hash}"),
        }
    }
}

impl fmt::Display for GrowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} members: {}", self.members.len(), self.members.join(", "))?;
        for (name, milliseconds) in &self.joined_ms {
            writeln!(f, "  {name} joined in {}.{:03} s", milliseconds / 1000, milliseconds % 1000)?;
        }
        write!(f, "  {}", self.hash)
    }
}
