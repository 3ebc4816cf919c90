//! How a snapshot is taken, and what came of it.

use crate::format::{ObjectId, SegmentSettings};
use crate::proto::CatalogueEntry;
use crate::snapshot::kinship::SourceFacts;
use crate::snapshot::uploads::Uploaded;
use crate::snapshot::walk::Finding;
use std::collections::{BTreeMap, BTreeSet};

/// How a snapshot is taken.
#[derive(Debug, Clone)]
pub struct SnapshotOptions {
    /// Frame size and compression of segments.
    pub segment: SegmentSettings,
    /// Sealed bytes of a segment; `None`: as `holdfast_policies::merge` says, 8 to 64 MiB.
    pub target_bytes: Option<u64>,
    /// The source was read after a linearizable read showed that its member is not behind.
    pub linearizable: bool,
    /// The newest commit that was known before that read; `None`: the newest that this vault had
    /// read when the call came. What was committed later may well be newer than the source.
    pub known: Option<u64>,
    /// Objects that are known to be lost or rotten: what they hold is stored again.
    pub damaged: BTreeSet<ObjectId>,
    /// Begin a new lineage, for this reason: the answer to `Outcome::Diverged`.
    pub new_lineage: Option<String>,
    /// What the other members said of contested records, by revision: recorded in the body.
    pub verdicts: BTreeMap<(i64, i64), String>,
    /// Run long computations on the caller's thread: for simulations with one thread.
    pub inline: bool,
    /// How often a lost race is run again.
    pub repeats: u32,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        SnapshotOptions {
            segment: SegmentSettings::default(),
            target_bytes: None,
            linearizable: false,
            known: None,
            damaged: BTreeSet::new(),
            new_lineage: None,
            verdicts: BTreeMap::new(),
            inline: false,
            repeats: 3,
        }
    }
}

/// How a round ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A snapshot was committed.
    Committed(Box<Summary>),
    /// Another writer's snapshot was committed first and is as new: the round is a success.
    Covered {
        /// That snapshot.
        number: u64,
    },
    /// The member is behind what the vault has: take another member, or wait.
    Late {
        /// Why.
        reason: String,
    },
    /// Another history: make sure by a linearizable read, then take it as a new lineage.
    Diverged {
        /// The highest revision that is surely shared.
        fork: i64,
        /// Why.
        reason: String,
    },
    /// Another cluster: refused.
    Unrelated {
        /// Why.
        reason: String,
    },
}

/// What a committed snapshot brought.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Its number.
    pub number: u64,
    /// Its catalogue entry.
    pub entry: CatalogueEntry,
    /// Alarms: records that vanished, changed or appeared.
    pub findings: Vec<Finding>,
    /// Counts of the comparison.
    pub counts: SourceFacts,
    /// Bytes stored for it: segments, spills, body.
    pub uploaded_bytes: u64,
    /// Bytes of copied-forward segments among them.
    pub copied_bytes: u64,
    /// Objects that were stored for it.
    pub uploaded: Vec<Uploaded>,
    /// Segments that it consists of.
    pub segments: usize,
}
