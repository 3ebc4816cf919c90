//! Listeners: bound first, served when the member is ready, ended gracefully.
//!
//! Must hold: what comes in over a port, garbage included, ends at most its own connection; the
//! number of connections is bounded by the process' open files.

mod accept;
mod bind;
mod connection;
mod eager;
mod outbox;
mod pings;

pub use bind::BindError;
pub use connection::{Answer, answering};

use crate::config::{Config, MemberUrl, TlsConfig};
use crate::log::{Logger, messages};
use crate::tls::{self, ServerTls, TlsError};
use accept::Serving;
use bind::Bound;
use connection::Transport;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};

/// Open files that are not for client connections: the log, the database, peers.
const RESERVED_FILES: u64 = 150;

/// Why there are no listeners.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// An address cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A client URL wants TLS and there is no certificate.
    #[error(
        "TLS key/cert (--cert-file, --key-file) must be provided for client url {0} with HTTPS scheme"
    )]
    NoClientCertificate(MemberUrl),
    /// A peer URL wants TLS and there is no certificate.
    #[error("cannot listen on TLS for {0}: KeyFile and CertFile are not presented")]
    NoPeerCertificate(String),
    /// A metrics URL wants TLS and there is no certificate.
    #[error(
        "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url"
    )]
    NoMetricsCertificate,
    /// The same address for pages alone and for all.
    #[error(
        "cannot bind both --listen-client-urls and --listen-client-http-urls on the same url {0}"
    )]
    SameAddress(MemberUrl),
    /// Too few files may be open.
    #[error(
        "file descriptor limit of etcd process is too low: {0} are not more than the {RESERVED_FILES} \
         that the member itself needs; raise it (ulimit -n, LimitNOFILE=)"
    )]
    TooFewFiles(u64),
}

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// gRPC and pages.
    Both,
    /// gRPC only: pages have ports of their own.
    Grpc,
    /// Pages only.
    Pages,
    /// Members.
    Peers,
    /// /metrics and health.
    Metrics,
}

struct Listener {
    purpose: Purpose,
    url: MemberUrl,
    bound: Bound,
    /// For who begins with a handshake.
    tls: Option<ServerTls>,
    /// For who does not.
    plain: bool,
}

/// Bound, and not served yet.
pub struct Listeners {
    list: Vec<Listener>,
    permits: Arc<Semaphore>,
}

/// What answers at each kind of listener.
#[derive(Clone)]
pub struct Answers {
    /// RPCs.
    pub grpc: Answer,
    /// Pages of the client port.
    pub pages: Answer,
    /// Pages of the listeners for metrics.
    pub metrics: Answer,
    /// The peer port.
    pub peers: Answer,
}

/// Listeners being served.
pub struct Running {
    stop: watch::Sender<bool>,
    alive: mpsc::Sender<()>,
    all_closed: mpsc::Receiver<()>,
    rest: Vec<Listener>,
    permits: Arc<Semaphore>,
    transport: Arc<Transport>,
    logger: Logger,
    answers: Answers,
}

/// Makes certificates where the configuration wants them made; changes where they are named.
///
/// # Errors
/// They cannot be written.
pub fn make_certificates(config: &mut Config, logger: &Logger) -> Result<(), TlsError> {
    let fixtures = config.data_dir.join("fixtures");
    let of_clients = [&config.listen_client_urls[..], &config.listen_client_http_urls[..]].concat();
    for (kind, urls, tls) in [
        ("peer", config.listen_peer_urls.clone(), &mut config.peer_tls),
        ("client", of_clients, &mut config.client_tls),
    ] {
        if !tls.auto {
            continue;
        }
        if !tls.is_empty() {
            logger.warn(&format!("ignoring {kind} auto TLS since certs given"), &[]);
            continue;
        }
        logger.warn("automatically generate certificates", &[("kind", json!(kind))]);
        tls::make_self_signed(&fixtures.join(kind), &urls, tls)?;
    }
    Ok(())
}

impl Listeners {
    /// Binds all addresses.
    ///
    /// # Errors
    /// [`ListenError`]; what was bound is given back.
    pub async fn bind(config: &Config, logger: &Logger) -> Result<Listeners, ListenError> {
        let files = open_files();
        let free = files.checked_sub(RESERVED_FILES).filter(|free| *free > 0);
        let Some(free) = free else { return Err(ListenError::TooFewFiles(files)) };
        let most = usize::try_from(free).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let mut listeners = Listeners { list: Vec::new(), permits: Arc::new(Semaphore::new(most)) };
        let texts =
            |urls: &[MemberUrl]| json!(urls.iter().map(ToString::to_string).collect::<Vec<_>>());
        let peers = &config.listen_peer_urls;
        logger.info("configuring peer listeners", &[("listen-peer-urls", texts(peers))]);
        let peer_tls = ready("peer", &config.peer_tls, logger)?;
        for url in peers {
            warn_of_unused_tls("peer", url, &config.peer_tls, logger);
            let tls = match (url.is_secure(), &peer_tls) {
                (true, None) => return Err(ListenError::NoPeerCertificate(url.address())),
                (true, tls) => tls.clone(),
                (false, _) => None,
            };
            listeners.add(Purpose::Peers, url, tls, config).await?;
        }
        let clients = &config.listen_client_urls;
        logger.info("configuring client listeners", &[("listen-client-urls", texts(clients))]);
        let client_tls = ready("client", &config.client_tls, logger)?;
        let split = !config.listen_client_http_urls.is_empty();
        let all = if split { Purpose::Grpc } else { Purpose::Both };
        let of_pages = config.listen_client_http_urls.iter().map(|url| (Purpose::Pages, url));
        for (purpose, url) in clients.iter().map(|url| (all, url)).chain(of_pages) {
            warn_of_unused_tls("client", url, &config.client_tls, logger);
            let tls = match (url.is_secure(), &client_tls) {
                (true, None) => return Err(ListenError::NoClientCertificate(url.clone())),
                (true, tls) => tls.clone(),
                (false, _) => None,
            };
            let same =
                |other: &Listener| other.purpose == all && other.url.address() == url.address();
            if purpose == Purpose::Pages && listeners.list.iter().any(same) {
                return Err(ListenError::SameAddress(url.clone()));
            }
            listeners.add(purpose, url, tls, config).await?;
        }
        for url in &config.listen_metrics_urls {
            let tls = match (url.is_secure(), &client_tls) {
                (true, None) => return Err(ListenError::NoMetricsCertificate),
                (true, tls) => tls.clone(),
                (false, _) => None,
            };
            listeners.add(Purpose::Metrics, url, tls, config).await?;
        }
        Ok(listeners)
    }

    async fn add(
        &mut self,
        purpose: Purpose,
        url: &MemberUrl,
        tls: Option<ServerTls>,
        config: &Config,
    ) -> Result<(), ListenError> {
        let plain = tls.is_none();
        let same = |other: &&mut Listener| {
            other.purpose == purpose && other.url.address() == url.address()
        };
        // An address by both schemes is one port that tells them apart.
        if let Some(other) = self.list.iter_mut().find(same) {
            other.plain |= plain;
            other.tls = tls.or(other.tls.take());
            return Ok(());
        }
        let bound = Bound::bind(url, config.socket_reuse_port).await?;
        self.list.push(Listener { purpose, url: url.clone(), bound, tls, plain });
        Ok(())
    }

    /// Serves peers at once; clients after [`Running::serve_clients`].
    pub fn serve(self, config: &Config, answers: Answers, logger: &Logger) -> Running {
        let (peers, rest): (Vec<Listener>, Vec<Listener>) =
            self.list.into_iter().partition(|listener| listener.purpose == Purpose::Peers);
        let (alive, all_closed) = mpsc::channel(1);
        let running = Running {
            stop: watch::channel(false).0,
            alive,
            all_closed,
            rest,
            permits: self.permits,
            transport: Arc::new(Transport::new(config)),
            logger: logger.clone(),
            answers,
        };
        for listener in peers {
            running.start(listener);
        }
        running
    }
}

impl Running {
    /// Serves clients and metrics: the member is ready.
    pub fn serve_clients(&mut self) {
        for listener in std::mem::take(&mut self.rest) {
            self.start(listener);
        }
    }

    fn start(&self, listener: Listener) {
        let address = json!(listener.bound.name());
        let (grpc, pages) = (self.answers.grpc.clone(), self.answers.pages.clone());
        let (traffic, answer) = match listener.purpose {
            Purpose::Both => ("grpc+http", connection::either(grpc, pages)),
            Purpose::Grpc => ("grpc", connection::only(grpc)),
            Purpose::Pages => ("http", connection::dated(pages)),
            Purpose::Peers => ("", connection::dated(self.answers.peers.clone())),
            Purpose::Metrics => ("", connection::dated(self.answers.metrics.clone())),
        };
        let logger = self.logger.clone();
        let (secure, plain) = (listener.tls.is_some(), listener.plain);
        let rejected = match listener.purpose {
            Purpose::Peers => messages::REJECTED_PEER,
            _ => messages::REJECTED_CLIENT,
        };
        let serving = Serving {
            tls: listener.tls,
            plain,
            answer,
            transport: self.transport.clone(),
            // Peers must get through however many clients there are.
            permits: (listener.purpose != Purpose::Peers).then(|| self.permits.clone()),
            alive: self.alive.clone(),
            stop: self.stop.subscribe(),
            logger: logger.clone(),
            rejected,
        };
        tokio::spawn(serving.run(listener.bound));
        match listener.purpose {
            Purpose::Peers => logger.info(messages::SERVING_PEERS, &[("address", address)]),
            Purpose::Metrics => {
                let address = json!(listener.url.to_string());
                logger.info(messages::SERVING_METRICS, &[("address", address)]);
            }
            _ => {
                logger.info(messages::READY, &[]);
                let fields = [("traffic", json!(traffic)), ("address", address)];
                if plain {
                    logger.info(messages::SERVING_INSECURELY, &fields);
                }
                if secure {
                    logger.info(messages::SERVING_SECURELY, &fields);
                }
            }
        }
    }

    /// Takes no more connections, lets calls end for so long, then closes what is left.
    pub async fn stop(mut self, patience: Duration) {
        // Nobody listening any more is what is wanted.
        let _ = self.stop.send(true);
        drop(self.alive);
        let _ = tokio::time::timeout(patience, self.all_closed.recv()).await;
    }
}

fn ready(kind: &str, tls: &TlsConfig, logger: &Logger) -> Result<Option<ServerTls>, TlsError> {
    if tls.is_empty() {
        return Ok(None);
    }
    let fields = [("tls-info", json!(tls.summary())), ("cipher-suites", json!(tls.cipher_suites))];
    logger.info(&format!("starting with {kind} TLS"), &fields);
    ServerTls::new(tls).map(Some)
}

fn warn_of_unused_tls(kind: &str, url: &MemberUrl, tls: &TlsConfig, logger: &Logger) {
    if url.is_secure() {
        return;
    }
    let scheme = if kind == "peer" { "HTTP" } else { "http or unix" };
    let fields = [("url", json!(url.to_string()))];
    if !tls.is_empty() {
        let text = format!(
            "scheme is {scheme} while key and cert files are present; ignoring key and cert files"
        );
        logger.warn(&text, &fields);
    }
    if tls.client_cert_auth {
        let flag = if kind == "peer" { "--peer-client-cert-auth" } else { "--client-cert-auth" };
        let text = format!(
            "scheme is {scheme} while {flag} is enabled; ignoring client cert auth for this URL"
        );
        logger.warn(&text, &fields);
    }
}

/// Most files that the process may have open.
fn open_files() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}
