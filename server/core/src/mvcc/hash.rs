//! HashKV of a running store, see [`crate::hashkv`] for the rule.
//!
//! As upstream, the hashes of the last ten compactions are remembered, with the compaction revision
//! before each: asked for such a revision a member answers with that. They are forgotten at a
//! restart, and one that was not taken over all records since the compaction before is not kept.

use std::ops::ControlFlow;

use super::index::KeyRange;
use super::reader::first_after;
use super::{Handle, MvccError, Reader};
use crate::backend::locked;
use crate::buckets::KEY;
use crate::compaction::Verdict;
use crate::hashkv::{HashScope, KvHasher};
use crate::record::Record;
use crate::revision::Revision;

/// Hashes remembered.
const MOST_HASHES: usize = 10;

/// A hash and what it was taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvHash {
    /// CRC-32C.
    pub hash: u32,
    /// Records up to this revision.
    pub revision: i64,
    /// The compaction revision it takes into account; -1 for none.
    pub compact_revision: i64,
}

/// The hashes of the last compactions, by revision.
#[derive(Debug, Default)]
pub(super) struct HashCache(Vec<KvHash>);

impl HashCache {
    pub(super) fn store(&mut self, hash: KvHash) {
        self.0.push(hash);
        self.0.sort_by_key(|hash| hash.revision);
        if self.0.len() > MOST_HASHES {
            self.0.remove(0);
        }
    }
}

impl Handle {
    /// HashKV at a revision; 0 for the current one, which is never answered from memory. Walks all
    /// records.
    ///
    /// # Errors
    /// A revision that is compacted or to come; the database fails or is damaged.
    pub fn hashkv(&self, revision: i64) -> Result<KvHash, MvccError> {
        let remembered =
            locked(&self.shared.hashes).0.iter().find(|h| h.revision == revision).copied();
        match remembered {
            Some(hash) => Ok(hash),
            None => self.read(|reader| reader.hashkv(revision)),
        }
    }

    /// The hashes of the last ten compactions, oldest first: what members compare.
    pub fn compaction_hashes(&self) -> Vec<KvHash> {
        locked(&self.shared.hashes).0.clone()
    }
}

impl Reader {
    /// HashKV at a revision (0: this point's), computed.
    ///
    /// # Errors
    /// As [`Handle::hashkv`].
    pub fn hashkv(&self, revision: i64) -> Result<KvHash, MvccError> {
        if revision > 0 && revision < self.compacted() {
            return Err(MvccError::Compacted);
        }
        if revision > self.revision() {
            return Err(MvccError::FutureRevision);
        }
        let revision = if revision == 0 { self.revision() } else { revision };
        let scope = HashScope { revision, compact_revision: self.compacted() };
        let (kept, any_alive) = self.kept(scope)?;
        let mut kept = kept.into_iter().peekable();
        let mut hasher = KvHasher::judged(scope, any_alive);
        let end = first_after(revision.max(0));
        let range = (&[][..], end.as_ref().map(|end| &end[..]));
        self.view().try_scan(KEY, range, |key, value| -> Result<_, MvccError> {
            let record = Record::parse(key, value)?;
            let at = record.at.revision;
            while kept.next_if(|kept| *kept < at).is_some() {}
            let superseded = kept.peek() != Some(&at);
            hasher.add(&record, Verdict::Live { superseded });
            Ok(ControlFlow::Continue(()))
        })?;
        let (hash, compact_revision) = (hasher.finish(), scope.compact_revision);
        Ok(KvHash { hash, revision, compact_revision })
    }

    /// The records up to the compaction revision that are newest at the hash's revision, sorted,
    /// and whether anything is alive there: 16 bytes a key.
    fn kept(&self, scope: HashScope) -> Result<(Vec<Revision>, bool), MvccError> {
        let (mut kept, mut any_alive) = (Vec::new(), false);
        if scope.revision <= 0 {
            return Ok((kept, any_alive));
        }
        self.visit(KeyRange::From(&[]), scope.revision, |_, history, at| {
            let Some(revision) = history.value_at(at) else { return ControlFlow::Continue(()) };
            any_alive = true;
            if revision.main <= scope.compact_revision {
                kept.push(revision);
            }
            // Without a compaction one that is alive says enough.
            if scope.compact_revision < 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        kept.sort_unstable();
        Ok((kept, any_alive))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_hashes_are_remembered() {
        let mut cache = HashCache::default();
        for revision in (0..15).rev() {
            cache.store(KvHash { hash: 1, revision, compact_revision: -1 });
        }
        let revisions: Vec<i64> = cache.0.iter().map(|hash| hash.revision).collect();
        // Stored from the highest down, the lowest goes each time.
        assert_eq!(revisions, (5..15).collect::<Vec<_>>());
    }
}
