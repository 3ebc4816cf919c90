//! Addresses: TCP and unix sockets.

use crate::config::MemberUrl;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream, lookup_host};

/// Connections that wait to be taken.
const BACKLOG: u32 = 4096;

/// An address cannot be bound, as Go says it.
#[derive(Debug, thiserror::Error)]
#[error("listen {network} {address}: {why}")]
pub struct BindError {
    network: &'static str,
    address: String,
    why: String,
}

/// A bound address.
#[derive(Debug)]
pub(super) enum Bound {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket and its file, which goes with it.
    Unix(UnixListener, PathBuf),
}

/// An accepted connection.
pub(super) enum Accepted {
    /// TCP.
    Tcp(TcpStream, SocketAddr),
    /// A unix socket's.
    Unix(UnixStream),
}

impl Bound {
    /// Binds it.
    pub(super) async fn bind(url: &MemberUrl, reuse_port: bool) -> Result<Bound, BindError> {
        if let Some(path) = url.socket() {
            let failed = |why: std::io::Error| BindError {
                network: "unix",
                address: path.clone(),
                why: words(&why),
            };
            // What an earlier member left behind; it holds its data directory's lock, not this.
            if let Err(error) = std::fs::remove_file(&path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                return Err(failed(error));
            }
            let listener = UnixListener::bind(&path).map_err(failed)?;
            return Ok(Bound::Unix(listener, PathBuf::from(path)));
        }
        let address = url.address();
        let failed = |why: String| BindError { network: "tcp", address: address.clone(), why };
        let resolved = lookup_host(&address).await.map_err(|error| failed(error.to_string()))?;
        let mut all: Vec<SocketAddr> = resolved.collect();
        // As Go: version 4 before 6.
        all.sort_by_key(SocketAddr::is_ipv6);
        let first = all.first().ok_or_else(|| failed("no such host".to_owned()))?;
        let listener = tcp(*first, reuse_port).map_err(|error| failed(words(&error)))?;
        Ok(Bound::Tcp(listener))
    }

    /// Where it is, for a log line.
    pub(super) fn name(&self) -> String {
        match self {
            Bound::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| String::new(), |address| address.to_string())
            }
            Bound::Unix(_, path) => path.display().to_string(),
        }
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> std::io::Result<Accepted> {
        Ok(match self {
            Bound::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Accepted::Tcp(stream, address)
            }
            Bound::Unix(listener, _) => Accepted::Unix(listener.accept().await?.0),
        })
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Bound::Unix(_, path) = self {
            // Left behind it would be in nobody's way: the next one removes it.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn tcp(address: SocketAddr, reuse_port: bool) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // As Go does on every listener: a port in TIME_WAIT is free.
    socket.set_reuseaddr(true)?;
    if reuse_port {
        socket.set_reuseport(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "bind: address already in use".to_owned(),
        std::io::ErrorKind::AddrNotAvailable => "bind: cannot assign requested address".to_owned(),
        std::io::ErrorKind::PermissionDenied => "bind: permission denied".to_owned(),
        _ => error.to_string(),
    }
}
