//! Where a snapshot's content comes from: the agent's spool, our own server, a test.

use crate::format::ObjectId;
use crate::proto::Facts;
use crate::snapshot::walk::{LiveTotals, SourceItem, SourceRecord, WalkResult};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The source failed; nothing is committed.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot's source: {0}")]
pub struct SourceError(
    /// What happened, for people.
    pub String,
);

/// An entry of a bucket: key and value.
pub type Entry<'a> = (&'a [u8], &'a [u8]);

/// A bucket other than `key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceBucket {
    /// Its name.
    pub name: Vec<u8>,
    /// Its sequence number in bbolt.
    pub sequence: u64,
}

/// How a source that tells differences stands to the vault.
#[derive(Debug, Clone)]
pub struct Differences {
    /// The snapshot that was named to it: it must still be the newest.
    pub number: u64,
    /// The segments whose records were named.
    pub named: Arc<BTreeSet<ObjectId>>,
    /// What it has in all.
    pub totals: LiveTotals,
}

/// A consistent state of an etcd, read in order, by a blocking thread. A writer that lost a race
/// reads it again from the start.
///
/// The records are canonical: exactly those that a compaction at C leaves, so that all members
/// agree.
pub trait Source: Send {
    /// Starts over.
    fn rewind(&mut self) -> Result<(), SourceError>;

    /// What is known before the first record: the compaction marks, revision, raft index and term,
    /// cluster and member. Counts and digests are filled in by the vault.
    fn facts(&self) -> Facts;

    /// The next record of the `key` bucket, ascending by revision.
    fn next_record(&mut self) -> Result<Option<SourceRecord<'_>>, SourceError>;

    /// `None`: it gives every record.
    fn differences(&self) -> Option<Differences> {
        None
    }

    /// What comes next, ascending by revision. A source of differences leaves out the records that
    /// were named to it and are the same, and tells those that are gone.
    fn next_item(&mut self) -> Result<Option<SourceItem<'_>>, SourceError> {
        Ok(self.next_record()?.map(SourceItem::Record))
    }

    /// After the last record: the next bucket but `key`, in order of names.
    fn next_bucket(&mut self) -> Result<Option<SourceBucket>, SourceError>;

    /// The next entry of the current bucket, in order of keys.
    fn next_entry(&mut self) -> Result<Option<Entry<'_>>, SourceError>;

    /// After everything: what only a whole pass tells (HashKV, numbers of keys, leases, users, key
    /// ids). May refuse the round, for example when the source's own HashKV differs.
    fn finish(&mut self, walk: &WalkResult, facts: &mut Facts) -> Result<(), SourceError>;
}
