//! A database file as a memory map: the product's only `unsafe`.
//!
//! What must hold of [`MappedFile`], under a shared lock: the file is not written to and not cut
//! while it is mapped. bbolt takes an exclusive flock for writing, so the shared one that stands
//! from before the mapping until after it keeps every bbolt writer out, and a member that runs
//! keeps us out. A program that ignores the lock and cuts the file would make reads fail with
//! SIGBUS: only locked or private files may be mapped.
//!
//! What must hold of [`FilePages`], the map of a file that we write to under the exclusive lock:
//! it is longer than the file, so that growth needs no new map; nobody reads beyond the length that
//! the pages were given out for, which is within the file, and `FileDisk` never cuts the file below
//! it; a page that a reader refers to is not written to (see `store/freelist.rs`).

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::{Advice, Mmap, MmapOptions, MmapRaw};

use crate::lock::{Lock, LockedFile};
use crate::source::PageSource;
use crate::store::StorePages;

/// A read-only memory map of a database or snapshot file. Reads borrow; nothing is copied.
#[derive(Debug)]
pub struct MappedFile {
    /// Dropped before the file, hence before the lock.
    map: Mmap,
    _file: LockedFile,
}

/// Why a file cannot be mapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// Opening, locking or mapping failed.
    #[error("cannot map {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process holds the file for writing.
    #[error(
        "{} is in use: a running etcd (or another writer) holds its lock; take a snapshot \
         through the member instead, or stop it first",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Not a regular file.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// What was to be mapped.
        path: PathBuf,
    },
}

impl MappedFile {
    /// Opens, locks (shared, without waiting) and maps a file. The lock stands while the map lives.
    ///
    /// # Errors
    /// [`MapError::InUse`] if a writer holds the file; I/O errors; not a regular file.
    pub fn open(path: &Path) -> Result<MappedFile, MapError> {
        let file = File::open(path).map_err(|source| failed(path, source))?;
        MappedFile::from_file(file, path)
    }

    /// Locks and maps an open file; `path` is used in messages only.
    ///
    /// # Errors
    /// As [`MappedFile::open`].
    pub fn from_file(file: File, path: &Path) -> Result<MappedFile, MapError> {
        let metadata = file.metadata().map_err(|source| failed(path, source))?;
        if !metadata.is_file() {
            return Err(MapError::NotAFile { path: path.to_owned() });
        }
        let locked = LockedFile::new(file, Lock::Shared).map_err(|source| failed(path, source))?;
        let Some(file) = locked else { return Err(MapError::InUse { path: path.to_owned() }) };
        let map = map_locked(&file).map_err(|source| failed(path, source))?;
        Ok(MappedFile { map, _file: file })
    }

    /// Tells the system that the file will be read from front to back. Advice only: a system that
    /// does not take it loses nothing but speed.
    pub fn advise_sequential(&self) {
        let _ = self.map.advise(Advice::Sequential);
    }

    /// All bytes of the file.
    pub fn as_slice(&self) -> &[u8] {
        &self.map
    }
}

impl PageSource for MappedFile {
    fn size_bytes(&self) -> u64 {
        self.map.len() as u64
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Cow<'_, [u8]>> {
        self.as_slice().read_at(offset, len)
    }

    fn node_limit_bytes(&self) -> u64 {
        u64::MAX
    }
}

#[expect(unsafe_code, reason = "mapping a file is unsafe by nature; see the file's header")]
fn map_locked(file: &LockedFile) -> io::Result<Mmap> {
    // SAFETY: the caller holds a shared flock on `file` and keeps it as long as the map; every
    // writer that we know of (bbolt, our own disk) takes the exclusive one first, so the mapped
    // bytes do not change and the file is not cut.
    unsafe { Mmap::map(&**file) }
}

fn failed(path: &Path, source: io::Error) -> MapError {
    MapError::Io { path: path.to_owned(), source }
}

/// A map of a file that is written to. It holds the file, and with it the lock.
#[derive(Debug)]
pub(crate) struct SharedMap {
    map: MmapRaw,
    file: Arc<LockedFile>,
}

impl SharedMap {
    /// Maps `reserve_bytes`, which may be more than the file has, or `len` if there is no such
    /// address space.
    pub(crate) fn new(
        file: &Arc<LockedFile>,
        len: u64,
        reserve_bytes: u64,
    ) -> io::Result<SharedMap> {
        let map = |bytes: u64| {
            let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
            MmapOptions::new().len(bytes.max(1)).map_raw_read_only(&***file)
        };
        let map = map(reserve_bytes.max(len)).or_else(|_| map(len))?;
        Ok(SharedMap { map, file: Arc::clone(file) })
    }

    /// Bytes of address space.
    pub(crate) fn len(&self) -> u64 {
        self.map.len() as u64
    }
}

/// The pages of an open store's file, up to a length. Reads borrow from the map.
#[derive(Debug, Clone)]
pub struct FilePages {
    map: Arc<SharedMap>,
    len: u64,
}

impl FilePages {
    /// The first `len` bytes, which the file has for as long as it is open.
    pub(crate) fn new(map: Arc<SharedMap>, len: u64) -> FilePages {
        assert!(len <= map.len(), "the map covers what is given out");
        FilePages { map, len }
    }
}

impl PageSource for FilePages {
    fn size_bytes(&self) -> u64 {
        self.len
    }

    #[expect(unsafe_code, reason = "a map that is written to beside its readers")]
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Cow<'_, [u8]>> {
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.len);
        let Some(start) = end.and(usize::try_from(offset).ok()) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        // SAFETY: `start + len` is at most `self.len`, which is within the map (asserted when this
        // was made) and within the file, which is locked and never cut below it. The map lives as
        // long as the borrow. The bytes do not change meanwhile if the caller refers to the page
        // from a state that it holds: the writer writes to no such page.
        let bytes = unsafe { std::slice::from_raw_parts(self.map.map.as_ptr().add(start), len) };
        Ok(Cow::Borrowed(bytes))
    }

    fn node_limit_bytes(&self) -> u64 {
        u64::MAX
    }
}

impl StorePages for FilePages {
    fn copy_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.map.file.read_exact_at(out, offset)
    }
}
