//! KV: range, put, delete, transaction, compaction.
//!
//! What a request lacks is told before it is asked who makes it, as upstream does.

use holdfast_api::etcdserverpb::kv_server::Kv;
use holdfast_api::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse,
    InternalRaftRequest, PutRequest, PutResponse, RangeRequest, RangeResponse, RangeStreamResponse,
    TxnRequest, TxnResponse,
};
use holdfast_core::auth::{Access, Identity};
use holdfast_core::mvcc::{self, RangeStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::engine::handle::Handle;
use crate::engine::locks::read;
use crate::engine::machine::{Answer, status};
use crate::grpc::Refusal;

/// What a piece of a streamed range holds about; one record may be larger.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces that wait for a slow client.
const PIECES_AHEAD: usize = 2;

impl Handle {
    fn may_read(&self, who: &Identity, request: &RangeRequest) -> Result<(), Status> {
        let auth = read(&self.inner.shared.auth);
        auth.check_range(who, &request.key, &request.range_end, Access::Read).map_err(status)
    }

    fn still_may(&self, who: &Identity) -> Result<(), Status> {
        read(&self.inner.shared.auth).check_fresh(who).map_err(status)
    }

    async fn read_range(&self, request: &Request<RangeRequest>) -> Result<RangeResponse, Status> {
        let who = self.identity(request).await?;
        let request = request.get_ref();
        if !request.serializable {
            self.catch_up().await?;
        }
        if !request.range_end.is_empty() {
            // Many keys take their time, which is not the connection's.
            tokio::task::yield_now().await;
        }
        self.may_read(&who, request)?;
        let began = self.now();
        let found = self.inner.store.range(request);
        self.inner.figures.ranged(self.now().saturating_sub(began), found.is_ok());
        let response = found.map_err(status)?;
        self.still_may(&who)?;
        Ok(response)
    }

    async fn read_txn(&self, request: &Request<TxnRequest>) -> Result<TxnResponse, Status> {
        let who = self.identity(request).await?;
        let request = request.get_ref();
        if !mvcc::is_serializable(request) {
            self.catch_up().await?;
        }
        tokio::task::yield_now().await;
        self.may_txn(&who, request)?;
        let response = self.inner.store.read_txn(request).map_err(status)?;
        self.inner.figures.answered(&response);
        self.still_may(&who)?;
        Ok(response)
    }

    fn may_txn(&self, who: &Identity, request: &TxnRequest) -> Result<(), Status> {
        let (auth, leases) = (read(&self.inner.shared.auth), read(&self.inner.shared.leases));
        auth.check_txn(who, request, &leases).map_err(status)
    }
}

#[tonic::async_trait]
impl Kv for Handle {
    type RangeStreamStream = ReceiverStream<Result<RangeStreamResponse, Status>>;

    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        mvcc::check_range(request.get_ref()).map_err(status)?;
        let reading = self.inner.slow.reading(request.get_ref());
        let found = self.read_range(&request).await;
        reading.done(&found);
        let mut response = found?;
        self.fill(&mut response.header);
        Ok(Response::new(response))
    }

    async fn range_stream(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        mvcc::check_range(request.get_ref()).map_err(status)?;
        mvcc::check_range_stream(request.get_ref()).map_err(status)?;
        let who = self.identity(&request).await?;
        let request = request.into_inner();
        if !request.serializable {
            self.catch_up().await?;
        }
        self.may_read(&who, &request)?;
        let (pieces, stream) = tokio::sync::mpsc::channel(PIECES_AHEAD);
        let handle = self.clone();
        tokio::task::spawn_blocking(move || {
            let reader = handle.inner.store.reader();
            for piece in RangeStream::new(reader, request, PIECE_BYTES) {
                let piece = piece.map_err(status).map(|mut response| {
                    if response.header.is_some() {
                        handle.fill(&mut response.header);
                    }
                    RangeStreamResponse { range_response: Some(response) }
                });
                let is_last = piece.is_err();
                if pieces.blocking_send(piece).is_err() || is_last {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        mvcc::check_put(request.get_ref()).map_err(status)?;
        let who = self.identity(&request).await?;
        let request = request.into_inner();
        let size = request.key.len() + request.value.len();
        let request = InternalRaftRequest { put: Some(request), ..Default::default() };
        let (Answer::Put(mut response), _) = self.propose_sized(&who, request, size).await? else {
            return Err(unexpected());
        };
        self.fill(&mut response.header);
        Ok(Response::new(response))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        mvcc::check_delete_range(request.get_ref()).map_err(status)?;
        let who = self.identity(&request).await?;
        let request = request.into_inner();
        let request = InternalRaftRequest { delete_range: Some(request), ..Default::default() };
        let (Answer::DeleteRange(mut response), _) = self.propose(&who, request).await? else {
            return Err(unexpected());
        };
        self.fill(&mut response.header);
        Ok(Response::new(response))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        mvcc::check_txn(request.get_ref(), self.inner.limits.txn_ops).map_err(status)?;
        let mut response = if mvcc::is_read_only(request.get_ref()) {
            let reading = self.inner.slow.reading(request.get_ref());
            let found = self.read_txn(&request).await;
            reading.done(&found);
            found?
        } else {
            let who = self.identity(&request).await?;
            let request = request.into_inner();
            let size = put_bytes(&request);
            let request = InternalRaftRequest { txn: Some(request), ..Default::default() };
            match self.propose_sized(&who, request, size).await? {
                (Answer::Txn(response), _) => response,
                _ => return Err(unexpected()),
            }
        };
        self.fill(&mut response.header);
        Ok(Response::new(response))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let who = self.identity(&request).await?;
        let request = request.into_inner();
        let request = InternalRaftRequest { compaction: Some(request), ..Default::default() };
        let (_, revision) = self.propose(&who, request).await?;
        Ok(Response::new(CompactionResponse { header: Some(self.header_at(revision)) }))
    }
}

/// Bytes of keys and values that the larger branch puts.
fn put_bytes(request: &TxnRequest) -> usize {
    use holdfast_api::etcdserverpb::RequestOp;
    use holdfast_api::etcdserverpb::request_op::Request as Step;
    let of = |steps: &[RequestOp]| -> usize {
        steps
            .iter()
            .map(|step| match &step.request {
                Some(Step::RequestPut(put)) => put.key.len() + put.value.len(),
                Some(Step::RequestTxn(nested)) => put_bytes(nested),
                _ => 0,
            })
            .sum()
    };
    of(&request.success).max(of(&request.failure))
}

/// The apply thread answered with something else than was asked for.
pub(super) fn unexpected() -> Status {
    Refusal::Other("the answer is not of the request's kind; this is a defect".to_owned()).into()
}
