//! Opening: the index is built from the bucket `key` in one pass.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, RwLock};

use super::compact::Job;
use super::hash::HashCache;
use super::history::MAX_SUB;
use super::index::Index;
use super::store::{Shared, State, Store};
use crate::backend::{Backend, BackendError, exclusive, locked};
use crate::buckets::{KEY, META, SmallBuckets};
use crate::meta::{CompactionMarks, MetaError};
use crate::record::{Record, RecordError};
use crate::revision::Revision;

/// A database that no store can stand on.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be read.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A record is damaged.
    #[error("the database is damaged: {0}; restore the member from another one or a snapshot")]
    Record(#[from] RecordError),
    /// A compaction mark is damaged.
    #[error("the database is damaged: {0}; restore the member from another one or a snapshot")]
    Mark(#[from] MetaError),
    /// Two records of one revision.
    #[error("the database is damaged: record {at} stands behind {previous}; restore the member")]
    OutOfOrder {
        /// The record before.
        previous: Revision,
        /// The record that should come later.
        at: Revision,
    },
    /// A revision after which none can follow.
    #[error("record {at} leaves no revisions for what comes after it; restore without that bump")]
    Exhausted {
        /// Its revision.
        at: Revision,
    },
}

/// What the rest of the member needs to know of an opened store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restored {
    /// Keys that hang on a lease, with its id, by key. The lease may be unknown.
    pub leased: Vec<(Box<[u8]>, i64)>,
    /// Records read.
    pub records: u64,
    /// A compaction was cut short: it goes on with [`Store::compaction_scan`].
    pub resumes_compaction: Option<i64>,
}

#[derive(Debug, Default)]
struct Builder {
    index: Index,
    leased: HashMap<Box<[u8]>, i64>,
    last: Option<Revision>,
    records: u64,
}

impl Store {
    /// Opens the store of a database; makes the buckets `key` and `meta` if they are not there.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(backend: Backend) -> Result<(Store, Restored), OpenError> {
        let (state, jobs, restored) = read(&backend)?;
        let (state, hashes) = (RwLock::new(state), Mutex::new(HashCache::default()));
        let shared = Arc::new(Shared { backend, state, hashes });
        Ok((Store { shared, jobs, broken: false }, restored))
    }

    /// Opens anew after [`Backend::replace_base`] put a database in place that the leader sent:
    /// a later state of the same history. Handles stay good; readers taken before go on.
    ///
    /// # Errors
    /// See [`OpenError`]; then the store is as it was, but no longer fits its database.
    pub fn reload(&mut self) -> Result<Restored, OpenError> {
        let (state, jobs, restored) = read(&self.shared.backend)?;
        let mut old = exclusive(&self.shared.state);
        self.shared.backend.publish();
        *old = state;
        drop(old);
        *locked(&self.shared.hashes) = HashCache::default();
        self.jobs = jobs;
        self.broken = false;
        Ok(restored)
    }
}

/// Builds the index and what else a store holds in memory.
fn read(backend: &Backend) -> Result<(State, VecDeque<Job>, Restored), OpenError> {
    backend.create_bucket(KEY);
    backend.create_bucket(META);
    let view = backend.latest();
    let mut small = SmallBuckets::empty();
    for (key, value) in view.entries(META)? {
        small.put(META, &key, value);
    }
    let marks = CompactionMarks::read(&small)?;
    let mut builder = Builder::default();
    view.try_scan(KEY, (&[], None), |key, value| {
        builder.add(key, value).map(ControlFlow::Continue)
    })?;
    let compacted = marks.effective();
    let revision = marks.logical_revision(builder.last.map(|last| last.main));
    if revision == i64::MAX {
        return Err(OpenError::Exhausted { at: Revision::new(revision, 0) });
    }
    let mut jobs = VecDeque::new();
    if marks.is_running() {
        let previous = marks.finished.unwrap_or(-1);
        let job = Job { revision: compacted, previous, remember_hash: false, progress: None };
        jobs.push_back(job);
    }
    let mut leased: Vec<_> = builder.leased.into_iter().collect();
    leased.sort_unstable();
    let resumes_compaction = marks.is_running().then_some(compacted);
    let restored = Restored { leased, records: builder.records, resumes_compaction };
    let state = State { index: builder.index, revision, compacted };
    Ok((state, jobs, restored))
}

impl Builder {
    fn add(&mut self, raw_key: &[u8], raw_value: &[u8]) -> Result<(), OpenError> {
        let record = Record::parse(raw_key, raw_value)?;
        let at = record.at.revision;
        if let Some(previous) = self.last.filter(|previous| *previous >= at) {
            return Err(OpenError::OutOfOrder { previous, at });
        }
        if at.sub > MAX_SUB || at.main == i64::MAX {
            return Err(OpenError::Exhausted { at });
        }
        self.last = Some(at);
        self.records += 1;
        if record.at.tombstone {
            let key = record.user_key()?;
            self.index.delete(key, at);
            self.leased.remove(key);
            return Ok(());
        }
        let kv = record.key_value()?;
        self.index.put(kv.key, at, kv.create_revision, kv.version);
        if kv.lease != 0 {
            self.leased.insert(kv.key.into(), kv.lease);
        } else if !self.leased.is_empty() {
            self.leased.remove(kv.key);
        }
        Ok(())
    }
}
