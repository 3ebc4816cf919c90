//! The login: turns a user and password into the token that calls carry, once for all that wait.
//!
//! etcd's simple tokens are known to all members but live in each one's memory only: they die with
//! a member's restart and after five idle minutes. So a refusal is ordinary and answered by a new
//! login. A cluster whose authentication is off gives no token, and calls go without one.

use super::config::Credentials;
use super::transport::{Route, send};
use crate::etcdserverpb::AuthenticateRequest;
use crate::etcdserverpb::auth_client::AuthClient;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Mutex;
use tonic::body::Body;
use tonic::codegen::tokio_stream::{self, StreamExt};
use tonic::{Code, Status};
use tower::Service;

/// How long one login may take: bcrypt on a busy member.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A user's present token.
pub(super) struct Login {
    credentials: Credentials,
    /// The lock is held during a login, so that all that need a token wait for the same one.
    state: Mutex<Option<Token>>,
}

/// A token, or the knowledge that none is needed.
#[derive(Clone)]
pub(super) struct Token {
    generation: u64,
    header: Option<HeaderValue>,
}

impl Token {
    /// Puts it into the metadata key `token`.
    pub(super) fn attach(&self, request: &mut Request<Body>) {
        if let Some(header) = &self.header {
            request.headers_mut().insert("token", header.clone());
        }
    }
}

impl Login {
    pub(super) fn new(credentials: Credentials) -> Self {
        Login { credentials, state: Mutex::new(None) }
    }

    /// The user's name.
    pub(super) fn user(&self) -> &str {
        &self.credentials.user
    }

    /// The present token; logs in if there is none yet.
    pub(super) async fn token(&self, routes: &[Route]) -> Result<Token, Status> {
        let mut state = self.state.lock().await;
        match &*state {
            Some(token) => Ok(token.clone()),
            None => self.log_in(routes, 1, &mut state).await,
        }
    }

    /// A token newer than the refused one; somebody else may have got it already.
    pub(super) async fn renew(&self, routes: &[Route], refused: &Token) -> Result<Token, Status> {
        let mut state = self.state.lock().await;
        match &*state {
            Some(token) if token.generation > refused.generation => Ok(token.clone()),
            _ => self.log_in(routes, refused.generation + 1, &mut state).await,
        }
    }

    async fn log_in(
        &self,
        routes: &[Route],
        generation: u64,
        state: &mut Option<Token>,
    ) -> Result<Token, Status> {
        let mut last = Status::unavailable("no endpoint");
        for route in routes {
            let request = AuthenticateRequest {
                name: self.credentials.user.clone(),
                password: self.credentials.password.to_string(),
            };
            let mut client = AuthClient::new(Direct(Arc::new(route.clone())));
            let call = tokio::time::timeout(LOGIN_TIMEOUT, client.authenticate(request));
            let answer = call.await.unwrap_or_else(|_| {
                Err(Status::unavailable(format!("{}: login takes too long", route.endpoint)))
            });
            let header = match answer {
                Ok(answer) => {
                    let token = answer.into_inner().token;
                    let mut header = HeaderValue::try_from(token)
                        .map_err(|_| Status::internal("the token is not a header value"))?;
                    header.set_sensitive(true);
                    Some(header)
                }
                Err(status) if is_off(&status) => None,
                Err(status) if status.code() == Code::Unavailable => {
                    last = status;
                    continue;
                }
                Err(status) => {
                    return Err(Status::new(
                        status.code(),
                        format!("login at {}: {}", route.endpoint, status.message()),
                    ));
                }
            };
            return Ok(state.insert(Token { generation, header }).clone());
        }
        Err(last)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.credentials.user).finish_non_exhaustive()
    }
}

fn is_off(status: &Status) -> bool {
    status.code() == Code::FailedPrecondition && status.message().contains("not enabled")
}

/// How an answer refuses a request for who makes it. Nothing was done then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The token is not good any more, or there is none.
    Token,
    /// Users or roles changed between the request's arrival and its turn.
    UsersChanged,
}

impl Refusal {
    /// An answer, and how it refuses, if it does. etcd refuses before it sends anything: the status
    /// stands in the headers or, where Go's HTTP server carries its gRPC (as with TLS), in the
    /// trailers right behind them.
    pub(super) async fn look(answer: Response<Body>) -> (Option<Refusal>, Response<Body>) {
        if answer.headers().contains_key(Status::GRPC_STATUS) {
            return (Refusal::of(answer.headers()), answer);
        }
        let (head, mut body) = answer.into_parts();
        let first = body.frame().await;
        let trailers = first.as_ref().and_then(|first| first.as_ref().ok()?.trailers_ref());
        let refusal = trailers.and_then(Refusal::of);
        let whole = tokio_stream::iter(first).chain(BodyStream::new(body));
        (refusal, Response::from_parts(head, Body::new(StreamBody::new(whole))))
    }

    fn of(headers: &HeaderMap) -> Option<Refusal> {
        let status = Status::from_header_map(headers)?;
        let text = status.message();
        if text.contains("revision of auth store is old") {
            Some(Refusal::UsersChanged)
        } else {
            let is_token =
                status.code() == Code::Unauthenticated || text.contains("user name is empty");
            is_token.then_some(Refusal::Token)
        }
    }
}

/// One endpoint without any login.
#[derive(Clone)]
struct Direct(Arc<Route>);

impl Service<Request<Body>> for Direct {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let route = Arc::clone(&self.0);
        Box::pin(async move { send(&route, request).await.map_err(|failure| failure.status) })
    }
}
