//! The raft thread: the only owner of the raft node and of the WAL.
//!
//! It takes all that lies in its inbox at once, steps the node, and carries out what the node wants
//! done in the order that raft asks for:
//!
//! ```text
//! inbox ─► node ─► leader's messages ─► WAL: one write, one sync ─► others' messages, answers
//!                                        └► log in memory ─► committed entries to the apply thread
//!                                                          └► confirmed reads to their readers
//! ```
//!
//! A change of the members takes effect when the apply thread has come to it and has said so; the
//! rounds go on meanwhile, with the members before it (`core/src/raft/conf_change.rs`).
//!
//! What must hold: nothing is acknowledged before it is durable; while one sync runs the next batch
//! gathers in the inbox (that is the group commit); after a failed write or sync the thread ends
//! with the reason and touches the disk no more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use bytes::Bytes;
use holdfast_core::disk::FileSystem;
use holdfast_core::meta::ConfState;
use holdfast_core::raft::{Entry, LogStorage, MemoryLog, Message, Node, RaftError, Ready, Role};
use holdfast_core::raftpb::ConfChange;
use holdfast_core::snap::SnapFiles;
use holdfast_core::wal::{SnapshotRecord, Spare, Wal, WalWriteError};
use tokio::sync::oneshot;

use super::apply_thread::Work;
use super::chores::Chores;
use super::raft_view::RaftView;
use super::read_rounds::ReadRounds;

/// Most inputs that are taken before the node is asked what to do: bounds one WAL write.
const MOST_INPUTS: usize = 4_096;
/// Most proposals that wait while there is no leader.
const MOST_WAITING: usize = 5_000;

/// What the thread is asked for.
pub(crate) enum Input {
    /// An entry to agree on.
    Propose(Bytes),
    /// A change of the members to agree on.
    ChangeMembers(ConfChange),
    /// A read that wants an index from now on.
    Read(oneshot::Sender<u64>),
    /// A committed change of the members was judged by the apply thread, which waits for the
    /// members from here on; with member id 0 it was refused.
    MembersChanged(ConfChange, Sender<ConfState>),
    /// Leadership shall go to this member.
    Transfer(u64),
    /// A .snap file is durable: its place in the log.
    SnapshotSaved(SnapshotRecord, ConfState),
    /// The database's file holds all entries up to there, with these members.
    Stored(u64, ConfState),
    /// Old files shall be removed.
    Purge,
    /// A WAL segment that was ordered.
    Spare(Option<Spare<FileSystem>>),
    /// The member ends.
    Stop,
}

/// Committed entries, in order; given to the apply thread.
pub(crate) type Committed = Vec<Entry>;

/// Why the thread ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RaftEnd {
    /// The log cannot be written.
    #[error(transparent)]
    Wal(#[from] WalWriteError),
    /// The log contradicts the group's.
    #[error(transparent)]
    Raft(#[from] RaftError),
    /// Entries that do not follow the log in memory.
    #[error("raft log in memory: {0}")]
    Log(#[from] holdfast_core::raft::StorageError),
}

/// How it runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// One tick: `--heartbeat-interval`.
    pub(crate) tick: Duration,
    /// Entries that are kept in memory for members who lag: `--snapshot-catchup-entries`.
    pub(crate) catch_up_entries: u64,
    /// WAL segments that are kept: `--max-wals`.
    pub(crate) kept_segments: usize,
    /// .snap files that are kept: `--max-snapshots`.
    pub(crate) kept_snapshots: usize,
}

/// What the thread owns and whom it speaks to.
pub(crate) struct RaftThread {
    pub(crate) node: Node<MemoryLog>,
    pub(crate) wal: Wal<FileSystem>,
    pub(crate) inbox: Receiver<Input>,
    /// Not bounded: a bound would have both threads wait for each other at a change of the
    /// members. What is committed and not applied is bounded where requests are taken.
    pub(crate) apply: Sender<Work>,
    pub(crate) peers: Box<dyn FnMut(Vec<Message>) + Send>,
    pub(crate) view: Arc<RaftView>,
    pub(crate) chores: Chores,
    pub(crate) snaps: SnapFiles<FileSystem>,
    pub(crate) pace: Pace,
    /// Contexts of read rounds.
    pub(crate) next_context: u64,
}

/// What the thread remembers beside the node.
struct Desk {
    reads: ReadRounds<oneshot::Sender<u64>>,
    /// Proposals that came while there was no leader.
    waiting: VecDeque<Input>,
    /// Whether the leader of this term has committed an entry of it.
    term_began: u64,
    begun: Instant,
    next_tick: Instant,
}

impl RaftThread {
    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// [`RaftEnd`]: the member must end.
    pub(crate) fn run(mut self) -> Result<(), RaftEnd> {
        let now = Instant::now();
        let mut desk = Desk {
            reads: ReadRounds::new(),
            waiting: VecDeque::new(),
            term_began: 0,
            begun: now,
            next_tick: now + self.pace.tick,
        };
        loop {
            let goes_on = self.take_inputs(&mut desk)?;
            self.ask_for_reads(&mut desk, false);
            while self.node.has_ready() {
                let ready = self.node.ready()?;
                self.carry_out(ready, &mut desk)?;
                self.node.advance()?;
            }
            self.propose_waiting(&mut desk)?;
            if !goes_on {
                self.wal.close()?;
                return Ok(());
            }
        }
    }

    /// Waits for the first input or the next tick, then takes what else lies there. False: stop.
    fn take_inputs(&mut self, desk: &mut Desk) -> Result<bool, RaftEnd> {
        // What was advanced may have more to do at once.
        let mut next = if self.node.has_ready() {
            self.inbox.try_recv().ok()
        } else {
            let patience = desk.next_tick.saturating_duration_since(Instant::now());
            match self.inbox.recv_timeout(patience) {
                Ok(input) => Some(input),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
            }
        };
        let mut taken = 0;
        while let Some(input) = next {
            if !self.take(input, desk)? {
                return Ok(false);
            }
            taken += 1;
            next = if taken < MOST_INPUTS { self.inbox.try_recv().ok() } else { None };
        }
        let now = Instant::now();
        if now >= desk.next_tick {
            self.node.tick();
            self.lead_alone();
            // Ticks that were missed are not made up for: a member that was stopped for a while
            // must not campaign at once.
            desk.next_tick = (desk.next_tick + self.pace.tick).max(now);
        }
        Ok(true)
    }

    fn take(&mut self, input: Input, desk: &mut Desk) -> Result<bool, RaftEnd> {
        match input {
            Input::Propose(_) | Input::ChangeMembers(_) if !self.has_leader() => {
                // Above the limit the oldest goes: who proposed it gave up first.
                if desk.waiting.len() == MOST_WAITING {
                    desk.waiting.pop_front();
                }
                desk.waiting.push_back(input);
            }
            Input::Propose(_) | Input::ChangeMembers(_) => self.propose(input)?,
            Input::Read(reader) => desk.reads.join(reader),
            Input::MembersChanged(change, answer) => {
                // Rounds went by since the entry was handed over: what they sent and committed they
                // did with the members before it. The node sees to it that this is one change at
                // most, and that the voters after it cannot decide without one of those before:
                // a voter who was alone is asked by whoever it lets in. Nobody new hears from us
                // before this, and by then the view says that we do not decide alone any more.
                // A change that raft's rules forbid leaves the members as they are.
                let members = self.node.apply_conf_change(&change);
                let members = members.unwrap_or_else(|_| self.node.status().conf_state);
                self.show_who_decides(desk);
                let _ = answer.send(members);
                self.lead_alone();
            }
            Input::Transfer(to) => self.node.transfer_leader(to),
            Input::SnapshotSaved(record, members) => self.note_snapshot(&record, members)?,
            Input::Stored(index, members) => self.release_log(index, members)?,
            Input::Purge => {
                self.chores.purge(self.wal.purge_order(self.pace.kept_segments));
                self.chores.purge(self.snaps.purge_order(self.pace.kept_snapshots));
            }
            Input::Spare(spare) => self.wal.stock(spare),
            Input::Stop => return Ok(false),
        }
        Ok(true)
    }

    /// Who is alone has nobody to wait for.
    fn lead_alone(&mut self) {
        if !self.has_leader() && self.node.is_sole_voter() {
            self.node.campaign();
        }
    }

    fn has_leader(&self) -> bool {
        self.node.is_leader() || self.view.leader() != holdfast_core::raft::NOBODY
    }

    fn propose(&mut self, input: Input) -> Result<(), RaftEnd> {
        // A proposal that is dropped has no answer: who waits for it runs into its own deadline,
        // since nobody knows whether a leader got it.
        bearable(match input {
            Input::Propose(data) => self.node.propose(data),
            Input::ChangeMembers(change) => self.node.propose_conf_change(&change),
            _ => Ok(()),
        })
    }

    fn propose_waiting(&mut self, desk: &mut Desk) -> Result<(), RaftEnd> {
        while self.has_leader()
            && let Some(input) = desk.waiting.pop_front()
        {
            self.propose(input)?;
        }
        Ok(())
    }

    /// Asks raft for the index of those who wait; `again` also for a round that flies, since raft
    /// forgets what was asked before the first commit of a term.
    fn ask_for_reads(&mut self, desk: &mut Desk, again: bool) {
        let now = desk.begun.elapsed();
        let context = &mut self.next_context;
        let mut draw = || {
            *context += 1;
            *context
        };
        let asked = desk.reads.again(now, again, &mut draw);
        if let Some(asked) = asked.or_else(|| desk.reads.begin(now, draw)) {
            self.node.read_index(Bytes::copy_from_slice(&asked.to_be_bytes()));
        }
    }

    /// Carries out one round; see the file's header for the order.
    fn carry_out(&mut self, ready: Ready, desk: &mut Desk) -> Result<(), RaftEnd> {
        if let Some(state) = &ready.hard_state {
            self.view.set_term(state.term);
            // Before the messages: who hears of the commit index from us must not be ahead of us.
            self.view.set_committed(state.commit);
        }
        if let Some(soft) = ready.soft_state {
            self.view.set_leader(soft.leader, soft.role == Role::Leader);
        }
        let leads = self.node.is_leader();
        let mut messages = ready.messages;
        if leads && !messages.is_empty() {
            (self.peers)(std::mem::take(&mut messages));
        }
        if !ready.entries.is_empty() || ready.hard_state.is_some() {
            let entries = ready.entries.iter().map(Entry::as_record);
            self.wal.append(entries, ready.hard_state, ready.must_sync)?;
            if let Some(order) = self.wal.spare_order() {
                self.chores.prepare(order);
            }
        }
        self.node.storage_mut().append(&ready.entries)?;
        messages.extend(ready.answers);
        if !messages.is_empty() {
            (self.peers)(messages);
        }
        self.hand_over(ready.committed, desk);
        for read in ready.read_states {
            let Ok(context) = <[u8; 8]>::try_from(&read.context[..]) else { continue };
            for reader in desk.reads.confirmed(u64::from_be_bytes(context)) {
                let _ = reader.send(read.index);
            }
        }
        Ok(())
    }

    fn hand_over(&mut self, committed: Committed, desk: &mut Desk) {
        let Some(last) = committed.last() else { return };
        self.view.set_committed(last.index);
        if self.node.is_leader() && last.term != desk.term_began {
            desk.term_began = last.term;
            self.ask_for_reads(desk, true);
        }
        self.show_who_decides(desk);
        // The apply thread is gone only when the member ends.
        let _ = self.apply.send(Work::Committed(committed));
    }

    /// Whether readers need no word of raft's: it would give the same index at once.
    fn show_who_decides(&self, desk: &Desk) {
        let alone = self.node.is_leader()
            && self.node.is_sole_voter()
            && desk.term_began == self.view.term();
        self.view.set_decides_alone(alone);
    }

    fn note_snapshot(
        &mut self,
        record: &SnapshotRecord,
        members: ConfState,
    ) -> Result<(), RaftEnd> {
        self.wal.save_snapshot(record)?;
        self.wal.release_to(record.index);
        self.release_log(record.index, members)
    }

    /// Drops entries from memory that nobody needs: the database has what they say. Who has other
    /// members keeps some for those who lag, and sends the database to those who lag more.
    fn release_log(&mut self, index: u64, members: ConfState) -> Result<(), RaftEnd> {
        let is_alone = members.is_alone();
        let log = self.node.storage_mut();
        // One of another index is there already after a snapshot from the leader: nothing to do.
        if log.create_snapshot(index, members, Bytes::new()).is_ok() {
            let kept = if is_alone { 0 } else { self.pace.catch_up_entries };
            let keep_from = index.saturating_sub(kept);
            if keep_from >= log.first_index() {
                log.compact(keep_from)?;
            }
        }
        Ok(())
    }
}

/// Only what contradicts the group's history ends a member; everything else was one input.
fn bearable(outcome: Result<(), RaftError>) -> Result<(), RaftEnd> {
    match outcome {
        Err(error @ RaftError::Corrupt(_)) => Err(error.into()),
        _ => Ok(()),
    }
}
