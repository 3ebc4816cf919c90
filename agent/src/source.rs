//! Takes a member's snapshot stream into the spool, and believes nothing that its digest does not
//! prove.
//!
//! The stream is the database, `high water mark × page size` bytes in blobs of 32 KiB, and then the
//! SHA-256 of it, 32 bytes (upstream sends them as a last message of their own; we take the last 32
//! bytes, however they are cut). So a whole stream has a length of a multiple of 512, plus 32.
//!
//! What must hold:
//! - the stream is drained as fast as it comes: a bounded channel of blobs to a thread that hashes,
//!   seals and writes, nothing else in between. While it runs, the member holds a read transaction
//!   open;
//! - a stall is "no bytes", not "no messages": upstream may send empty blobs for ever when its copy
//!   fails;
//! - a stream that is cut, stalls, fails, or does not match its digest gives no spool, each by its
//!   own error.

use crate::spool::{Spool, SpoolError, SpoolWriter};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use holdfast_api::etcdserverpb::SnapshotResponse;
use sha2::{Digest, Sha256};
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;

/// Blobs on their way to the writer: 2 MiB at upstream's 32 KiB each.
const BLOBS_IN_FLIGHT: usize = 64;
const DIGEST_BYTES: usize = 32;
/// The smallest page, and so the unit of a database's length.
const UNIT_BYTES: u64 = 512;

/// How long a stream may take.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// Without a single new byte.
    pub stall: Duration,
    /// As a whole.
    pub whole: Duration,
}

/// A stream that arrived whole.
#[derive(Debug)]
pub struct Received {
    /// The database, without the digest behind it.
    pub spool: Spool,
    /// The stream's own digest, equal to what arrived.
    pub sha256: [u8; DIGEST_BYTES],
    /// Storage version as the stream tells it; empty on 3.5.
    pub storage_version: String,
    /// From the request to the last byte.
    pub elapsed: Duration,
}

/// Why a stream gave no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The member ended the stream with an error.
    #[error(
        "the member failed the snapshot stream after {received_bytes} bytes: {status}; look at \
         its log"
    )]
    Failed {
        /// Bytes until then.
        received_bytes: u64,
        /// What it answered.
        status: Box<Status>,
    },
    /// No byte came for too long.
    #[error(
        "the snapshot stream stalled: no byte for {seconds} s after {received_bytes} bytes, \
         {empty_blobs} empty messages; look at the member's disk and log"
    )]
    Stalled {
        /// The deadline.
        seconds: u64,
        /// Bytes until then.
        received_bytes: u64,
        /// Messages without a byte since the last byte.
        empty_blobs: u64,
    },
    /// The stream went on, but not to its end in time.
    #[error(
        "the snapshot stream took more than {seconds} s and was left after {received_bytes} \
         bytes; raise etcd.snapshotTimeout, or look at the network"
    )]
    TooSlow {
        /// The deadline.
        seconds: u64,
        /// Bytes until then.
        received_bytes: u64,
    },
    /// The stream ended before its end.
    #[error("the snapshot stream was cut after {received_bytes} bytes: {reason}")]
    Cut {
        /// Bytes until then.
        received_bytes: u64,
        /// How it shows.
        reason: String,
    },
    /// What arrived is not what the member hashed.
    #[error(
        "the snapshot stream fails its SHA-256 (over {database_bytes} bytes): it was changed on \
         its way, or the member's disk lies; nothing was stored"
    )]
    Digest {
        /// Bytes without the digest.
        database_bytes: u64,
    },
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The writing thread died.
    #[error("the spool's thread ended: {0}")]
    Thread(String),
}

/// Drains `stream` into `spool`.
///
/// # Errors
/// See [`SourceError`]; the spool is gone then.
pub async fn receive(
    stream: impl Stream<Item = Result<SnapshotResponse, Status>>,
    spool: SpoolWriter,
    deadlines: Deadlines,
) -> Result<Received, SourceError> {
    let started = Instant::now();
    let (blobs, queue) = mpsc::channel(BLOBS_IN_FLIGHT);
    let writer = tokio::task::spawn_blocking(move || Assembly::new(spool).take_all(queue));
    let drained = drain(stream, blobs, deadlines).await;
    // The channel is closed now, so the thread ends; its own error is the better one.
    let assembly = writer.await.map_err(|error| SourceError::Thread(error.to_string()))??;
    let drained = drained?;
    let elapsed = started.elapsed();
    let (spool, sha256) = assembly.finish(&drained)?;
    Ok(Received { spool, sha256, storage_version: drained.version, elapsed })
}

/// What the receiving half saw.
struct Drained {
    bytes: u64,
    remaining_bytes: u64,
    version: String,
}

async fn drain(
    stream: impl Stream<Item = Result<SnapshotResponse, Status>>,
    blobs: mpsc::Sender<Bytes>,
    deadlines: Deadlines,
) -> Result<Drained, SourceError> {
    let mut stream = pin!(stream);
    let mut seen = Drained { bytes: 0, remaining_bytes: 0, version: String::new() };
    let end = Instant::now() + deadlines.whole;
    let (mut progress, mut empty_blobs) = (Instant::now(), 0);
    loop {
        let deadline = end.min(progress + deadlines.stall);
        let message = tokio::time::timeout_at(deadline, stream.next()).await;
        // Messages that are always at hand never let the timer speak: look at the clock, too.
        let now = Instant::now();
        let message = match message {
            Ok(None) => return Ok(seen),
            Ok(Some(Err(status))) => {
                let (received_bytes, status) = (seen.bytes, Box::new(status));
                return Err(SourceError::Failed { received_bytes, status });
            }
            Ok(Some(Ok(message))) if now < end => message,
            _ if now >= end => {
                let (seconds, received_bytes) = (deadlines.whole.as_secs(), seen.bytes);
                return Err(SourceError::TooSlow { seconds, received_bytes });
            }
            _ => return Err(stalled(deadlines, &seen, empty_blobs)),
        };
        seen.remaining_bytes = message.remaining_bytes;
        if !message.version.is_empty() {
            seen.version = message.version;
        }
        if message.blob.is_empty() {
            empty_blobs += 1;
            if now >= progress + deadlines.stall {
                return Err(stalled(deadlines, &seen, empty_blobs));
            }
            continue;
        }
        seen.bytes += message.blob.len() as u64;
        if blobs.send(message.blob).await.is_err() {
            // The writer gave up and its error stands in its result.
            return Ok(seen);
        }
        (progress, empty_blobs) = (Instant::now(), 0);
    }
}

fn stalled(deadlines: Deadlines, seen: &Drained, empty_blobs: u64) -> SourceError {
    let seconds = deadlines.stall.as_secs();
    SourceError::Stalled { seconds, received_bytes: seen.bytes, empty_blobs }
}

/// The writing half: everything but the last 32 bytes is hashed and spooled.
struct Assembly {
    spool: SpoolWriter,
    hash: Sha256,
    tail: Vec<u8>,
}

impl Assembly {
    fn new(spool: SpoolWriter) -> Assembly {
        Assembly { spool, hash: Sha256::new(), tail: Vec::with_capacity(2 * DIGEST_BYTES) }
    }

    fn take_all(mut self, mut queue: mpsc::Receiver<Bytes>) -> Result<Assembly, SpoolError> {
        while let Some(blob) = queue.blocking_recv() {
            self.take(&blob)?;
        }
        Ok(self)
    }

    fn take(&mut self, blob: &[u8]) -> Result<(), SpoolError> {
        let (body, tail) = blob.split_at(blob.len().saturating_sub(DIGEST_BYTES));
        let keep = DIGEST_BYTES.saturating_sub(tail.len()).min(self.tail.len());
        let settled = self.tail.len() - keep;
        self.hash.update(&self.tail[..settled]);
        self.spool.write(&self.tail[..settled])?;
        self.tail.drain(..settled);
        self.hash.update(body);
        self.spool.write(body)?;
        self.tail.extend_from_slice(tail);
        assert!(self.tail.len() <= DIGEST_BYTES, "only a digest's length is held back");
        Ok(())
    }

    fn finish(self, drained: &Drained) -> Result<(Spool, [u8; DIGEST_BYTES]), SourceError> {
        let database_bytes = self.spool.size_bytes();
        let cut = |reason: String| SourceError::Cut { received_bytes: drained.bytes, reason };
        if drained.remaining_bytes > 0 {
            return Err(cut(format!("the member announced {} more", drained.remaining_bytes)));
        }
        let digest = <[u8; DIGEST_BYTES]>::try_from(self.tail.as_slice());
        let Ok(digest) = digest else {
            return Err(cut("it is shorter than a digest".to_owned()));
        };
        if database_bytes == 0 || !database_bytes.is_multiple_of(UNIT_BYTES) {
            return Err(cut(format!(
                "{database_bytes} bytes before the digest are no whole pages"
            )));
        }
        assert_eq!(
            database_bytes + DIGEST_BYTES as u64,
            drained.bytes,
            "every byte is accounted for"
        );
        if self.hash.finalize()[..] != digest {
            return Err(SourceError::Digest { database_bytes });
        }
        Ok((self.spool.finish()?, digest))
    }
}

#[cfg(test)]
mod tests;
