//! What goes into a walk and what comes out of it.
//!
//! Holds: nothing here decides anything; a finding's text says what to do.

use crate::format::ObjectId;
use crate::snapshot::kinship::SourceFacts;
use roaring::RoaringBitmap;

/// A revision: main and sub.
pub type Rev = (i64, i64);

/// One record of the source: exactly what lies in etcd's `key` bucket, and its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceRecord<'a> {
    /// Main revision.
    pub main: i64,
    /// Position in its transaction.
    pub sub: i64,
    /// Whether it marks a deletion.
    pub tombstone: bool,
    /// The user's key.
    pub key: &'a [u8],
    /// The bucket's value: the KeyValue message's bytes, opaque here.
    pub value: &'a [u8],
    /// A later record of the same key exists: it will be compacted away soon.
    pub superseded: bool,
    /// It must be neither compressed nor share a frame with others.
    pub sensitive: bool,
}

impl SourceRecord<'_> {
    /// Its revision.
    pub fn rev(&self) -> Rev {
        (self.main, self.sub)
    }
}

/// What a source tells of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceItem<'a> {
    /// A record.
    Record(SourceRecord<'a>),
    /// It was named to the source, and is not alive there.
    Gone(Rev),
}

impl SourceItem<'_> {
    /// Its revision.
    pub fn rev(&self) -> Rev {
        match self {
            SourceItem::Record(record) => record.rev(),
            SourceItem::Gone(rev) => *rev,
        }
    }
}

/// What a source that tells differences has in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveTotals {
    /// Records alive.
    pub record_count: u64,
    /// Tombstones among them.
    pub tombstone_count: u64,
    /// Bytes of their values.
    pub live_bytes: u64,
    /// SHA-256 over them in order of revision, as [`crate::format::LiveHash`] takes it.
    pub live_sha256: [u8; 32],
}

/// What an index tells of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseEntry {
    /// Its bit in the live bitmap.
    pub ordinal: u32,
    /// Its revision.
    pub rev: Rev,
    /// Whether it marks a deletion.
    pub tombstone: bool,
    /// Length of its value.
    pub length: u64,
    /// Keyed digest.
    pub digest: u32,
    /// Tag of its key.
    pub tag: u32,
}

/// An opened segment index.
pub trait BaseIndex: Send {
    /// How many records.
    fn len(&self) -> u32;
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The record at this place, below `len`, in order of revision.
    fn entry(&self, place: u32) -> BaseEntry;
    /// The digest that this record would have in this segment.
    fn digest(&self, record: &SourceRecord<'_>) -> u32;
}

/// Where a record that must be stored goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// New and the newest of its key.
    Live,
    /// New and superseded already.
    Superseded,
    /// Alive in a segment that is given up, together with those of this group.
    Copied(u32),
    /// A second version of a record that differs.
    Contested,
}

/// Takes the records that must be stored.
pub trait Emit {
    /// Its failure.
    type Error;
    /// Stores `record`.
    fn emit(&mut self, target: Target, record: &SourceRecord<'_>) -> Result<(), Self::Error>;
}

/// A segment of the base snapshot.
pub struct BaseSegment {
    /// Its id.
    pub id: ObjectId,
    /// Holds second versions of contested records; its bits are never restored.
    pub contested: bool,
    /// First and last revision in it, alive or not.
    pub range: (Rev, Rev),
    /// Bits of records alive in the base.
    pub live: RoaringBitmap,
    /// The source tells of its records only where they differ: they were named to it.
    pub implied: bool,
    /// Give it up: records that are alive go into a new segment, with those of this group.
    pub give_up: Option<u32>,
}

/// Something that must not happen, or that people must hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// A record vanished above the compaction revision: lost in the source. It stays alive here.
    Vanished(Rev),
    /// Same revision, other bytes: corrupt here or in another member. Both are kept.
    Changed(Rev),
    /// A record at or below the base's revision that the base did not have.
    Appeared(Rev),
    /// An object of the newest snapshot is gone or rotten. What it held was stored again.
    Lost(ObjectId),
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Finding::Vanished((main, sub)) => {
                write!(f, "record {main}/{sub} is gone from the member, and was not compacted")
            }
            Finding::Changed((main, sub)) => {
                write!(f, "record {main}/{sub} has other bytes than it had: corrupt here or there")
            }
            Finding::Appeared((main, sub)) => {
                write!(f, "record {main}/{sub} is old, and was not there before")
            }
            Finding::Lost(id) => write!(
                f,
                "object {id} is gone or rotten in the store: what it held was stored again; older \
                 snapshots that need it are broken; run `holdfast vault check`"
            ),
        }
    }
}

/// How to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The lineage goes on; values are the source's C (-1: none) and the base's revision.
    Same {
        /// Records at or below it may vanish.
        compact_revision: i64,
        /// Records at or below it should be known.
        base_revision: i64,
    },
    /// Another history begins: whatever differs follows the source.
    NewLineage,
}

/// A base segment after the walk.
#[derive(Debug, Clone, PartialEq)]
pub struct WalkedSegment {
    /// Its id.
    pub id: ObjectId,
    /// Bits of records that stay alive in it.
    pub live: RoaringBitmap,
    /// Bytes of them.
    pub live_bytes: u64,
}

/// What the walk found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WalkResult {
    /// The base's segments, in the order given.
    pub segments: Vec<WalkedSegment>,
    /// For the kinship verdict; revisions, indexes and terms are the caller's to fill.
    pub counts: SourceFacts,
    /// Up to 1,000 of them; the counts in `counts` are complete.
    pub findings: Vec<Finding>,
    /// (revision, segment with the version that stays alive, segment with the other version if it
    /// was stored before).
    pub contested: Vec<(Rev, ObjectId, Option<ObjectId>)>,
    /// Records alive after it: all of the source and those that vanished wrongly.
    pub record_count: u64,
    /// Tombstones among them.
    pub tombstone_count: u64,
    /// Bytes of their values.
    pub live_bytes: u64,
    /// SHA-256 over them in order of revision; `None` when the vault keeps other bytes than the
    /// source has.
    pub live_sha256: Option<[u8; 32]>,
    /// Bits that turned off because of compaction.
    pub compacted: u64,
}

/// The source says that a record is gone which was never named to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the source says that record {}/{} is gone, and it was not named", .0.0, .0.1)]
pub struct NotNamed(
    /// Its revision.
    pub Rev,
);

/// The source is not sorted, or repeats a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the source gives revision {}/{} after {}/{}: it must be sorted", next.0, next.1, last.0, last.1)]
pub struct Unsorted {
    /// What came before.
    pub last: Rev,
    /// What came.
    pub next: Rev,
}
