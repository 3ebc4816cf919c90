//! A member in this process whose snapshot stream does what a test wants.

use super::sealed::sealed;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use holdfast_api::etcdserverpb::kv_server::{Kv, KvServer};
use holdfast_api::etcdserverpb::maintenance_server::{Maintenance, MaintenanceServer};
use holdfast_api::etcdserverpb::*;
use holdfast_api::holdfast::records_server::{Records, RecordsServer};
use holdfast_api::holdfast::{ChangesRequest, ChangesResponse, Header as Told, Kind, Trailer};
use holdfast_core::changes::{Item, ItemWriter};
use holdfast_core::revision::Revision;
use prost::Message;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

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

/// What it answers to one who asks for changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Telling {
    /// That it does not offer them.
    #[default]
    Unknown,
    /// That too many ask.
    Busy,
    /// Half an answer, and then that it was overtaken.
    Overtaken,
    /// Nothing at all.
    Silence,
    /// Half an answer, and then nothing more.
    Stall,
    /// A little now and then, for ever.
    Trickle,
    /// Half an answer, ended properly as gRPC goes.
    Cut,
    /// Half an answer, and an error.
    Fail,
    /// All of it, with another's digest.
    Flip,
}

/// A fake member.
#[derive(Clone)]
pub struct Fake {
    database: Arc<Vec<u8>>,
    fault: Fault,
    hash: u32,
    telling: Arc<Mutex<Telling>>,
    pub streams: Arc<AtomicUsize>,
    /// How often changes were asked for.
    pub asked: Arc<AtomicUsize>,
}

const HEADER: ResponseHeader =
    ResponseHeader { cluster_id: 7, member_id: 1, revision: 9, raft_term: 2 };

impl Fake {
    /// Serves `database`; gives its URL.
    pub async fn start(database: Vec<u8>, fault: Fault) -> (Fake, String) {
        let (telling, streams, asked) = Default::default();
        let database = Arc::new(database);
        let fake = Fake { database, fault, hash: 0xdead_beef, telling, streams, asked };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tonic::transport::Server::builder()
            .add_service(KvServer::new(fake.clone()))
            .add_service(MaintenanceServer::new(fake.clone()))
            .add_service(RecordsServer::new(fake.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        (fake, url)
    }

    /// What it answers from now on to one who asks for changes.
    pub fn tell(&self, telling: Telling) {
        *self.telling.lock().unwrap() = telling;
    }
}

type Changes = BoxStream<'static, Result<ChangesResponse, Status>>;

/// The messages of an answer as a stream has them.
fn answered(list: Vec<(Kind, Vec<u8>)>) -> Vec<Result<ChangesResponse, Status>> {
    sealed(list).into_iter().map(Ok).collect()
}

/// A payload that says of a revision that it is gone.
fn gone(main: i64) -> (Kind, Vec<u8>) {
    let mut writer = ItemWriter::default();
    writer.push(&Item::Gone(Revision::new(main, 0)));
    (Kind::Records, writer.take())
}

#[tonic::async_trait]
impl Records for Fake {
    type ChangesStream = Changes;

    async fn changes(
        &self,
        _: Request<Streaming<ChangesRequest>>,
    ) -> Result<Response<Changes>, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let telling = *self.telling.lock().unwrap();
        let header = (Kind::Header, Told { cluster_id: 7, ..Told::default() }.encode_to_vec());
        let trailer = Trailer { live_sha256: vec![0; 32], ..Trailer::default() };
        let trailer = (Kind::Trailer, trailer.encode_to_vec());
        let half = stream::iter(answered(vec![header.clone(), gone(2)]));
        let stream: Changes = match telling {
            Telling::Unknown => return Err(Status::unimplemented("no changes are told")),
            Telling::Busy => return Err(Status::resource_exhausted("too many ask")),
            Telling::Silence => std::future::pending().await,
            Telling::Overtaken => {
                half.chain(stream::iter([Err(Status::aborted("overtaken"))])).boxed()
            }
            Telling::Stall => half.chain(stream::pending()).boxed(),
            Telling::Trickle => half
                .chain(stream::unfold(3, |main| async move {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Some((answered(vec![gone(main)]).remove(0), main + 1))
                }))
                .boxed(),
            Telling::Cut => half.boxed(),
            Telling::Fail => half.chain(stream::iter([Err(Status::internal("disk gone"))])).boxed(),
            Telling::Flip => {
                let mut messages = answered(vec![header, gone(2), trailer]);
                messages[1] = answered(vec![gone(3)]).remove(0);
                stream::iter(messages).boxed()
            }
        };
        Ok(Response::new(stream))
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
