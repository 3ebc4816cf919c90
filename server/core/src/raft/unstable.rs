//! The end of the log that is not on disk yet, and a snapshot that is not.
//!
//! Must hold: `entries[i]` has index `offset + i`; entries before `in_progress` were handed out to
//! be persisted; a snapshot is older than all entries.

use super::event::Event;
use super::message::{Entry, EntryId, Snapshot};

/// See the file's header.
#[derive(Debug)]
pub(super) struct Unstable {
    pub(super) snapshot: Option<Snapshot>,
    snapshot_in_progress: bool,
    pub(super) entries: Vec<Entry>,
    pub(super) offset: u64,
    pub(super) in_progress: u64,
}

impl Unstable {
    /// Empty, behind a storage whose last index is `offset - 1`.
    pub(super) fn new(offset: u64) -> Self {
        let (snapshot, entries) = (None, Vec::new());
        Unstable { snapshot, snapshot_in_progress: false, entries, offset, in_progress: offset }
    }

    /// The last index, if it is here and not in the storage.
    pub(super) fn last_index(&self) -> Option<u64> {
        let of_snapshot = self.snapshot.as_ref().map(|snapshot| snapshot.metadata.index);
        self.entries.last().map(|entry| entry.index).or(of_snapshot)
    }

    /// The term at `index`, if it is here.
    pub(super) fn term(&self, index: u64) -> Option<u64> {
        if let Some(at) = index.checked_sub(self.offset) {
            let at = usize::try_from(at).ok()?;
            return self.entries.get(at).map(|entry| entry.term);
        }
        let id = self.snapshot.as_ref()?.id();
        (id.index == index).then_some(id.term)
    }

    /// Entries from `from` up to `end`, which are all here.
    pub(super) fn slice(&self, from: u64, end: u64) -> &[Entry] {
        if from >= end {
            return &[];
        }
        let skip = from.checked_sub(self.offset).and_then(|skip| usize::try_from(skip).ok());
        let rest = skip.and_then(|skip| self.entries.get(skip..)).unwrap_or_default();
        let wanted = usize::try_from(end - from).unwrap_or(usize::MAX);
        rest.get(..wanted).expect("a slice of the log lies within it")
    }

    /// Entries that were not handed out yet.
    pub(super) fn next_entries(&self) -> &[Entry] {
        self.slice(self.in_progress, self.offset + self.entries.len() as u64)
    }

    /// The snapshot, if it was not handed out yet.
    pub(super) fn next_snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref().filter(|_| !self.snapshot_in_progress)
    }

    /// Everything was handed out.
    pub(super) fn accept(&mut self) {
        self.in_progress = self.in_progress.max(self.offset + self.entries.len() as u64);
        self.snapshot_in_progress = self.snapshot.is_some();
    }

    /// Puts entries at their place and drops all that was there and behind.
    pub(super) fn replace_from(&mut self, entries: &[Entry]) -> Option<Event> {
        let from = entries.first()?.index;
        let end = self.offset + self.entries.len() as u64;
        let event = if from == end {
            None
        } else if from <= self.offset {
            self.entries.clear();
            (self.offset, self.in_progress) = (from, from);
            Some(Event::UnstableReplaced { from })
        } else {
            let keep = self.slice(self.offset, from).len();
            self.entries.truncate(keep);
            self.in_progress = self.in_progress.min(from);
            Some(Event::UnstableTruncated { before: from })
        };
        self.entries.extend_from_slice(entries);
        event
    }

    /// Everything up to `id` is on disk. Nothing happens where the entry was replaced meanwhile.
    pub(super) fn stable_to(&mut self, id: EntryId) {
        if id.index < self.offset || self.term(id.index) != Some(id.term) {
            return;
        }
        let count = self.slice(self.offset, id.index + 1).len();
        self.entries.drain(..count);
        self.offset = id.index + 1;
        self.in_progress = self.in_progress.max(self.offset);
    }

    /// The snapshot with this index is on disk.
    pub(super) fn snapshot_stable(&mut self, index: u64) {
        if self.snapshot.as_ref().is_some_and(|snapshot| snapshot.metadata.index == index) {
            self.snapshot = None;
            self.snapshot_in_progress = false;
        }
    }

    /// Drops everything for a snapshot.
    pub(super) fn restore(&mut self, snapshot: Snapshot) {
        *self = Unstable::new(snapshot.metadata.index + 1);
        self.snapshot = Some(snapshot);
    }
}
