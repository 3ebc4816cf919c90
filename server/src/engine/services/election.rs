//! Election: the oldest key below a name leads, and its value is what the leader announces.

use holdfast_api::etcdserverpb::request_op::Request as Step;
use holdfast_api::etcdserverpb::{PutRequest, ResponseHeader, TxnRequest};
use holdfast_api::txn::{created_at, step};
use holdfast_api::v3electionpb::election_server::Election;
use holdfast_api::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest,
    ProclaimResponse, ResignRequest, ResignResponse,
};
use holdfast_core::watch::WatchRange;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::contest::{Caller, below, delete_if, oldest};
use crate::engine::handle::Handle;
use crate::grpc::Refusal;

/// Announcements that wait for a slow observer.
const AHEAD: usize = 4;

type Observed = mpsc::Sender<Result<LeaderResponse, Status>>;

fn refused(text: &str) -> Status {
    Refusal::Other(text.to_owned()).into()
}

fn named(leader: Option<LeaderKey>) -> Result<LeaderKey, Status> {
    leader.ok_or_else(|| refused("\"leader\" field must be provided"))
}

impl Caller {
    async fn proclaim(&self, leader: LeaderKey, value: Vec<u8>) -> Result<Header, Status> {
        let LeaderKey { key, rev, lease, .. } = leader;
        let compare = vec![created_at(&key, rev)];
        let put = PutRequest { key, value, lease, ..PutRequest::default() };
        let success = vec![step(Step::RequestPut(put))];
        let response = self.txn(TxnRequest { compare, success, failure: Vec::new() }).await?;
        if response.succeeded { Ok(response.header) } else { Err(refused("election: not leader")) }
    }

    /// Tells each leader and what it announces, until the observer goes or the member ends.
    async fn observe(self, name: Vec<u8>, observed: Observed) -> Result<(), Status> {
        loop {
            let response = self.range(oldest(&name)).await?;
            let mut from = response.header.as_ref().map_or(0, |header| header.revision);
            let leader = response.kvs.into_iter().next();
            let key = match &leader {
                Some(record) => record.key.to_vec(),
                None => {
                    let (key, end) = below(&name);
                    let range = WatchRange::of_request(&key, &end).map_err(unexpected)?;
                    self.follow(range, from, false).next().await?;
                    continue;
                }
            };
            let first = LeaderResponse { header: response.header, kv: leader };
            if observed.send(Ok(first)).await.is_err() {
                return Ok(());
            }
            from += 1;
            let range = WatchRange::of_request(&key, &[]).map_err(unexpected)?;
            let following = self.follow(range, from, false);
            'reign: loop {
                let (revision, events) = tokio::select! {
                    next = following.next() => next?,
                    () = observed.closed() => return Ok(()),
                };
                if events.is_empty() {
                    break;
                }
                for event in events {
                    if event.is_delete() {
                        break 'reign;
                    }
                    let header = Some(self.handle.header_at(revision));
                    let told = LeaderResponse { header, kv: event.kv };
                    if observed.send(Ok(told)).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

type Header = Option<ResponseHeader>;

fn unexpected(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

#[tonic::async_trait]
impl Election for Handle {
    type ObserveStream = ReceiverStream<Result<LeaderResponse, Status>>;

    async fn campaign(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        let (caller, CampaignRequest { name, lease, value }) = Caller::of(self, request);
        let lease = caller.lease(lease).await?;
        let claim = caller.claim(&name, lease, value.clone()).await?;
        let (key, rev) = (claim.key.clone(), claim.revision);
        let leader = LeaderKey { name: name.clone(), key, rev, lease };
        if claim.found.as_ref().is_some_and(|record| record.value != value) {
            caller.proclaim(leader.clone(), value).await?;
        }
        caller.wait_for_turn(&name, rev).await?;
        let header = claim.header;
        claim.keep();
        Ok(Response::new(CampaignResponse { header, leader: Some(leader) }))
    }

    async fn proclaim(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        let (caller, ProclaimRequest { leader, value }) = Caller::of(self, request);
        let header = caller.proclaim(named(leader)?, value).await?;
        Ok(Response::new(ProclaimResponse { header }))
    }

    async fn leader(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<LeaderResponse>, Status> {
        let (caller, LeaderRequest { name }) = Caller::of(self, request);
        let response = caller.range(oldest(&name)).await?;
        match response.kvs.into_iter().next() {
            None => Err(refused("election: no leader")),
            kv => Ok(Response::new(LeaderResponse { header: response.header, kv })),
        }
    }

    async fn observe(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let (caller, LeaderRequest { name }) = Caller::of(self, request);
        let (observed, stream) = mpsc::channel(AHEAD);
        tokio::spawn(async move {
            let failed = observed.clone();
            tokio::select! {
                outcome = caller.observe(name, observed) => {
                    if let Err(status) = outcome {
                        let _ = failed.send(Err(status)).await;
                    }
                }
                () = failed.closed() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn resign(
        &self,
        request: Request<ResignRequest>,
    ) -> Result<Response<ResignResponse>, Status> {
        let (caller, ResignRequest { leader }) = Caller::of(self, request);
        let LeaderKey { key, rev, .. } = named(leader)?;
        let header = caller.txn(delete_if(&key, rev)).await?.header;
        Ok(Response::new(ResignResponse { header }))
    }
}
