//! The disk as writers see it. Every write of this crate goes through [`Disk`].
//!
//! What must hold: once a sync has failed nobody knows what is on the disk (the kernel may have
//! dropped the dirty pages and forgotten the error), so the disk is *poisoned*: all later calls
//! fail. Bytes are durable only after a sync that succeeded, the length only after `sync_all`, and
//! a new file's name only after [`sync_directory`].

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::lock::{Lock, LockedFile};
use crate::map::{FilePages, SharedMap};
use crate::store::StoreDisk;

/// A file-like disk with explicit syncs.
pub trait Disk {
    /// Present length in bytes.
    ///
    /// # Errors
    /// As every call: [`DiskError::Failed`], or [`DiskError::Poisoned`] after a failed sync.
    fn size_bytes(&self) -> Result<u64, DiskError>;

    /// Fills `out` from `offset` on.
    ///
    /// # Errors
    /// Also if the range goes beyond the end.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError>;

    /// Writes all of `bytes` at `offset`, growing the file if needed. After an error any part of
    /// it may have been written.
    ///
    /// # Errors
    /// As every call.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Cuts or grows (with zeros) to `len` bytes.
    ///
    /// # Errors
    /// As every call.
    fn set_len(&mut self, len: u64) -> Result<(), DiskError>;

    /// Makes the written bytes durable, and of the metadata what is needed to read them.
    ///
    /// # Errors
    /// After an error the disk is poisoned.
    fn sync_data(&mut self) -> Result<(), DiskError>;

    /// Makes bytes and all metadata durable.
    ///
    /// # Errors
    /// After an error the disk is poisoned.
    fn sync_all(&mut self) -> Result<(), DiskError>;
}

/// What was asked of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DiskOperation {
    /// Creating or opening, with its lock.
    Open,
    /// Asking for the length.
    Size,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Changing the length.
    SetLen,
    /// Syncing data.
    SyncData,
    /// Syncing data and metadata.
    SyncAll,
    /// Giving it another name.
    Rename,
    /// Syncing a directory.
    SyncDirectory,
    /// Mapping into memory.
    Map,
}

/// Why a disk did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The system failed.
    #[error("cannot {operation} {place}: {source}")]
    Failed {
        /// What was asked for.
        operation: DiskOperation,
        /// The file, or what stands for it.
        place: String,
        /// The system's error.
        source: io::Error,
    },
    /// Another process holds the file.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A sync failed before: the state of the file is unknown.
    #[error("{place} is not usable since a sync failed: throw the file away and write it anew")]
    Poisoned {
        /// The file, or what stands for it.
        place: String,
    },
}

impl fmt::Display for DiskOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DiskOperation::Open => "open",
            DiskOperation::Size => "ask for the size of",
            DiskOperation::Read => "read",
            DiskOperation::Write => "write",
            DiskOperation::SetLen => "set the length of",
            DiskOperation::SyncData | DiskOperation::SyncAll => "sync",
            DiskOperation::Rename => "rename",
            DiskOperation::SyncDirectory => "sync the directory",
            DiskOperation::Map => "map",
        })
    }
}

/// A real file under an exclusive lock, the one that bbolt takes.
#[derive(Debug)]
pub struct FileDisk {
    file: Arc<LockedFile>,
    path: PathBuf,
    poisoned: bool,
    map: Option<Arc<SharedMap>>,
    /// Length below which the file is not cut, because readers may look there.
    mapped_bytes: u64,
}

impl FileDisk {
    /// Creates a file that must not exist yet, readable by its owner only.
    ///
    /// # Errors
    /// If it exists, cannot be created, or is locked.
    pub fn create_new(path: &Path) -> Result<FileDisk, DiskError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        FileDisk::open_with(path, &options)
    }

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// If it cannot be opened, or is locked.
    pub fn open(path: &Path) -> Result<FileDisk, DiskError> {
        FileDisk::open_with(path, OpenOptions::new().read(true).write(true))
    }

    /// Opens a file for reading and writing, or creates it, readable by its owner only.
    ///
    /// # Errors
    /// If it cannot be opened or created, or is locked.
    pub fn open_or_create(path: &Path) -> Result<FileDisk, DiskError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        FileDisk::open_with(path, &options)
    }

    fn open_with(path: &Path, options: &OpenOptions) -> Result<FileDisk, DiskError> {
        let open_failed = |source| failed(DiskOperation::Open, path, source);
        let file = options.open(path).map_err(open_failed)?;
        let locked = LockedFile::new(file, Lock::Exclusive).map_err(open_failed)?;
        let in_use = || DiskError::InUse { path: path.to_owned() };
        Ok(FileDisk {
            file: Arc::new(locked.ok_or_else(in_use)?),
            path: path.to_owned(),
            poisoned: false,
            map: None,
            mapped_bytes: 0,
        })
    }

    /// The file's path, as it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file another name, in the place of a file that has it already, and makes the name
    /// durable. Lock and map stay.
    ///
    /// # Errors
    /// If it cannot be renamed: then nothing has changed. If the directory's sync fails, nobody
    /// knows which file a crash leaves under the name, and the disk is poisoned.
    pub fn move_to(&mut self, path: &Path) -> Result<(), DiskError> {
        self.usable()?;
        let moved = std::fs::rename(&self.path, path);
        moved.map_err(|source| self.failed(DiskOperation::Rename, source))?;
        path.clone_into(&mut self.path);
        let synced = sync_directory(path.parent().unwrap_or(Path::new(".")));
        self.poisoned = synced.is_err();
        synced
    }

    fn usable(&self) -> Result<(), DiskError> {
        if self.poisoned {
            return Err(DiskError::Poisoned { place: self.path.display().to_string() });
        }
        Ok(())
    }

    fn failed(&self, operation: DiskOperation, source: io::Error) -> DiskError {
        failed(operation, &self.path, source)
    }

    fn synced(
        &mut self,
        operation: DiskOperation,
        outcome: io::Result<()>,
    ) -> Result<(), DiskError> {
        outcome.map_err(|source| {
            self.poisoned = true;
            self.failed(operation, source)
        })
    }
}

impl Disk for FileDisk {
    fn size_bytes(&self) -> Result<u64, DiskError> {
        self.usable()?;
        let metadata = self.file.metadata();
        metadata.map(|m| m.len()).map_err(|e| self.failed(DiskOperation::Size, e))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        self.usable()?;
        let read = self.file.read_exact_at(out, offset);
        read.map_err(|e| self.failed(DiskOperation::Read, e))
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.usable()?;
        let written = self.file.write_all_at(bytes, offset);
        written.map_err(|e| self.failed(DiskOperation::Write, e))
    }

    fn set_len(&mut self, len: u64) -> Result<(), DiskError> {
        self.usable()?;
        if len < self.mapped_bytes {
            let mapped = io::Error::other("readers look at what would be cut off");
            return Err(self.failed(DiskOperation::SetLen, mapped));
        }
        self.file.set_len(len).map_err(|e| self.failed(DiskOperation::SetLen, e))
    }

    fn sync_data(&mut self) -> Result<(), DiskError> {
        self.usable()?;
        let outcome = self.file.sync_data();
        self.synced(DiskOperation::SyncData, outcome)
    }

    fn sync_all(&mut self) -> Result<(), DiskError> {
        self.usable()?;
        let outcome = self.file.sync_all();
        self.synced(DiskOperation::SyncAll, outcome)
    }
}

impl StoreDisk for FileDisk {
    type Pages = FilePages;

    /// The map is kept until it is too small; the next one is twice as large as needed. Readers of
    /// the old one keep it.
    fn pages(&mut self, len: u64, reserve_bytes: u64) -> Result<FilePages, DiskError> {
        self.usable()?;
        if len > self.size_bytes()? {
            let short = io::ErrorKind::UnexpectedEof.into();
            return Err(self.failed(DiskOperation::Map, short));
        }
        let map = match &self.map {
            Some(map) if map.len() >= len => Arc::clone(map),
            _ => {
                let reserve_bytes = reserve_bytes.max(len.saturating_mul(2));
                let map = SharedMap::new(&self.file, len, reserve_bytes);
                Arc::new(map.map_err(|error| self.failed(DiskOperation::Map, error))?)
            }
        };
        self.map = Some(Arc::clone(&map));
        self.mapped_bytes = self.mapped_bytes.max(len);
        Ok(FilePages::new(map, len))
    }
}

/// Makes the names in a directory durable: call it after creating or renaming a file in it.
///
/// # Errors
/// [`DiskError::Failed`]; then nobody knows which names a crash leaves behind.
pub fn sync_directory(path: &Path) -> Result<(), DiskError> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(|source| failed(DiskOperation::SyncDirectory, path, source))
}

fn failed(operation: DiskOperation, path: &Path, source: io::Error) -> DiskError {
    DiskError::Failed { operation, place: path.display().to_string(), source }
}
