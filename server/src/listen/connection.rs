//! One connection: HTTP/1.1 or 2, whichever the other side speaks, to a function that answers.

use super::eager::Eager;
use super::outbox::gathered;
use super::pings::Pinged;
use crate::config::{Config, KeepAlive};
use crate::grpc::metadata::Peer;
use futures::future::BoxFuture;
use http::header::{CONTENT_TYPE, DATE};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tonic::body::Body;

/// Time for a request's head, as upstream's.
const HEAD: Duration = Duration::from_secs(300);
/// Most bytes of a request's headers.
const MOST_HEADERS: u32 = 1024 * 1024;
/// Bytes that a stream and a connection may have under way; grpc-go's own grow to such sizes.
const WINDOW: u32 = 1024 * 1024;

/// What answers requests.
pub type Answer = Arc<dyn Fn(Request<Body>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// An answer of a function.
pub fn answering<F, R>(function: F) -> Answer
where
    F: Fn(Request<Body>) -> R + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    Arc::new(move |request| Box::pin(function(request)))
}

/// gRPC for what is gRPC, pages for all else.
pub(super) fn either(grpc: Answer, pages: Answer) -> Answer {
    let pages = dated(pages);
    Arc::new(move |request| if is_grpc(&request) { grpc(request) } else { pages(request) })
}

/// Pages say when they were made over HTTP/2 too; over HTTP/1.1 hyper says it.
pub(super) fn dated(pages: Answer) -> Answer {
    Arc::new(move |request| {
        let is_http2 = request.version() == Version::HTTP_2;
        let answered = pages(request);
        Box::pin(async move {
            let mut response = answered.await;
            if is_http2 {
                let now = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
                let now = HeaderValue::try_from(now);
                response.headers_mut().extend(now.ok().map(|now| (DATE, now)));
            }
            response
        })
    })
}

/// gRPC, and nothing else.
pub(super) fn only(grpc: Answer) -> Answer {
    let refuse = |_| async {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        response
    };
    either(grpc, answering(refuse))
}

fn is_grpc(request: &Request<Body>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    request.version() == Version::HTTP_2
        && kind.is_some_and(|kind| kind.starts_with("application/grpc"))
}

/// How connections are served.
pub(super) struct Transport {
    builder: Builder<Eager>,
    keep_alive: KeepAlive,
}

impl Transport {
    pub(super) fn new(config: &Config) -> Transport {
        let mut builder = Builder::new(Eager);
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
        let KeepAlive { interval, timeout, .. } = config.keep_alive;
        let pings = (!interval.is_zero() && !timeout.is_zero()).then_some(interval);
        builder
            .http2()
            // gRPC has none, and HTTP/2's compression would have a new one to keep each second.
            .auto_date_header(false)
            .timer(TokioTimer::new())
            .max_concurrent_streams(config.max_concurrent_streams)
            .max_header_list_size(MOST_HEADERS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .keep_alive_interval(pings)
            .keep_alive_timeout(timeout);
        Transport { builder, keep_alive: config.keep_alive }
    }

    /// Serves a connection to its end. How it ends is the other side's affair.
    /// When `stop` says so, calls under way may end and no new one begins.
    pub(super) async fn serve<S>(
        &self,
        stream: S,
        peer: Peer,
        answer: &Answer,
        mut stop: watch::Receiver<bool>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let answer = answer.clone();
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer.clone());
            let answered = answer(request);
            async move { Ok::<_, Infallible>(answered.await) }
        });
        let (stream, outlet) = gathered(stream);
        let stream = Pinged::new(stream, self.keep_alive.min_time);
        let connection = self.builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let stopped = tokio::select! {
            () = poll_fn(|context| outlet.drive(connection.as_mut(), context)) => false,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        if stopped {
            connection.as_mut().graceful_shutdown();
            poll_fn(|context| outlet.drive(connection.as_mut(), context)).await;
        }
    }
}
