//! Maintenance: status, alarms, hashes, the snapshot stream, the leader.

use holdfast_api::etcdserverpb as pb;
use holdfast_api::etcdserverpb::maintenance_server::Maintenance;
use holdfast_core::versions::EtcdVersion;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::kv::unexpected;
use crate::engine::handle::Handle;
use crate::engine::locks::read;
use crate::engine::machine::{Answer, status};
use crate::engine::prototext::message;
use crate::engine::raft_thread::Input;
use crate::grpc::Refusal;
use crate::version;

type Reply<T> = Result<Response<T>, Status>;

/// Bytes of a snapshot in one message. Upstream sends four times as many; each costs both sides.
const BLOB_BYTES: usize = 128 << 10;
/// Messages that wait for a slow client.
const BLOBS_AHEAD: usize = 4;

impl Handle {
    /// Alarms as upstream words them in a status.
    fn complaints(&self) -> Vec<String> {
        let alarms = read(&self.inner.shared.alarms).list(pb::AlarmType::None as i32);
        let said = alarms.iter().map(|alarm| message("etcdserverpb.AlarmMember", alarm));
        let mut said: Vec<String> = said.collect();
        if self.inner.view.leader() == holdfast_core::raft::NOBODY {
            said.insert(0, Refusal::NoLeader.text().to_owned());
        }
        said
    }

    /// Sends the database as it was when the reader was taken, then its SHA-256.
    fn send_database(&self, blobs: &mpsc::Sender<Result<pb::SnapshotResponse, Status>>) {
        let reader = self.inner.database.read();
        let (size, version) = (reader.size_bytes(), self.storage_version().unwrap_or_default());
        let (mut digest, mut offset) = (Sha256::new(), 0u64);
        let send = |blob: Vec<u8>, remaining_bytes| {
            // Without a header, as upstream's.
            let answer = pb::SnapshotResponse {
                header: None,
                remaining_bytes,
                blob: blob.into(),
                version: version.clone(),
            };
            blobs.blocking_send(Ok(answer)).is_ok()
        };
        while offset < size {
            let len = usize::try_from(size - offset).unwrap_or(BLOB_BYTES).min(BLOB_BYTES);
            let mut blob = vec![0; len];
            if let Err(error) = reader.copy_at(offset, &mut blob) {
                let _ = blobs.blocking_send(Err(Status::data_loss(error.to_string())));
                return;
            }
            digest.update(&blob);
            offset += len as u64;
            if !send(blob, size - offset) {
                return;
            }
        }
        send(digest.finalize().to_vec(), 0);
    }
}

#[tonic::async_trait]
impl Maintenance for Handle {
    type SnapshotStream = ReceiverStream<Result<pb::SnapshotResponse, Status>>;

    async fn status(&self, request: Request<pb::StatusRequest>) -> Reply<pb::StatusResponse> {
        let who = self.identity(&request).await?;
        read(&self.inner.shared.auth).check_somebody(&who).map_err(status)?;
        let (stats, view) = (self.inner.database.stats(), &self.inner.view);
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let downgrade = read(&self.inner.cluster).downgrade().clone();
        Ok(Response::new(pb::StatusResponse {
            header: Some(self.header()),
            version: version::VERSION.to_owned(),
            db_size: signed(stats.size_bytes),
            leader: view.leader(),
            raft_index: view.committed(),
            raft_term: view.term(),
            raft_applied_index: self.inner.applied.index(),
            errors: self.complaints(),
            db_size_in_use: signed(stats.in_use_bytes()),
            is_learner: read(&self.inner.cluster).is_local_learner(),
            storage_version: self.storage_version().unwrap_or_default(),
            db_size_quota: signed(self.inner.limits.quota_bytes),
            downgrade_info: Some(pb::DowngradeInfo {
                enabled: downgrade.enabled,
                target_version: downgrade.target_version,
            }),
        }))
    }

    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Reply<pb::AlarmResponse> {
        let who = self.identity(&request).await?;
        // Whoever changes alarms is asked for more when the entry is applied.
        read(&self.inner.shared.auth).check_somebody(&who).map_err(status)?;
        let request = pb::InternalRaftRequest {
            alarm: Some(request.into_inner()),
            ..pb::InternalRaftRequest::default()
        };
        match self.propose(&who, request).await? {
            (Answer::Alarms(alarms), revision) => {
                let header = Some(self.header_at(revision));
                Ok(Response::new(pb::AlarmResponse { header, alarms }))
            }
            _ => Err(unexpected()),
        }
    }

    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Reply<pb::DefragmentResponse> {
        let who = self.identity(&request).await?;
        self.check_admin(&who)?;
        self.defragment().await?;
        // Without a header, as upstream's.
        Ok(Response::new(pb::DefragmentResponse { header: None }))
    }

    async fn hash(&self, request: Request<pb::HashRequest>) -> Reply<pb::HashResponse> {
        let who = self.identity(&request).await?;
        self.check_admin(&who)?;
        let handle = self.clone();
        let hashed =
            tokio::task::spawn_blocking(move || handle.inner.store.reader().view().hash()).await;
        let hash = hashed.map_err(|_| Status::from(Refusal::Stopped))?;
        let hash = hash.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(pb::HashResponse { header: Some(self.header()), hash }))
    }

    async fn hash_kv(&self, request: Request<pb::HashKvRequest>) -> Reply<pb::HashKvResponse> {
        let who = self.identity(&request).await?;
        self.check_admin(&who)?;
        let (handle, revision) = (self.clone(), request.into_inner().revision);
        let hashed = tokio::task::spawn_blocking(move || handle.inner.store.hashkv(revision)).await;
        let hash = hashed.map_err(|_| Status::from(Refusal::Stopped))?.map_err(status)?;
        Ok(Response::new(pb::HashKvResponse {
            header: Some(self.header()),
            hash: hash.hash,
            compact_revision: hash.compact_revision,
            hash_revision: hash.revision,
        }))
    }

    async fn snapshot(&self, request: Request<pb::SnapshotRequest>) -> Reply<Self::SnapshotStream> {
        let who = self.identity(&request).await?;
        self.check_admin(&who)?;
        self.flush().await?;
        let (blobs, stream) = mpsc::channel(BLOBS_AHEAD);
        let handle = self.clone();
        tokio::task::spawn_blocking(move || handle.send_database(&blobs));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Reply<pb::MoveLeaderResponse> {
        let who = self.identity(&request).await?;
        self.check_admin(&who)?;
        if !self.inner.view.leads() {
            return Err(Refusal::NotLeader.into());
        }
        let target = request.into_inner().target_id;
        let is_voter = read(&self.inner.cluster).voters().any(|member| member.id == target);
        if !is_voter {
            return Err(Refusal::BadLeaderTransferee.into());
        }
        let mut leader = self.inner.view.watch_leader();
        self.inner.raft.send(Input::Transfer(target)).map_err(|_| Refusal::Stopped)?;
        let moved = leader.wait_for(|leader| *leader == target);
        match tokio::time::timeout(self.inner.limits.patience, moved).await {
            Ok(Ok(_)) => Ok(Response::new(pb::MoveLeaderResponse { header: Some(self.header()) })),
            _ => Err(Refusal::TimeoutDueToLeaderFail.into()),
        }
    }

    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Reply<pb::DowngradeResponse> {
        let who = self.identity(&request).await?;
        self.check_admin(&who)?;
        self.change_downgrade(request.into_inner()).await?;
        let version = read(&self.inner.cluster).version();
        let named = |version: EtcdVersion| format!("{}.{}", version.major, version.minor);
        let version = version.map(named).unwrap_or_default();
        Ok(Response::new(pb::DowngradeResponse { header: Some(self.header()), version }))
    }
}
