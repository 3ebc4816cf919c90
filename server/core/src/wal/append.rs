//! The appending side: group commit, cutting, spares, release and purge.
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

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::{LogDisk, LogFile};
use super::{LogContents, SEGMENT_BYTES, SnapshotRecord, WalEncoder, WalMetadata};
use super::{parse_segment_name, segment_name};
use crate::raftpb::{Entry, HardState};

/// What waits without a sync is written when it is longer than this. Upstream's buffer: 128 KiB.
const PENDING_BYTES: usize = 128 << 10;
/// Reserved memory that the buffer keeps between two appends.
const KEPT_BYTES: usize = 512 << 10;
/// Where a segment is not reserved as a whole, it is so many bytes at a time.
const STEP_BYTES: u64 = 1 << 20;
/// Segments and .snap files that are kept, the newest ones; upstream's `--max-wals`.
pub const KEEP_FILES: usize = 5;

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

/// A log that cannot be written. Everything but [`WalWriteError::Exists`] and
/// [`WalWriteError::Order`] is final for the open log.
#[derive(Debug, thiserror::Error)]
pub enum WalWriteError {
    /// There is a log already.
    #[error("there is a WAL already in {}", dir.display())]
    Exists {
        /// Its directory.
        dir: PathBuf,
    },
    /// The disk failed.
    #[error("cannot {action} {}: {source}; the member must stop", path.display())]
    Disk {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// An earlier write failed; what the disk holds is unknown.
    #[error("the WAL failed before ({cause}); restart the member to read what is on the disk")]
    Poisoned {
        /// The first failure.
        cause: String,
    },
    /// Entries that would leave a gap. The log is as it was.
    #[error("entry {found} does not follow entry {last}, the last one in the WAL")]
    Order {
        /// The last index in the log.
        last: u64,
        /// The index given.
        found: u64,
    },
}

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
    spare: Option<Spare<D>>,
    spares_ordered: u64,
    spare_outstanding: bool,
    /// The last order gave none; not ordered again before the next cut.
    spare_denied: bool,
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

/// The order to prepare the next segment, for another thread.
#[derive(Debug)]
pub struct SpareOrder<D: LogDisk> {
    disk: D,
    path: PathBuf,
    length: u64,
}

/// A segment that is reserved but not yet in use.
pub struct Spare<D: LogDisk> {
    path: PathBuf,
    file: D::File,
    reserved: u64,
}

/// The order to remove segments that are no longer needed, for another thread.
#[derive(Debug)]
pub struct PurgeOrder<D: LogDisk> {
    disk: D,
    dir: PathBuf,
    suffix: &'static str,
    keep: usize,
    /// Names from this one on are in use.
    in_use: Option<String>,
}

impl Default for WalOptions {
    fn default() -> Self {
        WalOptions { segment_bytes: SEGMENT_BYTES, no_sync: false }
    }
}

impl<D: LogDisk> Wal<D> {
    /// Makes a new log with its first segment: the metadata, an empty snapshot note, and what it is
    /// to begin with (a founder's entries; nothing for one who joins). It is built in `<dir>.tmp`
    /// and renamed, so that it is there whole or not at all.
    ///
    /// # Errors
    /// [`WalWriteError`]; also if there are segments in `dir`.
    pub fn create(
        disk: D,
        dir: &Path,
        first: impl Into<LogContents>,
        options: WalOptions,
        observer: Box<dyn SyncObserver>,
    ) -> Result<Self, WalWriteError> {
        let LogContents { metadata, hard_state, entries, .. } = first.into();
        if exists(&disk, dir) {
            return Err(WalWriteError::Exists { dir: dir.to_owned() });
        }
        let mut aside = dir.to_owned().into_os_string();
        aside.push(".tmp");
        let aside = PathBuf::from(aside);
        disk.remove_dir(&aside).map_err(failed("remove", &aside))?;
        disk.create_dir(&aside).map_err(failed("create the directory", &aside))?;
        let path = aside.join(segment_name(0, 0));
        let file = disk.create(&path, options.segment_bytes).map_err(failed("create", &path))?;
        let mut encoder = WalEncoder::new(0, metadata);
        encoder.snapshot(&SnapshotRecord::default());
        entries.iter().for_each(|entry| encoder.entry(&entry.borrow()));
        if hard_state != HardState::default() {
            encoder.hard_state(hard_state);
        }
        let segments = [Segment { sequence: 0, first_index: 0, file }].into();
        let resume = Resume {
            metadata,
            state: hard_state,
            last_index: entries.last().map_or(0, |entry| entry.index),
            segments,
            offset: 0,
            reserved: options.segment_bytes,
            crc: 0,
        };
        let mut wal = Wal::resume(disk, dir, options, observer, resume);
        wal.encoder = encoder;
        wal.flush(true)?;
        wal.sync_dir(&aside)?;
        wal.disk.remove_dir(dir).map_err(failed("remove", dir))?;
        wal.disk.rename(&aside, dir).map_err(failed("rename to", dir))?;
        let parent = dir.parent().unwrap_or(dir).to_owned();
        wal.sync_dir(&parent)?;
        Ok(wal)
    }

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
            spare: None,
            spares_ordered: 0,
            spare_outstanding: false,
            spare_denied: false,
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
        if let Some(spare) = self.spare.take() {
            self.disk.remove(&spare.path).map_err(failed("remove", &spare.path))?;
        }
        Ok(())
    }

    /// Gives back the locks of segments whose entries all lie below `index`, but for the newest of
    /// them; a purge may then remove them.
    pub fn release_to(&mut self, index: u64) {
        let above = self.segments.iter().position(|segment| segment.first_index >= index);
        let releasable = above.unwrap_or(self.segments.len()).saturating_sub(1);
        self.segments.drain(..releasable);
    }

    /// The order to remove all released segments but the newest [`KEEP_FILES`] files. Run it in
    /// another thread: unlinking 64 MB takes a disk its time.
    pub fn purge_order(&self, keep: usize) -> PurgeOrder<D> {
        let oldest = self.segments.front().expect("a log has a segment");
        PurgeOrder {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            suffix: ".wal",
            keep,
            in_use: Some(segment_name(oldest.sequence, oldest.first_index)),
        }
    }

    /// The order to prepare the next segment, unless one is at hand or already ordered, or the last
    /// order failed. Without a spare a cut makes the segment itself, while everybody waits.
    pub fn spare_order(&mut self) -> Option<SpareOrder<D>> {
        if self.spare.is_some() || self.spare_outstanding || self.spare_denied {
            return None;
        }
        self.spare_outstanding = true;
        Some(self.next_spare())
    }

    /// Takes what came of an order. A failure is not final: it is tried again after the next cut.
    pub fn stock(&mut self, prepared: Option<Spare<D>>) {
        self.spare_outstanding = false;
        self.spare_denied = prepared.is_none();
        self.spare = prepared;
    }

    /// Two names take turns, so that a spare never meets the one before it.
    fn next_spare(&mut self) -> SpareOrder<D> {
        let path = self.dir.join(format!("{}.tmp", self.spares_ordered % 2));
        self.spares_ordered += 1;
        SpareOrder { disk: self.disk.clone(), path, length: self.options.segment_bytes }
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

        let spare = match self.spare.take() {
            Some(spare) => spare,
            None => {
                // Where one was denied ahead there is little room, and others need it too.
                let in_steps = self.spare_denied;
                let order = self.next_spare();
                let path = order.path.clone();
                poison(&mut self.failed, order.prepare_at_once(in_steps), "create", &path)?
            }
        };
        let first_index = self.last_index + 1;
        let path = self.dir.join(segment_name(sequence, first_index));
        self.encoder.start_segment(self.metadata);
        if self.state != HardState::default() {
            self.encoder.hard_state(self.state);
        }
        self.segments.push_back(Segment { sequence, first_index, file: spare.file });
        self.spare_denied = false;
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

impl<D: LogDisk> SpareOrder<D> {
    /// The file that will be made.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that will be reserved.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Makes and reserves the file.
    ///
    /// # Errors
    /// I/O.
    pub fn prepare(self) -> io::Result<Spare<D>> {
        let file = self.disk.create(&self.path, self.length)?;
        Ok(Spare { path: self.path, file, reserved: self.length })
    }

    /// Makes the file; reserved in steps if there is no room for the whole.
    fn prepare_at_once(self, in_steps: bool) -> io::Result<Spare<D>> {
        if !in_steps {
            match self.disk.create(&self.path, self.length) {
                Err(error) if is_full(&error) => {}
                made => {
                    let reserved = self.length;
                    return made.map(|file| Spare { path: self.path, file, reserved });
                }
            }
        }
        let file = self.disk.create(&self.path, 0)?;
        Ok(Spare { path: self.path, file, reserved: 0 })
    }
}

impl<D: LogDisk> PurgeOrder<D> {
    /// The order to remove all .snap files of a directory but the newest `keep`.
    pub fn of_snapshots(disk: D, snap_dir: &Path, keep: usize) -> Self {
        PurgeOrder { disk, dir: snap_dir.to_owned(), suffix: ".snap", keep, in_use: None }
    }

    /// Removes the files, oldest first, and names them.
    ///
    /// # Errors
    /// I/O; the files before it are gone.
    pub fn run(self) -> io::Result<Vec<String>> {
        let mut names = self.disk.names(&self.dir)?;
        names.retain(|name| name.ends_with(self.suffix));
        let mut removed = Vec::new();
        let removable = names.len().saturating_sub(self.keep.max(1));
        for name in names.into_iter().take(removable) {
            if self.in_use.as_ref().is_some_and(|first| name >= *first) {
                break;
            }
            self.disk.remove(&self.dir.join(&name))?;
            removed.push(name);
        }
        Ok(removed)
    }
}

/// Whether there was no room: on the disk, or within what this user may have.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether a directory holds segments.
pub fn exists<D: LogDisk>(disk: &D, dir: &Path) -> bool {
    let names = disk.names(dir).unwrap_or_default();
    names.iter().any(|name| parse_segment_name(name).is_some())
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WalWriteError {
    let path = path.to_owned();
    move |source| WalWriteError::Disk { action, path, source }
}

/// Remembers a failure for good.
fn poison<T>(
    failure: &mut Option<String>,
    result: io::Result<T>,
    action: &'static str,
    path: &Path,
) -> Result<T, WalWriteError> {
    result.map_err(failed(action, path)).inspect_err(|error| *failure = Some(error.to_string()))
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

impl<D: LogDisk> fmt::Debug for Spare<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spare").field("path", &self.path).finish_non_exhaustive()
    }
}
