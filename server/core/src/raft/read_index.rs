//! Reads that see everything that was acknowledged before them, without an entry in the log.
//!
//! The leader notes its commit index, makes sure with one round of heartbeats that it still leads,
//! and answers with the index; who asked reads once its state is that far.
//!
//! Must hold: a leader answers only after an entry of its own term is committed, because before it
//! does not know all that is (upstream's lets a single voter answer earlier, and so miss what it
//! acknowledged before a crash); an acknowledged round confirms all reads that came before it. At
//! most [`MAX_WAITING`] reads wait.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use super::Node;
use super::config::ReadMode;
use super::event::Event;
use super::message::{Entry, Message, MessageKind, NOBODY};
use super::quorum::Tally;
use super::storage::LogStorage;
use crate::raftpb::EntryKind;

/// Reads that wait for a leader's round, and those that wait for its first commit.
pub const MAX_WAITING: usize = 4096;

/// A read that may be served once the state machine has applied `index`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadState {
    /// The index.
    pub index: u64,
    /// What [`Node::read_index`] was given.
    pub context: Bytes,
}

/// Reads under way.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Wait for heartbeats to be answered, oldest first.
    rounds: VecDeque<Round>,
    /// Wait for the first commit of the leader's term.
    early: Vec<Message>,
    /// Can be served.
    pub(super) ready: Vec<ReadState>,
}

/// A read whose heartbeats are under way.
#[derive(Debug)]
struct Round {
    request: Message,
    index: u64,
    heard: BTreeSet<u64>,
}

impl Round {
    fn context(&self) -> &Bytes {
        &self.request.entries[0].data
    }
}

impl Reads {
    /// The context that heartbeats carry: a round confirms all before it.
    pub(super) fn last_context(&self) -> Bytes {
        self.rounds.back().map(|round| round.context().clone()).unwrap_or_default()
    }

    /// A role has ended, and with it all that waits for it.
    pub(super) fn forget(&mut self) {
        self.rounds.clear();
        self.early.clear();
    }

    /// Adds a round, unless one with the context is under way. `false` where too many wait.
    fn begin(&mut self, request: Message, index: u64, own: u64) -> bool {
        let context = &request.entries[0].data;
        if let Some(round) = self.rounds.iter_mut().find(|round| round.context() == context) {
            round.heard.insert(own);
            return true;
        }
        if self.rounds.len() >= MAX_WAITING {
            return false;
        }
        self.rounds.push_back(Round { request, index, heard: BTreeSet::from([own]) });
        true
    }
}

impl<S: LogStorage> Node<S> {
    /// Asks for the index from which a read sees everything acknowledged so far. The answer comes
    /// in [`super::Ready::read_states`] with the same context, or never: there may be no leader,
    /// or a message may be lost. So ask again after a while, with another context.
    pub fn read_index(&mut self, context: Bytes) {
        let entries = vec![Entry::proposal(EntryKind::Normal, context)];
        let request = Message { entries, ..Message::new(MessageKind::ReadIndex, NOBODY) };
        // Nothing of it can fail: it is answered, forwarded or dropped.
        let taken = self.take(request);
        assert!(taken.is_ok(), "a read is never refused: {taken:?}");
    }

    /// A leader's part in a read.
    pub(super) fn lead_read(&mut self, request: Message) {
        if self.has_committed_in_term() {
            self.confirm_read(request);
        } else if self.reads.early.len() < MAX_WAITING {
            self.reads.early.push(request);
        } else {
            self.events.push(Event::ReadDropped);
        }
    }

    /// Something was committed: what waited for it goes on.
    pub(super) fn release_reads(&mut self) {
        if self.has_committed_in_term() {
            for request in std::mem::take(&mut self.reads.early) {
                self.confirm_read(request);
            }
        }
    }

    /// A member answered a heartbeat with a context.
    pub(super) fn read_acknowledged(&mut self, answer: &Message) {
        if self.config.reads != ReadMode::Safe || answer.context.is_empty() {
            return;
        }
        let mut rounds = self.reads.rounds.iter_mut();
        let Some(at) = rounds.position(|round| *round.context() == answer.context) else { return };
        let round = &mut self.reads.rounds[at];
        round.heard.insert(answer.from);
        let voters = &self.members.configuration.voters;
        if voters.tally(|id| round.heard.contains(&id).then_some(true)) == Tally::Won {
            let confirmed: Vec<Round> = self.reads.rounds.drain(..=at).collect();
            for round in confirmed {
                self.answer_read(round.request, round.index);
            }
        }
    }

    /// The leader answered a read of this member.
    pub(super) fn read_answered(&mut self, answer: Message) {
        let Message { index, entries, .. } = answer;
        let states = entries.into_iter().map(|entry| ReadState { index, context: entry.data });
        self.reads.ready.extend(states);
    }

    fn confirm_read(&mut self, request: Message) {
        let index = self.log.committed;
        match self.config.reads {
            // Nobody else could lead.
            _ if self.members.is_singleton() => self.answer_read(request, index),
            ReadMode::LeaseBased => self.answer_read(request, index),
            ReadMode::Safe => {
                let context = request.entries[0].data.clone();
                if self.reads.begin(request, index, self.config.id) {
                    self.broadcast_heartbeat(&context);
                } else {
                    self.events.push(Event::ReadDropped);
                }
            }
        }
    }

    fn answer_read(&mut self, request: Message, index: u64) {
        if request.from == NOBODY || request.from == self.config.id {
            self.read_answered(Message { index, ..request });
        } else {
            let answer = Message::new(MessageKind::ReadIndexAnswer, request.from);
            self.send(Message { index, entries: request.entries, ..answer });
        }
    }
}
