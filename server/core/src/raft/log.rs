//! A member's log: what its storage holds, and behind it what is not on disk yet.
//!
//! ```text
//!   storage                          unstable
//!   first ........ stored last | offset ... in_progress ... last
//!        applied <= applying <= committed
//! ```
//!
//! Must hold: indices have no gaps; `applied <= applying <= committed <= last`; entries up to
//! `committed` never change. What is unstable hides what the storage holds at the same index.

use super::event::{Event, Events, LogPosition};
use super::message::{Entry, EntryId, Snapshot};
use super::storage::{LogStorage, StorageError};
use super::unstable::Unstable;
use super::{Corruption, RaftError};

/// See the file's header.
#[derive(Debug)]
pub(super) struct Log<S> {
    pub(super) storage: S,
    pub(super) unstable: Unstable,
    /// Highest index known to be committed.
    pub(super) committed: u64,
    /// Highest index handed out to be applied.
    applying: u64,
    /// Highest index that is applied.
    applied: u64,
    /// Limit on what is handed out and not applied, in encoded bytes.
    max_applying_bytes: u64,
    applying_bytes: u64,
    applying_paused: bool,
}

/// Why a leader's entries were not taken.
pub(super) enum Mismatch {
    /// The entry before them is not ours.
    Previous,
    /// They contradict what is committed, or there is a gap.
    Fatal(RaftError),
}

impl<S: LogStorage> Log<S> {
    pub(super) fn new(storage: S, max_applying_bytes: u64) -> Self {
        let before_first = storage.first_index() - 1;
        let unstable = Unstable::new(storage.last_index() + 1);
        Log {
            storage,
            unstable,
            committed: before_first,
            applying: before_first,
            applied: before_first,
            max_applying_bytes,
            applying_bytes: 0,
            applying_paused: false,
        }
    }

    /// Where everything stands, for an event.
    pub(super) fn position(&self) -> LogPosition {
        LogPosition {
            committed: self.committed,
            applied: self.applied,
            applying: self.applying,
            unstable_offset: self.unstable.offset,
            unstable_in_progress: self.unstable.in_progress,
            unstable_len: self.unstable.entries.len(),
        }
    }

    pub(super) fn first_index(&self) -> u64 {
        let behind_snapshot = self.unstable.snapshot.as_ref().map(|s| s.metadata.index + 1);
        behind_snapshot.unwrap_or_else(|| self.storage.first_index())
    }

    pub(super) fn last_index(&self) -> u64 {
        self.unstable.last_index().unwrap_or_else(|| self.storage.last_index())
    }

    pub(super) fn applied(&self) -> u64 {
        self.applied
    }

    /// The term at `index`, also at the place before the first entry.
    pub(super) fn term(&self, index: u64) -> Result<u64, StorageError> {
        if let Some(term) = self.unstable.term(index) {
            return Ok(term);
        }
        if index < self.first_index() - 1 {
            return Err(StorageError::Compacted);
        }
        if index > self.last_index() {
            return Err(StorageError::Unavailable);
        }
        self.storage.term(index)
    }

    /// The last entry.
    pub(super) fn last_id(&self) -> EntryId {
        let index = self.last_index();
        let term = self.term(index).expect("a log knows the term of its last entry");
        EntryId { term, index }
    }

    pub(super) fn matches(&self, id: EntryId) -> bool {
        self.term(id.index) == Ok(id.term)
    }

    /// Whether a log that ends with `theirs` holds at least what a quorum can have committed
    /// (section 5.4.1 of the paper).
    pub(super) fn is_up_to_date(&self, theirs: EntryId) -> bool {
        let own = self.last_id();
        (theirs.term, theirs.index) >= (own.term, own.index)
    }

    /// Takes a leader's entries behind `previous`; the last index that is now known to match.
    pub(super) fn append_matching(
        &mut self,
        previous: EntryId,
        entries: &[Entry],
        commit: u64,
        events: &mut Events,
    ) -> Result<u64, Mismatch> {
        if !self.matches(previous) {
            return Err(Mismatch::Previous);
        }
        let last_new = previous.index + entries.len() as u64;
        if let Some(at) = entries.iter().position(|entry| !self.matches(entry.id())) {
            let new = &entries[at..];
            let EntryId { term, index } = new[0].id();
            if index <= self.last_index() {
                let existing = self.term(index).unwrap_or_default();
                events.push(Event::ConflictFound { index, existing, conflicting: term });
            }
            if index <= self.committed {
                let corruption = Corruption::CommittedChanged { index, committed: self.committed };
                return Err(Mismatch::Fatal(corruption.into()));
            }
            self.append(new, events);
        }
        self.commit_to(commit.min(last_new)).map_err(Mismatch::Fatal)?;
        Ok(last_new)
    }

    /// Puts entries at their place, in front of which nothing may be missing. The last index.
    pub(super) fn append(&mut self, entries: &[Entry], events: &mut Events) -> u64 {
        if let Some(first) = entries.first() {
            assert!(first.index > self.committed, "what is committed never changes");
            assert!(first.index <= self.last_index() + 1, "the log has no gaps");
            if let Some(event) = self.unstable.replace_from(entries) {
                events.push(event);
            }
        }
        self.last_index()
    }

    /// The highest index up to `index` whose term is at most `term`, with its term: nothing
    /// between it and `index` can match a log that has `term` at `index`. The term is 0 where the
    /// log does not know it.
    pub(super) fn last_not_above(&self, index: u64, term: u64) -> EntryId {
        let mut index = index;
        while index > 0 {
            match self.term(index) {
                Ok(own) if own > term => index -= 1,
                Ok(own) => return EntryId { term: own, index },
                Err(_) => return EntryId { term: 0, index },
            }
        }
        EntryId::default()
    }

    /// Notes that all up to `index` is committed.
    pub(super) fn commit_to(&mut self, index: u64) -> Result<(), RaftError> {
        if index > self.committed {
            let last = self.last_index();
            if index > last {
                return Err(Corruption::CommitBeyondLog { commit: index, last }.into());
            }
            self.committed = index;
        }
        Ok(())
    }

    /// Entries from `from` on, as many as fit into `max_bytes`, at least one. None beyond the end.
    pub(super) fn entries_from(
        &self,
        from: u64,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        let end = self.last_index() + 1;
        if from >= end { Ok(Vec::new()) } else { self.slice(from, end, max_bytes) }
    }

    /// Entries from `from` up to `end`, as many as fit into `max_bytes`, at least one.
    pub(super) fn slice(
        &self,
        from: u64,
        end: u64,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        if from < self.first_index() {
            return Err(StorageError::Compacted);
        }
        let stored_end = end.min(self.unstable.offset);
        let mut found = Vec::new();
        if from < stored_end {
            found = self.storage.entries(from, stored_end, max_bytes)?;
            if found.len() as u64 != stored_end - from {
                return Ok(found);
            }
        }
        let mut bytes: u64 = found.iter().map(Entry::encoded_len).sum();
        if !found.is_empty() && bytes >= max_bytes {
            return Ok(found);
        }
        for entry in self.unstable.slice(from.max(stored_end), end) {
            bytes = bytes.saturating_add(entry.encoded_len());
            if !found.is_empty() && bytes > max_bytes {
                break;
            }
            found.push(entry.clone());
        }
        Ok(found)
    }

    /// Whether a change of the configuration is committed and not applied.
    pub(super) fn has_unapplied_conf_change(&self) -> bool {
        use crate::raftpb::EntryKind;
        let mut from = self.applied + 1;
        while from <= self.committed {
            let Ok(page) = self.slice(from, self.committed + 1, self.max_applying_bytes) else {
                return false; // compacted meanwhile, so it is applied
            };
            if page.iter().any(|entry| entry.kind != EntryKind::Normal) {
                return true;
            }
            from += page.len() as u64;
        }
        false
    }

    /// Whether there is something to hand out to be applied.
    pub(super) fn has_to_apply(&self) -> bool {
        !self.applying_paused && self.unstable.snapshot.is_none() && self.applying < self.committed
    }

    /// Committed entries that were not handed out yet, within the limit.
    pub(super) fn to_apply(&self) -> Result<Vec<Entry>, RaftError> {
        if !self.has_to_apply() {
            return Ok(Vec::new());
        }
        let room = self.max_applying_bytes - self.applying_bytes;
        let (from, end) = (self.applying + 1, self.committed + 1);
        self.slice(from, end, room)
            .map_err(|source| Corruption::CommittedMissing { index: from, reason: source }.into())
    }

    /// They were handed out, up to `index`.
    pub(super) fn accept_applying(&mut self, index: u64, bytes: u64) {
        assert!(index > self.applying && index <= self.committed, "handed out once, in order");
        self.applying = index;
        self.applying_bytes = self.applying_bytes.saturating_add(bytes);
        // What was cut off because of the limit waits until something is applied.
        self.applying_paused =
            self.applying_bytes >= self.max_applying_bytes || index < self.committed;
    }

    /// They were applied, up to `index`.
    pub(super) fn applied_to(&mut self, index: u64, bytes: u64) {
        assert!(index >= self.applied && index <= self.committed, "applied once, in order");
        self.applied = index;
        self.applying = self.applying.max(index);
        self.applying_bytes = self.applying_bytes.saturating_sub(bytes);
        self.applying_paused = self.applying_bytes >= self.max_applying_bytes;
    }

    /// Puts a snapshot in place of everything.
    pub(super) fn restore(&mut self, snapshot: Snapshot, events: &mut Events) {
        let EntryId { term, index } = snapshot.id();
        events.push(Event::SnapshotRestoring { log: self.position(), index, term });
        assert!(index > self.committed, "a snapshot never takes back what is committed");
        self.committed = index;
        self.unstable.restore(snapshot);
    }

    /// The snapshot to send to a member that is too far behind. `None` where there is none now.
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        self.unstable.snapshot.clone().or_else(|| self.storage.snapshot())
    }
}

#[cfg(test)]
mod tests;
