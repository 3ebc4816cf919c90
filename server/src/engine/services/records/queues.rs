//! The two queues of a stream of records: names that come, answers that go.
//!
//! What must hold: a caller that gives or takes nothing for so long, or is not through after all
//! that time ([`Limits`]), is given up, and so is one that went away; what goes is hashed as it
//! goes.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use holdfast_api::holdfast as pb;
use holdfast_core::changes::{DIGEST_KEY_BYTES, DigestKey, Known, Names, read_known};
use holdfast_core::record::Record;
use holdfast_core::revision::Revision;
use sha2::{Digest, Sha256};
use tokio::runtime;
use tokio::sync::mpsc;
use tonic::Status;

use super::Answer;

/// What every caller gets.
pub(super) const LIMITS: Limits =
    Limits { stall: Duration::from_secs(60), whole: Duration::from_secs(1_800) };
/// Digest keys that a caller may send: one per object that it has.
const MOST_KEYS: usize = 65_536;

/// How long a caller is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Without a message taken or given.
    pub(super) stall: Duration,
    /// For all of it: so long may pages be held that are free otherwise.
    pub(super) whole: Duration,
}

/// The same for one who came at some moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    limits: Limits,
    end: Instant,
}

impl Limits {
    pub(super) fn from(self, began: Instant) -> Deadlines {
        Deadlines { limits: self, end: began + self.whole }
    }
}

impl Deadlines {
    /// How long to wait for the caller now.
    fn patience(&self) -> Result<Duration, Status> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let text = format!("the stream took more than {:?}", self.limits.whole);
            return Err(Status::deadline_exceeded(text));
        }
        Ok(left.min(self.limits.stall))
    }

    /// Why one is given up who let that pass.
    fn passed(&self, what: &str) -> Status {
        let stalled = format!("the caller {what} for {:?}", self.limits.stall);
        self.patience().err().unwrap_or_else(|| Status::deadline_exceeded(stalled))
    }
}

/// What a caller sends, message by message.
pub(super) trait Requests:
    Stream<Item = Result<pb::ChangesRequest, Status>> + Unpin
{
}

impl<S: Stream<Item = Result<pb::ChangesRequest, Status>> + Unpin> Requests for S {}

/// The names as they come over the wire.
pub(super) struct Named<S> {
    requests: S,
    answers: mpsc::Sender<Answer>,
    runtime: runtime::Handle,
    deadlines: Deadlines,
    keys: Vec<DigestKey>,
    waiting: VecDeque<Known>,
    last: Option<Revision>,
    is_last: bool,
    pub(super) count: u64,
}

impl<S: Requests> Named<S> {
    /// `answers`: where the caller listens; one that does not any more names nothing either.
    pub(super) fn new(
        requests: S,
        answers: mpsc::Sender<Answer>,
        runtime: runtime::Handle,
        deadlines: Deadlines,
    ) -> Named<S> {
        let (keys, waiting) = (Vec::new(), VecDeque::new());
        Named {
            requests,
            answers,
            runtime,
            deadlines,
            keys,
            waiting,
            last: None,
            is_last: false,
            count: 0,
        }
    }

    fn receive(&mut self) -> Result<(), Status> {
        let message = self.requests.next();
        let patience = self.deadlines.patience()?;
        let left = self.answers.closed();
        let message = self.runtime.block_on(async {
            tokio::select! {
                message = tokio::time::timeout(patience, message) => Some(message),
                () = left => None,
            }
        });
        let message = message.ok_or_else(gone)?;
        let message = message.map_err(|_| self.deadlines.passed("sent no names"))?;
        let message = message.ok_or_else(|| Status::cancelled("the caller's stream was cut"))??;
        for key in &message.digest_keys {
            let bytes = <&[u8; DIGEST_KEY_BYTES]>::try_from(&key[..]);
            let bytes = bytes.map_err(|_| refused("a digest key has not 32 bytes"))?;
            if self.keys.len() == MOST_KEYS {
                return Err(refused("more digest keys than a vault has objects"));
            }
            self.keys.push(DigestKey::new(bytes));
        }
        let known = read_known(&message.known, self.last);
        let known = known.map_err(|error| refused(&error.to_string()))?;
        self.last = known.last().map(|known| known.at).or(self.last);
        self.count += known.len() as u64;
        self.waiting = known.into();
        self.is_last = message.last;
        Ok(())
    }
}

impl<S: Requests> Names for &mut Named<S> {
    type Error = Status;

    fn next(&mut self) -> Result<Option<Known>, Status> {
        while self.waiting.is_empty() && !self.is_last {
            self.receive()?;
        }
        Ok(self.waiting.pop_front())
    }

    fn is_same(&self, known: &Known, record: &Record<'_>) -> Result<bool, Status> {
        let key = self.keys.get(known.key as usize);
        let key = key.ok_or_else(|| refused("a name's digest key was not sent"))?;
        Ok(key.digest(record) == known.digest)
    }
}

/// Messages on their way to the caller.
pub(super) struct Out {
    answers: mpsc::Sender<Answer>,
    runtime: runtime::Handle,
    deadlines: Deadlines,
    sha256: Sha256,
    pub(super) sent_bytes: u64,
}

impl Out {
    pub(super) fn new(
        answers: mpsc::Sender<Answer>,
        runtime: runtime::Handle,
        deadlines: Deadlines,
    ) -> Out {
        Out { answers, runtime, deadlines, sha256: Sha256::new(), sent_bytes: 0 }
    }

    /// The last that a caller is told, if there is room: one that stalls does not take it either,
    /// and then the stream's end says enough.
    pub(super) fn refuse(&self, status: Status) {
        let _ = self.answers.try_send(Err(status));
    }

    /// Sends one; waits for a caller who is slow.
    pub(super) fn send(&mut self, kind: pb::Kind, payload: Vec<u8>) -> Result<(), Status> {
        let number = u8::try_from(i32::from(kind)).unwrap_or_default();
        self.sha256.update([number]);
        self.sha256.update((payload.len() as u64).to_le_bytes());
        self.sha256.update(&payload);
        self.sent_bytes += payload.len() as u64;
        let sha256 = match kind {
            pb::Kind::Trailer => self.sha256.clone().finalize().to_vec(),
            _ => Vec::new(),
        };
        let answer = pb::ChangesResponse { kind: kind.into(), payload: payload.into(), sha256 };
        let (answers, patience) = (&self.answers, self.deadlines.patience()?);
        let sending = async { tokio::time::timeout(patience, answers.send(Ok(answer))).await };
        match self.runtime.block_on(sending) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err(self.deadlines.passed("took no answer")),
        }
    }
}

fn gone() -> Status {
    Status::cancelled("the caller went away")
}

fn refused(what: &str) -> Status {
    Status::invalid_argument(what)
}
