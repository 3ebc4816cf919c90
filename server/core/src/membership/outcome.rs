//! What an entry about members or versions came to: what raft, the database and the one who asked
//! are told.

use super::Member;
use super::change::MemberRequestError;
use super::roster::Refusal;
use crate::change::BucketChange;
use crate::raftpb::ConfChange;
use crate::versions::EtcdVersion;

/// An entry that cannot be applied: the log and what is stored do not belong together, or a newer
/// etcd wrote it. The member must stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// The conf change is not readable.
    #[error(transparent)]
    Request(#[from] MemberRequestError),
    /// Attributes of a member that never was one.
    #[error("failed to update; member unknown: {id:x}")]
    UnknownMember {
        /// The id.
        id: u64,
    },
    /// The cluster is newer than this server.
    #[error(
        "invalid downgrade; server version is lower than determined cluster version (server \
         {server}, cluster {cluster})"
    )]
    ServerTooOld {
        /// This server's version.
        server: EtcdVersion,
        /// The cluster's.
        cluster: EtcdVersion,
    },
    /// A bucket's entry is not readable.
    #[error("{place} in the database is not readable: {reason}")]
    Stored {
        /// Bucket and key.
        place: String,
        /// What is wrong.
        reason: String,
    },
}

/// What a conf change came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfChangeOutcome {
    /// What raft must be told: the change, or the same with node id 0 if it is refused.
    pub for_raft: ConfChange,
    /// What happened, for the one who asked and for the connections to peers.
    pub result: Result<MemberChange, Refusal>,
    /// For the database.
    pub changes: Vec<BucketChange>,
}

/// A change of members that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberChange {
    /// A new member or learner.
    Added(Member),
    /// A learner has a vote now. `forced`: the stored side had missed it, see
    /// [`super::Cluster::load`].
    Promoted {
        /// The member.
        id: u64,
        /// Upstream logs `Forcibly apply member promotion request`.
        forced: bool,
    },
    /// Other peer URLs.
    Updated(Member),
    /// A member has left. If it is the local one, the server stops.
    Removed {
        /// The member.
        id: u64,
        /// Whether it is this one.
        is_local: bool,
    },
}

/// What setting the cluster's version came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionChange {
    /// The version before.
    pub from: Option<EtcdVersion>,
    /// Whether the version went down: then a snapshot is taken at once, for older servers to read.
    pub force_snapshot: bool,
    /// For the database.
    pub changes: Vec<BucketChange>,
}
