//! Opens a log to go on writing it: reads it from a snapshot on, repairs its tail, takes its locks.
//!
//! What must hold:
//! 1. All entries behind the snapshot come out, without a gap; of those with one index the last.
//! 2. Nothing that was ever synced is cut off: a tail is cut only where a crash explains it (see
//!    [`super::tail`]), and what is cut lies beside it as `<segment>.broken`.
//! 3. After an open the bytes behind the last record are zeros, so that no old record can ever
//!    stand behind a new one.

mod reading;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::append::{Resume, Segment, SyncObserver, Wal, WalOptions};
use super::disk::{LogDisk, LogFile};
use super::log::check_names;
use super::{WalDamage, WalError, WalMetadata, parse_segment_name};
use crate::raftpb::{Entry, EntryKind, HardState};
use reading::{Reading, Tail};

/// An entry that owns its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// What `data` is.
    pub kind: EntryKind,
    /// Term of the leader that appended it.
    pub term: u64,
    /// Position in the log, from 1.
    pub index: u64,
    /// The payload.
    pub data: Bytes,
}

/// The snapshot behind which a log is read; all zero for the log's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogStart {
    /// Index of the last entry that the snapshot covers.
    pub index: u64,
    /// Its term.
    pub term: u64,
}

/// What a log holds behind a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogContents {
    /// Who writes it.
    pub metadata: WalMetadata,
    /// The last hard state. Its commit may lag behind what was applied: it is not always synced.
    pub hard_state: HardState,
    /// The entries from `start.index + 1` on. Those above the commit index may yet be replaced.
    pub entries: Vec<LogEntry>,
    /// The tail that was cut off.
    pub repaired: Option<Repair>,
}

/// A tail that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// The segment.
    pub segment: PathBuf,
    /// The copy of it as it was.
    pub copy: PathBuf,
    /// Where it was cut; upstream logs `unexpected EOF` here.
    pub offset: u64,
    /// What was wrong; `None` if old bytes lay behind a clean end.
    pub damage: Option<WalDamage>,
}

/// A log that cannot be opened. It is left as it was.
#[derive(Debug, thiserror::Error)]
pub enum WalOpenError {
    /// The log is damaged.
    #[error(transparent)]
    Log(#[from] WalError),
    /// No segment reaches back to the snapshot.
    #[error("no WAL segment reaches back to the snapshot at index {index}")]
    TooYoung {
        /// The snapshot's index.
        index: u64,
    },
    /// The snapshot is not noted in the log.
    #[error("the WAL has no note of the snapshot at index {index}, term {term}")]
    NoSnapshot {
        /// The snapshot's index.
        index: u64,
        /// The snapshot's term.
        term: u64,
    },
    /// The log notes another snapshot at that index.
    #[error("the WAL notes the snapshot at index {index} with term {found}, not {term}")]
    OtherSnapshot {
        /// The snapshot's index.
        index: u64,
        /// The snapshot's term.
        term: u64,
        /// The note's term.
        found: u64,
    },
    /// Entries that were synced are gone.
    #[error(
        "the WAL says that entry {commit} is committed, but it can be read up to entry {last} only, to \
         byte {offset} of {segment}: acknowledged writes are damaged; restore this member from its \
         peers or from a backup"
    )]
    Lost {
        /// The commit index found.
        commit: u64,
        /// The last entry that is readable.
        last: u64,
        /// The segment.
        segment: String,
        /// Where reading ends.
        offset: u64,
    },
    /// The disk failed, or another process has the log (then of the kind `WouldBlock`).
    #[error("cannot {action} {}: {source}", path.display())]
    Disk {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl From<WalMetadata> for LogContents {
    /// A log without entries.
    fn from(metadata: WalMetadata) -> Self {
        LogContents { metadata, ..LogContents::default() }
    }
}

impl LogEntry {
    /// The entry with a borrowed payload, as it is appended.
    pub fn borrow(&self) -> Entry<'_> {
        Entry { kind: self.kind, term: self.term, index: self.index, data: &self.data }
    }
}

impl<D: LogDisk> Wal<D> {
    /// Opens the log in `dir` behind the snapshot `start`, which must be noted in it, ready for
    /// appending. A torn tail is cut off; spares of a member that was killed are removed.
    ///
    /// # Errors
    /// [`WalOpenError`].
    pub fn open(
        disk: D,
        dir: &Path,
        start: LogStart,
        options: WalOptions,
        observer: Box<dyn SyncObserver>,
    ) -> Result<(Self, LogContents), WalOpenError> {
        let names = segments_from(&disk, dir, start)?;
        let mut reading = Reading::new(start);
        let mut segments = VecDeque::new();
        let mut tail = Tail::default();
        for (at, name) in names.iter().enumerate() {
            let path = dir.join(name);
            let file = disk.open(&path).map_err(failed("open and lock", &path))?;
            let bytes = file.read().map_err(failed("read", &path))?;
            tail = reading.segment(name, &bytes, at + 1 == names.len())?;
            let (sequence, first_index) = parse_segment_name(name).unwrap_or_default();
            segments.push_back(Segment { sequence, first_index, file });
            if at + 1 == names.len() {
                tail.is_clean = bytes[tail.offset..].iter().all(|byte| *byte == 0);
                reading.check_loss(name, &bytes, &tail)?;
            }
        }
        let (mut contents, last_index) = reading.finish(&names)?;
        let last = segments.back_mut().ok_or(WalError::Empty)?;
        let path = dir.join(&names[names.len() - 1]);
        if !tail.is_clean {
            contents.repaired = Some(repair(&disk, &mut last.file, path.clone(), &tail)?);
        }
        let reserved = last.file.length().map_err(failed("measure", &path))?;
        last.file.sync_data().map_err(failed("sync", &path))?;
        remove_spares(&disk, dir)?;
        let resume = Resume {
            metadata: contents.metadata,
            state: contents.hard_state,
            last_index,
            segments,
            offset: tail.offset as u64,
            reserved,
            crc: tail.crc,
        };
        Ok((Wal::resume(disk, dir, options, observer, resume), contents))
    }
}

/// The names of a log's segments, in order.
///
/// # Errors
/// I/O, no segment, and sequence numbers with a gap.
pub fn segment_names<D: LogDisk>(disk: &D, dir: &Path) -> Result<Vec<String>, WalOpenError> {
    let mut names = disk.names(dir).map_err(failed("list", dir))?;
    names.retain(|name| parse_segment_name(name).is_some());
    if names.is_empty() {
        return Err(WalError::Empty.into());
    }
    check_names(&names)?;
    Ok(names)
}

/// The segments that hold what lies behind `start`: from the last one that begins at or before it.
fn segments_from<D: LogDisk>(
    disk: &D,
    dir: &Path,
    start: LogStart,
) -> Result<Vec<String>, WalOpenError> {
    let mut names = segment_names(disk, dir)?;
    let reaches = |name: &String| {
        parse_segment_name(name).is_some_and(|(_, first_index)| first_index <= start.index)
    };
    let index = start.index;
    let from = names.iter().rposition(reaches).ok_or(WalOpenError::TooYoung { index })?;
    Ok(names.split_off(from))
}

/// Cuts the tail off; the segment as it was stays beside it.
fn repair<D: LogDisk>(
    disk: &D,
    file: &mut D::File,
    segment: PathBuf,
    tail: &Tail,
) -> Result<Repair, WalOpenError> {
    let mut copy = segment.clone().into_os_string();
    copy.push(".broken");
    let copy = PathBuf::from(copy);
    let bytes = file.read().map_err(failed("read", &segment))?;
    disk.write_whole(&copy, &bytes).map_err(failed("copy the damaged segment to", &copy))?;
    let dir = segment.parent().unwrap_or(&segment);
    disk.sync_dir(dir).map_err(failed("sync the directory", dir))?;
    let offset = tail.offset as u64;
    file.set_len(offset).map_err(failed("cut the torn tail of", &segment))?;
    file.sync_data().map_err(failed("sync", &segment))?;
    Ok(Repair { segment, copy, offset, damage: tail.damage })
}

/// Removes what a killed member prepared and did not use.
fn remove_spares<D: LogDisk>(disk: &D, dir: &Path) -> Result<(), WalOpenError> {
    for name in ["0.tmp", "1.tmp"] {
        let path = dir.join(name);
        match disk.remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(failed("remove", &path))?,
        }
    }
    Ok(())
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WalOpenError {
    let path = path.to_owned();
    move |source| WalOpenError::Disk { action, path, source }
}
