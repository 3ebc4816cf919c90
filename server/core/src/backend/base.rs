//! What a backend stands on: committed buckets.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::BackendError;

/// A change to write: the value to set, or `None` to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Bucket.
    pub bucket: Arc<[u8]>,
    /// Key.
    pub key: Box<[u8]>,
    /// New value; `None` deletes.
    pub value: Option<Bytes>,
}

/// Size of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SizeBytes {
    /// All pages up to the highest in use: what the quota is held against.
    pub allocated: u64,
    /// Without free pages.
    pub in_use: u64,
}

/// What visits entries: key, value; says whether to go on.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Buckets on a disk, or what stands for it.
pub trait Base: fmt::Debug + Send + Sync {
    /// What is committed now, for as long as it is held.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&self) -> Result<Arc<dyn BaseRead>, BackendError>;

    /// Makes the buckets that are not there, and writes all changes, sorted by bucket and key, in
    /// one transaction; durable when it returns.
    ///
    /// # Errors
    /// Then nobody knows what is on the disk: all, or nothing.
    fn write(&self, buckets: &[Arc<[u8]>], changes: &[Change]) -> Result<(), BackendError>;

    /// Size now.
    ///
    /// # Errors
    /// It cannot be told.
    fn size(&self) -> Result<SizeBytes, BackendError>;
}

/// One committed state. A bucket that does not exist is an empty one.
pub trait BaseRead: fmt::Debug + Send + Sync {
    /// Names of the buckets, in order.
    ///
    /// # Errors
    /// Damage, or I/O.
    fn buckets(&self) -> Result<Vec<Vec<u8>>, BackendError>;

    /// The value of a key.
    ///
    /// # Errors
    /// Damage, or I/O.
    fn get(&self, bucket: &[u8], key: &[u8]) -> Result<Option<Bytes>, BackendError>;

    /// Visits the entries with `from` ≤ key < `to` (without an end: all from `from` on) in order,
    /// until the visitor breaks.
    ///
    /// # Errors
    /// Damage, or I/O.
    fn scan(
        &self,
        bucket: &[u8],
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), BackendError>;
}
