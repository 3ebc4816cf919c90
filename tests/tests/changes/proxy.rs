//! A TCP proxy that harms a connection once it has carried many bytes to the client.
//!
//! What must hold: without trouble every byte passes; with it, the first connection whose answers
//! exceed [`QUIET_BYTES`] is harmed, so that small calls before it are not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Bytes that pass unharmed.
const QUIET_BYTES: usize = 40 << 10;

/// What happens to a long answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// One byte of it changes.
    Flip,
    /// The connection ends.
    Cut,
}

/// A proxy on a port of its own; it ends with the test's runtime.
pub struct Proxy {
    endpoint: String,
    trouble: Arc<AtomicU8>,
}

impl Proxy {
    pub async fn start(target: &str) -> Proxy {
        let target = target.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let trouble = Arc::new(AtomicU8::new(0));
        let shared = Arc::clone(&trouble);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&target).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pass(from_client, to_server, Arc::default()));
                tokio::spawn(pass(from_server, to_client, Arc::clone(&shared)));
            }
        });
        Proxy { endpoint, trouble }
    }

    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    pub fn cause(&self, trouble: Trouble) {
        self.trouble.store(trouble as u8, Ordering::SeqCst);
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, trouble: Arc<AtomicU8>) {
    let (mut buffer, mut passed) = (vec![0; 8 << 10], 0);
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        passed += count;
        if passed > QUIET_BYTES {
            let flip = trouble.compare_exchange(1, 0, Ordering::SeqCst, Ordering::SeqCst);
            if flip.is_ok() {
                // The middle of a long read: inside of a payload, not of a frame's head.
                buffer[count / 2] ^= 1;
            }
            if trouble.load(Ordering::SeqCst) == Trouble::Cut as u8 {
                return;
            }
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
}
