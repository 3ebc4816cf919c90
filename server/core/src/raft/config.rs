//! How a node behaves, and from what it starts.

use super::membership::ChangeError;
use super::progress::InflightLimits;
use crate::meta::ConfState;
use crate::raftpb::HardState;

/// How reads are confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadMode {
    /// A quorum answers a heartbeat that was sent after the read came in.
    #[default]
    Safe,
    /// The leader trusts its lease, and so all members' clocks. Needs `check_quorum`.
    LeaseBased,
}

/// A node's settings. [`Config::etcd`] has those of upstream's server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The member, not 0.
    pub id: u64,
    /// Ticks without a leader until a campaign: at least so many, less than twice as many.
    pub election_ticks: u32,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: u32,
    /// Entries in one append, in encoded bytes; one entry is always sent.
    pub max_message_bytes: u64,
    /// Appends to one member that are not answered.
    pub inflight: InflightLimits,
    /// Payload that is proposed and not committed; a proposal is always taken where there is none.
    pub max_uncommitted_bytes: u64,
    /// Committed entries handed out and not applied, in encoded bytes; one is always handed out.
    pub max_applying_bytes: u64,
    /// Whether a leader that no quorum hears steps down, and votes are refused while there is a
    /// leader.
    pub check_quorum: bool,
    /// Whether a candidate asks before it raises its term.
    pub pre_vote: bool,
    /// How reads are confirmed.
    pub reads: ReadMode,
    /// Whether a leader that is removed or becomes a learner steps down.
    pub step_down_on_removal: bool,
    /// Seed of the election timeouts: different on each member.
    pub seed: u64,
}

/// What a member remembers when it starts. The default is a member that knows nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Start {
    /// From the WAL.
    pub hard_state: HardState,
    /// The members at `applied`, or at the snapshot where that is all that is applied.
    pub conf_state: ConfState,
    /// Highest index that the state machine has applied and kept; 0 to be handed everything behind
    /// the log's snapshot again.
    pub applied: u64,
}

/// Why a node cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// A setting that cannot work.
    #[error("raft setting {setting} {problem}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The hard state and the log are not of the same time.
    #[error(
        "hard state has commit {commit}, the log goes from {first} to {last}: WAL and snapshot do not fit together; restore the member from a backup"
    )]
    Commit {
        /// As the hard state says.
        commit: u64,
        /// The log's first index.
        first: u64,
        /// The log's last index.
        last: u64,
    },
    /// The state machine and the log are not of the same time.
    #[error(
        "applied index {applied} is outside of the log, {first} to {last}: database and WAL do not fit together; restore the member from a backup"
    )]
    Applied {
        /// As the state machine says.
        applied: u64,
        /// The log's first index.
        first: u64,
        /// The log's last index.
        last: u64,
    },
    /// Members that cannot be.
    #[error("stored members {state:?} cannot be: {source}")]
    Members {
        /// As stored.
        state: ConfState,
        /// Why not.
        source: ChangeError,
    },
}

impl Config {
    /// As upstream's server sets its node: 1 MiB per message, 512 under way to a member, pre-vote
    /// and check-quorum on, heartbeats each tick.
    pub fn etcd(id: u64, election_ticks: u32, seed: u64) -> Self {
        Config {
            id,
            election_ticks,
            heartbeat_ticks: 1,
            max_message_bytes: 1024 * 1024,
            inflight: InflightLimits { messages: 512, bytes: None },
            max_uncommitted_bytes: u64::MAX,
            max_applying_bytes: 1024 * 1024,
            check_quorum: true,
            pre_vote: true,
            reads: ReadMode::Safe,
            step_down_on_removal: false,
            seed,
        }
    }

    pub(super) fn validate(&self) -> Result<(), StartError> {
        let wrong = [
            (self.id == super::NOBODY, "id", "is 0, which stands for nobody"),
            (self.heartbeat_ticks == 0, "heartbeat_ticks", "is 0"),
            (
                self.election_ticks <= self.heartbeat_ticks,
                "election_ticks",
                "must be above heartbeat_ticks",
            ),
            (self.inflight.messages == 0, "inflight.messages", "is 0"),
            (self.inflight.bytes == Some(0), "inflight.bytes", "is 0"),
            (self.max_applying_bytes == 0, "max_applying_bytes", "is 0"),
            (
                self.reads == ReadMode::LeaseBased && !self.check_quorum,
                "reads",
                "trusts a lease, which needs check_quorum",
            ),
        ];
        match wrong.into_iter().find(|(is_wrong, _, _)| *is_wrong) {
            Some((_, setting, problem)) => Err(StartError::Setting { setting, problem }),
            None => Ok(()),
        }
    }
}
