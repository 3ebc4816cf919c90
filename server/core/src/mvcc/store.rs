//! The store: one writer, and handles for readers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, RwLock};

use holdfast_api::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
};
use holdfast_api::mvccpb::Event;

use super::compact::Job;
use super::hash::HashCache;
use super::index::{Index, KeyRange};
use super::range::header;
use super::{MvccError, Reader, WriteTxn};
use crate::backend::{Backend, shared};

/// How often a read at the current revision begins anew because a compaction overtook it.
const MOST_RETRIES: usize = 16;

/// What readers and the writer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) backend: Backend,
    pub(super) state: RwLock<State>,
    pub(super) hashes: Mutex<HashCache>,
}

/// What changes with each write.
#[derive(Debug)]
pub(super) struct State {
    pub(super) index: Index,
    /// Of the last transaction that changed something.
    pub(super) revision: i64,
    /// From the moment a compaction is accepted; -1 before the first.
    pub(super) compacted: i64,
}

/// The writer: the apply thread owns it.
#[derive(Debug)]
pub struct Store {
    pub(super) shared: Arc<Shared>,
    /// Compactions that were accepted and are not finished, in order; the first one runs.
    pub(super) jobs: VecDeque<Job>,
    /// A transaction began and did not end.
    pub(super) broken: bool,
}

/// Reads a store, from any thread. Clones read the same one.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
}

/// What a write did.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied<T> {
    /// The answer; its header has a revision only.
    pub response: T,
    /// The store's revision afterwards.
    pub revision: i64,
    /// What changed, by sub revision; all of one main revision, [`Applied::revision`]. For
    /// watchers, and for leases: a put hangs its key on its lease and on no other, a deletion takes
    /// it off.
    pub events: Vec<Event>,
}

impl Store {
    /// For readers.
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared) }
    }

    /// The buckets below.
    pub fn backend(&self) -> &Backend {
        &self.shared.backend
    }

    /// The revision of the last transaction that changed something; at least 1.
    pub fn revision(&self) -> i64 {
        shared(&self.shared.state).revision
    }

    /// The compaction revision; -1 if nothing was ever compacted.
    pub fn compacted(&self) -> i64 {
        shared(&self.shared.state).compacted
    }

    /// Applies a put. `lease_exists` says whether a lease is there.
    ///
    /// # Errors
    /// An unknown lease; a flag that needs a record that is not there; a fatal one.
    pub fn put(
        &mut self,
        request: &PutRequest,
        lease_exists: &dyn Fn(i64) -> bool,
    ) -> Result<Applied<PutResponse>, MvccError> {
        if request.lease != 0 && !lease_exists(request.lease) {
            return Err(MvccError::LeaseNotFound);
        }
        let mut txn = self.write()?;
        let response = txn.put_request(request)?;
        Ok(txn.finish(response))
    }

    /// Applies a delete. One that meets no key takes no revision.
    ///
    /// # Errors
    /// A fatal one.
    pub fn delete_range(
        &mut self,
        request: &DeleteRangeRequest,
    ) -> Result<Applied<DeleteRangeResponse>, MvccError> {
        let mut txn = self.write()?;
        let response = txn.delete_request(request)?;
        Ok(txn.finish(response))
    }

    /// Deletes the keys of a lease that ended, in their order, in one revision; how many there
    /// were.
    ///
    /// # Errors
    /// A fatal one.
    pub fn delete_keys<K: AsRef<[u8]> + Ord>(
        &mut self,
        mut keys: Vec<K>,
    ) -> Result<Applied<i64>, MvccError> {
        keys.sort_unstable();
        let mut txn = self.write()?;
        let mut deleted = 0;
        for key in &keys {
            deleted += txn.delete(KeyRange::One(key.as_ref()))?;
        }
        Ok(txn.finish(deleted))
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// [`MvccError::HalfWay`] if one before did not end.
    pub fn write(&mut self) -> Result<WriteTxn<'_>, MvccError> {
        if self.broken {
            let reason = "one before it did not end".to_owned();
            return Err(MvccError::HalfWay { reason });
        }
        Ok(WriteTxn::new(self))
    }
}

impl Handle {
    /// The current point.
    pub fn reader(&self) -> Reader {
        // Revision and view belong together: the writer changes both under this lock.
        let state = shared(&self.shared.state);
        let view = self.shared.backend.view();
        Reader::new(Arc::clone(&self.shared), view, state.revision, state.compacted)
    }

    /// The revision of the last transaction that changed something; at least 1.
    pub fn revision(&self) -> i64 {
        shared(&self.shared.state).revision
    }

    /// The compaction revision; -1 if nothing was ever compacted.
    pub fn compacted(&self) -> i64 {
        shared(&self.shared.state).compacted
    }

    /// Keys in the index: those that exist, and those of which only history is left.
    pub fn index_keys(&self) -> usize {
        shared(&self.shared.state).index.len()
    }

    /// Answers a range at the current point.
    ///
    /// # Errors
    /// As [`Reader::range`].
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, MvccError> {
        self.read(|reader| reader.range(request))
    }

    /// Reads at the current point, and again at a newer one if a compaction overtook it meanwhile.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn read<T>(&self, read: impl Fn(&Reader) -> Result<T, MvccError>) -> Result<T, MvccError> {
        for _ in 0..MOST_RETRIES {
            let reader = self.reader();
            match read(&reader) {
                Err(MvccError::Compacted) if reader.is_overtaken() => {}
                other => return other,
            }
        }
        Err(MvccError::Compacted)
    }
}

/// The answer to a put before its header is known.
pub(super) fn put_response(revision: i64) -> PutResponse {
    PutResponse { header: header(revision), prev_kv: None }
}
