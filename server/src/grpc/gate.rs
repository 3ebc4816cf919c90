//! What every RPC passes before its service: is the method known, may a learner serve it, is there
//! a leader if the client demands one. It counts on the way in and on the way out.
//!
//! Must hold: every call is counted as ended once, by [`Call`]'s end at the latest; a stream whose
//! client demanded a leader ends with `no leader` when there was none for three elections.

use super::frames::Counting;
use super::frequent::{self, Frequent};
use super::metadata::{self, Peer};
use super::methods::{Method, Shape, methods};
use super::observe::{Demands, RpcMetrics};
use super::refusal::Refusal;
use crate::log::{Logger, messages};
use crate::member::Member;
use crate::metrics::{Counter, Metrics};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use serde_json::json;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::ServiceExt;

/// Elections without a leader after which a stream that demanded one ends.
const ELECTIONS: u32 = 3;
/// What tonic says of a message above the limit.
const TOO_LARGE: &str = "Error, decoded message length too large: found ";
/// What it says of one that is above the limit once it is unpacked.
const TOO_LARGE_UNPACKED: &str = "Error decompressing: size limit, of ";

/// What the gate needs to know.
#[derive(Debug, Clone, Copy)]
pub struct GateConfig {
    /// The election timeout.
    pub election: Duration,
    /// From which duration on a call is logged.
    pub slow: Duration,
    /// The largest message that is received, for the refusal's text.
    pub max_receive_bytes: usize,
}

/// What is behind the gate.
#[derive(Clone)]
pub struct Services {
    /// All services.
    pub routes: Routes,
    /// A shorter way to some of their methods.
    pub frequent: Option<Arc<dyn Frequent>>,
}

/// The way to the services. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<Inner>,
    services: Services,
}

struct Inner {
    member: Arc<dyn Member>,
    config: GateConfig,
    demands: Demands,
    rpcs: RpcMetrics,
    received_bytes: Counter,
    sent_bytes: Counter,
    logger: Logger,
}

impl Gate {
    /// A gate before `services`.
    pub fn new(
        member: Arc<dyn Member>,
        config: GateConfig,
        metrics: &Metrics,
        rpcs: RpcMetrics,
        logger: Logger,
        mut services: Services,
    ) -> Gate {
        let inner = Inner {
            member,
            config,
            demands: Demands::new(metrics),
            rpcs,
            received_bytes: metrics.counter("etcd_network_client_grpc_received_bytes_total"),
            sent_bytes: metrics.counter("etcd_network_client_grpc_sent_bytes_total"),
            logger,
        };
        services.routes = services.routes.prepare();
        Gate { inner: Arc::new(inner), services }
    }

    /// Answers a call.
    pub async fn call(&self, request: Request<Body>) -> Response<Body> {
        let Some(method) = methods().find(request.uri().path()) else {
            return unknown(request.uri().path()).into_http();
        };
        let inner = &self.inner;
        inner.rpcs.started(method);
        let call = Call {
            inner: inner.clone(),
            method,
            began: Instant::now(),
            ended: false,
            remote: request.extensions().get::<Peer>().and_then(|peer| peer.address),
            received: Arc::default(),
            sent: 0,
        };
        let headers = request.headers();
        let wants_leader = metadata::wants_leader(headers);
        if let Err(refusal) = inner.admit(method, headers, wants_leader) {
            return call.refused(refusal.into());
        }
        if let Some(frequent) = &self.services.frequent
            && frequent::is_plain(request.headers())
            && frequent.serves(method)
        {
            return call.carry(&**frequent, request).await;
        }
        // What goes the general way may work long without waiting: not in the connection's turn.
        tokio::task::yield_now().await;
        let request = call.counted(request);
        let answer = self.services.routes.clone().oneshot(request).await;
        let response = match answer {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let lost = (wants_leader && method.shape != Shape::Unary)
            .then(|| leader_lost(inner.member.leader(), inner.config.election * ELECTIONS));
        call.answered(response, lost)
    }
}

impl Inner {
    fn admit(
        &self,
        method: &Method,
        headers: &HeaderMap,
        wants_leader: bool,
    ) -> Result<(), Refusal> {
        if self.member.is_learner() && !serves_as_learner(method) {
            return Err(Refusal::NotSupportedForLearner);
        }
        let version = metadata::api_version(headers)?;
        let kind = if method.shape == Shape::Unary { "unary" } else { "stream" };
        self.demands.count(version, kind);
        if wants_leader && *self.member.leader().borrow() == 0 {
            return Err(Refusal::NoLeader);
        }
        Ok(())
    }
}

/// What a learner serves; of ranges only serializable ones, which the range service checks.
fn serves_as_learner(method: &Method) -> bool {
    matches!(
        (method.service.as_str(), method.name.as_str()),
        ("etcdserverpb.Maintenance", "Status" | "Snapshot") | ("etcdserverpb.KV", "Range")
    )
}

/// Waits until there was no leader for so long.
async fn leader_lost(mut leader: watch::Receiver<u64>, patience: Duration) {
    loop {
        let ended = leader.wait_for(|leader| *leader == 0).await.is_err();
        if ended {
            // The member ends, and so do its streams.
            return std::future::pending().await;
        }
        let back = tokio::time::timeout(patience, leader.wait_for(|leader| *leader != 0));
        let back = back.await.map(|found| found.is_ok());
        match back {
            Err(_) => return,
            Ok(true) => {}
            Ok(false) => return std::future::pending().await,
        }
    }
}

/// As Go's server answers.
fn unknown(path: &str) -> Status {
    let Some((service, name)) = path.trim_start_matches('/').rsplit_once('/') else {
        return Status::unimplemented(format!("malformed method name: {path:?}"));
    };
    if methods().list().iter().any(|method| method.service == service) {
        Status::unimplemented(format!("unknown method {name} for service {service}"))
    } else {
        Status::unimplemented(format!("unknown service {service}"))
    }
}

/// Of a message above the limit, in the words of Go's server.
fn too_large(status: &Status, most: usize) -> Option<String> {
    let said = status.message();
    match status.code() {
        Code::OutOfRange => said.strip_prefix(TOO_LARGE).map(|sizes| {
            let found = sizes.split(' ').next().unwrap_or_default();
            format!("grpc: received message larger than max ({found} vs. {most})")
        }),
        Code::ResourceExhausted => said
            .starts_with(TOO_LARGE_UNPACKED)
            .then(|| format!("grpc: received message after decompression larger than max {most}")),
        _ => None,
    }
}

/// One call, from its begin to its end.
struct Call {
    inner: Arc<Inner>,
    method: &'static Method,
    began: Instant,
    ended: bool,
    remote: Option<SocketAddr>,
    received: Arc<AtomicU64>,
    sent: u64,
}

impl Call {
    /// The request, with what it brings being counted.
    fn counted(&self, request: Request<Body>) -> Request<Body> {
        let (inner, method, bytes) = (self.inner.clone(), self.method, self.received.clone());
        let mut counting = Counting::default();
        request.map(|body| {
            Body::new(body.map_frame(move |frame| {
                if let Some(data) = frame.data_ref() {
                    inner.rpcs.received(method, counting.count(data));
                    inner.received_bytes.add(data.len() as u64);
                    bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
                }
                frame
            }))
        })
    }

    /// The short way for a method that `frequent` serves.
    async fn carry(mut self, frequent: &dyn Frequent, request: Request<Body>) -> Response<Body> {
        let request = frequent::receive(request, self.inner.config.max_receive_bytes).await;
        let (request, bytes) = match request {
            Ok(received) => received,
            Err(status) => return self.refused(status),
        };
        self.inner.rpcs.received(self.method, 1);
        self.inner.received_bytes.add(bytes);
        self.received.store(bytes, Ordering::Relaxed);
        match frequent.answer(self.method, request).await {
            Ok(frame) => frequent::response(frame, move |sent| {
                self.inner.rpcs.sent(self.method, 1);
                self.inner.sent_bytes.add(sent.len() as u64);
                self.sent = sent.len() as u64;
                self.end(Code::Ok.into());
            }),
            Err(status) => self.refused(status),
        }
    }

    fn refused(mut self, status: Status) -> Response<Body> {
        self.end(status.code().into());
        status.into_http()
    }

    /// The response, with what it takes out being counted.
    fn answered<L>(mut self, mut response: Response<Body>, lost: Option<L>) -> Response<Body>
    where
        L: Future<Output = ()> + Send + 'static,
    {
        if let Some(status) = Status::from_header_map(response.headers()) {
            if let Some(text) = too_large(&status, self.inner.config.max_receive_bytes) {
                return self.refused(Status::resource_exhausted(text));
            }
            self.end(status.code().into());
        }
        let body = std::mem::take(response.body_mut());
        let lost = lost.map(|lost| Box::pin(lost) as Pin<Box<dyn Future<Output = ()> + Send>>);
        let counting = Counting::default();
        *response.body_mut() = Body::new(Counted { body, counting, call: self, lost });
        response
    }

    /// The call has ended with that code.
    fn end(&mut self, code: i32) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let took = self.began.elapsed();
        self.inner.rpcs.handled(self.method, code, took.as_secs_f64());
        if self.method.shape == Shape::Unary && took > self.inner.config.slow {
            self.tell_slowness(took);
        }
    }

    fn tell_slowness(&self, took: Duration) {
        let begun = jiff::Zoned::now().saturating_sub(took);
        self.inner.logger.warn(
            messages::REQUEST_STATS,
            &[
                ("start time", json!(begun.strftime("%Y-%m-%dT%H:%M:%S.%6f%z").to_string())),
                ("time spent", json!(format!("{}ms", took.as_millis()))),
                ("remote", json!(Peer { address: self.remote, ..Peer::default() }.name())),
                ("response type", json!(format!("/{}/{}", self.method.service, self.method.name))),
                ("request count", json!(-1)),
                ("request size", json!(self.received.load(Ordering::Relaxed))),
                ("response count", json!(-1)),
                ("response size", json!(self.sent)),
            ],
        );
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // Whoever leaves before the end has cancelled.
        self.end(Code::Cancelled.into());
    }
}

/// A response's body that counts, and that ends when the leader is lost.
struct Counted {
    body: Body,
    counting: Counting,
    call: Call,
    lost: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.call.ended && this.lost.is_none() && this.body.is_end_stream() {
            return Poll::Ready(None);
        }
        if let Some(lost) = &mut this.lost
            && lost.as_mut().poll(context).is_ready()
        {
            this.lost = None;
            this.body = Body::empty();
            let status = Status::from(Refusal::NoLeader);
            this.call.end(status.code().into());
            let mut trailers = HeaderMap::new();
            return Poll::Ready(match status.add_header(&mut trailers) {
                Ok(()) => Some(Ok(Frame::trailers(trailers))),
                Err(status) => Some(Err(status)),
            });
        }
        let polled = Pin::new(&mut this.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            if let Some(data) = frame.data_ref() {
                let messages = this.counting.count(data);
                this.call.inner.rpcs.sent(this.call.method, messages);
                this.call.inner.sent_bytes.add(data.len() as u64);
                this.call.sent += data.len() as u64;
            } else if let Some(trailers) = frame.trailers_ref() {
                this.lost = None;
                let status = Status::from_header_map(trailers);
                this.call.end(status.map_or(Code::Unknown, |status| status.code()).into());
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
