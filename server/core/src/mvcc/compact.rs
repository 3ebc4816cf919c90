//! Compaction: history up to a revision is forgotten, batch by batch.
//!
//! ```text
//! Store::schedule_compaction   the mark scheduledCompactRev; reads below it are refused at once
//!  └ Store::compaction_scan    what to look at next; any thread
//!     └ CompactionScan::run    reads up to `limit` records, decides which go
//!        └ Store::apply_compaction   the writer: deletes them, from the bucket and the index
//!              … and with the last batch the mark finishedCompactRev
//! ```
//!
//! Whether a record up to the compaction revision C stays is decided by the index and the record
//! alone: the newest of its key up to C stays, unless it is a tombstone before C. So no list of
//! what to keep is held, and a compaction that was cut short begins anew at the first record: what
//! is gone is gone, the rest is decided as before. The mark is written before the first deletion,
//! and batches are committed in order, so no file has deletions without their mark.
//!
//! Upstream cuts a key's history into generations and keeps one record of the generation in which C
//! lies. That differs where one transaction deletes a key and puts it again (a delete from a key
//! on, which upstream's check of duplicate keys does not see): upstream 3.6.16 then takes the value
//! away with the compaction at C, and stops for ever at the next read. Here the newest stays.

use std::ops::ControlFlow;

use super::hash::KvHash;
use super::index::KeyRange;
use super::reader::{Reader, first_after};
use super::{MvccError, Store};
use crate::backend::{exclusive, locked, shared};
use crate::buckets::{KEY, META};
use crate::compaction::Verdict;
use crate::hashkv::{HashScope, KvHasher};
use crate::meta::{FINISHED_COMPACT_REV, SCHEDULED_COMPACT_REV};
use crate::record::Record;
use crate::revision::Revision;

/// A compaction that was accepted and is not finished.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) revision: i64,
    /// The compaction revision before it; -1 for none.
    pub(super) previous: i64,
    /// Whether its hash will be one of all records since the one before: not if that was still
    /// running.
    pub(super) remember_hash: bool,
    pub(super) progress: Option<Progress>,
}

/// How far a compaction has come.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// The bucket key to go on from.
    from: Vec<u8>,
    hasher: KvHasher,
}

/// What a compaction looks at next. It borrows nothing, so it may run on any thread, beside writes.
#[derive(Debug)]
pub struct CompactionScan {
    reader: Reader,
    job: Job,
}

/// What a scan decided.
#[derive(Debug)]
pub struct CompactionBatch {
    revision: i64,
    /// Where the scan began: a batch is applied once only.
    from: Vec<u8>,
    dead: Vec<Dead>,
    progress: Progress,
    is_last: bool,
}

/// A record that goes.
#[derive(Debug)]
struct Dead {
    bucket_key: Box<[u8]>,
    user_key: Box<[u8]>,
}

/// What came of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompactionProgress {
    /// There is more to do.
    Running {
        /// Records deleted with this batch.
        deleted: usize,
    },
    /// The compaction at this revision is done: once it is committed, who waits for its physical
    /// end is to be told.
    Finished {
        /// The compaction revision.
        revision: i64,
        /// Records deleted with this batch.
        deleted: usize,
    },
    /// The batch was of another compaction, or was applied before: nothing is done.
    Stale,
}

impl Store {
    /// Accepts a compaction: from now on reads below it fail. The deletion goes on in the
    /// background. No revision is taken.
    ///
    /// # Errors
    /// [`MvccError::Compacted`] if a later one was accepted, [`MvccError::FutureRevision`].
    pub fn schedule_compaction(&mut self, revision: i64) -> Result<(), MvccError> {
        let mut state = exclusive(&self.shared.state);
        if revision <= state.compacted {
            return Err(MvccError::Compacted);
        }
        if revision > state.revision {
            return Err(MvccError::FutureRevision);
        }
        let previous = std::mem::replace(&mut state.compacted, revision);
        let mark = Revision::new(revision, 0).encode();
        self.shared.backend.put(META, SCHEDULED_COMPACT_REV, mark.to_vec().into());
        self.shared.backend.publish();
        drop(state);
        let remember_hash = self.jobs.is_empty();
        self.jobs.push_back(Job { revision, previous, remember_hash, progress: None });
        Ok(())
    }

    /// Compactions that are not finished.
    pub fn compactions_running(&self) -> usize {
        self.jobs.len()
    }

    /// What is to be looked at next; `None` if nothing is to be compacted.
    pub fn compaction_scan(&self) -> Option<CompactionScan> {
        let job = self.jobs.front()?.clone();
        Some(CompactionScan { reader: self.handle().reader(), job })
    }

    /// Deletes what a scan decided.
    pub fn apply_compaction(&mut self, batch: CompactionBatch) -> CompactionProgress {
        let Some(job) = self.jobs.front_mut() else { return CompactionProgress::Stale };
        let from = job.progress.as_ref().map_or(&[][..], |progress| &progress.from);
        if job.revision != batch.revision || from != batch.from {
            return CompactionProgress::Stale;
        }
        let backend = &self.shared.backend;
        let (revision, deleted) = (batch.revision, batch.dead.len());
        let mut state = exclusive(&self.shared.state);
        for record in &batch.dead {
            backend.delete(KEY, &record.bucket_key);
            state.index.compact(&record.user_key, revision);
        }
        if batch.is_last {
            let mark = Revision::new(revision, 0).encode();
            backend.put(META, FINISHED_COMPACT_REV, mark.to_vec().into());
        }
        backend.publish();
        drop(state);
        if !batch.is_last {
            job.progress = Some(batch.progress);
            return CompactionProgress::Running { deleted };
        }
        if job.remember_hash {
            let hash = batch.progress.hasher.finish();
            let compact_revision = job.previous;
            locked(&self.shared.hashes).store(KvHash { hash, revision, compact_revision });
        }
        self.jobs.pop_front();
        CompactionProgress::Finished { revision, deleted }
    }

    /// Scans and applies one batch on the caller's thread.
    ///
    /// # Errors
    /// The database fails.
    pub fn compact_batch(&mut self, limit: usize) -> Result<Option<CompactionProgress>, MvccError> {
        let Some(scan) = self.compaction_scan() else { return Ok(None) };
        let batch = scan.run(limit)?;
        Ok(Some(self.apply_compaction(batch)))
    }
}

impl CompactionScan {
    /// The compaction revision.
    pub fn revision(&self) -> i64 {
        self.job.revision
    }

    /// Looks at up to `limit` records (upstream: 1,000).
    ///
    /// # Errors
    /// The database fails or is damaged.
    pub fn run(self, limit: usize) -> Result<CompactionBatch, MvccError> {
        let CompactionScan { reader, job } = self;
        let revision = job.revision;
        let progress = match job.progress {
            Some(progress) => progress,
            None => Progress { from: Vec::new(), hasher: begin_hash(&reader, &job)? },
        };
        let Progress { from, mut hasher } = progress;
        let (mut dead, mut seen, mut next) = (Vec::new(), 0, None);
        let end = first_after(revision);
        let range = (&from[..], end.as_ref().map(|end| &end[..]));
        reader.view().try_scan(KEY, range, |key, value| -> Result<_, MvccError> {
            if seen == limit.max(1) {
                next = Some(key.to_vec());
                return Ok(ControlFlow::Break(()));
            }
            seen += 1;
            let record = Record::parse(key, value)?;
            let user_key = record.user_key()?;
            let kept = reader.keeps(user_key, record.at.revision, revision);
            hasher.add(&record, Verdict::Live { superseded: !kept });
            if !kept {
                dead.push(Dead { bucket_key: key.into(), user_key: user_key.into() });
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let is_last = next.is_none();
        let progress = Progress { from: next.unwrap_or_default(), hasher };
        Ok(CompactionBatch { revision, from, dead, progress, is_last })
    }
}

/// The hash of a compaction is HashKV at its revision with the one before as the compaction
/// revision. Whether anything is kept counts tombstones at the revision itself, unlike a hash that
/// is asked for.
fn begin_hash(reader: &Reader, job: &Job) -> Result<KvHasher, MvccError> {
    let scope = HashScope { revision: job.revision, compact_revision: job.previous };
    let mut any_kept = false;
    // A later compaction may be accepted already; it runs after this one.
    reader.slices(
        KeyRange::From(&[]),
        |_| true,
        |_, history| {
            any_kept = history.keeps_any(job.revision);
            if any_kept { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        },
    )?;
    Ok(KvHasher::judged(scope, any_kept))
}

impl Reader {
    /// Whether a compaction keeps a record up to it.
    fn keeps(&self, key: &[u8], at: Revision, compaction: i64) -> bool {
        let state = shared(&self.shared().state);
        state.index.get(key).is_some_and(|history| history.keeps(at, compaction))
    }
}
