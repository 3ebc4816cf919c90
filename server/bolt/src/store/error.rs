//! Why a store, or a change in it, does not do what it was asked for.

use crate::disk::DiskError;
use crate::entry::EntryError;
use crate::error::ReadError;
use crate::shown::shown;

/// Why a store cannot be opened, or a change not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The options make no sense.
    #[error("cannot open a store with {0}")]
    Options(String),
    /// The file is damaged, or cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// bbolt cannot hold the key or the value.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// A value was to be written or deleted where a bucket is.
    #[error("{key} is a bucket, not a key with a value")]
    IsABucket {
        /// The key, escaped, shortened.
        key: String,
    },
    /// A bucket was asked for where a value is.
    #[error("{key} is a key with a value, not a bucket")]
    NotABucket {
        /// The key, escaped, shortened.
        key: String,
    },
    /// Buckets inside one another, more than are followed.
    #[error("more than {limit} buckets inside one another")]
    Nesting {
        /// The limit.
        limit: usize,
    },
    /// An earlier call in this transaction failed half way.
    #[error("the transaction failed before: roll it back and begin another")]
    Failed,
    /// What is on the disk is unknown.
    #[error("a sync or the write of a meta page failed before: close the store and open it anew")]
    Poisoned,
}

impl StoreError {
    pub(super) fn is_a_bucket(key: &[u8]) -> StoreError {
        StoreError::IsABucket { key: shown(key) }
    }

    pub(super) fn not_a_bucket(key: &[u8]) -> StoreError {
        StoreError::NotABucket { key: shown(key) }
    }
}
