//! Raft: one member's part in agreeing on a log. No clock, no disk, no network.
//!
//! Inputs go into a [`Node`]: ticks, messages of other members, proposals, reads, what became of a
//! snapshot or an unreachable member. What is to be done comes out as a [`Ready`]: the caller
//! persists, sends, applies, and says so with [`Node::advance`].
//!
//! | file | the paper or thesis |
//! |---|---|
//! | `step.rs` | who takes which message |
//! | `election.rs` | leader election (5.2, 5.4.1), pre-vote and check-quorum (thesis 6.2, 9.6) |
//! | `replication.rs` | log replication and commitment (5.3, 5.4.2), snapshots (7) |
//! | `progress.rs`, `log.rs`, `unstable.rs`, `storage.rs` | `nextIndex`, `matchIndex`; the log |
//! | `read_index.rs` | reads without the log (8; thesis 6.4) |
//! | `transfer.rs` | handing over leadership (thesis 3.10) |
//! | `membership.rs`, `conf_change.rs`, `quorum.rs` | members (6; thesis 4), majorities |
//! | `ready.rs` | persist before answering (5.1: state on stable storage) |
//!
//! Members of upstream's may sit in the same group: terms, votes and what messages hold are theirs.
//! Checked against upstream's own test files (`tests/raft`), and by a simulator that checks the
//! paper's five safety properties.
//!
//! Absent, because etcd's server never uses it: changes of several members at once (V2),
//! asynchronous storage, forgetting the leader.

mod conf_change;
mod config;
mod election;
mod event;
mod log;
pub mod membership;
mod message;
pub mod progress;
pub mod quorum;
mod read_index;
mod ready;
mod replication;
mod step;
mod storage;
mod transfer;
mod unstable;

use std::collections::BTreeMap;

pub use config::{Config, ReadMode, Start, StartError};
pub use event::{ConfChangeRefusal, Event, Events, LogPosition, VoteDecision, VoteRequest};
pub use message::{
    CAMPAIGN_TRANSFER, DecodeError, Entry, EntryId, Message, MessageKind, NOBODY, Snapshot,
};
pub use read_index::ReadState;
pub use ready::{Ready, SoftState, Status};
pub use storage::{LogStorage, MemoryLog, StorageError};

use crate::raftpb::HardState;
use log::Log;
use membership::Members;

/// What a member does in its term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes what the leader sends.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Appends, sends, commits.
    Leader,
    /// Asks whether it would get votes.
    PreCandidate,
}

/// Why an input was not taken. Only [`RaftError::Corrupt`] is the member's own end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RaftError {
    /// There is no leader, it is handing over, or too much is not committed: try again later.
    #[error("raft proposal dropped")]
    ProposalDropped,
    /// A message that members never send to each other.
    #[error("raft: cannot step raft local message")]
    LocalMessage,
    /// An answer from nobody that this member knows.
    #[error("raft: cannot step as peer not found")]
    UnknownPeer,
    /// A message that no member sends; it was dropped.
    #[error("raft message {kind:?} from {from:x} is malformed: {problem}")]
    Malformed {
        /// Its kind.
        kind: MessageKind,
        /// Its sender.
        from: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The group's history and this member's contradict each other: it must stop.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
}

/// How a member's log contradicts the group's. Going on would lose what was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Corruption {
    /// The leader says that more is committed than this member has, which it once had.
    #[error(
        "index {commit} is committed, but the log ends at {last}: the log was corrupted, truncated or lost; remove the member and add it anew"
    )]
    CommitBeyondLog {
        /// What is committed.
        commit: u64,
        /// Where the log ends.
        last: u64,
    },
    /// The leader's entries contradict what is committed here.
    #[error(
        "entry {index} conflicts with a committed one (committed is {committed}): two histories; remove the member and add it anew"
    )]
    CommittedChanged {
        /// The entry.
        index: u64,
        /// What is committed here.
        committed: u64,
    },
    /// What is committed cannot be read any more.
    #[error("committed entry {index} cannot be read: {reason}")]
    CommittedMissing {
        /// The entry.
        index: u64,
        /// What the storage says.
        reason: StorageError,
    },
}

/// One member's raft.
#[derive(Debug)]
pub struct Node<S> {
    config: Config,
    role: Role,
    term: u64,
    vote: u64,
    leader: u64,
    log: Log<S>,
    members: Members,
    votes: BTreeMap<u64, bool>,

    election_elapsed: u32,
    heartbeat_elapsed: u32,
    /// Ticks until a campaign, drawn anew with each role.
    election_timeout: u32,
    /// State of the random numbers.
    chance: u64,

    /// A leader takes no change of the configuration before this index is applied.
    pending_conf_index: u64,
    unapplied: conf_change::Unapplied,
    uncommitted_bytes: u64,
    /// Whom leadership is handed to.
    transferee: u64,
    reads: read_index::Reads,

    messages: Vec<Message>,
    /// Messages that must not leave before what they promise is on disk.
    answers: Vec<Message>,
    events: Events,
    output: ready::Output,
}

impl<S: LogStorage> Node<S> {
    /// A follower that continues where it stopped.
    ///
    /// # Errors
    /// Settings that cannot work, or a start that contradicts the log.
    pub fn new(config: Config, storage: S, start: &Start) -> Result<Self, StartError> {
        config.validate()?;
        let mut log = Log::new(storage, config.max_applying_bytes);
        let (first, last) = (log.first_index(), log.last_id());
        let members = Members::restore(config.inflight, &start.conf_state, last.index);
        let members = members
            .map_err(|source| StartError::Members { state: start.conf_state.clone(), source })?;
        let HardState { term, vote, commit } = start.hard_state;
        if start.hard_state != HardState::default() {
            if commit < log.committed || commit > last.index {
                return Err(StartError::Commit { commit, first, last: last.index });
            }
            log.committed = commit;
        }
        let applied = start.applied;
        let is_ahead = applied > log.committed;
        if applied > 0 {
            if applied < log.applied() || applied > last.index {
                return Err(StartError::Applied { applied, first, last: last.index });
            }
            // What was applied is committed, also where the commit index was not on disk yet.
            log.committed = log.committed.max(applied);
            log.applied_to(applied, 0);
        }
        let chance = config.seed ^ config.id.rotate_left(32);
        let mut node = Node {
            role: Role::Follower,
            term,
            vote,
            leader: NOBODY,
            log,
            members,
            votes: BTreeMap::new(),
            election_elapsed: 0,
            heartbeat_elapsed: 0,
            election_timeout: 0,
            chance,
            pending_conf_index: 0,
            unapplied: conf_change::Unapplied::default(),
            uncommitted_bytes: 0,
            transferee: NOBODY,
            reads: read_index::Reads::default(),
            messages: Vec::new(),
            answers: Vec::new(),
            events: Events::default(),
            output: ready::Output::default(),
            config,
        };
        node.announce_start(last);
        if is_ahead {
            // The next Ready puts the commit index on disk.
            node.output.forget_hard_state(start.hard_state);
        }
        Ok(node)
    }

    /// One unit of time has passed: elections, heartbeats and leases count in it.
    pub fn tick(&mut self) {
        match self.role {
            Role::Leader => self.tick_leader(),
            _ => self.tick_election(),
        }
    }

    /// The transport could not reach a member: what was sent to it may be lost.
    pub fn report_unreachable(&mut self, id: u64) {
        let Some(progress) = self.progress_reported(id) else { return };
        if progress.mode == progress::Mode::Replicate {
            progress.probe();
        }
        let progress = progress.status();
        self.events.push(Event::MemberUnreachable { of: id, progress });
    }

    /// How sending a snapshot ended. Every [`MessageKind::Snapshot`] needs a report, or nothing is
    /// sent to the member until it answers by itself.
    pub fn report_snapshot(&mut self, id: u64, taken: bool) {
        let Some(progress) = self.progress_reported(id) else { return };
        if matches!(progress.mode, progress::Mode::Snapshot { .. }) {
            progress.snapshot_ended(taken);
            let progress = progress.status();
            self.events.push(Event::SnapshotReported { of: id, taken, progress });
        }
    }

    /// Index of the last entry, on disk or not.
    pub fn last_index(&self) -> u64 {
        self.log.last_index()
    }

    /// Term of the entry at `index`, on disk or not. `None` where it is compacted or not there yet.
    pub fn term_at(&self, index: u64) -> Option<u64> {
        self.log.term(index).ok()
    }

    /// Where the stable part of the log is.
    pub fn storage(&self) -> &S {
        &self.log.storage
    }

    /// To append what a [`Ready`] says before [`Node::advance`], and to compact.
    pub fn storage_mut(&mut self) -> &mut S {
        &mut self.log.storage
    }

    /// What happened since the last call, and how many events more than fit.
    pub fn take_events(&mut self) -> (Vec<Event>, u64) {
        self.events.take()
    }

    /// Rules that hold after every call; tests and simulations check them.
    pub fn check_invariants(&self) {
        self.members.check_invariants();
        let position = self.log.position();
        assert!(position.applied <= position.applying && position.applying <= position.committed);
        assert!(position.committed <= self.log.last_index(), "what is committed is in the log");
        assert!(self.role != Role::Leader || self.leader == self.config.id);
        for progress in self.members.progress.values() {
            assert!(progress.matched < progress.next, "what matches is not sent again");
        }
    }

    /// Sends now, or with the next [`Ready`] after its state is on disk where the message promises
    /// that it is.
    fn send(&mut self, mut message: Message) {
        use MessageKind::{
            AppendAnswer, PreVote, PreVoteAnswer, Propose, ReadIndex, Vote, VoteAnswer,
        };
        if message.from == NOBODY {
            message.from = self.config.id;
        }
        match message.kind {
            Vote | VoteAnswer | PreVote | PreVoteAnswer => {
                assert!(
                    message.term != 0,
                    "whoever asks for a vote or answers says for which term"
                );
            }
            // Whoever appends or reads does it in its own term.
            Propose | ReadIndex => message.term = 0,
            _ => message.term = self.term,
        }
        if matches!(message.kind, AppendAnswer | VoteAnswer | PreVoteAnswer) {
            self.answers.push(message);
        } else {
            assert!(message.to != self.config.id, "nothing else is sent to oneself");
            self.messages.push(message);
        }
    }

    /// All members but this one, in order.
    fn others(&self) -> Vec<u64> {
        let own = self.config.id;
        self.members.progress.keys().copied().filter(|id| *id != own).collect()
    }

    /// The member that a report is about; only a leader cares.
    fn progress_reported(&mut self, id: u64) -> Option<&mut progress::Progress> {
        let progress = self.members.progress.get_mut(&id);
        if self.role != Role::Leader {
            return None;
        }
        if progress.is_none() {
            self.events.push(Event::UnknownMember { from: id });
        }
        progress
    }
}
