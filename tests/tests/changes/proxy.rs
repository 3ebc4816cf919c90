//! A TCP proxy that harms a connection once it has carried many bytes to the client.
//!
//! What must hold: without trouble every byte passes; with it, the first connection whose answers
//! exceed [`QUIET_BYTES`] is harmed, so that small calls before it are not; what is held loses
//! nothing and goes on when it is let go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Bytes that pass unharmed.
const QUIET_BYTES: usize = 40 << 10;
/// For an answer to grow so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happens to a long answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// One byte of it changes.
    Flip,
    /// The connection ends.
    Cut,
    /// It stands still until it is let go.
    Hold,
}

/// A proxy on a port of its own; it ends with the test's runtime.
pub struct Proxy {
    endpoint: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    trouble: AtomicU8,
    held: Notify,
    let_go: Notify,
}

impl Shared {
    /// Takes the trouble away if it is this one.
    fn takes(&self, trouble: Trouble) -> bool {
        let none = Trouble::None as u8;
        let taken =
            self.trouble.compare_exchange(trouble as u8, none, Ordering::SeqCst, Ordering::SeqCst);
        taken.is_ok()
    }
}

impl Proxy {
    pub async fn start(target: &str) -> Proxy {
        let target = target.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::<Shared>::default();
        let troubled = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&target).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pass(from_client, to_server, Arc::default()));
                tokio::spawn(pass(from_server, to_client, Arc::clone(&troubled)));
            }
        });
        Proxy { endpoint, shared }
    }

    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    pub fn cause(&self, trouble: Trouble) {
        self.shared.trouble.store(trouble as u8, Ordering::SeqCst);
    }

    /// Waits until a long answer is held.
    pub async fn holds(&self) {
        let held = tokio::time::timeout(PATIENCE, self.shared.held.notified()).await;
        held.expect("an answer grows long enough to be held");
    }

    /// Lets it go on.
    pub fn let_go(&self) {
        self.shared.let_go.notify_one();
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: Arc<Shared>) {
    let (mut buffer, mut passed) = (vec![0; 8 << 10], 0);
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        passed += count;
        if passed > QUIET_BYTES {
            // The middle of a long read: inside of a payload, not of a frame's head. A short one
            // may be a small frame of the connection's own, in which nobody would miss a bit.
            if count == buffer.len() && shared.takes(Trouble::Flip) {
                buffer[count / 2] ^= 1;
            }
            if shared.trouble.load(Ordering::SeqCst) == Trouble::Cut as u8 {
                return;
            }
            if shared.takes(Trouble::Hold) {
                shared.held.notify_one();
                shared.let_go.notified().await;
            }
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
}
