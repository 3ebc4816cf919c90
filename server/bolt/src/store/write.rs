//! A change: what its caller sees.
//!
//! What must hold: nothing is written before `commit`; a transaction in which a call failed half
//! way does not commit; dropping one is a rollback.

use std::borrow::Cow;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use super::arena::Arena;
use super::bucket::{BucketState, empty_bucket};
use super::freelist::Run;
use super::look_up::{find, last, seek};
use super::read::Published;
use super::writer::Writer;
use super::{StoreDisk, StoreError, lock};
use crate::db::Db;
use crate::entry::check_entry;
use crate::source::PageSource;

/// bbolt's fill of nodes that are cut, in percent.
pub(super) const DEFAULT_FILL_PERCENT: u8 = 50;
/// Buckets inside one another that are followed; as the check's.
const MAX_BUCKET_DEPTH: usize = 64;

/// What a transaction works with beside its trees.
#[derive(Debug)]
pub(super) struct Context<P: PageSource> {
    /// The committed state.
    pub(super) db: Db<P>,
    pub(super) arena: Arena,
    /// What is no longer referred to.
    pub(super) freed: Vec<Run>,
    failed: bool,
}

impl<P: PageSource> Context<P> {
    /// Notes that a node's pages are no longer referred to.
    pub(super) fn free(&mut self, run: Run) {
        if run.pages > 0 {
            self.freed.push(run);
        }
    }

    /// Remembers a failure half way. What is wrong with an argument is found before anything is
    /// changed.
    fn note<T>(&mut self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        self.failed |= matches!(outcome, Err(StoreError::Read(_) | StoreError::Disk(_)));
        outcome
    }
}

/// An entry of a bucket, copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The key, or the name of a bucket.
    pub key: Vec<u8>,
    /// The value; for a bucket the bytes of its header.
    pub value: Vec<u8>,
    /// Whether the entry is a bucket.
    pub is_bucket: bool,
}

/// A change of the store. It sees its own changes; nobody else does before it is committed.
pub struct WriteTx<'s, D: StoreDisk> {
    published: &'s Arc<Mutex<Published<D::Pages>>>,
    writer: MutexGuard<'s, Writer<D>>,
    context: Context<D::Pages>,
    root: BucketState,
}

impl<'s, D: StoreDisk> WriteTx<'s, D> {
    pub(super) fn begin(
        published: &'s Arc<Mutex<Published<D::Pages>>>,
        mut writer: MutexGuard<'s, Writer<D>>,
    ) -> Result<WriteTx<'s, D>, StoreError> {
        writer.begin()?;
        let state = lock(published);
        writer.freelist.release(&state.readers);
        let db = Db::at(state.pages.clone(), state.meta);
        drop(state);
        let root = BucketState::stored(db.meta().root);
        let arena = std::mem::take(&mut writer.arena);
        let context = Context { db, arena, freed: Vec::new(), failed: false };
        Ok(WriteTx { published, writer, context, root })
    }

    /// Id that this transaction will have once it is committed.
    pub fn txid(&self) -> u64 {
        self.writer.next_txid()
    }

    /// The top-level bucket of that name.
    ///
    /// # Errors
    /// I/O, or damage on the way to it.
    pub fn bucket(&mut self, name: &[u8]) -> Result<Option<WriteBucket<'_, D::Pages>>, StoreError> {
        self.root().into_bucket(name)
    }

    /// The top-level bucket of that name, which is made if it is missing.
    ///
    /// # Errors
    /// A bad name; I/O, or damage on the way to it.
    pub fn create_bucket_if_missing(
        &mut self,
        name: &[u8],
    ) -> Result<WriteBucket<'_, D::Pages>, StoreError> {
        self.root().into_bucket_created(name)
    }

    /// Deletes a top-level bucket with all that is in it. Says whether it was there.
    ///
    /// # Errors
    /// I/O, or damage in it.
    pub fn delete_bucket(&mut self, name: &[u8]) -> Result<bool, StoreError> {
        self.root().delete_bucket(name)
    }

    /// The names of the top-level buckets, in order.
    ///
    /// # Errors
    /// I/O, or damage on the way to them.
    pub fn bucket_names(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut names: Vec<Vec<u8>> = Vec::new();
        loop {
            let from = names.last().map_or(Bound::Unbounded, |name| Bound::Excluded(&name[..]));
            let Context { db, arena, .. } = &self.context;
            match seek(&self.root.root, db, arena, from)? {
                Some(item) => names.push(item.key),
                None => return Ok(names),
            }
        }
    }

    /// Makes the changes durable and visible.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if a call failed before; the disk; damage that was met. Then nothing
    /// is changed, unless the store is poisoned: then the state is known only once it is opened
    /// anew.
    pub fn commit(mut self) -> Result<(), StoreError> {
        if self.context.failed {
            return Err(StoreError::Failed);
        }
        let (meta, pages) = self.writer.commit(&mut self.root, &mut self.context)?;
        let stats = self.writer.stats();
        let mut state = lock(self.published);
        state.meta = meta;
        state.pages = pages;
        state.stats = stats;
        Ok(())
    }

    /// Forgets the changes; so does dropping it.
    pub fn rollback(self) {}

    fn root(&mut self) -> WriteBucket<'_, D::Pages> {
        WriteBucket { context: &mut self.context, state: &mut self.root, depth: 0 }
    }
}

impl<D: StoreDisk> fmt::Debug for WriteTx<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteTx").field("txid", &self.txid()).finish_non_exhaustive()
    }
}

impl<D: StoreDisk> Drop for WriteTx<'_, D> {
    fn drop(&mut self) {
        // The memory serves the next transaction.
        self.context.arena.clear();
        self.writer.arena = std::mem::take(&mut self.context.arena);
    }
}

/// A bucket in a change.
pub struct WriteBucket<'t, P: PageSource> {
    context: &'t mut Context<P>,
    state: &'t mut BucketState,
    /// Buckets around it.
    depth: usize,
}

impl<P: PageSource> fmt::Debug for WriteBucket<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sequence = self.state.sequence;
        f.debug_struct("WriteBucket").field("sequence", &sequence).finish_non_exhaustive()
    }
}

impl<'t, P: PageSource> WriteBucket<'t, P> {
    /// The value of a key; `None` if there is none, or if it is a bucket.
    ///
    /// # Errors
    /// I/O, or damage on the way to it.
    pub fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, StoreError> {
        let Context { db, arena, .. } = &*self.context;
        let found = find(&self.state.root, db, arena, key)?;
        Ok(found.filter(|found| !found.is_bucket).map(|found| found.value))
    }

    /// Sets a key.
    ///
    /// # Errors
    /// A bad key or value, a bucket of that name; I/O, or damage on the way to it.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        check_entry(key, value.len())?;
        let put = self.state.put(self.context, key, value, false);
        self.context.note(put)
    }

    /// Deletes a key. Says whether it was there.
    ///
    /// # Errors
    /// If it is a bucket; I/O, or damage on the way to it.
    pub fn delete(&mut self, key: &[u8]) -> Result<bool, StoreError> {
        let Context { db, arena, .. } = &*self.context;
        match find(&self.state.root, db, arena, key)? {
            None => return Ok(false),
            Some(found) if found.is_bucket => return Err(StoreError::is_a_bucket(key)),
            Some(_) => {}
        }
        let removed = self.state.remove(self.context, key);
        self.context.note(removed)?;
        Ok(true)
    }

    /// The first entry from `from` on: `Bound::Excluded(key)` gives the one after `key`, so that a
    /// loop may change the bucket on its way.
    ///
    /// # Errors
    /// I/O, or damage on the way to it.
    pub fn seek(&self, from: Bound<&[u8]>) -> Result<Option<Item>, StoreError> {
        let Context { db, arena, .. } = &*self.context;
        Ok(seek(&self.state.root, db, arena, from)?)
    }

    /// The last entry.
    ///
    /// # Errors
    /// I/O, or damage on the way to it.
    pub fn last(&self) -> Result<Option<Item>, StoreError> {
        let Context { db, arena, .. } = &*self.context;
        Ok(last(&self.state.root, db, arena)?)
    }

    /// The bucket of that name inside this one.
    ///
    /// # Errors
    /// If a key has that name; I/O, or damage on the way to it.
    pub fn bucket(&mut self, name: &[u8]) -> Result<Option<WriteBucket<'_, P>>, StoreError> {
        let inner = WriteBucket { context: self.context, state: self.state, depth: self.depth };
        inner.into_bucket(name)
    }

    /// The bucket of that name inside this one, which is made if it is missing.
    ///
    /// # Errors
    /// A bad name, a key of that name, too many buckets inside one another; I/O, or damage.
    pub fn create_bucket_if_missing(
        &mut self,
        name: &[u8],
    ) -> Result<WriteBucket<'_, P>, StoreError> {
        let inner = WriteBucket { context: self.context, state: self.state, depth: self.depth };
        inner.into_bucket_created(name)
    }

    /// Deletes the bucket of that name with all that is in it. Says whether it was there.
    ///
    /// # Errors
    /// If a key has that name; I/O, or damage in the bucket.
    pub fn delete_bucket(&mut self, name: &[u8]) -> Result<bool, StoreError> {
        let deleted = self.delete_bucket_at(name);
        self.context.note(deleted)
    }

    fn delete_bucket_at(&mut self, name: &[u8]) -> Result<bool, StoreError> {
        if self.state.open(self.context, name)?.is_none() {
            return Ok(false);
        }
        if let Some(inner) = self.state.buckets.remove(name) {
            inner.free(self.context)?;
        }
        self.state.remove(self.context, name)?;
        Ok(true)
    }

    /// The bucket's own counter.
    pub fn sequence(&self) -> u64 {
        self.state.sequence
    }

    /// Sets the bucket's own counter.
    pub fn set_sequence(&mut self, sequence: u64) {
        self.state.sequence = sequence;
        self.state.changed = true;
    }

    /// How full the nodes of this bucket become when they are cut, in percent: 10 to 100, 50 if
    /// nothing else is said; for keys that rise etcd takes 90. It holds for this transaction.
    pub fn set_fill_percent(&mut self, percent: u8) {
        self.state.fill_percent = percent.clamp(10, 100);
    }

    fn into_bucket(self, name: &[u8]) -> Result<Option<WriteBucket<'t, P>>, StoreError> {
        let WriteBucket { context, state, depth } = self;
        if depth >= MAX_BUCKET_DEPTH {
            return Err(StoreError::Nesting { limit: MAX_BUCKET_DEPTH });
        }
        let opened = state.open(context, name);
        let opened = opened.map(|state| state.map(|state| (state, depth + 1)));
        let opened = context.note(opened)?;
        Ok(opened.map(|(state, depth)| WriteBucket { context, state, depth }))
    }

    fn into_bucket_created(self, name: &[u8]) -> Result<WriteBucket<'t, P>, StoreError> {
        check_entry(name, 0)?;
        let Context { db, arena, .. } = &*self.context;
        if !self.state.buckets.contains_key(name)
            && find(&self.state.root, db, arena, name)?.is_none()
        {
            let put = self.state.put(self.context, name, &empty_bucket(), true);
            self.context.note(put)?;
        }
        self.into_bucket(name)?.ok_or(StoreError::Failed)
    }
}
