//! The two queues of a stream of records: names that come, answers that go.
//!
//! What must hold: a caller that gives or takes nothing for [`STALL`], or is not through after
//! [`WHOLE`], is given up, and so is one that went away; what goes is hashed as it goes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use holdfast_api::holdfast as pb;
use holdfast_core::changes::{DIGEST_KEY_BYTES, DigestKey, Known, Names, read_known};
use holdfast_core::record::Record;
use holdfast_core::revision::Revision;
use sha2::{Digest, Sha256};
use tokio::runtime;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::Answer;

/// Without a message taken or given.
const STALL: Duration = Duration::from_secs(60);
/// For all of it: so long may pages be held that are free otherwise.
pub(super) const WHOLE: Duration = Duration::from_secs(1_800);
/// Digest keys that a caller may send: one per object that it has.
const MOST_KEYS: usize = 65_536;

/// The names as they come over the wire.
pub(super) struct Named {
    requests: Streaming<pb::ChangesRequest>,
    answers: mpsc::Sender<Answer>,
    runtime: runtime::Handle,
    end: Instant,
    keys: Vec<DigestKey>,
    waiting: VecDeque<Known>,
    last: Option<Revision>,
    is_last: bool,
    pub(super) count: u64,
}

impl Named {
    pub(super) fn new(
        requests: Streaming<pb::ChangesRequest>,
        answers: mpsc::Sender<Answer>,
        runtime: runtime::Handle,
        end: Instant,
    ) -> Named {
        let (keys, waiting) = (Vec::new(), VecDeque::new());
        Named {
            requests,
            answers,
            runtime,
            end,
            keys,
            waiting,
            last: None,
            is_last: false,
            count: 0,
        }
    }

    fn receive(&mut self) -> Result<(), Status> {
        let message = self.requests.message();
        let patience = patience(self.end)?;
        let left = self.answers.closed();
        let message = self.runtime.block_on(async {
            tokio::select! {
                message = tokio::time::timeout(patience, message) => Some(message),
                () = left => None,
            }
        });
        let message = message.ok_or_else(gone)?.map_err(|_| stalled("sent no names"))??;
        let message = message.ok_or_else(|| Status::cancelled("the caller's stream was cut"))?;
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

impl Names for &mut Named {
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
    end: Instant,
    sha256: Sha256,
    pub(super) sent_bytes: u64,
}

impl Out {
    pub(super) fn new(
        answers: mpsc::Sender<Answer>,
        runtime: runtime::Handle,
        end: Instant,
    ) -> Out {
        Out { answers, runtime, end, sha256: Sha256::new(), sent_bytes: 0 }
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
        let (answers, patience) = (&self.answers, patience(self.end)?);
        let sending = async { tokio::time::timeout(patience, answers.send(Ok(answer))).await };
        match self.runtime.block_on(sending) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err(stalled("took no answer")),
        }
    }
}

/// How long to wait for the caller now.
fn patience(end: Instant) -> Result<Duration, Status> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        let seconds = WHOLE.as_secs();
        return Err(Status::deadline_exceeded(format!("the stream took more than {seconds} s")));
    }
    Ok(left.min(STALL))
}

fn gone() -> Status {
    Status::cancelled("the caller went away")
}

fn stalled(what: &str) -> Status {
    let seconds = STALL.as_secs();
    Status::deadline_exceeded(format!("the caller {what} for {seconds} s"))
}

fn refused(what: &str) -> Status {
    Status::invalid_argument(what)
}
