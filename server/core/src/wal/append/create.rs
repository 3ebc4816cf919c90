//! A new log.
//!
//! What must hold: it is there whole or not at all. It is built beside its directory, synced, and
//! only then renamed.

use std::path::{Path, PathBuf};

use super::error::failed;
use super::{Resume, Segment, SyncObserver, Wal, WalOptions, WalWriteError};
use crate::raftpb::HardState;
use crate::wal::disk::LogDisk;
use crate::wal::{LogContents, SnapshotRecord, WalEncoder, parse_segment_name, segment_name};

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
}

/// Whether a directory holds segments.
pub fn exists<D: LogDisk>(disk: &D, dir: &Path) -> bool {
    let names = disk.names(dir).unwrap_or_default();
    names.iter().any(|name| parse_segment_name(name).is_some())
}
