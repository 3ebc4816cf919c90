//! A member in this process whose snapshot stream does what a test wants.

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use holdfast_api::etcdserverpb::kv_server::{Kv, KvServer};
use holdfast_api::etcdserverpb::maintenance_server::{Maintenance, MaintenanceServer};
use holdfast_api::etcdserverpb::*;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// How the stream goes wrong, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Not at all.
    None,
    /// It ends half way, properly as gRPC goes.
    Cut,
    /// It ends half way with an error.
    Fail,
    /// It falls silent half way.
    Stall,
    /// Empty messages for ever, half way.
    Empty,
    /// A byte is changed.
    Flip,
    /// The digest is left out.
    NoDigest,
}

/// A fake member.
#[derive(Clone)]
pub struct Fake {
    database: Arc<Vec<u8>>,
    fault: Fault,
    hash: u32,
    pub streams: Arc<AtomicUsize>,
}

const HEADER: ResponseHeader =
    ResponseHeader { cluster_id: 7, member_id: 1, revision: 9, raft_term: 2 };

impl Fake {
    /// Serves `database`; gives its URL.
    pub async fn start(database: Vec<u8>, fault: Fault) -> (Fake, String) {
        let streams = Arc::default();
        let fake = Fake { database: Arc::new(database), fault, hash: 0xdead_beef, streams };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tonic::transport::Server::builder()
            .add_service(KvServer::new(fake.clone()))
            .add_service(MaintenanceServer::new(fake.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        (fake, url)
    }
}

fn blob(bytes: &[u8]) -> Result<SnapshotResponse, Status> {
    Ok(SnapshotResponse { blob: Bytes::copy_from_slice(bytes), ..SnapshotResponse::default() })
}

type Stream = BoxStream<'static, Result<SnapshotResponse, Status>>;

#[tonic::async_trait]
impl Maintenance for Fake {
    type SnapshotStream = Stream;

    async fn snapshot(&self, _: Request<SnapshotRequest>) -> Result<Response<Stream>, Status> {
        self.streams.fetch_add(1, Ordering::SeqCst);
        let mut bytes = (*self.database).clone();
        let digest = Sha256::digest(&bytes);
        if self.fault == Fault::Flip {
            bytes[5_000] ^= 1;
        }
        let half = bytes.len() / 2 / 4096 * 4096;
        let sent = if matches!(self.fault, Fault::None | Fault::Flip | Fault::NoDigest) {
            bytes.len()
        } else {
            half
        };
        let mut messages: Vec<_> = bytes[..sent].chunks(32 << 10).map(blob).collect();
        if matches!(self.fault, Fault::None | Fault::Flip) {
            messages.push(blob(&digest));
        }
        let head = stream::iter(messages);
        let stream: Stream = match self.fault {
            Fault::Fail => head.chain(stream::iter([Err(Status::internal("disk gone"))])).boxed(),
            Fault::Stall => head.chain(stream::pending()).boxed(),
            Fault::Empty => head
                .chain(stream::unfold((), |()| async {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    Some((blob(b""), ()))
                }))
                .boxed(),
            _ => head.boxed(),
        };
        Ok(Response::new(stream))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        Ok(Response::new(StatusResponse {
            header: Some(HEADER),
            version: "3.6.16".to_owned(),
            leader: 1,
            raft_index: 77,
            raft_applied_index: 77,
            raft_term: 2,
            ..StatusResponse::default()
        }))
    }

    async fn alarm(&self, _: Request<AlarmRequest>) -> Result<Response<AlarmResponse>, Status> {
        Ok(Response::new(AlarmResponse::default()))
    }

    async fn hash_kv(
        &self,
        request: Request<HashKvRequest>,
    ) -> Result<Response<HashKvResponse>, Status> {
        let hash_revision = request.into_inner().revision;
        let compact_revision = hash_revision;
        let (header, hash) = (Some(HEADER), self.hash);
        Ok(Response::new(HashKvResponse { header, hash, compact_revision, hash_revision }))
    }

    async fn defragment(
        &self,
        _: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        panic!("the agent only reads")
    }

    async fn hash(&self, _: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        Err(Status::unimplemented("hash"))
    }

    async fn move_leader(
        &self,
        _: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        panic!("the agent only reads")
    }

    async fn downgrade(
        &self,
        _: Request<DowngradeRequest>,
    ) -> Result<Response<DowngradeResponse>, Status> {
        panic!("the agent only reads")
    }
}

#[tonic::async_trait]
impl Kv for Fake {
    type RangeStreamStream = BoxStream<'static, Result<RangeStreamResponse, Status>>;

    async fn range_stream(
        &self,
        _: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(Status::unimplemented("range_stream"))
    }

    async fn range(&self, _: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        Ok(Response::new(RangeResponse { header: Some(HEADER), ..RangeResponse::default() }))
    }

    async fn put(&self, _: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        panic!("the agent only reads")
    }

    async fn delete_range(
        &self,
        _: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        panic!("the agent only reads")
    }

    async fn txn(&self, _: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        panic!("the agent only reads")
    }

    async fn compact(
        &self,
        _: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        panic!("the agent only reads")
    }
}
