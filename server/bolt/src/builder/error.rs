//! Why a file cannot be built, or an entry not be taken.

use crate::disk::DiskError;
use crate::entry::EntryError;

/// Why a file cannot be built, or an entry not be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The options make no sense.
    #[error("cannot build with {0}")]
    Options(String),
    /// The disk holds something already.
    #[error("the target holds {size_bytes} bytes already: build into an empty file")]
    NotEmpty {
        /// Its length.
        size_bytes: u64,
    },
    /// bbolt cannot hold the key or the value.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The key does not come after the one before; or it is the same.
    #[error(
        "key {key} does not come after {previous}: entries must be given in order, each key once"
    )]
    OutOfOrder {
        /// The key, escaped, shortened.
        key: String,
        /// The one before it, escaped, shortened.
        previous: String,
    },
    /// Two top-level buckets of one name.
    #[error("there is a bucket {name} already")]
    DuplicateBucket {
        /// The name, escaped, shortened.
        name: String,
    },
    /// Too many buckets, open or in all.
    #[error("more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Entries belong into a bucket.
    #[error("no bucket is open: begin one first")]
    NoBucket,
    /// The file was finished with a bucket still open.
    #[error("{open} buckets are still open: end them first")]
    BucketsOpen {
        /// How many.
        open: usize,
    },
    /// An earlier call failed in the middle of a write.
    #[error("the build failed before: throw the file away and build it anew")]
    Failed,
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}
