//! Entries about the members, and the version that all of them speak.
//!
//! What must hold: raft knows of a change of the members before the next entry is applied; the
//! stored schema goes down only behind a snapshot.

use std::sync::mpsc;
use std::time::Instant;

use holdfast_api::etcdserverpb::InternalRaftRequest;
use holdfast_core::buckets::META;
use holdfast_core::membership::{MemberChange, Refusal, Scope};
use holdfast_core::meta::STORAGE_VERSION;
use holdfast_core::raft::Entry;
use holdfast_core::raftpb::ConfChange;
use holdfast_core::request::EntryRequest;
use holdfast_core::versions::{EtcdVersion, V3_6};
use tonic::Status;

use super::{ApplyEnd, ApplyThread, Desk};
use crate::engine::locks::write;
use crate::engine::machine::Answer;
use crate::engine::raft_thread::Input;
use crate::grpc;

impl ApplyThread {
    /// What others know of the members: names, client URLs, the version that all speak.
    pub(super) fn note_members(
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
    pub(super) fn migrate(&mut self, version: EtcdVersion, desk: &mut Desk) {
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

    pub(super) fn change_members(
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
