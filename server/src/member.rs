//! What the outside asks the running member: the seam between listeners and the core.
//!
//! Must hold: nothing here waits but [`Member::read`]; all else answers from memory, since health
//! pages and every RPC ask it.

use crate::grpc::Refusal;
use holdfast_api::etcdserverpb::{AlarmMember, Member as MemberInfo, ResponseHeader};
use tokio::sync::watch;

/// Where the member is in its log, for a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The cluster's id.
    pub cluster_id: u64,
    /// The member's id.
    pub member_id: u64,
    /// The store's current revision.
    pub revision: i64,
    /// The raft term.
    pub raft_term: u64,
}

impl Position {
    /// The header of an answer.
    pub fn header(self) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision: self.revision,
            raft_term: self.raft_term,
        }
    }
}

/// A running member.
#[async_trait::async_trait]
pub trait Member: Send + Sync + 'static {
    /// Where it is.
    fn position(&self) -> Position;

    /// The leader's id; 0 when there is none. Changes are seen by whoever waits on the receiver.
    fn leader(&self) -> watch::Receiver<u64>;

    /// Whether it only learns and has no vote.
    fn is_learner(&self) -> bool;

    /// The cluster's version such as `3.6.0`, once it is decided.
    fn cluster_version(&self) -> Option<String>;

    /// The stored data's version such as `3.6.0`, if it says one.
    fn storage_version(&self) -> Option<String>;

    /// Alarms that are raised.
    fn alarms(&self) -> Vec<AlarmMember>;

    /// All members, by id.
    fn members(&self) -> Vec<MemberInfo>;

    /// Whether users and roles are enforced.
    fn is_auth_enabled(&self) -> bool;

    /// Whether a downgrade is running.
    fn is_downgrading(&self) -> bool;

    /// Whether RPCs are served; false while a defragmentation stops them by its feature gate.
    fn serving(&self) -> watch::Receiver<bool>;

    /// Reads one key as root: from this member's own state, or after the leader confirmed it.
    ///
    /// # Errors
    /// Why it cannot be read now.
    async fn read(&self, serializable: bool) -> Result<(), Refusal>;
}
