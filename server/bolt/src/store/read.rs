//! Readers: a committed state, held as long as somebody looks at it.
//!
//! What must hold: a reader is counted under its transaction id from before its pages could be
//! freed until it is dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use super::{StorePages, StoreStats, lock};
use crate::db::Db;
use crate::layout::Meta;

/// What a new reader gets, and who reads.
#[derive(Debug)]
pub(super) struct Published<P> {
    pub(super) meta: Meta,
    pub(super) pages: P,
    /// Number of readers by the transaction whose state they read.
    pub(super) readers: BTreeMap<u64, usize>,
    pub(super) stats: StoreStats,
}

/// A committed state of a store, read as a [`Db`]: buckets, cursors and ranges, borrowed from the
/// map. It does not change, and later commits do not touch its pages; they take new ones meanwhile,
/// so a reader that is held for long makes the file grow.
pub struct ReadTx<P: StorePages> {
    db: Db<P>,
    published: Arc<Mutex<Published<P>>>,
}

impl<P: StorePages> ReadTx<P> {
    pub(super) fn begin(published: &Arc<Mutex<Published<P>>>) -> ReadTx<P> {
        let mut state = lock(published);
        let txid = state.meta.txid;
        *state.readers.entry(txid).or_insert(0) += 1;
        let db = Db::at(state.pages.clone(), state.meta);
        drop(state);
        ReadTx { db, published: Arc::clone(published) }
    }

    /// Id of the transaction that wrote this state.
    pub fn txid(&self) -> u64 {
        self.db.meta().txid
    }

    /// Bytes of the file that [`ReadTx::copy_at`] gives: all pages that were ever used.
    pub fn size_bytes(&self) -> u64 {
        self.db.meta().high_water * u64::from(self.db.page_size())
    }

    /// Copies a part of the database as a file of its own: both metas speak of this state, the rest
    /// is as it is. So a whole copy is a snapshot as upstream's `Tx.WriteTo` gives it.
    ///
    /// # Errors
    /// If the file cannot be read, or the part is not within [`ReadTx::size_bytes`].
    pub fn copy_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(out.len() as u64).filter(|end| *end <= self.size_bytes());
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.db.source().copy_at(offset, out)?;
        let (meta, page_size) = (self.db.meta(), u64::from(self.db.page_size()));
        let older = Meta { txid: meta.txid.saturating_sub(1), ..*meta };
        for (index, meta) in [(0, meta), (1, &older)] {
            let bytes = meta.encode_page(index);
            let start = index * page_size;
            for (at, byte) in (start..).zip(bytes) {
                if (offset..end).contains(&at) {
                    // Within `out`, whose length is a usize.
                    out[usize::try_from(at - offset).unwrap_or(0)] = byte;
                }
            }
        }
        Ok(())
    }
}

impl<P: StorePages> fmt::Debug for ReadTx<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadTx").field("meta", self.db.meta()).finish_non_exhaustive()
    }
}

impl<P: StorePages> Deref for ReadTx<P> {
    type Target = Db<P>;

    fn deref(&self) -> &Db<P> {
        &self.db
    }
}

impl<P: StorePages> Drop for ReadTx<P> {
    fn drop(&mut self) {
        let mut state = lock(&self.published);
        let txid = self.db.meta().txid;
        if let Some(count) = state.readers.get_mut(&txid) {
            *count -= 1;
            if *count == 0 {
                state.readers.remove(&txid);
            }
        }
    }
}
