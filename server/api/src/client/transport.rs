//! The tower service under the stubs: chooses an endpoint, attaches the token, keeps deadlines.
//!
//! What must hold: a write is sent to another endpoint only if no connection stood (so it cannot be
//! done twice), a read also when the connection broke; a request refused for its token is sent once
//! more with a fresh one, and one that a change of users overtook until it is not: etcd has done
//! nothing when it refuses so. Streams in both directions are passed through untouched. The token
//! never appears in an error.

use super::error::chain;
use super::login::{Login, Refusal, Token};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::body::Body;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, ConnectError, Status};
use tower::{Service, ServiceExt};

/// Streams in both directions: they have no end to wait for and cannot be sent twice.
const BIDIRECTIONAL: [&str; 3] = [
    "/etcdserverpb.Watch/Watch",
    "/etcdserverpb.Lease/LeaseKeepAlive",
    "/holdfast.v1.Records/Changes",
];

/// Calls that walk a whole database.
const WALKS: [&str; 3] = [
    "/etcdserverpb.Maintenance/Defragment",
    "/etcdserverpb.Maintenance/Hash",
    "/etcdserverpb.Maintenance/HashKV",
];

/// Calls that change nothing: they may be sent again when nobody knows whether they arrived.
const READS: [&str; 8] = [
    "/etcdserverpb.KV/Range",
    "/etcdserverpb.Cluster/MemberList",
    "/etcdserverpb.Lease/LeaseTimeToLive",
    "/etcdserverpb.Lease/LeaseLeases",
    "/etcdserverpb.Maintenance/Status",
    "/etcdserverpb.Auth/AuthStatus",
    "/etcdserverpb.Auth/UserGet",
    "/etcdserverpb.Auth/RoleGet",
];

/// One endpoint and its (lazy, self-healing) connection.
#[derive(Debug, Clone)]
pub(super) struct Route {
    /// As messages name it.
    pub(super) endpoint: String,
    /// Scheme and authority of its requests.
    pub(super) origin: String,
    pub(super) channel: Channel,
}

/// How long calls may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    pub(super) request: Duration,
    pub(super) walk: Duration,
    /// What reached nobody is tried again until then.
    pub(super) waits_for_connection: bool,
}

/// What the stubs send through: one endpoint, or several of which the first that answers is kept.
#[derive(Debug, Clone)]
pub struct Transport {
    routes: Arc<[Route]>,
    preferred: Arc<AtomicUsize>,
    login: Option<Arc<Login>>,
    deadlines: Deadlines,
    /// Why nobody was reached last.
    unreached: Arc<Mutex<String>>,
}

/// A mark on a status of our own: no server has done anything.
const NOT_DONE: &str = "holdfast-not-done";
/// A request that users who change keep overtaking is sent so often, as Go's client does; the
/// call's deadline holds all the same.
const MOST_TRIES_WHILE_USERS_CHANGE: u32 = 100;
/// Between two tries to reach somebody.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

impl Transport {
    pub(super) fn new(
        routes: Arc<[Route]>,
        login: Option<Arc<Login>>,
        deadlines: Deadlines,
    ) -> Self {
        assert!(!routes.is_empty(), "a transport has at least one endpoint");
        let preferred = Arc::new(AtomicUsize::new(0));
        Transport { routes, preferred, login, deadlines, unreached: Arc::default() }
    }

    /// The endpoints, as one text for messages.
    pub(super) fn names(&self) -> String {
        let names: Vec<&str> = self.routes.iter().map(|route| route.endpoint.as_str()).collect();
        names.join(", ")
    }

    /// Makes sure that there is a token, or that none is needed.
    pub(super) async fn log_in(&self, login: &Login) -> Result<(), Status> {
        login.token(&self.routes).await.map(|_| ())
    }

    fn deadline(&self, path: &str) -> Option<Duration> {
        if BIDIRECTIONAL.contains(&path) {
            None
        } else if WALKS.contains(&path) {
            Some(self.deadlines.walk)
        } else {
            Some(self.deadlines.request)
        }
    }

    async fn run(self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let path = request.uri().path().to_owned();
        let Some(deadline) = self.deadline(&path) else {
            return self.pass_through(request).await;
        };
        let (names, unreached) = (self.names(), Arc::clone(&self.unreached));
        match tokio::time::timeout(deadline, self.run_buffered(request)).await {
            Ok(result) => result,
            Err(_) => {
                let reason = unreached.lock().unwrap_or_else(PoisonError::into_inner);
                let because = if reason.is_empty() { "" } else { ": " };
                let seconds = deadline.as_secs_f32();
                let what = format!("no answer from {names} within {seconds} s{because}{reason}");
                Err(Status::deadline_exceeded(what))
            }
        }
    }

    /// A stream: to the preferred endpoint, with the present token.
    async fn pass_through(self, mut request: Request<Body>) -> Result<Response<Body>, Status> {
        if let Some(login) = &self.login {
            login.token(&self.routes).await?.attach(&mut request);
        }
        let route = &self.routes[self.preferred.load(Ordering::Relaxed) % self.routes.len()];
        send(route, request).await.map_err(|failure| failure.status)
    }

    async fn run_buffered(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let (head, body) = request.into_parts();
        let bytes = body.collect().await?.to_bytes();
        let copy = || {
            let mut copy = Request::new(Body::new(Full::new(bytes.clone())));
            *copy.method_mut() = head.method.clone();
            *copy.uri_mut() = head.uri.clone();
            *copy.version_mut() = head.version;
            *copy.headers_mut() = head.headers.clone();
            copy
        };
        loop {
            let answer = self.attempt(&copy).await;
            let Err(status) = &answer else { return answer };
            let again =
                self.deadlines.waits_for_connection && status.metadata().contains_key(NOT_DONE);
            if !again {
                return answer;
            }
            self.note_unreached(status);
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    fn note_unreached(&self, status: &Status) {
        let mut reason = self.unreached.lock().unwrap_or_else(PoisonError::into_inner);
        status.message().clone_into(&mut reason);
    }

    /// One try, and more where it is refused for what a fresh token, or asking again, mends.
    async fn attempt(
        &self,
        copy: &(impl Fn() -> Request<Body> + Sync),
    ) -> Result<Response<Body>, Status> {
        let mut token = self.token().await?;
        let mut tries = 0;
        loop {
            let with_token = || {
                let mut request = copy();
                token.iter().for_each(|token| token.attach(&mut request));
                request
            };
            let answer = self.first_that_connects(with_token).await?;
            let (refusal, answer) = Refusal::look(answer).await;
            tries += 1;
            let Some(refusal) = refusal else { return Ok(answer) };
            let most = match (refusal, &self.login) {
                // Another token is not to be had.
                (Refusal::Token, None) => 1,
                (Refusal::Token, Some(_)) => 2,
                (Refusal::UsersChanged, _) => MOST_TRIES_WHILE_USERS_CHANGE,
            };
            if tries >= most {
                return Ok(answer);
            }
            if let (Some(login), Some(refused)) = (&self.login, &token) {
                token = Some(login.renew(&self.routes, refused).await?);
            }
        }
    }

    /// The present token, where there is a login.
    async fn token(&self) -> Result<Option<Token>, Status> {
        let not_done = |status: Status| match status.code() {
            Code::Unavailable => not_done(status),
            _ => status,
        };
        match &self.login {
            None => Ok(None),
            Some(login) => login.token(&self.routes).await.map(Some).map_err(not_done),
        }
    }

    /// Sends to the preferred endpoint, and on if it cannot be reached, or breaks off a read.
    async fn first_that_connects(
        &self,
        request: impl Fn() -> Request<Body>,
    ) -> Result<Response<Body>, Status> {
        let start = self.preferred.load(Ordering::Relaxed);
        let mut reasons = Vec::new();
        for step in 0..self.routes.len() {
            let at = (start + step) % self.routes.len();
            let request = request();
            let is_read = READS.contains(&request.uri().path());
            match send(&self.routes[at], request).await {
                Ok(answer) => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(failure) if failure.not_sent || is_read => {
                    reasons.push(failure.status.message().to_owned());
                }
                Err(failure) => return Err(failure.status),
            }
        }
        Err(not_done(Status::unavailable(reasons.join("; "))))
    }
}

/// Marks a status: what was asked may be asked again.
fn not_done(mut status: Status) -> Status {
    status.metadata_mut().insert(NOT_DONE, MetadataValue::from_static("1"));
    status
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().run(request))
    }
}

/// A request that brought no answer.
pub(super) struct Failure {
    /// No connection stood: the server has not seen the request.
    pub(super) not_sent: bool,
    pub(super) status: Status,
}

/// Sends one request to one endpoint.
pub(super) async fn send(
    route: &Route,
    mut request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    retarget(&mut request, &route.origin);
    let answer = match route.channel.clone().ready_oneshot().await {
        Ok(mut channel) => channel.call(request).await,
        Err(error) => Err(error),
    };
    answer.map_err(|error| Failure {
        not_sent: is_connect(&error),
        status: Status::new(Code::Unavailable, format!("{}: {}", route.endpoint, chain(&error))),
    })
}

/// The stubs fill in a placeholder authority; the channel puts its own in, but only scheme and
/// authority.
fn retarget(request: &mut Request<Body>, origin: &str) {
    let path = request.uri().path();
    if let Ok(uri) = format!("{origin}{path}").parse::<Uri>() {
        *request.uri_mut() = uri;
    }
}

fn is_connect(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
