//! What a node wants done, and the caller's word that it was.
//!
//! One round:
//! 1. [`Node::ready`]; a leader's `messages` leave.
//! 2. Persist `snapshot` (always synced), then `entries`, then `hard_state`, synced if `must_sync`.
//!    Append the same to the storage.
//! 3. Apply `committed`, or hand it on in order. A change of the configuration among it goes to
//!    [`Node::apply_conf_change`] when it is applied, in this round or a later one; until then the
//!    members are those before it, and the node is careful (`conf_change.rs`).
//! 4. Others' `messages` leave, then everybody's `answers`. Neither says anything that depends on
//!    whether what is committed is applied.
//! 5. [`Node::advance`]. Messages of others and proposals may be taken meanwhile.
//!
//! Must hold: nothing in `answers` leaves before what is in the same `Ready` is on disk; each
//! committed entry is handed out once, in order; what the node promises itself (its own vote, its
//! own log) counts only after `advance`.

use super::event::Event;
use super::message::{Entry, EntryId, Message, Snapshot};
use super::progress::ProgressStatus;
use super::read_index::ReadState;
use super::storage::LogStorage;
use super::{Node, RaftError, Role};
use crate::meta::ConfState;
use crate::raftpb::HardState;

/// Who leads and what this member does: not on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoftState {
    /// The leader; [`super::NOBODY`] where it is not known.
    pub leader: u64,
    /// This member's role.
    pub role: Role,
}

/// What is to be done; see the file's header for the order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ready {
    /// If it changed.
    pub soft_state: Option<SoftState>,
    /// If it changed.
    pub hard_state: Option<HardState>,
    /// Reads that may be served once their index is applied.
    pub read_states: Vec<ReadState>,
    /// To append to the log on disk, in place of what is there from the first one's index on.
    pub entries: Vec<Entry>,
    /// To put in place of the log and the state machine.
    pub snapshot: Option<Snapshot>,
    /// To apply.
    pub committed: Vec<Entry>,
    /// To send; a leader need not wait for its disk.
    pub messages: Vec<Message>,
    /// To send after all of this is on disk, also on a leader.
    pub answers: Vec<Message>,
    /// Whether it must be on disk for certain: a sync. Otherwise a written commit index is enough.
    pub must_sync: bool,
}

/// A node's state for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The member.
    pub id: u64,
    /// Term, vote, commit index.
    pub hard_state: HardState,
    /// Leader and role.
    pub soft_state: SoftState,
    /// Highest applied index.
    pub applied: u64,
    /// Whom leadership is handed to; 0 for nobody.
    pub transferee: u64,
    /// The members.
    pub conf_state: ConfState,
    /// On a leader: what it knows of each member, itself included.
    pub progress: Vec<(u64, ProgressStatus)>,
}

/// What was handed out.
#[derive(Debug, Default)]
pub(super) struct Output {
    soft_state: Option<SoftState>,
    hard_state: HardState,
    under_way: Option<UnderWay>,
}

impl Output {
    /// What is on disk is this, whatever else the node knows.
    pub(super) fn forget_hard_state(&mut self, on_disk: HardState) {
        self.hard_state = on_disk;
    }
}

/// What the caller is busy with.
#[derive(Debug)]
struct UnderWay {
    /// To this member itself, once they are true.
    own_answers: Vec<Message>,
    /// Term at that time.
    term: u64,
    /// End of the log, if entries are being persisted.
    persisted: Option<EntryId>,
    snapshot: Option<u64>,
    applied: Option<Applied>,
}

#[derive(Debug)]
struct Applied {
    index: u64,
    encoded_bytes: u64,
    payload_bytes: u64,
}

impl<S: LogStorage> Node<S> {
    /// Whether [`Node::ready`] would say anything.
    pub fn has_ready(&self) -> bool {
        self.output.soft_state != Some(self.soft_state())
            || self.output.hard_state != self.hard_state()
            || self.log.unstable.next_snapshot().is_some()
            || !self.log.unstable.next_entries().is_empty()
            || !self.messages.is_empty()
            || !self.answers.is_empty()
            || !self.reads.ready.is_empty()
            || self.log.has_to_apply()
    }

    /// What is to be done. [`Node::advance`] must follow before the next call.
    ///
    /// # Errors
    /// [`RaftError::Corrupt`]: a committed entry is gone.
    pub fn ready(&mut self) -> Result<Ready, RaftError> {
        assert!(self.output.under_way.is_none(), "the Ready before is done with: advance()");
        let (soft_state, hard_state) = (self.soft_state(), self.hard_state());
        let committed = self.log.to_apply()?;
        let entries = self.log.unstable.next_entries().to_vec();
        let snapshot = self.log.unstable.next_snapshot().cloned();
        let before = self.output.hard_state;
        let changes_promise = hard_state.term != before.term || hard_state.vote != before.vote;
        let must_sync = !entries.is_empty() || changes_promise;
        let own = self.config.id;
        let answers = std::mem::take(&mut self.answers).into_iter();
        let (own_answers, answers) = answers.partition(|message| message.to == own);

        self.log.unstable.accept();
        let is_persisting = !self.log.unstable.entries.is_empty();
        let applied = committed.last().map(|last| Applied {
            index: last.index,
            encoded_bytes: committed.iter().map(Entry::encoded_len).sum(),
            payload_bytes: committed.iter().map(|entry| entry.data.len() as u64).sum(),
        });
        if let Some(applied) = &applied {
            self.log.accept_applying(applied.index, applied.encoded_bytes);
        }
        self.unapplied.hand_out(&committed);
        self.output.under_way = Some(UnderWay {
            own_answers,
            term: self.term,
            persisted: is_persisting.then(|| self.log.last_id()),
            snapshot: snapshot.as_ref().map(|snapshot| snapshot.metadata.index),
            applied,
        });
        let ready = Ready {
            soft_state: (self.output.soft_state != Some(soft_state)).then_some(soft_state),
            hard_state: (before != hard_state).then_some(hard_state),
            read_states: std::mem::take(&mut self.reads.ready),
            entries,
            snapshot,
            committed,
            messages: std::mem::take(&mut self.messages),
            answers,
            must_sync,
        };
        self.remember_output();
        Ok(ready)
    }

    /// The last [`Ready`] is on disk and in the storage; its committed entries are applied, or
    /// wait in order to be.
    ///
    /// # Errors
    /// [`RaftError::Corrupt`].
    pub fn advance(&mut self) -> Result<(), RaftError> {
        let Some(done) = self.output.under_way.take() else { return Ok(()) };
        for answer in done.own_answers {
            self.take(answer)?;
        }
        if let Some(last) = done.persisted {
            if done.term == self.term {
                self.log.unstable.stable_to(last);
            } else {
                // The entries may have been replaced; the next Ready has the log's end anew.
                let (term, own) = (done.term, self.term);
                self.events.push(Event::PersistedInEarlierTerm { term, own });
            }
        }
        if let Some(index) = done.snapshot {
            self.log.unstable.snapshot_stable(index);
            self.log.applied_to(index.max(self.log.applied()), 0);
        }
        if let Some(Applied { index, encoded_bytes, payload_bytes }) = done.applied {
            self.log.applied_to(index.max(self.log.applied()), encoded_bytes);
            self.reduce_uncommitted(payload_bytes);
        }
        Ok(())
    }

    /// The member's state for operators.
    pub fn status(&self) -> Status {
        let is_leader = self.role == Role::Leader;
        let known = self.members.progress.iter().filter(|_| is_leader);
        Status {
            id: self.config.id,
            hard_state: self.hard_state(),
            soft_state: self.soft_state(),
            applied: self.log.applied(),
            transferee: self.transferee,
            conf_state: self.members.configuration.conf_state(),
            progress: known.map(|(id, progress)| (*id, progress.status())).collect(),
        }
    }

    /// Whether this member leads.
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }

    /// What was handed out is what is.
    pub(super) fn remember_output(&mut self) {
        self.output.soft_state = Some(self.soft_state());
        self.output.hard_state = self.hard_state();
    }

    /// Whether this member is the only one with a vote: it has nobody to wait for.
    pub fn is_sole_voter(&self) -> bool {
        self.members.is_singleton() && self.members.configuration.voters.contains(self.config.id)
    }

    fn soft_state(&self) -> SoftState {
        SoftState { leader: self.leader, role: self.role }
    }

    fn hard_state(&self) -> HardState {
        HardState { term: self.term, vote: self.vote, commit: self.log.committed }
    }
}
