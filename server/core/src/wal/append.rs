//! The appending side: group commit, and the cut to the next segment.
//!
//! What must hold:
//! 1. When [`Wal::append`] with `must_sync` returns without an error, all that was ever given to
//!    the log is durable, written with one write and one sync (a cut to the next segment has its
//!    own). Without `must_sync` it may wait in memory for the next sync, as upstream's does.
//! 2. A segment appears under its name only when its head is durable, and only after the segment
//!    before it is durable and cut to its length.
//! 3. Where the disk has no room for a whole segment, the log goes on in small steps, until there
//!    is none for a step either. A step is reserved before it is written to.
//! 4. After a failed write, sync or rename the log takes nothing any more: what the disk holds is
//!    unknown, only reading it again can tell.

mod create;
mod error;
mod purge;
mod spare;

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};

use super::disk::{LogDisk, LogFile};
use super::{SEGMENT_BYTES, SnapshotRecord, WalEncoder, WalMetadata, segment_name};
use crate::raftpb::{Entry, HardState};
pub use create::exists;
pub use error::WalWriteError;
use error::poison;
pub use purge::{KEEP_FILES, PurgeOrder};
use spare::Spares;
pub use spare::{Spare, SpareOrder};

/// What waits without a sync is written when it is longer than this. Upstream's buffer: 128 KiB.
const PENDING_BYTES: usize = 128 << 10;
/// Reserved memory that the buffer keeps between two appends.
const KEPT_BYTES: usize = 512 << 10;
/// Where a segment is not reserved as a whole, it is so many bytes at a time.
const STEP_BYTES: u64 = 1 << 20;

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalOptions {
    /// From this length on a segment is followed by the next one, which is reserved to it.
    pub segment_bytes: u64,
    /// `--unsafe-no-fsync`: nothing is synced. A crash of the machine loses writes.
    pub no_sync: bool,
}

/// Is told when a sync begins and ends, so that the caller can measure it with its own clock, and
/// how much is written.
pub trait SyncObserver: Send {
    /// A sync of a segment or of the directory begins.
    fn begins(&mut self) {}

    /// It has ended, well or not.
    fn ended(&mut self) {}

    /// So many bytes were written.
    fn wrote(&mut self, size_bytes: usize) {
        let _ = size_bytes;
    }
}

impl SyncObserver for () {}

/// A segment whose lock is held.
pub(super) struct Segment<F> {
    pub(super) sequence: u64,
    pub(super) first_index: u64,
    pub(super) file: F,
}

/// A log that is open for appending.
pub struct Wal<D: LogDisk> {
    disk: D,
    dir: PathBuf,
    options: WalOptions,
    observer: Box<dyn SyncObserver>,
    metadata: WalMetadata,
    state: HardState,
    last_index: u64,
    /// Ascending; the last one is written to.
    segments: VecDeque<Segment<D::File>>,
    /// Bytes of the last segment that are written.
    offset: u64,
    /// Bytes of the last segment that the disk has promised.
    reserved: u64,
    /// What is not written yet, and the chain.
    encoder: WalEncoder,
    spares: Spares<D>,
    failed: Option<String>,
}

/// What a freshly opened log goes on from; see [`Wal::open`].
pub(super) struct Resume<F> {
    pub(super) metadata: WalMetadata,
    pub(super) state: HardState,
    pub(super) last_index: u64,
    pub(super) segments: VecDeque<Segment<F>>,
    pub(super) offset: u64,
    pub(super) reserved: u64,
    pub(super) crc: u32,
}

impl Default for WalOptions {
    fn default() -> Self {
        WalOptions { segment_bytes: SEGMENT_BYTES, no_sync: false }
    }
}

impl<D: LogDisk> Wal<D> {
    pub(super) fn resume(
        disk: D,
        dir: &Path,
        options: WalOptions,
        observer: Box<dyn SyncObserver>,
        from: Resume<D::File>,
    ) -> Self {
        assert!(!from.segments.is_empty(), "a log has a segment");
        Wal {
            disk,
            dir: dir.to_owned(),
            options,
            observer,
            metadata: from.metadata,
            state: from.state,
            last_index: from.last_index,
            segments: from.segments,
            offset: from.offset,
            reserved: from.reserved,
            encoder: WalEncoder::resume(from.crc),
            spares: Spares::none(),
            failed: None,
        }
    }

    /// Who writes the log.
    pub fn metadata(&self) -> WalMetadata {
        self.metadata
    }

    /// Index of the last entry, or of the last snapshot if that is higher.
    pub fn last_index(&self) -> u64 {
        self.last_index
    }

    /// Appends entries and then the hard state, if it is given and not all zero. With `must_sync`
    /// (raft says so: there are entries, or term or vote changed) all of it is durable afterwards.
    /// An entry whose index is not above the last one replaces that one and all behind it.
    ///
    /// # Errors
    /// [`WalWriteError`].
    pub fn append<'e>(
        &mut self,
        entries: impl IntoIterator<Item = Entry<'e>>,
        state: Option<HardState>,
        must_sync: bool,
    ) -> Result<(), WalWriteError> {
        self.usable()?;
        for entry in entries {
            if entry.index > self.last_index.saturating_add(1) {
                return Err(self.gap(entry.index));
            }
            self.encoder.entry(&entry);
            self.last_index = entry.index;
        }
        if let Some(state) = state.filter(|state| *state != HardState::default()) {
            self.encoder.hard_state(state);
            self.state = state;
        }
        let pending = self.encoder.bytes().len();
        if self.offset + pending as u64 >= self.options.segment_bytes {
            return self.cut();
        }
        if must_sync || pending > PENDING_BYTES { self.flush(must_sync) } else { Ok(()) }
    }

    /// Appends the note that a snapshot was saved, durably. The .snap file must be durable already:
    /// a note without its file would be a log that cannot be read.
    ///
    /// # Errors
    /// [`WalWriteError`].
    pub fn save_snapshot(&mut self, snapshot: &SnapshotRecord) -> Result<(), WalWriteError> {
        self.usable()?;
        self.encoder.snapshot(snapshot);
        self.last_index = self.last_index.max(snapshot.index);
        self.flush(true)
    }

    /// Writes and syncs what still waits.
    ///
    /// # Errors
    /// [`WalWriteError`].
    pub fn sync(&mut self) -> Result<(), WalWriteError> {
        self.usable()?;
        self.flush(true)
    }

    /// Syncs and gives up the log; a spare that was not used is removed.
    ///
    /// # Errors
    /// [`WalWriteError`].
    pub fn close(mut self) -> Result<(), WalWriteError> {
        self.sync()?;
        self.remove_spare()
    }

    fn usable(&self) -> Result<(), WalWriteError> {
        match &self.failed {
            Some(cause) => Err(WalWriteError::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// Entries with a gap: a defect of the caller. Those before it are encoded already, so the log
    /// takes nothing any more.
    fn gap(&mut self, found: u64) -> WalWriteError {
        let error = WalWriteError::Order { last: self.last_index, found };
        self.failed = Some(error.to_string());
        error
    }

    /// Writes what waits, and syncs it.
    fn flush(&mut self, sync: bool) -> Result<(), WalWriteError> {
        let tail = self.segments.back_mut().expect("a log has a segment");
        let path = self.dir.join(segment_name(tail.sequence, tail.first_index));
        if !self.encoder.bytes().is_empty() {
            let end = self.offset + self.encoder.bytes().len() as u64;
            if end > self.reserved && self.reserved < self.options.segment_bytes {
                let whole = self.options.segment_bytes.max(end);
                let step = end.next_multiple_of(STEP_BYTES).min(whole);
                poison(&mut self.failed, tail.file.reserve(step), "reserve room in", &path)?;
                self.reserved = step;
            }
            let written = tail.file.write_at(self.encoder.bytes(), self.offset);
            poison(&mut self.failed, written, "write", &path)?;
            let size_bytes = self.encoder.bytes().len();
            self.offset += size_bytes as u64;
            self.observer.wrote(size_bytes);
            self.encoder.clear(KEPT_BYTES);
        }
        if sync && !self.options.no_sync {
            self.observer.begins();
            let synced = tail.file.sync_data();
            self.observer.ended();
            poison(&mut self.failed, synced, "sync", &path)?;
        }
        Ok(())
    }

    /// Finishes the last segment and goes on in the next one.
    fn cut(&mut self) -> Result<(), WalWriteError> {
        self.flush(false)?;
        let tail = self.segments.back_mut().expect("a log has a segment");
        let sequence = tail.sequence + 1;
        let path = self.dir.join(segment_name(tail.sequence, tail.first_index));
        let cut = tail.file.set_len(self.offset);
        poison(&mut self.failed, cut, "cut", &path)?;
        self.flush(true)?;

        let spare = self.take_spare()?;
        let first_index = self.last_index + 1;
        let path = self.dir.join(segment_name(sequence, first_index));
        self.encoder.start_segment(self.metadata);
        if self.state != HardState::default() {
            self.encoder.hard_state(self.state);
        }
        self.segments.push_back(Segment { sequence, first_index, file: spare.file });
        (self.offset, self.reserved) = (0, spare.reserved);
        self.flush(true)?;
        let renamed = self.disk.rename(&spare.path, &path);
        poison(&mut self.failed, renamed, "rename to", &path)?;
        let dir = self.dir.clone();
        self.sync_dir(&dir)
    }

    fn sync_dir(&mut self, dir: &Path) -> Result<(), WalWriteError> {
        self.observer.begins();
        let synced = self.disk.sync_dir(dir);
        self.observer.ended();
        poison(&mut self.failed, synced, "sync the directory", dir)
    }
}

impl<D: LogDisk> fmt::Debug for Wal<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal")
            .field("dir", &self.dir)
            .field("metadata", &self.metadata)
            .field("last_index", &self.last_index)
            .field("segments", &self.segments.len())
            .field("offset", &self.offset)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
