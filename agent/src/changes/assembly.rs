//! Puts an answer together: in order, counted, hashed, small in memory.
//!
//! What must hold: a message behind the trailer, a kind out of its order, an entry without a
//! bucket, revisions that do not ascend: each ends it; memory is [`MEMORY_BYTES`] of records and
//! the small buckets, of at most [`SMALL_BUCKETS_LIMIT_BYTES`].

use super::ChangesError;
use crate::spool::{Spool, SpoolWriter};
use bytes::Bytes;
use holdfast_api::holdfast::{Bucket, ChangesResponse, Header, Kind, Trailer};
use holdfast_bolt::PageSource;
use holdfast_core::buckets::SmallBuckets;
use holdfast_core::changes::{EntryReader, ItemReader, PayloadError};
use holdfast_core::database::SMALL_BUCKETS_LIMIT_BYTES;
use holdfast_core::revision::Revision;
use prost::Message;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Bytes of records that are kept in memory; beyond, they go into a spool.
pub const MEMORY_BYTES: usize = 8 << 20;

/// An answer that arrived whole.
#[derive(Debug)]
pub struct Answer {
    /// Who answered.
    pub header: Header,
    /// Every bucket but `key`.
    pub small: SmallBuckets,
    /// Their sequence numbers.
    pub sequences: BTreeMap<Vec<u8>, u64>,
    /// What the member counted.
    pub trailer: Trailer,
    /// Bytes that arrived.
    pub received_bytes: u64,
    /// The digest, equal to what arrived.
    pub sha256: [u8; 32],
    payloads: Payloads,
}

/// Payloads of records, in order.
#[derive(Debug)]
enum Payloads {
    Memory(Vec<Bytes>),
    /// Offsets and lengths in the spool.
    Spooled(Box<Spool>, Vec<(u64, usize)>),
}

/// An answer on its way.
pub(super) struct Assembly {
    directory: PathBuf,
    limit_bytes: u64,
    sha256: Sha256,
    received_bytes: u64,
    kind: Kind,
    header: Option<Header>,
    small: SmallBuckets,
    small_bytes: usize,
    sequences: BTreeMap<Vec<u8>, u64>,
    bucket: Option<Vec<u8>>,
    memory: Vec<Bytes>,
    memory_bytes: usize,
    spool: Option<(SpoolWriter, Vec<(u64, usize)>)>,
    last: Option<Revision>,
    trailer: Option<(Trailer, [u8; 32])>,
}

fn malformed(reason: impl Into<String>) -> ChangesError {
    ChangesError::Malformed { reason: reason.into() }
}

impl From<PayloadError> for ChangesError {
    fn from(error: PayloadError) -> Self {
        malformed(error.to_string())
    }
}

impl Assembly {
    pub(super) fn new(directory: PathBuf, limit_bytes: u64) -> Assembly {
        Assembly {
            directory,
            limit_bytes,
            sha256: Sha256::new(),
            received_bytes: 0,
            kind: Kind::None,
            header: None,
            small: SmallBuckets::default(),
            small_bytes: 0,
            sequences: BTreeMap::new(),
            bucket: None,
            memory: Vec::new(),
            memory_bytes: 0,
            spool: None,
            last: None,
            trailer: None,
        }
    }

    /// Takes the next message. The digest is compared before anything is believed, so what cannot
    /// be read here was most likely changed on its way.
    pub(super) fn take(&mut self, message: ChangesResponse) -> Result<(), ChangesError> {
        if self.trailer.is_some() {
            return Err(malformed("something follows the trailer"));
        }
        let (kind, payload) = (message.kind(), message.payload);
        self.received_bytes += payload.len() as u64;
        self.sha256.update([u8::try_from(message.kind).unwrap_or(u8::MAX)]);
        self.sha256.update((payload.len() as u64).to_le_bytes());
        self.sha256.update(&payload);
        let again = (Kind::Entries, Kind::Bucket) == (self.kind, kind);
        let once = matches!(kind, Kind::Header | Kind::Trailer | Kind::None);
        if (kind < self.kind && !again) || (once && kind == self.kind) {
            return Err(malformed("its messages are out of order"));
        }
        self.kind = kind;
        let decode = |error: prost::DecodeError| malformed(error.to_string());
        match kind {
            Kind::None => return Err(malformed("a message of no kind")),
            Kind::Header => self.header = Some(Header::decode(payload).map_err(decode)?),
            Kind::Bucket => self.begin_bucket(Bucket::decode(payload).map_err(decode)?)?,
            Kind::Entries => self.entries(&payload)?,
            Kind::Records => self.records(payload)?,
            Kind::Trailer => {
                let sha256: [u8; 32] = self.sha256.clone().finalize().into();
                if message.sha256 != sha256 {
                    return Err(ChangesError::Digest { received_bytes: self.received_bytes });
                }
                self.trailer = Some((Trailer::decode(payload).map_err(decode)?, sha256));
            }
        }
        Ok(())
    }

    fn begin_bucket(&mut self, bucket: Bucket) -> Result<(), ChangesError> {
        let Bucket { name, sequence } = bucket;
        self.weigh(name.len())?;
        self.small.create(&name);
        self.sequences.insert(name.clone(), sequence);
        self.bucket = Some(name);
        Ok(())
    }

    fn entries(&mut self, payload: &[u8]) -> Result<(), ChangesError> {
        self.weigh(payload.len())?;
        let bucket = self.bucket.clone().ok_or_else(|| malformed("entries of no bucket"))?;
        for entry in EntryReader::new(payload) {
            let (key, value) = entry?;
            self.small.put(&bucket, key, value);
        }
        Ok(())
    }

    fn weigh(&mut self, bytes: usize) -> Result<(), ChangesError> {
        self.small_bytes = self.small_bytes.saturating_add(bytes);
        if self.small_bytes > SMALL_BUCKETS_LIMIT_BYTES {
            let most = SMALL_BUCKETS_LIMIT_BYTES;
            return Err(malformed(format!("the buckets beside `key` hold more than {most} bytes")));
        }
        Ok(())
    }

    fn records(&mut self, payload: Bytes) -> Result<(), ChangesError> {
        for item in ItemReader::new(&payload, self.last) {
            self.last = Some(item?.revision());
        }
        if self.spool.is_none() && self.memory_bytes + payload.len() <= MEMORY_BYTES {
            self.memory_bytes += payload.len();
            self.memory.push(payload);
            return Ok(());
        }
        if self.spool.is_none() {
            let writer = SpoolWriter::create(&self.directory, self.limit_bytes)?;
            self.spool = Some((writer, Vec::new()));
            for early in std::mem::take(&mut self.memory) {
                self.write(&early)?;
            }
        }
        self.write(&payload)
    }

    fn write(&mut self, payload: &[u8]) -> Result<(), ChangesError> {
        let Some((writer, places)) = &mut self.spool else { return Ok(()) };
        places.push((writer.size_bytes(), payload.len()));
        Ok(writer.write(payload)?)
    }

    pub(super) fn finish(self) -> Result<Answer, ChangesError> {
        let received_bytes = self.received_bytes;
        let Some((trailer, sha256)) = self.trailer else {
            return Err(ChangesError::Cut { received_bytes });
        };
        let header = self.header.ok_or_else(|| malformed("it has no header"))?;
        let payloads = match self.spool {
            Some((writer, places)) => Payloads::Spooled(Box::new(writer.finish()?), places),
            None => Payloads::Memory(self.memory),
        };
        let (small, sequences) = (self.small, self.sequences);
        Ok(Answer { header, small, sequences, trailer, received_bytes, sha256, payloads })
    }
}

impl Answer {
    /// The payload of records with this number, from 0 on; `None` behind the last.
    ///
    /// # Errors
    /// The spool cannot be read.
    pub fn payload(&self, number: usize) -> std::io::Result<Option<Bytes>> {
        match &self.payloads {
            Payloads::Memory(payloads) => Ok(payloads.get(number).cloned()),
            Payloads::Spooled(spool, places) => {
                let Some((offset, length)) = places.get(number) else { return Ok(None) };
                let bytes = spool.read_at(*offset, *length)?;
                Ok(Some(Bytes::from(bytes.into_owned())))
            }
        }
    }

    /// Whether it was too large for the memory.
    pub fn is_spooled(&self) -> bool {
        matches!(self.payloads, Payloads::Spooled(..))
    }
}
