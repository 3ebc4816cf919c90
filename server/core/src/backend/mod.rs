//! The database under a running member: buckets whose latest changes wait in memory.
//!
//! ```text
//! put, delete ─► pending layer ─freeze─► frozen layer ─Commit::run─► base (a bolt file)
//!      reads look into   pending, then frozen, then base
//! ```
//!
//! One thread writes (the apply thread). It never waits for a disk: a change goes into the pending
//! layer. Every now and then (upstream: 100 ms or 10,000 changes) it freezes that layer, which is
//! cheap, and another thread writes the frozen one into the base in one transaction.
//!
//! What must hold:
//! - A [`View`] is one point of the history of changes and stays it: at [`Backend::publish`], never
//!   between. Changes have numbers; a view sees those up to its own. So taking one costs three
//!   reference counts, and it blocks nobody.
//! - What is frozen together is committed together, and layers are committed in order. Hence an
//!   entry's records and the raft index that it was applied at, published before one freeze, are
//!   both in the file or neither.
//! - A failed commit is final: the frozen layer stays, and every later freeze fails. The member
//!   must stop; what was committed before is a point that raft's log continues.

mod base;
mod bolt;
mod digest;
mod error;
mod layer;
mod lock;
mod memory;
mod view;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use bytes::Bytes;

use crate::change::BucketChange;

pub use base::{Base, BaseRead, Change, SizeBytes, Visit};
pub use bolt::BoltBase;
pub use error::BackendError;
pub use memory::MemoryBase;
pub use view::{Entries, View};

pub(crate) use lock::{exclusive, locked, shared};

use layer::Layer;

/// The buckets of a member. Clones are handles of the same one.
#[derive(Debug, Clone)]
pub struct Backend {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: RwLock<State>,
    /// Number of the last change; only the writer moves it.
    changed: AtomicU64,
    /// Number up to which views were handed out.
    viewed: AtomicU64,
}

#[derive(Debug)]
struct State {
    base: Arc<dyn Base>,
    pending: Arc<Layer>,
    frozen: Option<Arc<Layer>>,
    read: Arc<dyn BaseRead>,
    /// Number of the last change that views see.
    published: u64,
    failed: bool,
}

/// A frozen layer on its way into the base.
#[derive(Debug)]
#[must_use = "nothing is written until it runs"]
pub struct Commit {
    backend: Backend,
    layer: Arc<Layer>,
}

impl Backend {
    /// Stands on a base, with nothing pending.
    ///
    /// # Errors
    /// The base cannot be read.
    pub fn new(base: Box<dyn Base>) -> Result<Backend, BackendError> {
        let read = base.read()?;
        let state = RwLock::new(State {
            base: Arc::from(base),
            pending: Arc::new(Layer::new()),
            frozen: None,
            read,
            published: 0,
            failed: false,
        });
        let (changed, viewed) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Backend { inner: Arc::new(Inner { state, changed, viewed }) })
    }

    /// Sets a key of a bucket, which is made with the next commit if it is not there.
    pub fn put(&self, bucket: &[u8], key: &[u8], value: Bytes) {
        self.set(bucket, key, Some(value));
    }

    /// Removes a key of a bucket; it need not be there.
    pub fn delete(&self, bucket: &[u8], key: &[u8]) {
        self.set(bucket, key, None);
    }

    /// Writes what state machines want stored, in that order.
    pub fn change(&self, changes: impl IntoIterator<Item = BucketChange>) {
        for BucketChange { bucket, key, value } in changes {
            self.set(bucket, &key, value.map(Bytes::from));
        }
    }

    /// Makes sure that a bucket exists after the next commit, empty or not.
    pub fn create_bucket(&self, bucket: &[u8]) {
        shared(&self.inner.state).pending.create_bucket(bucket);
    }

    /// Lets views see all changes so far. To be called where they belong together.
    pub fn publish(&self) {
        exclusive(&self.inner.state).published = self.inner.changed.load(Ordering::Relaxed);
    }

    /// The point of the last [`Backend::publish`].
    pub fn view(&self) -> View {
        // Nothing is published while the lock is held, so the two numbers belong together.
        let state = shared(&self.inner.state);
        self.inner.viewed.fetch_max(state.published, Ordering::Relaxed);
        state.view(state.published)
    }

    /// The writer's own sight: all changes, those to come included. It must not be handed to
    /// others, and not be kept over a freeze.
    pub fn latest(&self) -> View {
        shared(&self.inner.state).view(u64::MAX)
    }

    /// Changes that wait in the pending layer; upstream commits at 10,000.
    pub fn pending_changes(&self) -> usize {
        shared(&self.inner.state).pending.len()
    }

    /// Bytes of keys and values that wait in the pending layer.
    pub fn pending_bytes(&self) -> usize {
        shared(&self.inner.state).pending.size_bytes()
    }

    /// Publishes, and freezes the pending layer. `None` if nothing is pending, or if the layer
    /// before is still being written: then the pending one goes on growing, and who applies must
    /// slow down at a limit of its own.
    ///
    /// # Errors
    /// [`BackendError::CommitFailed`] if a commit failed before.
    pub fn freeze(&self) -> Result<Option<Commit>, BackendError> {
        let mut state = exclusive(&self.inner.state);
        if state.failed {
            return Err(BackendError::CommitFailed);
        }
        state.published = self.inner.changed.load(Ordering::Relaxed);
        if state.frozen.is_some() || state.pending.is_empty() {
            return Ok(None);
        }
        let layer = std::mem::replace(&mut state.pending, Arc::new(Layer::new()));
        state.frozen = Some(Arc::clone(&layer));
        drop(state);
        Ok(Some(Commit { backend: self.clone(), layer }))
    }

    /// Freezes and writes in one go: at the start, before a snapshot, and in tests. Nothing is done
    /// if a layer is being written by another thread.
    ///
    /// # Errors
    /// As [`Backend::freeze`] and [`Commit::run`].
    pub fn commit(&self) -> Result<(), BackendError> {
        self.freeze()?.map_or(Ok(()), Commit::run)
    }

    /// Size of the base: what is pending is not counted.
    ///
    /// # Errors
    /// The base cannot tell.
    pub fn size(&self) -> Result<SizeBytes, BackendError> {
        let base = Arc::clone(&shared(&self.inner.state).base);
        base.size()
    }

    /// Stands on another base from now on that holds the same as this one, after a
    /// defragmentation. To be called by who runs commits, between two of them: what is pending or
    /// frozen is written to the new base. Views go on with what they see.
    ///
    /// # Errors
    /// The new base cannot be read; [`BackendError::CommitFailed`] if a commit failed before.
    pub fn change_base(&self, same: Box<dyn Base>) -> Result<(), BackendError> {
        let base: Arc<dyn Base> = Arc::from(same);
        let read = base.read()?;
        let mut state = exclusive(&self.inner.state);
        if state.failed {
            return Err(BackendError::CommitFailed);
        }
        (state.base, state.read) = (base, read);
        Ok(())
    }

    /// Puts another base in the place of this one, and drops what is pending: for a database that
    /// the leader sent (then what is pending is of no use). Views go on with what they see.
    ///
    /// # Errors
    /// [`BackendError::Busy`] while a commit runs; the new base cannot be read.
    pub fn replace_base(&self, base: Box<dyn Base>) -> Result<(), BackendError> {
        let base: Arc<dyn Base> = Arc::from(base);
        let read = base.read()?;
        let mut state = exclusive(&self.inner.state);
        if state.frozen.is_some() && !state.failed {
            return Err(BackendError::Busy);
        }
        state.published = self.inner.changed.load(Ordering::Relaxed);
        (state.base, state.read) = (base, read);
        (state.pending, state.frozen, state.failed) = (Arc::new(Layer::new()), None, false);
        Ok(())
    }

    fn set(&self, bucket: &[u8], key: &[u8], value: Option<Bytes>) {
        let number = self.inner.changed.fetch_add(1, Ordering::Relaxed) + 1;
        let state = shared(&self.inner.state);
        let viewed = self.inner.viewed.load(Ordering::Relaxed);
        // A view that is taken meanwhile is of the published number, not between the two.
        state.pending.change(bucket, key, number, value, (viewed, state.published));
    }
}

impl State {
    fn view(&self, number: u64) -> View {
        let frozen = self.frozen.clone();
        View::new(Arc::clone(&self.pending), frozen, Arc::clone(&self.read), number)
    }
}

impl Commit {
    /// Writes the layer into the base in one transaction and lets views read it there.
    ///
    /// # Errors
    /// The base's. Then the file's state is unknown, and the backend takes no further freeze.
    pub fn run(self) -> Result<(), BackendError> {
        let inner = &self.backend.inner;
        let buckets = self.layer.buckets();
        let changes = self.layer.newest();
        let base = Arc::clone(&shared(&inner.state).base);
        let written = base.write(&buckets, &changes).and_then(|()| base.read());
        let mut state = exclusive(&inner.state);
        match written {
            Ok(read) => {
                state.read = read;
                state.frozen = None;
                Ok(())
            }
            Err(error) => {
                state.failed = true;
                Err(error)
            }
        }
    }

    /// Number of keys that it changes.
    pub fn changes(&self) -> usize {
        self.layer.len()
    }
}

#[cfg(test)]
mod tests;
