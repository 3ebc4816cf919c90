//! What a node has to tell its operator: facts, in the order in which they happened.
//!
//! The node writes no log lines; whoever drives it takes the events and prints them. There are at
//! most [`Events::LIMIT`] of them until they are taken; further ones are counted.

use super::Role;
use super::membership::Configuration;
use super::message::{EntryId, MessageKind};
use super::progress::ProgressStatus;
use crate::raftpb::ConfChange;

/// What happened. Members are named by id; `progress` is the leader's view of the member.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are named for what they are")]
pub enum Event {
    /// The node was made.
    Started { voters: Vec<u64>, term: u64, commit: u64, applied: u64, last: EntryId },
    /// It took on a role.
    Became { role: Role, term: u64 },
    /// The members changed, or were read.
    ConfigurationSwitched(Configuration),

    /// Asked to campaign while leading.
    AlreadyLeader,
    /// Asked to campaign without a vote of its own, or while a snapshot is being installed.
    Unpromotable,
    /// Asked to campaign while a committed change of the configuration is not applied.
    CampaignBlocked { term: u64 },
    /// A campaign begins.
    ElectionStarted { term: u64 },
    /// A vote was asked for.
    VoteAsked { kind: MessageKind, to: u64, last: EntryId, term: u64 },
    /// A vote came in.
    VoteReceived { kind: MessageKind, from: u64, granted: bool, term: u64 },
    /// The votes so far.
    VotesCounted { kind: MessageKind, granted: usize, refused: usize },
    /// A vote was asked of this node.
    VoteDecided(VoteRequest, VoteDecision),
    /// A message of a later term.
    HigherTerm { kind: MessageKind, from: u64, term: u64, own: u64 },
    /// A message of an earlier term; it was ignored.
    LowerTerm { kind: MessageKind, from: u64, term: u64, own: u64 },
    /// What was put on disk is of an earlier term; it is looked at again with the next `Ready`.
    PersistedInEarlierTerm { term: u64, own: u64 },
    /// The leader was not heard by a quorum any more.
    QuorumLost,

    /// A leader received something from nobody it knows.
    UnknownMember { from: u64 },
    /// A proposal came while there is no leader.
    ProposalWithoutLeader { term: u64 },
    /// A proposal came while leadership is handed over.
    ProposalDuringTransfer { to: u64, term: u64 },
    /// Too much is proposed and not committed.
    UncommittedLimitReached,
    /// A change of the configuration was replaced by an empty entry.
    ConfChangeIgnored { change: ConfChange, at: Configuration, reason: ConfChangeRefusal },

    /// A leader's entries contradict ours.
    ConflictFound { index: u64, existing: u64, conflicting: u64 },
    /// All that is not on disk was replaced.
    UnstableReplaced { from: u64 },
    /// The end of what is not on disk was dropped.
    UnstableTruncated { before: u64 },
    /// A leader's append was refused: the entry before it is not ours.
    AppendRefused { from: u64, previous: EntryId, existing: u64 },
    /// A member refused our append.
    RefusalReceived { from: u64, index: u64, hint: EntryId },
    /// A member is sent to from further back.
    ProgressDecreased { of: u64, progress: ProgressStatus },
    /// A member cannot be reached.
    MemberUnreachable { of: u64, progress: ProgressStatus },

    /// A member needs a snapshot, but was not heard of lately.
    SnapshotWithheld { to: u64 },
    /// A member needs a snapshot, but there is none now.
    SnapshotUnavailable { to: u64 },
    /// A snapshot is sent.
    SnapshotSent { to: u64, first: u64, commit: u64, snapshot: EntryId, progress: ProgressStatus },
    /// Nothing else is sent meanwhile.
    ReplicationPaused { to: u64, progress: ProgressStatus },
    /// A member caught up by itself.
    SnapshotUnneeded { of: u64, progress: ProgressStatus },
    /// A snapshot reached a member or not.
    SnapshotReported { of: u64, taken: bool, progress: ProgressStatus },
    /// A snapshot replaces the log.
    SnapshotRestoring { log: LogPosition, index: u64, term: u64 },
    /// It did.
    SnapshotRestored { commit: u64, last: EntryId, snapshot: EntryId },
    /// A snapshot that the log already contains.
    SnapshotFastForwarded { commit: u64, last: EntryId, snapshot: EntryId },
    /// A snapshot without this member in it.
    SnapshotOfOthers { configuration: crate::meta::ConfState },
    /// The message with the snapshot is done with.
    SnapshotHandled { commit: u64, snapshot: EntryId, restored: bool },

    /// Asked to hand over to a learner.
    TransferToLearner,
    /// Asked twice to hand over to the same member.
    TransferRepeated { to: u64, term: u64 },
    /// Another member is handed over to than before.
    TransferReplaced { before: u64, term: u64 },
    /// Asked to hand over to itself.
    TransferToSelf,
    /// Handing over begins.
    TransferStarted { to: u64, term: u64 },
    /// The member was told to campaign; `at_once` where it needed no further entries.
    TransferTold { to: u64, at_once: bool },
    /// Asked to hand over while there is no leader.
    TransferWithoutLeader { term: u64 },
    /// Told to campaign at once.
    TimeoutNowReceived { from: u64, term: u64 },
    /// Told to campaign while campaigning.
    TimeoutNowIgnored { from: u64, term: u64, role: Role },
    /// A read came while there is no leader.
    ReadWithoutLeader { term: u64 },
    /// More reads wait than may; this one was dropped.
    ReadDropped,
}

/// A vote that was asked of a node, and where the node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoteRequest {
    /// Vote or pre-vote.
    pub kind: MessageKind,
    /// Who asks.
    pub candidate: u64,
    /// The end of its log.
    pub theirs: EntryId,
    /// The end of ours.
    pub own: EntryId,
    /// For whom the node has voted in its term.
    pub vote: u64,
    /// The node's term.
    pub term: u64,
}

/// What became of a [`VoteRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoteDecision {
    /// The leader was heard of lately; so many ticks are left of its lease.
    Ignored {
        /// Ticks.
        lease_ticks: u32,
    },
    /// Refused.
    Refused,
    /// Given.
    Cast,
}

/// Why a change of the configuration was not taken into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfChangeRefusal {
    /// An earlier one may not be applied yet.
    Pending {
        /// Its index at most.
        index: u64,
        /// What is applied.
        applied: u64,
    },
    /// The configuration is joint.
    Joint,
}

/// Where a log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPosition {
    /// Highest committed index.
    pub committed: u64,
    /// Highest applied index.
    pub applied: u64,
    /// Highest index handed out to be applied.
    pub applying: u64,
    /// First index that is not on disk.
    pub unstable_offset: u64,
    /// First index that was not handed out to be persisted.
    pub unstable_in_progress: u64,
    /// Entries that are not on disk.
    pub unstable_len: usize,
}

/// Events that were not taken yet.
#[derive(Debug, Default)]
pub struct Events {
    list: Vec<Event>,
    dropped: u64,
}

impl Events {
    /// How many are kept.
    pub const LIMIT: usize = 4096;

    pub(super) fn push(&mut self, event: Event) {
        if self.list.len() < Self::LIMIT {
            self.list.push(event);
        } else {
            self.dropped += 1;
        }
    }

    /// All since the last call, and how many more there were.
    pub(super) fn take(&mut self) -> (Vec<Event>, u64) {
        (std::mem::take(&mut self.list), std::mem::take(&mut self.dropped))
    }
}
