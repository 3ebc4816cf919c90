//! Where an etcd of ours listens: on loopback ports, or on unix sockets in a private directory.
//!
//! ```text
//! <directory>/          mode 0700, ours; the server's working directory
//!     client.sock       the clients' API
//!     peer.sock         the members' API, which gives the database to whoever asks
//! ```
//!
//! Holds: on sockets nothing of the server listens on TCP, so nobody but the directory's owner
//! reaches it. The server gets names relative to its working directory (its peers' listener knows
//! no other kind of path), we connect by the directory's own path, or through our open handle of
//! it where that path is too long for a socket's address.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_api::client::MOST_SOCKET_PATH_BYTES;

use super::ServerError;

const CLIENT_SOCKET: &str = "client.sock";
const PEER_SOCKET: &str = "peer.sock";

/// What a server without TCP tells others as its addresses, since etcd takes no socket there. To
/// port 0 nothing can connect, and a member that is alone never tries.
pub const UNREACHABLE_URL: &str = "http://127.0.0.1:0";

/// Where a server listens.
#[derive(Debug, Clone)]
pub enum Listens {
    /// On 127.0.0.1, where every user of this machine can reach it.
    Loopback(Ports),
    /// On unix sockets that only their owner can reach; for a member that stays alone.
    Sockets(Sockets),
}

/// Two loopback ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// For clients.
    pub client: u16,
    /// For other members.
    pub peer: u16,
}

/// A private directory for sockets. The client's URL is good as long as this lives.
#[derive(Debug, Clone)]
pub struct Sockets {
    directory: PathBuf,
    open: Arc<File>,
}

impl From<Ports> for Listens {
    fn from(ports: Ports) -> Listens {
        Listens::Loopback(ports)
    }
}

impl From<[u16; 2]> for Ports {
    fn from([client, peer]: [u16; 2]) -> Ports {
        Ports { client, peer }
    }
}

impl Sockets {
    /// Sockets in a directory of our own that nobody else can enter.
    ///
    /// # Errors
    /// [`ServerError::File`], also for a directory that is open to others.
    pub fn in_directory(directory: &Path) -> Result<Sockets, ServerError> {
        let file = |source| ServerError::File { path: directory.to_owned(), source };
        let directory = std::path::absolute(directory).map_err(file)?;
        let open = File::open(&directory).map_err(file)?;
        let meta = open.metadata().map_err(file)?;
        let ours = meta.uid() == rustix::process::geteuid().as_raw();
        if !meta.is_dir() || !ours || meta.mode() & 0o077 != 0 {
            return Err(file(io::Error::other(
                "a server's sockets need a directory of our own with mode 0700",
            )));
        }
        Ok(Sockets { directory, open: Arc::new(open) })
    }

    /// The directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    fn client_url(&self) -> String {
        let path = self.directory.join(CLIENT_SOCKET);
        match path.to_str() {
            Some(path) if path.len() <= MOST_SOCKET_PATH_BYTES => format!("unix://{path}"),
            // The same directory by a short name.
            _ => format!("unix:///proc/self/fd/{}/{CLIENT_SOCKET}", self.open.as_raw_fd()),
        }
    }
}

impl Listens {
    /// Where clients of this process reach it.
    pub(super) fn client_url(&self, tls: bool) -> String {
        match self {
            Listens::Loopback(ports) => loopback(ports.client, tls),
            Listens::Sockets(sockets) => sockets.client_url(),
        }
    }

    /// What it is told of its peer address.
    pub(super) fn peer_url(&self, tls: bool) -> String {
        match self {
            Listens::Loopback(ports) => loopback(ports.peer, tls),
            Listens::Sockets(_) => UNREACHABLE_URL.to_owned(),
        }
    }

    /// The flags for all of it.
    pub(super) fn flags(&self, tls: bool) -> [(&'static str, String); 4] {
        let (listen_client, client, listen_peer) = match self {
            Listens::Loopback(_) => {
                let client = self.client_url(tls);
                (client.clone(), client, self.peer_url(tls))
            }
            Listens::Sockets(_) => (
                format!("unix://{CLIENT_SOCKET}"),
                UNREACHABLE_URL.to_owned(),
                format!("unix://{PEER_SOCKET}"),
            ),
        };
        [
            ("--listen-client-urls", listen_client),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", listen_peer),
            ("--initial-advertise-peer-urls", self.peer_url(tls)),
        ]
    }
}

fn loopback(port: u16, tls: bool) -> String {
    format!("{}://127.0.0.1:{port}", if tls { "https" } else { "http" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn sockets_lie_in_a_private_directory_and_have_a_short_name() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let near = Sockets::in_directory(root.path()).unwrap().client_url();
        assert_eq!(near, format!("unix://{}/client.sock", root.path().display()));
        let far = root.path().join("d".repeat(100));
        fs::create_dir(&far).unwrap();
        fs::set_permissions(&far, fs::Permissions::from_mode(0o750)).unwrap();
        let error = Sockets::in_directory(&far).unwrap_err().to_string();
        assert!(error.contains("0700"), "{error}");
        fs::set_permissions(&far, fs::Permissions::from_mode(0o700)).unwrap();
        let sockets = Sockets::in_directory(&far).unwrap();
        let url = sockets.client_url();
        let path = url.strip_prefix("unix://").unwrap();
        assert!(path.len() <= MOST_SOCKET_PATH_BYTES, "{url}");
        fs::write(far.join(CLIENT_SOCKET), b"here").unwrap();
        assert_eq!(fs::read(path).unwrap(), b"here");
    }
}
