//! Lease: grant, revoke, keep alive, time to live, list.

use std::time::Duration;

use holdfast_api::etcdserverpb::lease_server::Lease;
use holdfast_api::etcdserverpb::{
    InternalRaftRequest, LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest,
    LeaseKeepAliveResponse, LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest,
    LeaseRevokeResponse, LeaseStatus, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use holdfast_core::auth::{Access, Identity};
use holdfast_core::lease::{KeepAlive, LeaseError, TimeToLive};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::kv::unexpected;
use crate::engine::handle::Handle;
use crate::engine::locks::{read, write};
use crate::engine::machine::{Answer, status};
use crate::grpc::Refusal;

/// What a lease weighs against the quota: as upstream.
const LEASE_BYTES: usize = 64;
/// Pause before a keep-alive is asked again of a lease that is about to be revoked.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// Answers to keep-alives that wait for a slow client.
const ANSWERS_AHEAD: usize = 16;

impl Handle {
    fn check_somebody(&self, who: &Identity) -> Result<(), Status> {
        read(&self.inner.shared.auth).check_somebody(who).map_err(status)
    }

    fn may_touch(&self, who: &Identity, id: i64, access: Access) -> Result<(), Status> {
        let (auth, leases) = (read(&self.inner.shared.auth), read(&self.inner.shared.leases));
        auth.check_lease(who, &leases, id, access).map_err(status)
    }

    /// The TTL that a keep-alive gives, 0 for a lease that is not there.
    async fn keep_alive(&self, id: i64) -> Result<i64, Status> {
        let renew = async {
            loop {
                let renewed = write(&self.inner.shared.leases).keep_alive(id, self.now());
                match renewed {
                    KeepAlive::Renewed { ttl_seconds } => {
                        self.inner.figures.leases_renewed.inc();
                        return Ok(ttl_seconds);
                    }
                    KeepAlive::Unknown => return Ok(0),
                    KeepAlive::NotLeader => return Err(Status::from(Refusal::NoLeader)),
                    KeepAlive::RunOut | KeepAlive::CheckpointFirst => {
                        tokio::time::sleep(ASK_AGAIN).await;
                    }
                }
            }
        };
        let renewed = tokio::time::timeout(self.inner.limits.patience, renew).await;
        renewed.unwrap_or_else(|_| Err(Refusal::Timeout.into()))
    }
}

#[tonic::async_trait]
impl Lease for Handle {
    type LeaseKeepAliveStream = ReceiverStream<Result<LeaseKeepAliveResponse, Status>>;

    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        let who = self.identity(&request).await?;
        self.check_somebody(&who)?;
        let mut grant = request.into_inner();
        if grant.id == 0 {
            grant.id = self.inner.ids.next_lease();
        }
        let request = InternalRaftRequest { lease_grant: Some(grant), ..Default::default() };
        match self.propose_sized(&who, request, LEASE_BYTES).await? {
            (Answer::LeaseGrant(id, ttl), revision) => Ok(Response::new(LeaseGrantResponse {
                header: Some(self.header_at(revision)),
                id,
                ttl,
                error: String::new(),
            })),
            _ => Err(unexpected()),
        }
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let who = self.identity(&request).await?;
        self.check_somebody(&who)?;
        let revoke = request.into_inner();
        let request = InternalRaftRequest { lease_revoke: Some(revoke), ..Default::default() };
        let (_, revision) = self.propose(&who, request).await?;
        Ok(Response::new(LeaseRevokeResponse { header: Some(self.header_at(revision)) }))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let who = self.identity(&request).await?;
        let (answers, received) = tokio::sync::mpsc::channel(ANSWERS_AHEAD);
        let (handle, mut requests) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            loop {
                let request = tokio::select! {
                    request = requests.message() => request,
                    // The stream's time is over; its client may say nothing more for hours.
                    () = answers.closed() => return,
                };
                let id = match request {
                    Ok(Some(LeaseKeepAliveRequest { id })) => id,
                    Ok(None) => return,
                    Err(status) => {
                        let _ = answers.send(Err(status)).await;
                        return;
                    }
                };
                let somebody = handle.check_somebody(&who);
                let permitted = somebody.and_then(|()| handle.may_touch(&who, id, Access::Write));
                let answer = match permitted {
                    Ok(()) => handle.keep_alive(id).await,
                    Err(refusal) => Err(refusal),
                };
                let is_last = answer.is_err();
                let answer = answer.map(|ttl| LeaseKeepAliveResponse {
                    header: Some(handle.header()),
                    id,
                    ttl,
                });
                if answers.send(answer).await.is_err() || is_last {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(received)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let who = self.identity(&request).await?;
        self.check_somebody(&who)?;
        let LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        self.catch_up().await?;
        if keys {
            self.may_touch(&who, id, Access::Read)?;
        }
        let leases = read(&self.inner.shared.leases);
        let (ttl, granted_ttl, keys) = match leases.time_to_live(id, self.now()) {
            TimeToLive::Lease { remaining_seconds, granted_seconds } => {
                let keys: Vec<Vec<u8>> =
                    if keys { leases.keys(id).map(<[u8]>::to_vec).collect() } else { Vec::new() };
                (remaining_seconds, granted_seconds, keys)
            }
            TimeToLive::Unknown => (-1, 0, Vec::new()),
            TimeToLive::NotLeader => return Err(status(LeaseError::NotLeader)),
        };
        drop(leases);
        let header = Some(self.header());
        Ok(Response::new(LeaseTimeToLiveResponse { header, id, ttl, granted_ttl, keys }))
    }

    async fn lease_leases(
        &self,
        request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        let who = self.identity(&request).await?;
        self.check_somebody(&who)?;
        self.catch_up().await?;
        let ids = read(&self.inner.shared.leases).list();
        for id in &ids {
            self.may_touch(&who, *id, Access::Read)?;
        }
        let leases = ids.into_iter().map(|id| LeaseStatus { id }).collect();
        Ok(Response::new(LeaseLeasesResponse { header: Some(self.header()), leases }))
    }
}
