//! What a request is answered with when it fails: upstream's codes and texts, as data.
//!
//! The Go client knows an error by its text, so the texts are upstream's to the letter
//! (api/v3/v3rpc/rpctypes/error.go).

use crate::backend::BackendError;
use crate::record::RecordError;

/// A gRPC status code, by its number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// The request can never be answered.
    InvalidArgument = 3,
    /// There is no such thing.
    NotFound = 5,
    /// A revision that is gone or not yet there.
    OutOfRange = 11,
    /// Not offered.
    Unimplemented = 12,
    /// The member's own failure.
    Internal = 13,
}

/// Why a request on keys and values failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MvccError {
    /// A key is missing in the request.
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    /// `ignore_value` or `ignore_lease` on a key that does not exist; a step without a request.
    #[error("etcdserver: key not found")]
    KeyNotFound,
    /// A value beside `ignore_value`.
    #[error("etcdserver: value is provided")]
    ValueProvided,
    /// A lease beside `ignore_lease`.
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    /// More steps or conditions than the limit.
    #[error("etcdserver: too many operations in txn request")]
    TooManyOps,
    /// A transaction that puts a key twice, or puts and deletes it.
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    /// An order or a target that does not exist.
    #[error("etcdserver: invalid sort option")]
    InvalidSortOption,
    /// The revision is below the compaction's.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    /// The revision is above the current one.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    /// A put with a lease that does not exist.
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    /// A stream of a range in another order than the keys'.
    #[error("RangeStream does not support custom sort orders")]
    StreamOrder,
    /// A stream of a range with bounds on revisions.
    #[error("RangeStream does not support revision filters")]
    StreamFilter,
    /// The database failed. A write that fails so leaves the member unable to go on.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A record is damaged.
    #[error("the database is damaged: {0}; restore the member from another one or a snapshot")]
    Record(#[from] RecordError),
    /// A record that the index names is not in the database.
    #[error("the database is damaged: record {revision} is missing; restore the member")]
    Missing {
        /// The record's revision.
        revision: crate::revision::Revision,
    },
    /// A write failed after it began: the store must not be used any more.
    #[error("a transaction failed half way ({reason}): the member must stop")]
    HalfWay {
        /// What happened.
        reason: String,
    },
}

impl MvccError {
    /// The gRPC code that goes with the text.
    pub fn code(&self) -> Code {
        match self {
            MvccError::EmptyKey
            | MvccError::KeyNotFound
            | MvccError::ValueProvided
            | MvccError::LeaseProvided
            | MvccError::TooManyOps
            | MvccError::DuplicateKey
            | MvccError::InvalidSortOption => Code::InvalidArgument,
            MvccError::Compacted | MvccError::FutureRevision => Code::OutOfRange,
            MvccError::LeaseNotFound => Code::NotFound,
            MvccError::StreamOrder | MvccError::StreamFilter => Code::Unimplemented,
            MvccError::Backend(_)
            | MvccError::Record(_)
            | MvccError::Missing { .. }
            | MvccError::HalfWay { .. } => Code::Internal,
        }
    }

    /// Whether the member itself is at fault and must stop, if this came from a write.
    pub fn is_fatal(&self) -> bool {
        self.code() == Code::Internal
    }
}
