//! Why a lease is refused, and how upstream says so on the wire.

use crate::wire::WireError;

/// A request about leases that is refused. The text and the code are what clients see
/// (api/v3rpc/rpctypes/error.go); clients tell errors apart by their text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// No such lease. gRPC: `NotFound`.
    #[error("etcdserver: requested lease not found")]
    NotFound,
    /// The id is taken. gRPC: `FailedPrecondition`.
    #[error("etcdserver: lease already exists")]
    Exists,
    /// Above [`super::MAX_TTL_SECONDS`]. gRPC: `OutOfRange`.
    #[error("etcdserver: too large lease TTL")]
    TtlTooLarge,
    /// A member that does not lead was asked for what only a leader knows. gRPC: `Unknown`.
    #[error("not a primary lessor")]
    NotLeader,
}

impl LeaseError {
    /// The gRPC status code, as a number of the wire.
    pub fn code(self) -> i32 {
        match self {
            LeaseError::NotLeader => 2,
            LeaseError::NotFound => 5,
            LeaseError::Exists => 9,
            LeaseError::TtlTooLarge => 11,
        }
    }
}

/// An entry of the bucket `lease` that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Not such a message.
    #[error("bucket lease, key {}: {source}; restore the member from a snapshot", key.escape_ascii())]
    Damaged {
        /// The entry's key.
        key: Vec<u8>,
        /// What is wrong.
        source: WireError,
    },
    /// The lease has another id than the key it lies under.
    #[error("bucket lease, key {}: holds lease {id:016x}; restore the member from a snapshot", key.escape_ascii())]
    Misplaced {
        /// The entry's key.
        key: Vec<u8>,
        /// The id in the value.
        id: i64,
    },
}
