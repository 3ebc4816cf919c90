//! What every RPC passes before its service: is the method known, may a learner serve it, is there
//! a leader if the client demands one. It counts on the way in and on the way out.
//!
//! Must hold: a call ends when its client waits no longer; every call is counted as ended once, by
//! [`Call`]'s end at the latest; a stream whose client demanded a leader ends with `no leader` when
//! there was none for three elections.

use super::deadline::{self, Deadline};
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
use holdfast_core::duration::GoDuration;
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
        let began = Instant::now();
        let deadline = match Deadline::of(&request, began) {
            Ok(deadline) if deadline.is_over() => return deadline::over().into_http(),
            Ok(deadline) => deadline,
            Err(status) => return deadline::malformed(status),
        };
        let Some(method) = methods().find(request.uri().path()) else {
            return unknown(request.uri().path()).into_http();
        };
        let inner = &self.inner;
        inner.rpcs.started(method);
        let call = Call {
            inner: inner.clone(),
            method,
            began,
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
            return call.carry(&**frequent, request, deadline).await;
        }
        // What goes the general way may work long without waiting: not in the connection's turn.
        tokio::task::yield_now().await;
        let request = call.counted(request);
        let routes = self.services.routes.clone();
        let answer = async {
            match routes.oneshot(request).await {
                Ok(response) => Ok(response),
                Err(never) => match never {},
            }
        };
        match deadline.hold(answer).await {
            Ok(response) => call.answered(response, inner.end_of(method, wants_leader, deadline)),
            Err(status) => call.refused(status),
        }
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

    /// What a stream ends with before its time, if anything may end it.
    fn end_of(&self, method: &Method, wants_leader: bool, deadline: Deadline) -> Option<Ending> {
        if method.shape == Shape::Unary || !(wants_leader || deadline.is_set()) {
            return None;
        }
        let (leader, patience) = (self.member.leader(), self.config.election * ELECTIONS);
        let lost = async move {
            match wants_leader {
                true => leader_lost(leader, patience).await,
                false => std::future::pending().await,
            }
        };
        Some(Box::pin(async move {
            tokio::select! {
                () = lost => Refusal::NoLeader.into(),
                status = deadline.passed() => status,
            }
        }))
    }
}

/// Becomes the status that a stream ends with before its time.
type Ending = Pin<Box<dyn Future<Output = Status> + Send>>;

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

/// Trailers that refuse a message of a stream as too large, in the words of Go's server.
fn worded(frame: Frame<Bytes>, most: usize) -> Frame<Bytes> {
    let refused = frame.trailers_ref().and_then(Status::from_header_map);
    let Some(text) = refused.and_then(|status| too_large(&status, most)) else { return frame };
    let mut trailers = HeaderMap::new();
    match Status::resource_exhausted(text).add_header(&mut trailers) {
        Ok(()) => Frame::trailers(trailers),
        Err(_) => frame,
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
    async fn carry(
        mut self,
        frequent: &dyn Frequent,
        request: Request<Body>,
        deadline: Deadline,
    ) -> Response<Body> {
        let answer = deadline.hold(async {
            let most = self.inner.config.max_receive_bytes;
            let (request, bytes) = frequent::receive(request, most).await?;
            self.inner.rpcs.received(self.method, 1);
            self.inner.received_bytes.add(bytes);
            self.received.store(bytes, Ordering::Relaxed);
            frequent.answer(self.method, request).await
        });
        match answer.await {
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
    fn answered(mut self, mut response: Response<Body>, ending: Option<Ending>) -> Response<Body> {
        if let Some(status) = Status::from_header_map(response.headers()) {
            if let Some(text) = too_large(&status, self.inner.config.max_receive_bytes) {
                return self.refused(Status::resource_exhausted(text));
            }
            self.end(status.code().into());
        }
        let body = std::mem::take(response.body_mut());
        let counting = Counting::default();
        *response.body_mut() = Body::new(Counted { body, counting, call: self, ending });
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
        let begun = jiff::Timestamp::now().saturating_sub(took).unwrap_or_default();
        self.inner.logger.warn(
            messages::REQUEST_STATS,
            &[
                ("start time", json!(begun.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string())),
                ("time spent", json!(GoDuration::from(took).to_string())),
                ("remote", json!(Peer { address: self.remote, ..Peer::default() }.name())),
                ("response type", json!(format!("/{}/{}", self.method.service, self.method.name))),
                ("request count", json!(-1)),
                ("request size", json!(self.received.load(Ordering::Relaxed))),
                ("response count", json!(-1)),
                ("response size", json!(self.sent)),
                ("request content", json!("")),
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

/// A response's body that counts, and that may end before its time.
struct Counted {
    body: Body,
    counting: Counting,
    call: Call,
    ending: Option<Ending>,
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.call.ended && this.ending.is_none() && this.body.is_end_stream() {
            return Poll::Ready(None);
        }
        if let Some(ending) = &mut this.ending
            && let Poll::Ready(status) = ending.as_mut().poll(context)
        {
            this.ending = None;
            this.body = Body::empty();
            this.call.end(status.code().into());
            let mut trailers = HeaderMap::new();
            return Poll::Ready(match status.add_header(&mut trailers) {
                Ok(()) => Some(Ok(Frame::trailers(trailers))),
                Err(status) => Some(Err(status)),
            });
        }
        let most = this.call.inner.config.max_receive_bytes;
        let polled = Pin::new(&mut this.body).poll_frame(context);
        let polled = polled.map_ok(|frame| worded(frame, most));
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            if let Some(data) = frame.data_ref() {
                let messages = this.counting.count(data);
                this.call.inner.rpcs.sent(this.call.method, messages);
                this.call.inner.sent_bytes.add(data.len() as u64);
                this.call.sent += data.len() as u64;
            } else if let Some(trailers) = frame.trailers_ref() {
                this.ending = None;
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
