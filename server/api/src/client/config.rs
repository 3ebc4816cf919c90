//! How to reach a cluster: endpoints, TLS, credentials, deadlines.
//!
//! What must hold: no `Debug` of anything here shows a password or a private key, and both are
//! wiped from memory when dropped.

use super::error::ClientError;
use super::transport::Route;
use super::{socket, tls};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tonic::transport::{Endpoint, Uri};
use zeroize::Zeroizing;

/// Answers up to this size are taken by default: etcd sends a range in one message, whatever its
/// size.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 512 << 20;

/// How to reach a cluster.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Client URLs, `https://host:port`, `http://host:port` or `unix:///path`; at least one.
    /// Without a scheme: https if `tls` is set, else http.
    pub endpoints: Vec<String>,
    /// Needed for https.
    pub tls: Option<Tls>,
    /// User and password, where authentication is on.
    pub credentials: Option<Credentials>,
    /// Until a connection stands, TLS included.
    pub connect_timeout: Duration,
    /// Until an ordinary call has its answer. Snapshot has this long for its first bytes.
    pub request_timeout: Duration,
    /// Until a call that walks a whole database (Defragment, Hash, HashKV) has its answer.
    pub walk_timeout: Duration,
    /// Largest answer taken.
    pub max_message_bytes: usize,
    /// While no endpoint can be reached, a call tries again until its deadline, as a command line
    /// wants it; a daemon decides for itself.
    pub waits_for_connection: bool,
    /// How often a connection in use is pinged. Go's servers refuse pings more often than every
    /// 5 s.
    pub keep_alive_interval: Duration,
    /// Until a ping has its answer; then the connection counts as broken.
    pub keep_alive_timeout: Duration,
}

impl ClientConfig {
    /// Endpoints, and for all else: no TLS, no credentials, 5 s to connect, 10 s for a call, 10
    /// minutes for a walk.
    pub fn new<S: Into<String>>(endpoints: impl IntoIterator<Item = S>) -> Self {
        ClientConfig {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            tls: None,
            credentials: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            walk_timeout: Duration::from_secs(600),
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            waits_for_connection: false,
            keep_alive_interval: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(10),
        }
    }

    /// With TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// With a user and password.
    #[must_use]
    pub fn with_credentials(mut self, user: &str, password: &str) -> Self {
        self.credentials = Some(Credentials::new(user, password));
        self
    }
}

/// Certificates.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The authorities that sign the servers' certificates.
    pub ca: Pem,
    /// Our certificate and its private key, where servers ask for one.
    pub identity: Option<(Pem, Pem)>,
    /// The name to expect in the servers' certificates; else the endpoint's host.
    pub server_name: Option<String>,
    /// Takes any server certificate. See [`Tls::unverified`].
    pub takes_any_server: bool,
}

impl Tls {
    /// An authority only: the servers do not ask for a certificate of ours.
    pub fn new(ca: Pem) -> Self {
        Tls { ca, identity: None, server_name: None, takes_any_server: false }
    }

    /// Takes any server certificate: whoever stands in between can read and change all. For an
    /// option whose name says so, and nothing else.
    pub fn unverified() -> Self {
        Tls { takes_any_server: true, ..Tls::new(Pem::text("")) }
    }

    /// The usual three files.
    pub fn from_files(
        ca: impl Into<PathBuf>,
        cert: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        Tls {
            ca: Pem::File(ca.into()),
            identity: Some((Pem::File(cert.into()), Pem::File(key.into()))),
            server_name: None,
            takes_any_server: false,
        }
    }
}

/// PEM text, or where it lies.
#[derive(Clone)]
pub enum Pem {
    /// A file.
    File(PathBuf),
    /// The text.
    Text(Zeroizing<Vec<u8>>),
}

impl Pem {
    /// PEM text at hand.
    pub fn text(pem: impl Into<Vec<u8>>) -> Self {
        Pem::Text(Zeroizing::new(pem.into()))
    }

    pub(super) fn read(&self) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        match self {
            Pem::Text(text) => Ok(text.clone()),
            Pem::File(path) => match std::fs::read(path) {
                Ok(bytes) => Ok(Zeroizing::new(bytes)),
                Err(source) => Err(ClientError::Pem { path: path.clone(), source }),
            },
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pem::File(path) => f.debug_tuple("File").field(path).finish(),
            Pem::Text(text) => write!(f, "Text({} bytes)", text.len()),
        }
    }
}

/// A user and password.
#[derive(Clone)]
pub struct Credentials {
    /// User.
    pub user: String,
    /// Password.
    pub password: Zeroizing<String>,
}

impl Credentials {
    /// A user and password.
    pub fn new(user: &str, password: &str) -> Self {
        Credentials { user: user.to_owned(), password: Zeroizing::new(password.to_owned()) }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// An endpoint's URL with its scheme, checked against the TLS setting.
pub(super) fn normalise(text: &str, with_tls: bool) -> Result<String, ClientError> {
    let bad = |reason: &str| ClientError::BadEndpoint {
        endpoint: text.rsplit('@').next().unwrap_or_default().to_owned(),
        reason: reason.to_owned(),
    };
    if let Some(path) = socket::path(text) {
        let reason = if with_tls {
            Some("certificates are given, but a unix socket takes none".to_owned())
        } else {
            socket::fault(path)
        };
        return reason.map_or_else(|| Ok(text.to_owned()), |reason| Err(bad(&reason)));
    }
    let full = match (text.contains("://"), with_tls) {
        (true, _) => text.to_owned(),
        (false, true) => format!("https://{text}"),
        (false, false) => format!("http://{text}"),
    };
    let url = url::Url::parse(&full).map_err(|error| bad(&error.to_string()))?;
    match (url.scheme(), with_tls) {
        ("https", true) | ("http", false) => {}
        ("https", false) => return Err(bad("https needs certificates: give at least the CA")),
        ("http", true) => return Err(bad("certificates are given, but the scheme is http")),
        _ => return Err(bad("the scheme must be http, https or unix")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("a URL must not hold a user or password: give them apart"));
    }
    if url.host_str().is_none_or(str::is_empty) || url.port().is_none() {
        return Err(bad("give host and port, for example https://10.0.0.1:2379"));
    }
    if url.path() != "/" || url.query().is_some() {
        return Err(bad("an endpoint has no path"));
    }
    Ok(full.trim_end_matches('/').to_owned())
}

/// A normalised endpoint with its connection, which is made when it is first used.
pub(super) fn route(
    endpoint: String,
    config: &ClientConfig,
    tls: Option<&tls::Connector>,
) -> Result<Route, ClientError> {
    let socket = socket::path(&endpoint).map(std::path::PathBuf::from);
    let origin = if socket.is_some() { socket::ORIGIN.to_owned() } else { endpoint.clone() };
    let prepared = prepare(&origin, config)?;
    let channel = match (socket, tls) {
        (Some(path), _) => prepared.connect_with_connector_lazy(socket::connector(path)),
        (None, Some(tls)) => prepared.connect_with_connector_lazy(tls.clone()),
        (None, None) => prepared.connect_lazy(),
    };
    Ok(Route { endpoint, origin, channel })
}

/// tonic's endpoint with our settings.
fn prepare(origin: &str, config: &ClientConfig) -> Result<Endpoint, ClientError> {
    let bad = |reason: String| ClientError::BadEndpoint { endpoint: origin.to_owned(), reason };
    let uri: Uri = origin.parse().map_err(|error: http::uri::InvalidUri| bad(error.to_string()))?;
    // TLS is our connector's affair, so tonic is not told of it; requests name the real scheme.
    let plain = origin.replacen("https://", "http://", 1);
    // Go's servers refuse pings on idle connections. Wide windows drain a snapshot fast.
    let endpoint = Endpoint::from_shared(plain)
        .map_err(|error| bad(error.to_string()))?
        .origin(uri)
        .connect_timeout(config.connect_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(config.keep_alive_interval)
        .keep_alive_timeout(config.keep_alive_timeout)
        .keep_alive_while_idle(false)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(8 << 20);
    Ok(endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_get_their_scheme_and_mistakes_a_reason() {
        assert_eq!(normalise("127.0.0.1:2379", false).unwrap(), "http://127.0.0.1:2379");
        assert_eq!(normalise("cp1:2379", true).unwrap(), "https://cp1:2379");
        assert_eq!(normalise("https://[::1]:2379/", true).unwrap(), "https://[::1]:2379");
        let socket = "unix:///run/a folder/etcd.sock";
        assert_eq!(normalise(socket, false).unwrap(), socket);
        for (text, tls, reason) in [
            ("https://cp1:2379", false, "CA"),
            ("http://cp1:2379", true, "scheme is http"),
            ("unix:///run/etcd.sock", true, "a unix socket takes none"),
            ("unix://etcd.sock", false, "unix:///path"),
            ("ftp://cp1:2379", false, "http, https or unix"),
            ("http://cp1", false, "host and port"),
            ("http://cp1:2379/v3", false, "no path"),
            ("http://cp1:99999", false, "port"),
            ("", false, "host"),
        ] {
            let error = normalise(text, tls).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        let error = normalise("http://root:hunter2@cp1:2379", false).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }

    #[test]
    fn debug_shows_no_secret() {
        let mut tls = Tls::new(Pem::text("ca"));
        tls.identity = Some((Pem::text("cert"), Pem::text("hunter2")));
        let config =
            ClientConfig::new(["cp1:2379"]).with_tls(tls).with_credentials("root", "hunter2");
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("root"), "{shown}");
    }
}
