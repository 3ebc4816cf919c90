//! What a client's call needs of the running member: propose, read, headers.
//!
//! Must hold: a write is answered after its entry was applied here, and never twice; a linearizable
//! read sees everything that was acknowledged before it began; nothing waits without a deadline.

use std::future::Future;
use std::sync::mpsc::Sender;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use holdfast_api::etcdserverpb::alarm_request::AlarmAction;
use holdfast_api::etcdserverpb::{
    AlarmRequest, AlarmType, InternalRaftRequest, RequestHeader, ResponseHeader,
};
use holdfast_core::auth::{Identity, token};
use holdfast_core::membership::Cluster;
use holdfast_core::mvcc;
use holdfast_core::raftpb::ConfChange;
use http::HeaderMap;
use prost::Message;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tonic::Status;

use super::applied::Applied;
use super::apply_thread::{Reply, Work};
use super::database::Database;
use super::figures::Figures;
use super::identity::Identities;
use super::locks::read;
use super::machine::{Answer, Shared};
use super::raft_thread::Input;
use super::raft_view::RaftView;
use super::request_ids::RequestIds;
use super::slow::Slow;
use super::waits::Waits;
use super::watching::Watching;
use crate::grpc::Refusal;
use crate::grpc::deadline::proposing;
use crate::grpc::metadata::{self, Peer};

/// Entries that may be committed and not applied before requests are refused: as upstream.
const MOST_BEHIND: u64 = 5_000;

/// What requests are held to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// `--max-request-bytes`.
    pub(crate) request_bytes: usize,
    /// `--max-txn-ops`.
    pub(crate) txn_ops: usize,
    /// `--quota-backend-bytes`.
    pub(crate) quota_bytes: u64,
    /// `--strict-reconfig-check`.
    pub(crate) strict_reconfig: bool,
    /// How long a proposal may take: 5 s and two election timeouts, as upstream.
    pub(crate) patience: Duration,
}

/// The running member as calls use it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) inner: Arc<Inner>,
}

/// What all calls share.
pub(crate) struct Inner {
    pub(crate) member_id: u64,
    pub(crate) cluster_id: u64,
    pub(crate) ids: RequestIds,
    pub(crate) waits: Waits<Reply>,
    pub(crate) raft: Sender<Input>,
    pub(crate) work: Sender<Work>,
    pub(crate) view: Arc<RaftView>,
    pub(crate) applied: Arc<Applied>,
    pub(crate) store: mvcc::Handle,
    pub(crate) shared: Arc<Shared>,
    pub(crate) cluster: Arc<RwLock<Cluster>>,
    pub(crate) identities: Arc<Identities>,
    pub(crate) watching: Watching,
    pub(crate) limits: Limits,
    pub(crate) begun: Instant,
    /// `--initial-cluster-token`.
    pub(crate) token: String,
    /// `--watch-progress-notify-interval`.
    pub(crate) progress_interval: Duration,
    /// Whether RPCs are served.
    pub(crate) serving: watch::Sender<bool>,
    /// `--bcrypt-cost`.
    pub(crate) bcrypt_cost: u32,
    /// What is counted.
    pub(crate) figures: Figures,
    /// What is told of reads that took long.
    pub(crate) slow: Slow,
    /// The database's file, for sizes and streams.
    pub(crate) database: Arc<Database>,
    /// One defragmentation at a time.
    pub(crate) defragmenting: tokio::sync::Mutex<()>,
    /// `--feature-gates=StopGRPCServiceOnDefrag=true`.
    pub(crate) pauses_to_defragment: bool,
}

/// What a put weighs beside key and value: as upstream.
const PUT_OVERHEAD_BYTES: u64 = 256;

impl Handle {
    /// Time since the member's start.
    pub(crate) fn now(&self) -> Duration {
        self.inner.begun.elapsed()
    }

    /// The header of an answer at `revision`.
    pub(crate) fn header_at(&self, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.inner.cluster_id,
            member_id: self.inner.member_id,
            revision,
            raft_term: self.inner.view.term(),
        }
    }

    /// The header of an answer that says nothing about records.
    pub(crate) fn header(&self) -> ResponseHeader {
        self.header_at(self.inner.store.revision())
    }

    /// Fills the ids into a header of which only the revision is known.
    pub(crate) fn fill(&self, header: &mut Option<ResponseHeader>) {
        let revision = header.as_ref().map_or(0, |known| known.revision);
        *header = Some(self.header_at(revision));
    }

    /// Proposes a request and waits until it is applied here. The request is encoded at once: it
    /// takes two kilobytes, which must not lie in the future of everybody who waits.
    pub(crate) fn propose<'a>(
        &'a self,
        who: &Identity,
        request: InternalRaftRequest,
    ) -> impl Future<Output = Result<(Answer, i64), Status>> + Send + use<'a> {
        let proposal = self.proposal(who, request);
        async move {
            let (id, data) = proposal?;
            self.wait_for(id, Input::Propose(data)).await
        }
    }

    /// A request's id and its bytes in the log.
    fn proposal(
        &self,
        who: &Identity,
        mut request: InternalRaftRequest,
    ) -> Result<(u64, Bytes), Status> {
        let inner = &self.inner;
        if inner.view.committed() > inner.applied.index() + MOST_BEHIND {
            return Err(Refusal::RequestTooManyRequests.into());
        }
        let id = inner.ids.next();
        let (username, auth_revision) = (who.user.clone(), who.revision);
        request.header = Some(RequestHeader { id, username, auth_revision });
        let data = request.encode_to_vec();
        if data.len() > inner.limits.request_bytes {
            return Err(Refusal::RequestTooLarge.into());
        }
        Ok((id, Bytes::from(data)))
    }

    /// Proposes a request that makes the database larger. Over the quota it is proposed all the
    /// same and then answered with NOSPACE: the size of a file is this member's own matter, so the
    /// outcome must not depend on it. The alarm that is raised refuses what follows.
    pub(crate) fn propose_sized<'a>(
        &'a self,
        who: &Identity,
        request: InternalRaftRequest,
        bytes: usize,
    ) -> impl Future<Output = Result<(Answer, i64), Status>> + Send + use<'a> {
        let is_over = self.is_over_quota(bytes);
        let proposing = self.propose(who, request);
        async move {
            let outcome = proposing.await?;
            if !is_over {
                return Ok(outcome);
            }
            // It stays refused even where the alarm could not be raised now: the next put tries
            // again.
            let _ = self.raise_alarm(AlarmType::Nospace).await;
            Err(Refusal::NoSpace.into())
        }
    }

    /// Raises an alarm for this member, by its own right.
    pub(crate) fn raise_alarm(
        &self,
        kind: AlarmType,
    ) -> impl Future<Output = Result<(Answer, i64), Status>> + Send + '_ {
        let alarm = AlarmRequest {
            action: AlarmAction::Activate as i32,
            member_id: self.inner.member_id,
            alarm: kind as i32,
        };
        let root = read(&self.inner.shared.auth).server_identity();
        self.propose(&root, InternalRaftRequest { alarm: Some(alarm), ..Default::default() })
    }

    fn is_over_quota(&self, bytes: usize) -> bool {
        let quota = self.inner.limits.quota_bytes;
        quota > 0
            && self.inner.database.stats().size_bytes + PUT_OVERHEAD_BYTES + bytes as u64 >= quota
    }

    /// Who sent a request with these headers over this connection.
    pub(crate) async fn identity_of(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<Identity, Status> {
        let inner = &self.inner;
        if read(&inner.shared.auth).is_enabled()
            && let Some(index) = metadata::token(headers).and_then(token::index_of)
            && !matches!(timeout(inner.limits.patience, inner.applied.wait(index)).await, Ok(true))
        {
            return Err(Refusal::InvalidAuthToken.into());
        }
        inner.identities.of(headers, peer, &inner.shared, self.now())
    }

    /// Proposes a change of the members and waits until it is applied here.
    pub(crate) async fn change_members(
        &self,
        change: impl FnOnce(u64) -> ConfChange,
    ) -> Result<(Answer, i64), Status> {
        let id = self.inner.ids.next();
        self.wait_for(id, Input::ChangeMembers(change(id))).await
    }

    async fn wait_for(&self, id: u64, input: Input) -> Result<(Answer, i64), Status> {
        let inner = &self.inner;
        let (waiter, _proposing) = (inner.waits.register(id), proposing());
        inner.raft.send(input).map_err(|_| Refusal::Stopped)?;
        match timeout(inner.limits.patience, waiter.answer()).await {
            Ok(Some((answer, revision))) => answer.map(|answer| (answer, revision)),
            Ok(None) => Err(Refusal::Stopped.into()),
            Err(_) => Err(self.timed_out()),
        }
    }

    /// Waits until everything applied so far is in the database's file: as long as the disk takes,
    /// or a defragmentation before it; who asks has a deadline, or goes away.
    pub(crate) async fn flush(&self) -> Result<(), Status> {
        let (done, flushed) = oneshot::channel();
        self.inner.work.send(Work::Flush(done)).map_err(|_| Refusal::Stopped)?;
        flushed.await.map_err(|_| Refusal::Stopped.into())
    }

    /// Writes the database's file anew. It goes on if the caller goes away.
    pub(crate) async fn defragment(&self) -> Result<(), Status> {
        let handle = self.clone();
        let defragmenting = tokio::spawn(async move {
            let inner = &handle.inner;
            let _alone = inner.defragmenting.lock().await;
            let (done, defragmented) = oneshot::channel();
            // Before it begins: who asks for health must not be told too late.
            inner.serving.send_replace(!inner.pauses_to_defragment);
            let asked = inner.work.send(Work::Defragment(done));
            let outcome = defragmented.await;
            inner.serving.send_replace(true);
            asked.map_err(|_| Refusal::Stopped)?;
            outcome.map_err(|_| Refusal::Stopped)?.map_err(Status::unknown)
        });
        defragmenting.await.map_err(|_| Status::from(Refusal::Stopped))?
    }

    fn timed_out(&self) -> Status {
        if self.inner.view.leader() == holdfast_core::raft::NOBODY {
            Refusal::NoLeader.into()
        } else {
            Refusal::Timeout.into()
        }
    }

    /// Waits until this member's state holds everything that was acknowledged before the call.
    pub(crate) async fn catch_up(&self) -> Result<(), Status> {
        let inner = &self.inner;
        let alone = inner.view.read_index_alone();
        if alone.is_some_and(|index| inner.applied.index() >= index) {
            return Ok(());
        }
        let caught_up = async {
            let index = match alone {
                Some(index) => index,
                None => {
                    let (reader, index) = oneshot::channel();
                    inner.raft.send(Input::Read(reader)).map_err(|_| Refusal::Stopped)?;
                    index.await.map_err(|_| Refusal::Stopped)?
                }
            };
            if inner.applied.wait(index).await { Ok(()) } else { Err(Refusal::Stopped) }
        };
        match timeout(inner.limits.patience, caught_up).await {
            Ok(outcome) => outcome.map_err(Status::from),
            Err(_) => Err(self.timed_out()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much the room for a request is: what it must not be in, once for each who waits.
    #[test]
    fn who_waits_does_not_hold_the_request() {
        fn size<F>(_: impl FnOnce(&'static Handle, &Identity, InternalRaftRequest) -> F) -> usize {
            std::mem::size_of::<F>()
        }
        let request = std::mem::size_of::<InternalRaftRequest>();
        let waiting = size(|handle, who, request| handle.propose_sized(who, request, 0));
        assert!(waiting < request, "{waiting} bytes to wait, {request} a request");
    }
}
