//! The seam between a member's directory and the file system.
//!
//! Few and whole operations, each durable when it returns, so that a test can fail any of them.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

const DIR_MODE: u32 = 0o700;
pub(crate) const FILE_MODE: u32 = 0o600;

/// Bytes that are free around `path` for who is not root; `None` where the system does not say.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Where a member's directory is written. What fails leaves an unfinished directory behind, which
/// must not be booted.
pub trait MemberDisk {
    /// Makes a directory, readable by its owner only. One that exists is left as it is.
    ///
    /// # Errors
    /// I/O, and a path that exists and is no directory.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes a file that must not exist, reserves `length` bytes (0 for as many as there are),
    /// writes `contents` at its start and syncs it.
    ///
    /// # Errors
    /// I/O. What was written is then unknown.
    fn write_new(&self, path: &Path, contents: &[u8], length: u64) -> io::Result<()>;

    /// Makes the entries of a directory durable.
    ///
    /// # Errors
    /// I/O.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
}

/// The file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileSystem;

impl MemberDisk for FileSystem {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(DIR_MODE).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other,
        }
    }

    fn write_new(&self, path: &Path, contents: &[u8], length: u64) -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
        if length > 0 {
            reserve(&file, length)?;
        }
        file.write_all(contents)?;
        file.sync_all()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// Reserves space up to `length` bytes, or only sets the length where the file system cannot.
pub(crate) fn reserve(file: &File, length: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    match fallocate(file, FallocateFlags::empty(), 0, length) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.set_len(length),
        other => other.map_err(io::Error::from),
    }
}
