//! From a spooled database to what the vault stores: the live records in order, then the small
//! buckets.
//!
//! Two passes over the bucket `key`: [`Scan`] learns which records are alive; [`SpoolReader`] gives
//! them, computes HashKV beside it, and notes which keys encrypted values need. The second pass
//! runs on a thread of its own, which opens pages while the vault compresses.
//!
//! What must hold: the records given are canonical, exactly those that a compaction at C leaves;
//! memory is two bits per record and a few batches of [`BATCH_BYTES`]; a database that is damaged,
//! or that changes between the passes, gives an error and never a shorter snapshot.

mod feed;
mod small;

use crate::contested::Streamed;
use crate::stop::Stop;
use feed::{Batch, Feed, Told};
use holdfast_bolt::{Db, PageSource, ReadError};
use holdfast_core::buckets::{KEY, SmallBuckets};
use holdfast_core::compaction::{Liveness, LivenessBuilder, ScanError, TombstoneRule};
use holdfast_core::database::{DatabaseError, DatabaseFacts, KeyFacts, read_small};
use holdfast_core::meta::CompactionMarks;
use holdfast_core::record::Record;
use holdfast_core::revision::{BucketKey, Revision};
use holdfast_vault::proto::{Facts, HashKv};
use holdfast_vault::snapshot::walk::{SourceRecord, WalkResult};
use holdfast_vault::snapshot::{Source, SourceBucket, SourceError};
pub(crate) use small::SmallWalk;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// Bytes of records that travel between the threads at once; a larger record travels alone.
pub const BATCH_BYTES: usize = 256 << 10;
/// Batches that may wait.
const BATCHES: usize = 3;
/// Records between two looks at the stop flag.
const STOP_EVERY: u64 = 4_096;

/// Why a database cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// The file, its records or its buckets.
    #[error("the snapshot's database: {0}")]
    Database(#[from] DatabaseError),
    /// The round was left.
    #[error("the round was left")]
    Stopped,
}

impl From<ReadError> for ReaderError {
    fn from(error: ReadError) -> Self {
        ReaderError::Database(error.into())
    }
}

impl From<ScanError> for ReaderError {
    fn from(error: ScanError) -> Self {
        ReaderError::Database(error.into())
    }
}

/// What the first pass learned.
#[derive(Debug)]
pub struct Scan {
    /// Which records are alive.
    pub liveness: Liveness,
    /// What the database says about itself.
    pub facts: DatabaseFacts,
    /// Every bucket but `key`.
    pub small: SmallBuckets,
    /// Their sequence numbers.
    pub sequences: BTreeMap<Vec<u8>, u64>,
}

impl Scan {
    /// Reads the small buckets and makes the first pass.
    ///
    /// # Errors
    /// See [`ReaderError`].
    pub fn read<S: PageSource>(db: &Db<S>, stop: &Stop) -> Result<Scan, ReaderError> {
        let small = read_small(db)?;
        let mut sequences = BTreeMap::new();
        for named in db.buckets() {
            let (name, bucket) = named?;
            sequences.insert(name, bucket.sequence());
        }
        let marks = CompactionMarks::read(&small).map_err(DatabaseError::from)?;
        let mut builder = LivenessBuilder::new(marks.effective(), TombstoneRule::KeepAtCompaction);
        let mut key = KeyFacts::default();
        each_record(db, stop, |record| {
            key.add(record);
            Ok(builder.observe(record)?)
        })?;
        let facts = DatabaseFacts::of(&small, key)?;
        Ok(Scan { liveness: builder.finish(), facts, small, sequences })
    }

    /// C: the compaction revision that the live set holds for; -1: none.
    pub fn compact_revision(&self) -> i64 {
        self.liveness.compacted()
    }
}

/// Gives every record of the bucket `key` to `visit`, in order.
fn each_record<S: PageSource>(
    db: &Db<S>,
    stop: &Stop,
    mut visit: impl FnMut(&Record<'_>) -> Result<(), ReaderError>,
) -> Result<(), ReaderError> {
    let bucket = db.bucket(KEY)?.ok_or(DatabaseError::NoKeyBucket)?;
    let mut cursor = bucket.cursor();
    let mut seen = 0u64;
    while let Some(entry) = cursor.next()? {
        if entry.is_bucket {
            return Err(DatabaseError::Nested { bucket: "key".to_owned() }.into());
        }
        if seen.is_multiple_of(STOP_EVERY) && stop.is_set() {
            return Err(ReaderError::Stopped);
        }
        seen += 1;
        visit(&Record::parse(entry.key, entry.value).map_err(ScanError::from)?)?;
    }
    Ok(())
}

impl<S: PageSource> Spooled<S> {
    /// One record that is no tombstone; `None`: it is not there or does not decode.
    pub fn record(&self, revision: (i64, i64)) -> Option<Streamed> {
        let at = BucketKey::put(Revision::new(revision.0, revision.1)).encode();
        let bucket = self.db.bucket(KEY).ok()??;
        let value = bucket.get(&at).ok()??;
        let key = Record::parse(&at, &value).ok()?.key_value().ok()?.key.to_vec();
        Some(Streamed { revision, key, value: value.into_owned() })
    }
}

/// What does not change from pass to pass.
#[derive(Debug)]
pub struct Spooled<S: PageSource> {
    /// The database.
    pub db: Db<S>,
    /// The first pass.
    pub scan: Scan,
    /// What is known before the records are given.
    pub facts: Facts,
    /// The scope in which HashKV is computed, and what the source answered there.
    pub asked: Option<HashKv>,
    /// Records under these are sensitive.
    pub sensitive_prefixes: Vec<Vec<u8>>,
    /// Ends the passes.
    pub stop: Stop,
    /// HashKV as the last complete second pass computed it; empty before, and when nothing was
    /// asked.
    pub computed: OnceLock<u32>,
}

/// The vault's source over a spool.
#[derive(Debug)]
pub struct SpoolReader<S: PageSource> {
    spooled: Arc<Spooled<S>>,
    feed: Option<Feed>,
    batch: Batch,
    next: usize,
    told: Option<Told>,
    small: SmallWalk,
}

impl<S: PageSource + Send + Sync + 'static> SpoolReader<S> {
    /// Begins before the first record; the thread starts when that is asked for.
    pub fn new(spooled: Arc<Spooled<S>>) -> SpoolReader<S> {
        let (batch, small) = (Batch::default(), SmallWalk::default());
        SpoolReader { spooled, feed: None, batch, next: 0, told: None, small }
    }

    /// Makes sure that a record stands at `next`; false at the end.
    fn fill(&mut self) -> Result<bool, SourceError> {
        if self.next < self.batch.len() {
            return Ok(true);
        }
        if self.told.is_some() {
            return Ok(false);
        }
        if self.feed.is_none() {
            self.feed = Some(Feed::start(self.spooled.clone()).map_err(|error| refused(&error))?);
        }
        let Some(feed) = &self.feed else { return Ok(false) };
        if let Ok(batch) = feed.batches.recv() {
            assert!(batch.len() > 0, "a batch holds a record");
            (self.batch, self.next) = (batch, 0);
            return Ok(true);
        }
        // The thread has ended: well only if it says so.
        let Some(feed) = self.feed.take() else { return Ok(false) };
        let ended = feed.thread.join().map_err(|_| refused(&"the reading thread panicked"))?;
        self.told = Some(ended.map_err(|error| refused(&error))?);
        (self.batch, self.next) = (Batch::default(), 0);
        Ok(false)
    }
}

impl<S: PageSource + Send + Sync + 'static> Source for SpoolReader<S> {
    fn rewind(&mut self) -> Result<(), SourceError> {
        *self = SpoolReader::new(self.spooled.clone());
        Ok(())
    }

    fn facts(&self) -> Facts {
        self.spooled.facts.clone()
    }

    fn next_record(&mut self) -> Result<Option<SourceRecord<'_>>, SourceError> {
        if !self.fill()? {
            return Ok(None);
        }
        self.next += 1;
        Ok(Some(self.batch.record(self.next - 1)))
    }

    fn next_bucket(&mut self) -> Result<Option<SourceBucket>, SourceError> {
        let scan = &self.spooled.scan;
        Ok(self.small.next_bucket(&scan.small, &scan.sequences))
    }

    fn next_entry(&mut self) -> Result<Option<(&[u8], &[u8])>, SourceError> {
        Ok(self.small.next_entry(&self.spooled.scan.small))
    }

    fn finish(&mut self, _: &WalkResult, facts: &mut Facts) -> Result<(), SourceError> {
        let Some(found) = &self.told else {
            return Err(refused(&"the vault stopped before the last record"));
        };
        facts.encryption_key_ids = found.keys.ids();
        facts.kubernetes = found.keys.kubernetes();
        if let (Some(asked), Some(hash)) = (&self.spooled.asked, found.hash) {
            // Repeated passes over the same bytes give the same hash.
            self.spooled.computed.get_or_init(|| hash);
            let computed = HashKv { hash, ..*asked };
            facts.hash_kv = Some(*asked);
            facts.restored_hash_kv = (computed != *asked).then_some(computed);
        }
        Ok(())
    }
}

fn refused(error: &impl ToString) -> SourceError {
    SourceError(error.to_string())
}

#[cfg(test)]
mod tests;
