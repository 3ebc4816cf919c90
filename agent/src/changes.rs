//! Asks a member of our own server for the records that the vault does not have, and believes
//! nothing that the answer's digest does not prove.
//!
//! What must hold:
//! - a member that does not offer this (upstream's etcd) is no failure: the caller takes the whole
//!   stream of Maintenance.Snapshot, and nothing is read from the store for it before;
//! - the answer is drained as fast as it comes, whatever the store does: up to [`MEMORY_BYTES`] in
//!   memory, what is beyond in a spool, sealed as ever. The member holds its transaction no longer
//!   than that;
//! - an answer that is cut, stalls, is out of order, or does not match its digest gives nothing,
//!   each by its own error.

mod assembly;
mod reader;
#[cfg(test)]
mod tests;

pub use assembly::{Answer, MEMORY_BYTES};
pub use reader::{Changed, ChangesReader};

use crate::source::Deadlines;
use crate::spool::SpoolError;
use assembly::Assembly;
use futures::{Stream, StreamExt};
use holdfast_api::client::Member;
use holdfast_api::holdfast::{ChangesRequest, ChangesResponse};
use holdfast_core::changes::{Known, KnownWriter};
use holdfast_core::revision::Revision;
use holdfast_vault::format::ObjectId;
use holdfast_vault::snapshot::{Naming, SnapshotError};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Code, Status};

/// Names in one message.
const NAMES: usize = 4_096;
/// Messages of names, and of answers, that may wait.
const WAITING: usize = 16;

/// Why the member's answer gave no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    /// The member ended the stream with an error.
    #[error(
        "the member failed the stream of changes after {received_bytes} bytes: {status}; look at \
         its log; the next round reads everything"
    )]
    Failed {
        /// Bytes until then.
        received_bytes: u64,
        /// What it answered.
        status: Box<Status>,
    },
    /// Nothing came for too long.
    #[error(
        "the stream of changes stalled: nothing for {seconds} s after {received_bytes} bytes; look \
         at the member's disk and log; the next round reads everything"
    )]
    Stalled {
        /// The deadline.
        seconds: u64,
        /// Bytes until then.
        received_bytes: u64,
    },
    /// It did not end in time.
    #[error(
        "the stream of changes took more than {seconds} s and was left after {received_bytes} \
         bytes; raise etcd.snapshotTimeout, or look at the network"
    )]
    TooSlow {
        /// The deadline.
        seconds: u64,
        /// Bytes until then.
        received_bytes: u64,
    },
    /// It ended before its end.
    #[error(
        "the stream of changes was cut after {received_bytes} bytes: it has no trailer; nothing \
         was stored; the next round reads everything"
    )]
    Cut {
        /// Bytes until then.
        received_bytes: u64,
    },
    /// What arrived is not what the member hashed.
    #[error(
        "the stream of changes fails its SHA-256 (over {received_bytes} bytes): it was changed on \
         its way; nothing was stored; the next round reads everything"
    )]
    Digest {
        /// Bytes received.
        received_bytes: u64,
    },
    /// It matches its digest and makes no sense.
    #[error(
        "the stream of changes cannot be read: {reason}; nothing was stored; the next round reads \
         everything"
    )]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// What the vault holds cannot be named.
    #[error(transparent)]
    Naming(#[from] SnapshotError),
    /// A thread or task died.
    #[error("a thread of the stream of changes ended: {0}")]
    Thread(String),
}

/// What came of asking.
#[derive(Debug)]
pub enum Asked {
    /// The answer, whole.
    Answered(Box<Answered>),
    /// The member does not offer it, or not now; why.
    NotNow(String),
}

/// An answer, and what it is an answer to.
#[derive(Debug)]
pub struct Answered {
    /// What arrived.
    pub answer: Answer,
    /// The segments whose records were named.
    pub named: Arc<BTreeSet<ObjectId>>,
    /// How many records were named.
    pub names: u64,
}

/// What a member answers, message by message.
trait Messages: Stream<Item = Result<ChangesResponse, Status>> + Unpin {}

impl<S: Stream<Item = Result<ChangesResponse, Status>> + Unpin> Messages for S {}

/// Asks, with what `naming` names.
///
/// # Errors
/// See [`ChangesError`].
pub async fn ask(
    member: &Member,
    naming: Naming,
    spool: (&Path, u64),
    deadlines: Deadlines,
) -> Result<Asked, ChangesError> {
    let end = Instant::now() + deadlines.whole;
    let (requests, mut queue) = mpsc::channel::<ChangesRequest>(WAITING);
    let queue = futures::stream::poll_fn(move |context| queue.poll_recv(context));
    let mut records = member.records();
    let called = tokio::time::timeout(deadlines.stall, records.changes(queue)).await;
    let stream = match called {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) if is_not_now(status.code()) => {
            return Ok(Asked::NotNow(status.message().to_owned()));
        }
        Ok(Err(status)) => return Err(failed(0, status)),
        Err(_) => return Err(stalled(deadlines, 0)),
    };
    let naming = tokio::spawn(name_all(naming, requests));
    match receive(stream, spool, deadlines, end).await {
        Err(ChangesError::Failed { status, .. }) if status.code() == Code::Aborted => {
            naming.abort();
            Ok(Asked::NotNow(status.message().to_owned()))
        }
        Err(error) => {
            if !naming.is_finished() {
                naming.abort();
            }
            match naming.await {
                // Its own failure is the reason of the other.
                Ok(Err(own)) => Err(own.into()),
                _ => Err(error),
            }
        }
        Ok(answer) => {
            let ended = naming.await.map_err(|error| ChangesError::Thread(error.to_string()))?;
            let (named, names) = ended?;
            let named = Arc::new(named);
            Ok(Asked::Answered(Box::new(Answered { answer, named, names })))
        }
    }
}

/// Whether a refusal means that the whole stream is to be taken instead: it is not offered, or too
/// many run.
fn is_not_now(code: Code) -> bool {
    matches!(code, Code::Unimplemented | Code::ResourceExhausted)
}

fn failed(received_bytes: u64, status: Status) -> ChangesError {
    ChangesError::Failed { received_bytes, status: Box::new(status) }
}

fn stalled(deadlines: Deadlines, received_bytes: u64) -> ChangesError {
    ChangesError::Stalled { seconds: deadlines.stall.as_secs(), received_bytes }
}

/// Sends all names; gives the segments that they were of, and how many there were. Nobody at the
/// other end: the answer's error says why.
async fn name_all(
    mut naming: Naming,
    requests: mpsc::Sender<ChangesRequest>,
) -> Result<(BTreeSet<ObjectId>, u64), SnapshotError> {
    let (mut writer, mut count) = (KnownWriter::default(), 0u64);
    loop {
        let names = naming.next(NAMES).await?;
        let last = names.len() < NAMES;
        count += names.len() as u64;
        for name in names {
            let at = Revision::new(name.rev.0, name.rev.1);
            writer.push(&Known { at, key: name.key, digest: name.digest });
        }
        let digest_keys = naming.fresh_keys().iter().map(|key| key.to_vec()).collect();
        let request = ChangesRequest { digest_keys, known: writer.take(), last };
        if requests.send(request).await.is_err() {
            return Ok((BTreeSet::new(), count));
        }
        if last {
            return Ok((naming.finish(), count));
        }
    }
}

/// Drains the answer.
async fn receive(
    stream: impl Messages,
    (directory, limit_bytes): (&Path, u64),
    deadlines: Deadlines,
    end: Instant,
) -> Result<Answer, ChangesError> {
    let (messages, mut queue) = mpsc::channel::<ChangesResponse>(WAITING);
    let mut assembly = Assembly::new(directory.to_owned(), limit_bytes);
    let writer = tokio::task::spawn_blocking(move || {
        while let Some(message) = queue.blocking_recv() {
            assembly.take(message)?;
        }
        Ok::<_, ChangesError>(assembly)
    });
    let drained = drain(stream, messages, deadlines, end).await;
    // The channel is closed now, so the thread ends; its own error is the better one.
    let assembly = writer.await.map_err(|error| ChangesError::Thread(error.to_string()))??;
    drained?;
    assembly.finish()
}

async fn drain(
    mut stream: impl Messages,
    messages: mpsc::Sender<ChangesResponse>,
    deadlines: Deadlines,
    end: Instant,
) -> Result<(), ChangesError> {
    let mut received_bytes = 0u64;
    loop {
        let deadline = end.min(Instant::now() + deadlines.stall);
        match tokio::time::timeout_at(deadline, stream.next()).await {
            _ if Instant::now() >= end => {
                let seconds = deadlines.whole.as_secs();
                return Err(ChangesError::TooSlow { seconds, received_bytes });
            }
            Err(_) => return Err(stalled(deadlines, received_bytes)),
            Ok(None) => return Ok(()),
            Ok(Some(Err(status))) => return Err(failed(received_bytes, status)),
            Ok(Some(Ok(message))) => {
                received_bytes += message.payload.len() as u64;
                if messages.send(message).await.is_err() {
                    // The thread gave up and its error stands in its result.
                    return Ok(());
                }
            }
        }
    }
}
