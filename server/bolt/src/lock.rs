//! The lock on a database file, the one that bbolt takes: shared for readers, exclusive for a
//! writer.
//!
//! What must hold: the lock ends when the last user of the file here is gone, also if a process
//! that is being started at that moment has inherited the descriptor.

use std::fs::File;
use std::io;
use std::ops::Deref;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// How a file is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    Shared,
    Exclusive,
}

/// A file under its lock.
#[derive(Debug)]
pub(crate) struct LockedFile {
    file: File,
}

impl LockedFile {
    /// Locks a file without waiting; `None` if somebody else holds it.
    pub(crate) fn new(file: File, lock: Lock) -> io::Result<Option<LockedFile>> {
        let operation = match lock {
            Lock::Shared => FlockOperation::NonBlockingLockShared,
            Lock::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        match flock(&file, operation) {
            Ok(()) => Ok(Some(LockedFile { file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Deref for LockedFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // Closing the descriptor unlocks, too, unless a copy of it is open.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}
