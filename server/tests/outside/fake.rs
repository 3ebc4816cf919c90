//! A member that pretends: fixed answers, and keys whose put changes what it says of itself.

use bytes::Bytes;
use futures::future::BoxFuture;
use holdfast_api::etcdserverpb::kv_server::{Kv, KvServer};
use holdfast_api::etcdserverpb::watch_server::{Watch, WatchServer};
use holdfast_api::etcdserverpb::*;
use holdfast_api::health::health_server::HealthServer;
use holdfast_core::mvcc::{self, MvccError};
use holdfast_server::config::Config;
use holdfast_server::grpc::frequent::{self, Frequent};
use holdfast_server::grpc::{HealthService, Method, Refusal, Services};
use holdfast_server::log::Logger;
use holdfast_server::member::{Member, Position};
use holdfast_server::metrics::Metrics;
use holdfast_server::run::{Boot, Started};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt};
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

/// Starts the member that pretends.
pub struct Fake;

/// What it says of itself.
pub struct FakeMember {
    leader: watch::Sender<u64>,
    serving: watch::Sender<bool>,
    learner: AtomicBool,
    alarms: Mutex<Vec<AlarmMember>>,
    unreadable: AtomicBool,
    max_txn_ops: usize,
}

const POSITION: Position =
    Position { cluster_id: 0xcdf8_1819_4e3a_8c32, member_id: 1, revision: 7, raft_term: 2 };

#[async_trait::async_trait]
impl Member for FakeMember {
    fn position(&self) -> Position {
        POSITION
    }

    fn leader(&self) -> watch::Receiver<u64> {
        self.leader.subscribe()
    }

    fn is_learner(&self) -> bool {
        self.learner.load(Ordering::Relaxed)
    }

    fn cluster_version(&self) -> Option<String> {
        Some("3.6.0".to_owned())
    }

    fn storage_version(&self) -> Option<String> {
        Some("3.6.0".to_owned())
    }

    fn alarms(&self) -> Vec<AlarmMember> {
        self.alarms.lock().unwrap().clone()
    }

    fn members(&self) -> Vec<holdfast_api::etcdserverpb::Member> {
        vec![holdfast_api::etcdserverpb::Member {
            id: 1,
            name: "m".to_owned(),
            peer_urls: vec!["http://127.0.0.1:1".to_owned()],
            client_urls: vec!["http://127.0.0.1:2".to_owned()],
            is_learner: false,
        }]
    }

    fn is_auth_enabled(&self) -> bool {
        false
    }

    fn is_downgrading(&self) -> bool {
        false
    }

    fn serving(&self) -> watch::Receiver<bool> {
        self.serving.subscribe()
    }

    async fn read(&self, serializable: bool) -> Result<(), Refusal> {
        if self.unreadable.load(Ordering::Relaxed) && !serializable {
            return Err(Refusal::Timeout);
        }
        Ok(())
    }
}

impl FakeMember {
    /// A put of `fake/…` changes what the member says.
    fn obey(&self, key: &[u8], value: &[u8]) {
        let on = value == b"1";
        match key {
            b"fake/leader" => self.leader.send_replace(u64::from(on)),
            b"fake/serving" => u64::from(self.serving.send_replace(on)),
            b"fake/learner" => u64::from(self.learner.swap(on, Ordering::Relaxed)),
            b"fake/unreadable" => u64::from(self.unreadable.swap(on, Ordering::Relaxed)),
            b"fake/alarm" => {
                let alarm = std::str::from_utf8(value).unwrap().parse().unwrap();
                *self.alarms.lock().unwrap() = match alarm {
                    0 => Vec::new(),
                    alarm => vec![AlarmMember { member_id: 1, alarm }],
                };
                0
            }
            _ => 0,
        };
    }
}

#[tonic::async_trait]
impl Kv for Served {
    type RangeStreamStream =
        Pin<Box<dyn Stream<Item = Result<RangeStreamResponse, Status>> + Send>>;

    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        mvcc::check_range(request.get_ref()).map_err(refused)?;
        if request.get_ref().key.starts_with(b"slow") {
            tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        }
        Ok(Response::new(RangeResponse { header: Some(POSITION.header()), ..Default::default() }))
    }

    async fn range_stream(
        &self,
        _: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(Status::unimplemented("unknown method RangeStream for service etcdserverpb.KV"))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        mvcc::check_put(request.get_ref()).map_err(refused)?;
        self.0.obey(&request.get_ref().key, &request.get_ref().value);
        Ok(Response::new(PutResponse { header: Some(POSITION.header()), ..Default::default() }))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        mvcc::check_delete_range(request.get_ref()).map_err(refused)?;
        let header = Some(POSITION.header());
        Ok(Response::new(DeleteRangeResponse { header, ..Default::default() }))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        mvcc::check_txn(request.get_ref(), self.0.max_txn_ops).map_err(refused)?;
        Ok(Response::new(TxnResponse { header: Some(POSITION.header()), ..Default::default() }))
    }

    async fn compact(
        &self,
        _: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        Err(Refusal::FutureRev.into())
    }
}

/// The services of the member that pretends.
#[derive(Clone)]
struct Served(Arc<FakeMember>);

#[tonic::async_trait]
impl Watch for Served {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let created = |request: Result<WatchRequest, Status>| {
            request.map(|_| WatchResponse {
                header: Some(POSITION.header()),
                created: true,
                ..Default::default()
            })
        };
        // As upstream's, it goes on when the client has said all.
        let stream = request.into_inner().map(created).chain(tokio_stream::pending());
        Ok(Response::new(Box::pin(stream)))
    }
}

/// Puts take the short way, all else the general one.
impl Frequent for Served {
    fn serves(&self, method: &Method) -> bool {
        method.name == "Put"
    }

    fn answer(&self, _: &Method, request: Request<Bytes>) -> BoxFuture<'_, Result<Bytes, Status>> {
        Box::pin(frequent::answer(request, |request| self.put(request)))
    }
}

#[async_trait::async_trait]
impl Boot for Fake {
    async fn boot(
        self: Box<Self>,
        config: Arc<Config>,
        _: Logger,
        _: Metrics,
    ) -> Result<Started, String> {
        config.check_initial_cluster().map_err(|error| error.to_string())?;
        let member = Arc::new(FakeMember {
            leader: watch::channel(1).0,
            serving: watch::channel(true).0,
            learner: AtomicBool::new(false),
            alarms: Mutex::default(),
            unreadable: AtomicBool::new(false),
            max_txn_ops: config.max_txn_ops,
        });
        let most = config.max_receive_bytes();
        let served = Served(member.clone());
        let mut routes = Routes::builder();
        routes
            .add_service(KvServer::new(served.clone()).max_decoding_message_size(most))
            .add_service(WatchServer::new(served.clone()).max_decoding_message_size(most))
            .add_service(HealthServer::new(HealthService::new(member.serving())));
        Ok(Started {
            member,
            services: Services { routes: routes.routes(), frequent: Some(Arc::new(served)) },
            ready: Box::pin(async { Ok(()) }),
            ended: Box::pin(std::future::pending()),
            stop: Box::new(|| -> BoxFuture<'static, ()> { Box::pin(async {}) }),
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn refused(error: MvccError) -> Status {
    Status::new(tonic::Code::from_i32(error.code() as i32), error.to_string())
}
