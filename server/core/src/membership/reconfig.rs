//! Strict checks before a change of members is proposed (`--strict-reconfig-check`).
//!
//! A member that never started has no name: it cannot vote yet, but it counts for the quorum. So a
//! change is refused if afterwards those that have started would be too few, and if the members
//! that are connected now are too few to decide on it.

use super::{Cluster, Member};

/// A change that would endanger the quorum. The texts are upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReconfigError {
    /// Too few members have started.
    #[error("etcdserver: re-configuration failed due to not enough started members")]
    NotEnoughStarted,
    /// Too few members are connected.
    #[error("etcdserver: unhealthy cluster")]
    Unhealthy,
}

/// Which peers are connected, as the transport knows it.
pub trait Connections {
    /// Whether the peer has been connected for a while (upstream: 5 s). Not asked of the local
    /// member.
    fn is_settled(&self, id: u64) -> bool;

    /// Whether the peer is connected at all.
    fn is_active(&self, id: u64) -> bool;
}

impl Cluster {
    /// Whether a member may be added.
    ///
    /// # Errors
    /// [`ReconfigError`].
    pub fn may_add(&self, new: &Member, peers: &impl Connections) -> Result<(), ReconfigError> {
        let (voters, started) = self.count(None);
        // Adding to a cluster of one, which may be a restored one, is always safe enough.
        let is_first = started == 1 && voters == 1;
        if !new.is_learner && !is_first && started < quorum(voters + 1) {
            return Err(ReconfigError::NotEnoughStarted);
        }
        if voters != 1 && self.settled(peers) < quorum(voters + 1) {
            return Err(ReconfigError::Unhealthy);
        }
        Ok(())
    }

    /// Whether a learner may be promoted, its log aside.
    ///
    /// # Errors
    /// [`ReconfigError::NotEnoughStarted`].
    pub fn may_promote(&self) -> Result<(), ReconfigError> {
        let (voters, started) = self.count(None);
        let enough = started + 1 >= quorum(voters + 1);
        if enough { Ok(()) } else { Err(ReconfigError::NotEnoughStarted) }
    }

    /// Whether a member may be removed.
    ///
    /// # Errors
    /// [`ReconfigError`].
    pub fn may_remove(&self, id: u64, peers: &impl Connections) -> Result<(), ReconfigError> {
        if self.member(id).is_some_and(|member| member.is_learner) {
            return Ok(());
        }
        let (voters, started) = self.count(Some(id));
        if started < quorum(voters) {
            return Err(ReconfigError::NotEnoughStarted);
        }
        if id != self.local_id() && !peers.is_active(id) {
            return Ok(());
        }
        let all = self.voters().count();
        if self.settled(peers) < 2 + all.saturating_sub(1) / 2 {
            return Err(ReconfigError::Unhealthy);
        }
        Ok(())
    }

    /// Voters, and those of them that have started, without one.
    fn count(&self, without: Option<u64>) -> (usize, usize) {
        let voters = || self.voters().filter(|member| Some(member.id) != without);
        (voters().count(), voters().filter(|member| member.is_started()).count())
    }

    fn settled(&self, peers: &impl Connections) -> usize {
        let local = self.local_id();
        self.voters().filter(|it| it.id == local || peers.is_settled(it.id)).count()
    }
}

fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}
