//! Proposals, and changes of the configuration among them.
//!
//! A change takes effect where it is applied, on every member, which may be some time after it
//! was handed out: the caller says so with [`Node::apply_conf_change`]. Must hold: at most one
//! change is in the log and not applied; the leader puts an empty entry in the place of a
//! further one. While one is handed out and not applied, the member neither campaigns nor takes
//! a snapshot, which brings other members. So whoever decides does it with members that are at
//! most one change apart, any two majorities of which have a member in common; two changes
//! apart they need not.

use std::collections::VecDeque;

use bytes::Bytes;

use super::event::{ConfChangeRefusal, Event};
use super::membership::{ChangeError, Members};
use super::message::{Entry, Message, MessageKind, NOBODY};
use super::storage::LogStorage;
use super::{Node, RaftError, Role};
use crate::meta::ConfState;
use crate::raftpb::{ConfChange, EntryKind};

/// Changes that were handed out to be applied, and are not yet.
#[derive(Debug, Default)]
pub(super) struct Unapplied {
    /// Their indices, in order.
    indices: VecDeque<u64>,
}

impl Unapplied {
    pub(super) fn hand_out(&mut self, committed: &[Entry]) {
        let changes = committed.iter().filter(|entry| entry.kind == EntryKind::ConfChange);
        self.indices.extend(changes.map(|entry| entry.index));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}

impl<S: LogStorage> Node<S> {
    /// Proposes an entry; a follower sends it to its leader. No error is no promise: whether it
    /// is committed shows in [`super::Ready::committed`].
    ///
    /// # Errors
    /// [`RaftError::ProposalDropped`].
    pub fn propose(&mut self, data: Bytes) -> Result<(), RaftError> {
        self.propose_entries(vec![Entry::proposal(EntryKind::Normal, data)])
    }

    /// Proposes several entries at once, in one message to each member. All are taken or none.
    ///
    /// # Errors
    /// [`RaftError::ProposalDropped`].
    pub fn propose_all(
        &mut self,
        proposals: impl IntoIterator<Item = Bytes>,
    ) -> Result<(), RaftError> {
        let entry = |data| Entry::proposal(EntryKind::Normal, data);
        let entries: Vec<Entry> = proposals.into_iter().map(entry).collect();
        if entries.is_empty() { Ok(()) } else { self.propose_entries(entries) }
    }

    /// Proposes a change of the configuration.
    ///
    /// # Errors
    /// [`RaftError::ProposalDropped`].
    pub fn propose_conf_change(&mut self, change: &ConfChange) -> Result<(), RaftError> {
        let data = Bytes::from(change.to_bytes());
        self.propose_entries(vec![Entry::proposal(EntryKind::ConfChange, data)])
    }

    /// Applies a committed change, in the order of the log, also one that the state machine
    /// refused: with member id 0 it changes nothing. The members from here on.
    ///
    /// # Errors
    /// The rules forbid it; nothing changed, and it counts as applied.
    pub fn apply_conf_change(&mut self, change: &ConfChange) -> Result<ConfState, ChangeError> {
        self.unapplied.indices.pop_front();
        let last = self.log.last_index();
        let members = self.members.simple(&[(change.kind, change.node_id)], last)?;
        self.switch_members(members);
        Ok(self.members.configuration.conf_state())
    }

    /// A leader's part in a proposal.
    pub(super) fn append_proposals(&mut self, message: Message) -> Result<(), RaftError> {
        let Message { kind, from, mut entries, .. } = message;
        if !self.members.progress.contains_key(&self.config.id) {
            // It was removed and still leads: it must not append what it could not commit.
            return Err(RaftError::ProposalDropped);
        }
        if self.transferee != NOBODY {
            let (to, term) = (self.transferee, self.term);
            self.events.push(Event::ProposalDuringTransfer { to, term });
            return Err(RaftError::ProposalDropped);
        }
        let readable = |entry: &Entry| match entry.kind {
            EntryKind::Normal => Some(None),
            EntryKind::ConfChange => ConfChange::decode(&entry.data).ok().map(Some),
            EntryKind::ConfChangeV2 => None,
        };
        let Some(changes) = entries.iter().map(readable).collect::<Option<Vec<_>>>() else {
            let problem = "it proposes a configuration change that etcd does not make";
            return Err(RaftError::Malformed { kind, from, problem });
        };
        let first = self.log.last_index() + 1;
        for ((entry, change), index) in entries.iter_mut().zip(changes).zip(first..) {
            let Some(change) = change else { continue };
            if let Some(reason) = self.conf_change_refusal() {
                let at = self.members.configuration.clone();
                self.events.push(Event::ConfChangeIgnored { change, at, reason });
                *entry = Entry::proposal(EntryKind::Normal, Bytes::new());
            } else {
                self.pending_conf_index = index;
            }
        }
        if !self.append_own(entries) {
            return Err(RaftError::ProposalDropped);
        }
        self.broadcast_append();
        Ok(())
    }

    /// Other members are in force.
    pub(super) fn switch_members(&mut self, members: Members) {
        self.members = members;
        let configuration = self.members.configuration.clone();
        self.events.push(Event::ConfigurationSwitched(configuration));
        if self.role != Role::Leader {
            return;
        }
        let own = self.members.progress.get(&self.config.id);
        if own.is_none_or(|own| own.is_learner) {
            // It goes on sending what commits its removal, unless it is told to step down.
            if self.config.step_down_on_removal {
                self.become_follower(self.term, NOBODY);
            }
            return;
        }
        if self.commit_by_quorum() {
            // Fewer voters make a smaller quorum.
            self.broadcast_append();
        } else {
            self.broadcast_entries();
        }
        if !self.members.configuration.voters.contains(self.transferee) {
            self.transferee = NOBODY;
        }
    }

    fn conf_change_refusal(&self) -> Option<ConfChangeRefusal> {
        let (index, applied) = (self.pending_conf_index, self.log.applied());
        if index > applied {
            Some(ConfChangeRefusal::Pending { index, applied })
        } else if let Some(first) = self.unapplied.indices.front() {
            // The log counts what was handed out.
            Some(ConfChangeRefusal::Pending { index, applied: first - 1 })
        } else if self.members.configuration.voters.is_joint() {
            Some(ConfChangeRefusal::Joint)
        } else {
            None
        }
    }

    fn propose_entries(&mut self, entries: Vec<Entry>) -> Result<(), RaftError> {
        let message = Message::new(MessageKind::Propose, NOBODY);
        self.take(Message { from: self.config.id, entries, ..message })
    }
}
