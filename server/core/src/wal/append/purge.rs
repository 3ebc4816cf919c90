//! Which files of a log, and which .snap files, are no longer needed, and their removal.
//!
//! What must hold: a segment whose lock is held is never removed, and files go from the oldest on,
//! so that what stays has no gap.

use std::io;
use std::path::{Path, PathBuf};

use super::Wal;
use crate::wal::disk::LogDisk;
use crate::wal::segment_name;

/// Segments and .snap files that are kept, the newest ones; upstream's `--max-wals`.
pub const KEEP_FILES: usize = 5;

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

impl<D: LogDisk> Wal<D> {
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
