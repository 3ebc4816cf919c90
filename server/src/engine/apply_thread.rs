//! The apply thread: committed entries in, answers, events and a growing applied index out.
//!
//! It is the only one that changes the state. It never waits for the database's disk: every 100 ms
//! or 10,000 changes it freezes what is pending, and the commit thread writes that; only when that
//! thread is so far behind that a lot is pending it waits. What must hold:
//! each entry is applied once and in order; entries at or below the database's consistent index
//! change only what a snapshot file replays; the consistent index is pending together with the
//! changes it speaks of before anything is frozen; an entry that cannot be applied ends the member.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use holdfast_api::etcdserverpb::InternalRaftRequest;
use holdfast_api::mvccpb::Event;
use holdfast_core::backend::BackendError;
use holdfast_core::buckets::META;
use holdfast_core::membership::{Cluster, ClusterError, MemberChange, Refusal, Scope};
use holdfast_core::meta::{CONF_STATE, CONSISTENT_INDEX, ConfState, STORAGE_VERSION, TERM};
use holdfast_core::mvcc::{CompactionBatch, CompactionProgress, MvccError};
use holdfast_core::raft::Entry;
use holdfast_core::raftpb::{ConfChange, EntryKind};
use holdfast_core::request::{EntryRequest, Payload, PayloadError};
use holdfast_core::versions::{EtcdVersion, V3_6};
use holdfast_core::wire::WireError;
use serde_json::json;
use tokio::sync::oneshot;
use tonic::Status;

use super::applied::Applied;
use super::chores::Chores;
use super::commit_thread::{CommitOrder, Defragmented};
use super::locks::write;
use super::machine::{Answer, Broken, Machine};
use super::raft_thread::{Committed, Input};
use super::room::Room;
use super::snapshots::Snapshots;
use super::waits::Waits;
use crate::grpc;
use crate::log::Logger;
use std::sync::RwLock;

/// So many changes are pending at most before they are frozen: as upstream.
const MOST_PENDING: usize = 10_000;
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
    /// Records that one step of a compaction looks at: `--compaction-batch-limit`.
    pub(crate) compaction_batch: usize,
    pub(crate) logger: Logger,
    pub(crate) commit_interval: Duration,
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
    compacting: bool,
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
            let work = match desk.due {
                None => self.work.recv().unwrap_or(Work::Stop),
                Some(due) => {
                    let patience = due.saturating_duration_since(Instant::now());
                    match self.work.recv_timeout(patience) {
                        Ok(work) => work,
                        Err(RecvTimeoutError::Timeout) => {
                            self.freeze(&mut desk)?;
                            continue;
                        }
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
                    let _ = self.commits.send(CommitOrder::Defragment(done));
                }
                Work::StorageVersion(version) => self.migrate(version, &mut desk),
                Work::Stop => return self.finish(room, &desk),
            }
        }
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
            let backend = self.machine.store.backend().clone();
            let is_full = backend.pending_changes() >= MOST_PENDING
                || backend.pending_bytes() >= PENDING_BYTES;
            if is_full || self.snapshots.is_due(entry.index) {
                self.freeze(desk)?;
            }
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
                        self.note_members(&request, scope, index)
                    }
                    Payload::Request(request) if is_new => self.carry_out(&request, index, desk),
                    Payload::Request(_) => Ok(()),
                }
            }
        }
    }

    fn carry_out(
        &mut self,
        request: &EntryRequest,
        index: u64,
        desk: &mut Desk,
    ) -> Result<(), ApplyEnd> {
        if request.only_reads() && !self.waits.is_waited_for(request.id) {
            return Ok(());
        }
        let now = self.begun.elapsed();
        let outcome = self.machine.apply(request, index, now)?;
        let took = self.begun.elapsed().saturating_sub(now);
        self.machine.figures.applied(&request.request, took, outcome.answer.is_ok());
        let revision = self.machine.store.revision();
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

    /// What others know of the members: names, client URLs, the version that all speak.
    fn note_members(
        &mut self,
        request: &EntryRequest,
        scope: Scope,
        index: u64,
    ) -> Result<(), ApplyEnd> {
        let InternalRaftRequest {
            cluster_version_set: version,
            cluster_member_attr_set: attributes,
            downgrade_info_set: downgrade,
            ..
        } = &request.request;
        let failed = |source| ApplyEnd::Cluster { index, source };
        let mut changes = Vec::new();
        {
            let mut cluster = write(&self.cluster);
            if let Some(set) = attributes {
                let attributes = set.member_attributes.clone().unwrap_or_default();
                let (name, urls) = (&attributes.name, &attributes.client_urls);
                let stored = cluster.set_attributes(set.member_id, name, urls, scope);
                changes.extend(stored.map_err(failed)?);
            }
            if let Some(version) = version.as_ref().and_then(|set| set.ver.parse().ok()) {
                let set = cluster.set_version(version, scope).map_err(failed)?;
                self.snapshots.force(set.force_snapshot);
                if set.force_snapshot {
                    self.lowered_at = index;
                }
                changes.extend(set.changes);
            }
            if let Some(set) = downgrade {
                let target = set.enabled.then_some(set.ver.as_str());
                changes.extend(cluster.set_downgrade(target, scope));
            }
        }
        self.machine.store_changes(changes);
        self.waits.answer(request.id, (Ok(Answer::Done), self.machine.store.revision()));
        Ok(())
    }

    /// Marks the database as one of an older or newer schema. It goes down only when a saved
    /// snapshot holds the entry that asked for it: an older server must not meet that entry, nor
    /// what came before it, in the log.
    fn migrate(&mut self, version: EtcdVersion, desk: &mut Desk) {
        let backend = self.machine.store.backend();
        let stored = backend.latest().get(META, STORAGE_VERSION).ok().flatten();
        let stored = stored.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok());
        let is_down = stored.is_some_and(|stored: EtcdVersion| version < stored);
        if is_down && self.snapshots.saved() < self.lowered_at {
            self.snapshots.force(true);
        } else if version < V3_6 {
            // 3.5 knows no such mark.
            backend.delete(META, STORAGE_VERSION);
        } else {
            let version = version.to_string().into_bytes();
            backend.put(META, STORAGE_VERSION, version.into());
        }
        desk.due.get_or_insert_with(|| Instant::now() + self.commit_interval);
    }

    fn change_members(
        &mut self,
        entry: &Entry,
        scope: Scope,
        desk: &mut Desk,
    ) -> Result<(), ApplyEnd> {
        let index = entry.index;
        let change = ConfChange::decode(&entry.data)
            .map_err(|source| ApplyEnd::ConfChange { index, source })?;
        let outcome = write(&self.cluster).apply_conf_change(&change, scope);
        let outcome = outcome.map_err(|source| ApplyEnd::Cluster { index, source })?;
        self.machine.store_changes(outcome.changes);
        let (answer, members) = mpsc::channel();
        let _ = self.raft.send(Input::MembersChanged(outcome.for_raft, answer));
        desk.members = members.recv().ok().or(desk.members.take());
        let is_gone = matches!(outcome.result, Ok(MemberChange::Removed { is_local: true, .. }));
        let said = outcome.result.map(|_| Answer::Done).map_err(refused);
        self.waits.answer(change.id, (said, self.machine.store.revision()));
        if is_gone && scope == Scope::Both { Err(ApplyEnd::Removed) } else { Ok(()) }
    }

    /// Lets the next step of a compaction be looked through, if there is one.
    fn compact_on(&self, desk: &mut Desk) {
        if desk.compacting {
            return;
        }
        let Some(scan) = self.machine.store.compaction_scan() else { return };
        let (own, batch) = (self.own.clone(), self.compaction_batch);
        desk.compacting = self.chores.give(move || {
            let _ = own.send(Work::Compaction(scan.run(batch)));
        });
    }

    fn compacted(
        &mut self,
        batch: Result<CompactionBatch, MvccError>,
        desk: &mut Desk,
    ) -> Result<(), ApplyEnd> {
        desk.compacting = false;
        let batch = batch.map_err(ApplyEnd::Compaction)?;
        let progress = self.machine.store.apply_compaction(batch);
        desk.due.get_or_insert_with(|| Instant::now() + self.commit_interval);
        if let CompactionProgress::Finished { revision, .. } = progress {
            self.tell_compaction(revision);
            let done: Vec<u64> =
                desk.physical.extract_if(.., |(at, _)| *at <= revision).map(|(_, id)| id).collect();
            let (waits, now) = (self.waits.clone(), self.machine.store.revision());
            if !done.is_empty() {
                // They wait for the disk too.
                self.snapshots.after_commit(move || {
                    done.iter().for_each(|id| waits.answer(*id, (Ok(Answer::Compaction), now)));
                });
                self.freeze(desk)?;
            }
        }
        self.compact_on(desk);
        Ok(())
    }

    fn tell_compaction(&self, revision: i64) {
        let at = ("compact-revision", json!(revision));
        self.logger.info("finished scheduled compaction", &[at]);
        let hashes = self.machine.store.handle().compaction_hashes();
        if let Some(hash) = hashes.iter().find(|hash| hash.revision == revision) {
            self.logger.info(
                "storing new hash",
                &[
                    ("hash", json!(hash.hash)),
                    ("revision", json!(hash.revision)),
                    ("compact-revision", json!(hash.compact_revision)),
                ],
            );
        }
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

fn refused(refusal: Refusal) -> Status {
    Status::from(match refusal {
        Refusal::IdExists => grpc::Refusal::MemberExist,
        Refusal::PeerUrlExists => grpc::Refusal::PeerURLExist,
        Refusal::IdNotFound | Refusal::IdRemoved => grpc::Refusal::MemberNotFound,
        Refusal::NotLearner => grpc::Refusal::MemberNotLearner,
        Refusal::TooManyLearners => grpc::Refusal::TooManyLearners,
    })
}
