//! Taking connections: within the limit, through the handshake, to who answers.

use super::bind::{Accepted, Bound};
use super::connection::{Answer, Transport};
use crate::grpc::metadata::Peer;
use crate::log::{Level, Logger};
use crate::tls::{ServerTls, in_gos_words};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::rustls::pki_types::CertificateDer;

/// Time for a handshake, as upstream's.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// What a record with a handshake begins with.
const HANDSHAKE_RECORD: u8 = 22;
/// Pause when the system gives no connection: too many open files, mostly.
const PAUSE: Duration = Duration::from_millis(100);

/// One listener's way of serving.
pub(super) struct Serving {
    pub(super) tls: Option<ServerTls>,
    /// Whether who begins without a handshake is served too.
    pub(super) plain: bool,
    pub(super) answer: Answer,
    pub(super) transport: Arc<Transport>,
    pub(super) permits: Option<Arc<Semaphore>>,
    /// Held by every connection through this: gone when the last one is.
    #[expect(dead_code, reason = "its end is what is waited for")]
    pub(super) alive: mpsc::Sender<()>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) logger: Logger,
    pub(super) rejected: &'static str,
}

/// Whether the first byte is that of a TLS handshake.
async fn begins_a_handshake(stream: &TcpStream) -> bool {
    let mut first = [0];
    matches!(stream.peek(&mut first).await, Ok(1)) && first[0] == HANDSHAKE_RECORD
}

impl Serving {
    /// Takes connections until it is told to stop.
    pub(super) async fn run(self, bound: Bound) {
        let mut stop = self.stop.clone();
        let this = Arc::new(self);
        loop {
            let next = async {
                // Waiting here leaves the others in the system's queue.
                let permit = match &this.permits {
                    Some(permits) => permits.clone().acquire_owned().await.ok(),
                    None => None,
                };
                (permit, bound.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                biased;
                // Whether told or left alone, it ends.
                _ = stop.wait_for(|stop| *stop) => return,
                next = next => next,
            };
            match accepted {
                Ok(connection) => {
                    tokio::spawn(this.clone().serve(connection, permit));
                }
                Err(error) => {
                    let fields = [("error", json!(error.to_string()))];
                    this.logger.warn("failed to accept a connection", &fields);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, connection: Accepted, permit: Option<OwnedSemaphorePermit>) {
        match connection {
            Accepted::Tcp(stream, address) => {
                let peer = Peer { address: Some(address), ..Peer::default() };
                if self.plain && self.tls.is_some() && !begins_a_handshake(&stream).await {
                    let stop = self.stop.clone();
                    self.transport.serve(stream, peer, &self.answer, stop).await;
                } else {
                    self.hand_shake(stream, peer).await;
                }
            }
            Accepted::Unix(stream) => self.hand_shake(stream, Peer::default()).await,
        }
        drop(permit);
    }

    async fn hand_shake<S>(&self, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(tls) = &self.tls else {
            self.transport.serve(stream, peer, &self.answer, self.stop.clone()).await;
            return;
        };
        // Apart, or the room for TLS's state would be every plain connection's too.
        Box::pin(self.over_tls(tls, stream, peer)).await;
    }

    async fn over_tls<S>(&self, tls: &ServerTls, stream: S, mut peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shaken = tokio::time::timeout(HANDSHAKE, tls.acceptor().accept(stream)).await;
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let (text, just_left) = in_gos_words(&error);
                let level = if just_left { Level::Debug } else { Level::Warn };
                self.reject(level, &peer, "", &text);
                return;
            }
            Err(_) => {
                self.reject(Level::Warn, &peer, "", "i/o timeout");
                return;
            }
        };
        let state = stream.get_ref().1;
        let server_name = state.server_name().unwrap_or_default().to_owned();
        let chain: Vec<CertificateDer<'static>> = state
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        match tls.judge(&chain) {
            Ok(common_name) => {
                peer.is_secure = true;
                peer.common_name = common_name;
                self.transport.serve(stream, peer, &self.answer, self.stop.clone()).await;
            }
            Err(why) => self.reject(Level::Warn, &peer, &server_name, &why),
        }
    }

    fn reject(&self, level: Level, peer: &Peer, server_name: &str, why: &str) {
        let fields = [
            ("remote-addr", json!(peer.name())),
            ("server-name", json!(server_name)),
            ("error", json!(why)),
        ];
        self.logger.log(level, self.rejected, &fields);
    }
}
