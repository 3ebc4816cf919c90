//! The apply thread: committed entries in, answers, events and a growing applied index out.
//!
//! It is the only one that changes the state. It never waits for the database's disk: every 100
//! ms or 10,000 changes it freezes what is pending, and the commit thread writes that; only
//! when that thread is so far behind that a lot is pending it waits. What is due at a time is
//! done then, also where work never ceases to come. What must hold: each entry is applied once
//! and in order; entries at or below the database's consistent index change only what a
//! snapshot file replays; the consistent index is pending together with the changes it speaks
//! of before anything is frozen; an entry that cannot be applied ends the member.

mod compacting;
mod members;

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use holdfast_api::mvccpb::Event;
use holdfast_core::backend::BackendError;
use holdfast_core::buckets::META;
use holdfast_core::membership::{Cluster, ClusterError, Scope};
use holdfast_core::meta::{CONF_STATE, CONSISTENT_INDEX, ConfState, TERM};
use holdfast_core::mvcc::{CompactionBatch, MvccError};
use holdfast_core::raft::Entry;
use holdfast_core::raftpb::EntryKind;
use holdfast_core::request::{EntryRequest, Payload, PayloadError};
use holdfast_core::versions::EtcdVersion;
use holdfast_core::wire::WireError;
use tokio::sync::oneshot;
use tonic::Status;

use super::applied::Applied;
use super::chores::Chores;
use super::commit_thread::{CommitOrder, Defragmented};
use super::machine::{Answer, Broken, Machine};
use super::raft_thread::{Committed, Input};
use super::room::Room;
use super::slow::Slow;
use super::snapshots::Snapshots;
use super::waits::Waits;
use crate::log::Logger;
pub(crate) use compacting::CompactionPace;
use compacting::Step;

/// So many bytes are pending at most before they are frozen.
const PENDING_BYTES: usize = 16 << 20;

/// The answer to a request: what to say, and the revision of the header.
pub(crate) type Reply = (Result<Answer, Status>, i64);

/// What the thread is given.
pub(crate) enum Work {
    /// Committed entries, in order.
    Committed(Committed),
    /// A step of a compaction was looked through.
    Compaction(Result<CompactionBatch, MvccError>),
    /// Everything applied so far shall be in the file before this is told.
    Flush(oneshot::Sender<()>),
    /// The database's file shall be written anew without its free pages.
    Defragment(Defragmented),
    /// The stored schema shall be of that version.
    StorageVersion(EtcdVersion),
    /// The member ends.
    Stop,
}

/// Why the member must end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyEnd {
    /// An entry's payload cannot be read.
    #[error("entry {index}: {source}")]
    Payload { index: u64, source: PayloadError },
    /// A change of the members cannot be read.
    #[error("entry {index}: {source}")]
    ConfChange { index: u64, source: WireError },
    /// A change of the members contradicts what is stored.
    #[error("entry {index}: {source}")]
    Cluster { index: u64, source: ClusterError },
    /// The records.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// The database.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A compaction met damage.
    #[error("compaction: {0}")]
    Compaction(MvccError),
    /// The local member was removed.
    #[error("the member has been permanently removed from the cluster")]
    Removed,
}

/// Events of one revision, for watchers.
pub(crate) type Publish = Box<dyn FnMut(i64, Vec<Event>) + Send>;

/// What the thread owns and whom it speaks to.
pub(crate) struct ApplyThread {
    pub(crate) machine: Machine,
    pub(crate) cluster: Arc<RwLock<Cluster>>,
    pub(crate) work: Receiver<Work>,
    pub(crate) raft: Sender<Input>,
    pub(crate) commits: Sender<CommitOrder>,
    pub(crate) chores: Chores,
    /// To itself, for what chores find.
    pub(crate) own: Sender<Work>,
    pub(crate) publish: Publish,
    pub(crate) waits: Waits<Reply>,
    pub(crate) applied: Arc<Applied>,
    pub(crate) snapshots: Snapshots,
    /// Index of the last entry in the database when the member started.
    pub(crate) consistent_index: u64,
    /// Index of the entry that took the cluster's version down; at the start, of the last entry.
    pub(crate) lowered_at: u64,
    pub(crate) compaction: CompactionPace,
    pub(crate) logger: Logger,
    pub(crate) slow: Slow,
    /// `--backend-batch-interval`.
    pub(crate) commit_interval: Duration,
    /// So many changes are pending at most before they are frozen: `--backend-batch-limit`.
    pub(crate) commit_changes: usize,
    pub(crate) begun: Instant,
}

/// What is between two freezes.
#[derive(Debug, Default)]
struct Desk {
    /// Index and term of the last applied entry.
    last: (u64, u64),
    /// When what is pending is to be frozen.
    due: Option<Instant>,
    /// Members as raft has them, to be stored.
    members: Option<ConfState>,
    /// Requests that wait for a compaction's end: revision and id.
    physical: Vec<(i64, u64)>,
    step: Step,
}

impl Desk {
    /// When something is due, if nothing comes before.
    fn wakes_at(&self) -> Option<Instant> {
        match (self.due, self.step) {
            (Some(due), Step::Due(at)) => Some(due.min(at)),
            (None, Step::Due(at)) => Some(at),
            (due, _) => due,
        }
    }
}

impl ApplyThread {
    /// Runs until it is told to stop; then everything applied is in the database. `room` bounds
    /// what is pending.
    ///
    /// # Errors
    /// [`ApplyEnd`]: the member must end.
    pub(crate) fn run(mut self, room: &Room) -> Result<(), ApplyEnd> {
        let mut desk = Desk::default();
        self.compact_on(&mut desk);
        loop {
            self.keep_time(&mut desk)?;
            let work = match desk.wakes_at() {
                None => self.work.recv().unwrap_or(Work::Stop),
                Some(at) => {
                    let patience = at.saturating_duration_since(Instant::now());
                    match self.work.recv_timeout(patience) {
                        Ok(work) => work,
                        Err(RecvTimeoutError::Timeout) => continue,
                        Err(RecvTimeoutError::Disconnected) => Work::Stop,
                    }
                }
            };
            match work {
                Work::Committed(entries) => self.apply_all(&entries, room, &mut desk)?,
                Work::Compaction(batch) => self.compacted(batch, &mut desk)?,
                Work::Flush(done) => self.flush(done, &mut desk)?,
                Work::Defragment(done) => {
                    self.freeze(&mut desk)?;
                    room.rewriting.store(true, Ordering::Release);
                    let _ = self.commits.send(CommitOrder::Defragment(done));
                }
                Work::StorageVersion(version) => self.migrate(version, &mut desk),
                Work::Stop => return self.finish(room, &desk),
            }
        }
    }

    /// Does what is due by now.
    fn keep_time(&mut self, desk: &mut Desk) -> Result<(), ApplyEnd> {
        let now = Instant::now();
        if desk.due.is_some_and(|due| due <= now) {
            self.freeze(desk)?;
        }
        if matches!(desk.step, Step::Due(at) if at <= now) {
            self.next_step(desk);
        }
        Ok(())
    }

    /// Whether what is pending is to be frozen before its time.
    fn is_full(&self) -> bool {
        let backend = self.machine.store.backend();
        backend.pending_changes() >= self.commit_changes || backend.pending_bytes() >= PENDING_BYTES
    }

    fn apply_all(
        &mut self,
        entries: &[Entry],
        room: &Room,
        desk: &mut Desk,
    ) -> Result<(), ApplyEnd> {
        for entry in entries {
            self.apply(entry, desk)?;
            desk.last = (entry.index, entry.term);
            self.applied.reach(entry.index);
            if self.is_full() || self.snapshots.is_due(entry.index) {
                self.freeze(desk)?;
            }
            let backend = self.machine.store.backend().clone();
            room.wait(&backend, || {
                self.freeze(desk)?;
                Ok::<_, ApplyEnd>(desk.due.is_none())
            })?;
        }
        if desk.due.is_none() {
            desk.due = Some(Instant::now() + self.commit_interval);
        }
        Ok(())
    }

    fn apply(&mut self, entry: &Entry, desk: &mut Desk) -> Result<(), ApplyEnd> {
        let is_new = entry.index > self.consistent_index;
        let scope = if is_new { Scope::Both } else { Scope::Replayed };
        match entry.kind {
            EntryKind::ConfChange => self.change_members(entry, scope, desk),
            EntryKind::ConfChangeV2 => Ok(()),
            EntryKind::Normal => {
                let payload = Payload::decode(&entry.data);
                let index = entry.index;
                match payload.map_err(|source| ApplyEnd::Payload { index, source })? {
                    Payload::Empty => Ok(()),
                    Payload::Request(request) if request.is_about_members() => {
                        let began = Instant::now();
                        self.note_members(&request, scope, index)?;
                        self.slow.noted(began.elapsed(), &request);
                        Ok(())
                    }
                    Payload::Request(request) if is_new => self.carry_out(&request, entry, desk),
                    Payload::Request(_) => Ok(()),
                }
            }
        }
    }

    fn carry_out(
        &mut self,
        request: &EntryRequest,
        entry: &Entry,
        desk: &mut Desk,
    ) -> Result<(), ApplyEnd> {
        if request.only_reads() && !self.waits.is_waited_for(request.id) {
            return Ok(());
        }
        let now = self.begun.elapsed();
        let outcome = self.machine.apply(request, entry.index, now)?;
        let took = self.begun.elapsed().saturating_sub(now);
        self.machine.figures.applied(&request.request, took, outcome.answer.is_ok());
        let revision = self.machine.store.revision();
        self.slow.applied(took, request, &outcome.answer, (revision, entry.term));
        if !outcome.events.is_empty() {
            self.machine.figures.changed(&outcome.events);
            (self.publish)(revision, outcome.events);
        }
        if let (Some(compaction), Ok(_)) = (&request.request.compaction, &outcome.answer) {
            self.compact_on(desk);
            if compaction.physical {
                desk.physical.push((compaction.revision, request.id));
                return Ok(());
            }
        }
        self.waits.answer(request.id, (outcome.answer, revision));
        Ok(())
    }

    /// Hands what is pending to the commit thread; later, if that is still writing.
    fn freeze(&mut self, desk: &mut Desk) -> Result<(), ApplyEnd> {
        self.mark(desk);
        match self.machine.store.backend().freeze()? {
            Some(commit) => {
                desk.due = None;
                let then = self.snapshots.due(desk.last, &self.cluster);
                let _ = self.commits.send(CommitOrder::Write(commit, then));
            }
            None => desk.due = Some(Instant::now() + self.commit_interval),
        }
        Ok(())
    }

    fn flush(&mut self, done: oneshot::Sender<()>, desk: &mut Desk) -> Result<(), ApplyEnd> {
        self.mark(desk);
        self.snapshots.after_commit(move || {
            let _ = done.send(());
        });
        // Something is always pending: how far the state is.
        let backend = self.machine.store.backend();
        let (index, _) = desk.last;
        let index = index.max(self.consistent_index);
        backend.put(META, CONSISTENT_INDEX, index.to_be_bytes().to_vec().into());
        self.freeze(desk)
    }

    /// Puts down how far the state is, beside the changes themselves.
    fn mark(&self, desk: &mut Desk) {
        let backend = self.machine.store.backend();
        let (index, term) = desk.last;
        if index > self.consistent_index {
            backend.put(META, CONSISTENT_INDEX, index.to_be_bytes().to_vec().into());
            backend.put(META, TERM, term.to_be_bytes().to_vec().into());
        }
        if let Some(members) = desk.members.take()
            && let Ok(json) = serde_json::to_vec(&members)
        {
            backend.put(META, CONF_STATE, json.into());
        }
    }

    fn finish(self, room: &Room, desk: &Desk) -> Result<(), ApplyEnd> {
        let mut last = Desk { last: desk.last, members: desk.members.clone(), ..Desk::default() };
        self.mark(&mut last);
        // The commit thread may still be writing what was frozen before.
        loop {
            match self.machine.store.backend().freeze()? {
                Some(commit) => {
                    let _ = self.commits.send(CommitOrder::Write(commit, Vec::new()));
                    return Ok(());
                }
                None if self.machine.store.backend().pending_changes() == 0 => return Ok(()),
                None if room.written.recv().is_err() => return Ok(()),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
