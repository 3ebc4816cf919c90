//! Where the stable part of the log is read from.
//!
//! The node only reads. Whoever drives it appends to the storage what a [`super::Ready`] says, and
//! compacts it. [`MemoryLog`] keeps the entries in memory beside a write-ahead log, as etcd does.

use std::collections::VecDeque;

use super::message::{Entry, EntryId, Snapshot};
use crate::meta::ConfState;
use crate::raftpb::SnapshotMetadata;

/// Entries that are on disk, and the newest snapshot.
///
/// Must hold: indices have no gaps; the term at `first_index() - 1` is known.
pub trait LogStorage {
    /// Index of the first entry that is still here; 1 in an empty log.
    fn first_index(&self) -> u64;

    /// Index of the last entry; `first_index() - 1` where there is none.
    fn last_index(&self) -> u64;

    /// Term of an entry, or of the one before the first.
    ///
    /// # Errors
    /// It is not here any more, or not yet.
    fn term(&self, index: u64) -> Result<u64, StorageError>;

    /// Entries from `from` up to `end`: as many as fit into `max_bytes` in their encoded form, at
    /// least one.
    ///
    /// # Errors
    /// The first one is not here any more, or the last one not yet.
    fn entries(&self, from: u64, end: u64, max_bytes: u64) -> Result<Vec<Entry>, StorageError>;

    /// The snapshot for a member that is too far behind. `None` where none can be had now: the
    /// leader asks again later.
    fn snapshot(&self) -> Option<Snapshot>;
}

/// An entry that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// It was dropped behind a snapshot.
    #[error("requested index is unavailable due to compaction")]
    Compacted,
    /// It was never there.
    #[error("requested entry at index is unavailable")]
    Unavailable,
}

/// Entries that a log in memory keeps room for.
const LEAST_ROOM: usize = 64;

/// A log in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryLog {
    /// The entry before the first one.
    before: EntryId,
    entries: VecDeque<Entry>,
    snapshot: Snapshot,
}

impl MemoryLog {
    /// A log that begins behind a snapshot; behind nothing with the default one.
    pub fn new(snapshot: Snapshot) -> Self {
        MemoryLog { before: snapshot.id(), entries: VecDeque::new(), snapshot }
    }

    /// Adds entries; those from the first one's index on are replaced. What lies before the log's
    /// begin is left out.
    ///
    /// # Errors
    /// Entries between the log's end and the first one are missing.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), StorageError> {
        let old = entries.iter().take_while(|entry| entry.index <= self.before.index).count();
        let new = &entries[old..];
        let Some(first) = new.first() else { return Ok(()) };
        if first.index > self.last_index() + 1 {
            return Err(StorageError::Unavailable);
        }
        self.entries.truncate(self.position(first.index));
        self.entries.extend(new.iter().cloned());
        Ok(())
    }

    /// Puts a snapshot in place of all entries.
    ///
    /// # Errors
    /// There is a newer one.
    pub fn apply_snapshot(&mut self, snapshot: Snapshot) -> Result<(), StorageError> {
        if snapshot.metadata.index <= self.snapshot.metadata.index {
            return Err(StorageError::Compacted);
        }
        *self = MemoryLog::new(snapshot);
        Ok(())
    }

    /// Notes that the state at `index` can be had: what is sent to a member that is too far behind
    /// names this index, its term and these members.
    ///
    /// # Errors
    /// There is a newer snapshot, or `index` is beyond the log.
    pub fn create_snapshot(
        &mut self,
        index: u64,
        conf_state: ConfState,
        data: bytes::Bytes,
    ) -> Result<(), StorageError> {
        if index <= self.snapshot.metadata.index {
            return Err(StorageError::Compacted);
        }
        let term = self.term(index)?;
        self.snapshot = Snapshot { data, metadata: SnapshotMetadata { conf_state, index, term } };
        Ok(())
    }

    /// Drops entries up to `index`.
    ///
    /// # Errors
    /// They are gone already, or `index` is beyond the log.
    pub fn compact(&mut self, index: u64) -> Result<(), StorageError> {
        if index <= self.before.index {
            return Err(StorageError::Compacted);
        }
        let term = self.term(index)?;
        self.entries.drain(..=self.position(index));
        // After a burst the room goes with the entries.
        if self.entries.capacity() / 4 > self.entries.len().max(LEAST_ROOM) {
            self.entries.shrink_to(2 * self.entries.len().max(LEAST_ROOM));
        }
        self.before = EntryId { term, index };
        Ok(())
    }

    /// Where the entry stands, which lies behind the log's begin.
    fn position(&self, index: u64) -> usize {
        usize::try_from(index - self.before.index - 1).unwrap_or(usize::MAX)
    }
}

impl LogStorage for MemoryLog {
    fn first_index(&self) -> u64 {
        self.before.index + 1
    }

    fn last_index(&self) -> u64 {
        self.before.index + self.entries.len() as u64
    }

    fn term(&self, index: u64) -> Result<u64, StorageError> {
        if index < self.before.index {
            return Err(StorageError::Compacted);
        }
        if index == self.before.index {
            return Ok(self.before.term);
        }
        let entry = self.entries.get(self.position(index));
        entry.map(|entry| entry.term).ok_or(StorageError::Unavailable)
    }

    fn entries(&self, from: u64, end: u64, max_bytes: u64) -> Result<Vec<Entry>, StorageError> {
        if from <= self.before.index {
            return Err(StorageError::Compacted);
        }
        if end > self.last_index() + 1 {
            return Err(StorageError::Unavailable);
        }
        let (mut found, mut bytes) = (Vec::new(), 0u64);
        for entry in self.entries.range(self.position(from)..self.position(end)) {
            bytes = bytes.saturating_add(entry.encoded_len());
            if !found.is_empty() && bytes > max_bytes {
                break;
            }
            found.push(entry.clone());
        }
        Ok(found)
    }

    fn snapshot(&self) -> Option<Snapshot> {
        (self.snapshot.metadata.index > 0).then(|| self.snapshot.clone())
    }
}
