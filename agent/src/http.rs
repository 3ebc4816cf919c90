//! `/metrics`, `/healthz` and `/livez` on one plain port.
//!
//! What must hold: whoever reaches the port can cost us little: GET and HEAD only, no body is read,
//! headers within 8 KiB and 5 seconds, one request per connection, at most [`CONNECTIONS`] at once,
//! ten seconds each. Nothing served here is secret: counts, times, reasons.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections served at once; more wait in the kernel's queue.
pub const CONNECTIONS: usize = 16;

const HEADER_BYTES: usize = 8 << 10;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// What the pages show.
pub trait Pages: Send + Sync + 'static {
    /// The metrics in OpenMetrics text; an error becomes a 500.
    fn metrics(&self) -> Result<String, String>;
    /// Whether the cluster is protected, and one line why (not).
    fn health(&self) -> (bool, String);
    /// Whether the daemon's loop still turns.
    fn alive(&self) -> bool;
}

/// The port cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "{address}: cannot listen for /metrics and /healthz: {source}; choose another `listen` address"
)]
pub struct ListenError {
    /// As configured.
    pub address: SocketAddr,
    /// The system's error.
    pub source: std::io::Error,
}

/// Opens the port.
///
/// # Errors
/// The address is taken or not ours.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError { address, source })
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, pages: Arc<dyn Pages>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let pages = pages.clone();
                tokio::spawn(async move {
                    connection(stream, pages).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: give the others time to end.
                tracing::warn!(%error, "a connection to the metrics port failed");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, pages: Arc<dyn Pages>) {
    let service = service_fn(move |request| {
        let answer = answer(&request, &*pages);
        async move { Ok::<_, Infallible>(answer) }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIMEOUT, serving).await {
        tracing::debug!(%error, "a request to the metrics port");
    }
}

fn answer(request: &Request<Incoming>, pages: &dyn Pages) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = page(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "GET and HEAD only\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let judged = |ok: bool| if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match request.uri().path() {
        "/metrics" => match pages.metrics() {
            Ok(text) => page(StatusCode::OK, OPEN_METRICS, text),
            Err(text) => page(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, text),
        },
        "/healthz" => {
            let (ok, reason) = pages.health();
            let word = if ok { "ok" } else { "not ok" };
            page(judged(ok), PLAIN, format!("{word}: {reason}\n"))
        }
        "/livez" => {
            let alive = pages.alive();
            page(judged(alive), PLAIN, if alive { "ok\n" } else { "the loop stands still\n" })
        }
        _ => page(StatusCode::NOT_FOUND, PLAIN, "/metrics, /healthz, /livez\n"),
    }
}

fn page(
    status: StatusCode,
    content_type: &'static str,
    text: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    struct Fixed(bool);

    impl Pages for Fixed {
        fn metrics(&self) -> Result<String, String> {
            if self.0 { Ok("# EOF\n".into()) } else { Err("no metrics".into()) }
        }

        fn health(&self) -> (bool, String) {
            (self.0, "a reason".into())
        }

        fn alive(&self) -> bool {
            self.0
        }
    }

    async fn start(ok: bool) -> SocketAddr {
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Arc::new(Fixed(ok))));
        address
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // A server that has seen enough may close before all was sent.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        ask(address, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await
    }

    #[tokio::test]
    async fn the_pages_and_their_codes() {
        let (good, bad) = (start(true).await, start(false).await);
        let metrics = get(good, "/metrics").await;
        assert!(metrics.starts_with("HTTP/1.1 200") && metrics.ends_with("# EOF\n"), "{metrics}");
        assert!(metrics.contains("openmetrics-text"));
        assert!(get(good, "/healthz").await.ends_with("ok: a reason\n"));
        assert!(get(good, "/livez").await.starts_with("HTTP/1.1 200"));
        assert!(get(bad, "/metrics").await.starts_with("HTTP/1.1 500"));
        let health = get(bad, "/healthz").await;
        assert!(health.starts_with("HTTP/1.1 503") && health.ends_with("not ok: a reason\n"));
        assert!(get(bad, "/livez").await.starts_with("HTTP/1.1 503"));
        assert!(get(good, "/").await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn large_and_strange_requests_are_refused() {
        let address = start(true).await;
        let post = "POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999\r\n\r\n";
        assert!(ask(address, post).await.starts_with("HTTP/1.1 405"));
        let long =
            format!("GET /metrics HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(64 << 10));
        assert!(!ask(address, &long).await.contains(" 200 "));
        assert!(!ask(address, "\0\0garbage\r\n\r\n").await.contains(" 200 "));
        assert!(get(address, "/metrics").await.contains(" 200 "));
    }

    #[tokio::test]
    async fn a_taken_port_says_so() {
        let taken = start(true).await;
        let error = listen(taken).await.unwrap_err().to_string();
        assert!(error.contains(&taken.to_string()) && error.contains("listen"), "{error}");
    }
}
