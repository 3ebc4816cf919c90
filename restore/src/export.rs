//! Writes a plain snapshot file: a database and 32 bytes of SHA-256 over it, as `etcdctl snapshot
//! save` makes them and `etcdutl snapshot status` and `restore` take them.
//!
//! Nothing is rewritten: members, versions, marks, alarms are the source's, and `etcdutl` deals
//! with them. The database is already defragmented, so its bytes are not the source's; its
//! records are.
//!
//! Holds: the file appears under its name only when it is complete and durable; an existing file
//! is never replaced. It is plain text for whoever can read it: mode 0600.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use holdfast_bolt::{BuildOptions, Builder, Disk, DiskError, FileDisk, sync_directory};
use holdfast_core::buckets::{KEY, SmallBuckets};
use holdfast_core::meta::CompactionMarks;
use holdfast_core::record::Record;
use holdfast_vault::format::hex;
use sha2::{Digest, Sha256};

use crate::rebuild::{Counts, RebuildError, RecordSink, SourceRecord};

const READ_BYTES: usize = 1 << 20;

/// An export in progress. Dropping it removes the unfinished file.
#[derive(Debug)]
pub struct Export {
    builder: Option<Builder<FileDisk>>,
    small: SmallBuckets,
    counts: Counts,
    trim_to: Option<i64>,
    to: PathBuf,
    partial: PathBuf,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Exported {
    /// The file.
    pub path: PathBuf,
    /// Its length, the trailing digest included.
    pub size_bytes: u64,
    /// The digest at its end, in hex.
    pub sha256: String,
    /// Counts of records.
    pub counts: Counts,
}

/// An export that failed; its unfinished file is removed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file exists.
    #[error("{0} exists already: choose another name, or move it away")]
    Exists(PathBuf),
    /// The directory does not exist or cannot be used.
    #[error("cannot write {path}: {source}")]
    Path {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The records cannot be written.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl std::fmt::Display for Exported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Exported { path, size_bytes, counts, sha256 } = self;
        let size = crate::text::bytes(*size_bytes);
        write!(f, "{}: {} records, {size}, SHA-256 {sha256}", path.display(), counts.records)
    }
}

impl Export {
    /// Begins the file `to`, which must not exist; it is written beside that under another name.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub fn begin(
        to: &Path,
        small: SmallBuckets,
        trim_to: Option<i64>,
    ) -> Result<Export, ExportError> {
        if fs::symlink_metadata(to).is_ok() {
            return Err(ExportError::Exists(to.to_owned()));
        }
        let compacted = CompactionMarks::read(&small).map_err(RebuildError::from)?.effective();
        if let Some(trim_to) = trim_to.filter(|trim_to| *trim_to < compacted) {
            return Err(RebuildError::TrimBelowCompaction { trim_to, compacted }.into());
        }
        let mut partial = to.as_os_str().to_owned();
        partial.push(format!(".partial-{}", std::process::id()));
        let partial = PathBuf::from(partial);
        let disk = FileDisk::create_new(&partial)?;
        let mut builder =
            Builder::new(disk, BuildOptions::default()).map_err(RebuildError::from)?;
        builder.begin_bucket(KEY).map_err(RebuildError::from)?;
        let (counts, to) = (Counts::default(), to.to_owned());
        Ok(Export { builder: Some(builder), small, counts, trim_to, to, partial })
    }

    /// Finishes the file and gives it its name.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub fn finish(mut self) -> Result<Exported, ExportError> {
        let mut builder = self.builder.take().expect("it is taken only here");
        builder.end_bucket().map_err(RebuildError::from)?;
        self.small.write(&mut builder).map_err(RebuildError::from)?;
        let (mut disk, _) = builder.finish().map_err(RebuildError::from)?;
        let size = disk.size_bytes()?;
        let digest = digest_of(&disk, size)?;
        disk.write_at(size, &digest)?;
        disk.sync_all()?;
        drop(disk);
        let path_error = |source| ExportError::Path { path: self.to.clone(), source };
        // A link, unlike a rename, does not replace what appeared meanwhile.
        fs::hard_link(&self.partial, &self.to).map_err(path_error)?;
        fs::remove_file(&self.partial).map_err(path_error)?;
        let parent = self.to.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_directory(parent.unwrap_or(Path::new(".")))?;
        let (path, counts, sha256) = (self.to.clone(), self.counts, hex(&digest));
        Ok(Exported { path, size_bytes: size + digest.len() as u64, sha256, counts })
    }
}

impl RecordSink for Export {
    fn push(&mut self, record: &SourceRecord<'_>) -> Result<(), RebuildError> {
        let Some(raw_key) = self.counts.admit(record, self.trim_to)? else { return Ok(()) };
        let content = Record::parse(&raw_key, record.value)?.key_value()?;
        let builder = self.builder.as_mut().expect("it is taken only by finish");
        builder.push(&raw_key, record.value)?;
        self.counts.note(record, &content);
        Ok(())
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        // After `finish` it is gone already.
        let _ = fs::remove_file(&self.partial);
    }
}

fn digest_of(disk: &FileDisk, size: u64) -> Result<[u8; 32], DiskError> {
    assert!(
        size.is_multiple_of(512),
        "etcdutl knows the digest by the length: whole pages and 32 bytes"
    );
    let mut digest = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut offset = 0;
    while offset < size {
        let left = usize::try_from(size - offset).unwrap_or(READ_BYTES);
        let piece = &mut buffer[..left.min(READ_BYTES)];
        disk.read_at(offset, piece)?;
        digest.update(&piece);
        offset += piece.len() as u64;
    }
    Ok(digest.finalize().into())
}
