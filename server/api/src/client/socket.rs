//! Endpoints that are unix sockets: `unix:///path`, the path taken as it stands.
//!
//! What must hold: such an endpoint never carries TLS; a path that a socket's address cannot hold
//! is refused with the reason, not at the first call.

use http::Uri;
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use tokio::net::UnixStream;
use tower::{Service, service_fn};

/// Longest path in a socket's address on Linux: `sun_path` less its closing zero.
pub const MOST_SOCKET_PATH_BYTES: usize = 107;

/// What requests over a socket name as their server; Go's servers expect it of a local one.
pub(super) const ORIGIN: &str = "http://localhost";

/// The path of an endpoint that is a socket.
pub(super) fn path(endpoint: &str) -> Option<&str> {
    endpoint.strip_prefix("unix://")
}

/// Why a path cannot be a socket's.
pub(super) fn fault(path: &str) -> Option<String> {
    if !path.starts_with('/') || path.contains('\0') {
        return Some("give a socket's whole path: unix:///path".to_owned());
    }
    (path.len() > MOST_SOCKET_PATH_BYTES).then(|| {
        let bytes = path.len();
        format!("the path has {bytes} bytes, a socket's at most {MOST_SOCKET_PATH_BYTES}")
    })
}

/// Connects to a socket, whatever the URL.
pub(super) fn connector(
    path: PathBuf,
) -> impl Service<Uri, Response = TokioIo<UnixStream>, Error = io::Error, Future = Connecting>
+ Send
+ 'static {
    service_fn(move |_: Uri| -> Connecting {
        let path = path.clone();
        Box::pin(async move { UnixStream::connect(path).await.map(TokioIo::new) })
    })
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TokioIo<UnixStream>>> + Send>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_whole_and_fits_into_an_address() {
        assert_eq!(path("unix:///run/etcd.sock"), Some("/run/etcd.sock"));
        assert_eq!(path("http://cp1:2379"), None);
        let longest = format!("/{}", "p".repeat(MOST_SOCKET_PATH_BYTES - 1));
        assert_eq!(fault(&longest), None);
        for (path, reason) in [
            (format!("{longest}p"), "108 bytes"),
            ("run/etcd.sock".to_owned(), "unix:///path"),
            (String::new(), "unix:///path"),
        ] {
            assert!(fault(&path).is_some_and(|said| said.contains(reason)), "{path}");
        }
    }
}
