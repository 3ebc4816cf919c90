//! What a state machine wants stored: one entry of a bucket, put or deleted.
//!
//! Leases, users, roles and alarms live in memory; what they change of the database goes back to
//! whoever applies entries, in the order in which it is to be written. Applying an entry again
//! after a crash gives the same changes.

use std::fmt;

/// One entry of a bucket, put or deleted.
#[derive(Clone, PartialEq, Eq)]
pub struct BucketChange {
    /// The bucket, one of [`crate::buckets`].
    pub bucket: &'static [u8],
    /// The entry's key.
    pub key: Vec<u8>,
    /// Its new value; `None` deletes it.
    pub value: Option<Vec<u8>>,
}

impl BucketChange {
    /// Puts an entry.
    pub fn put(bucket: &'static [u8], key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        BucketChange { bucket, key: key.into(), value: Some(value.into()) }
    }

    /// Deletes an entry.
    pub fn delete(bucket: &'static [u8], key: impl Into<Vec<u8>>) -> Self {
        BucketChange { bucket, key: key.into(), value: None }
    }
}

/// Users are stored with a hash of their password: values are not shown, only their length.
impl fmt::Debug for BucketChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bucket = String::from_utf8_lossy(self.bucket);
        let key = self.key.escape_ascii();
        match &self.value {
            Some(value) => write!(f, "put {bucket}/{key} ({} bytes)", value.len()),
            None => write!(f, "delete {bucket}/{key}"),
        }
    }
}
