//! Reads records of the write-ahead log, and tells a torn tail from corruption.

use super::{FRAME_HEADER, SECTOR, WalMetadata};
use super::{TYPE_CRC, TYPE_ENTRY, TYPE_METADATA, TYPE_SNAPSHOT, TYPE_STATE};
use crate::meta::ConfState;
use crate::raftpb::{self, Entry, HardState};
use crate::wire::{Reader, WireError};

/// A record, checked against the chain. Entries borrow from the segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record<'a> {
    /// Who writes the log.
    Metadata(WalMetadata),
    /// An entry.
    Entry(Entry<'a>),
    /// The hard state.
    State(HardState),
    /// The chain's value at a segment's start.
    Crc(u32),
    /// A snapshot was saved.
    Snapshot(SnapshotRecord),
}

/// The note that a snapshot was saved; a boot accepts only such .snap files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SnapshotRecord {
    /// Index of the last entry it covers.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// Members at that point; absent in the first record of a log and in those of old versions.
    pub conf_state: Option<ConfState>,
}

/// Where and why a segment cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at byte {offset}{}", if *torn { " (torn by a crash: cut it there)" } else { "" })]
pub struct WalDamage {
    /// Offset of the frame, which is also the length of the part that is good.
    pub offset: u64,
    /// True if a crash explains it: upstream cuts it off and boots.
    pub torn: bool,
    /// What is wrong.
    pub fault: WalFault,
}

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WalFault {
    /// The frame's length runs past the segment's end.
    #[error("a frame of {len} bytes runs past the end")]
    PastEnd {
        /// Record and padding.
        len: u64,
    },
    /// Fewer than eight bytes where a length should be.
    #[error("a frame's length is cut")]
    CutLength,
    /// The record is no message.
    #[error("a record is unreadable: {0}")]
    Record(WireError),
    /// The record's content is no message although its checksum fits.
    #[error("a record of type {kind} is unreadable: {source}")]
    Content {
        /// The record's type.
        kind: u64,
        /// What is wrong.
        source: WireError,
    },
    /// The checksum does not fit the chain.
    #[error("a record's CRC is {stored:08x}, the chain has {chain:08x}")]
    Crc {
        /// What the record says.
        stored: u32,
        /// What the chain has.
        chain: u32,
    },
    /// A segment that does not begin with the chain's value and the metadata.
    #[error("a segment's head is missing")]
    NoHead,
    /// A type that no etcd writes.
    #[error("a record has the unknown type {kind}")]
    Kind {
        /// The type.
        kind: u64,
    },
}

/// Walks one segment, front to back. After an error it stays where it is.
#[derive(Debug)]
pub struct SegmentReader<'a> {
    bytes: &'a [u8],
    at: usize,
    crc: u32,
    last: bool,
    started: bool,
}

/// A record's own fields.
pub(super) struct RawRecord<'a> {
    pub(super) kind: u64,
    pub(super) crc: u32,
    pub(super) data: &'a [u8],
}

impl<'a> SegmentReader<'a> {
    /// Starts at a segment's first byte. `chain` is the value at the end of the segment before:
    /// `None` for the first one at hand, which may take up the chain anywhere. `last` says whether
    /// it is the log's last segment: only there can a tail be torn.
    pub fn new(bytes: &'a [u8], chain: Option<u32>, last: bool) -> Self {
        SegmentReader { bytes, at: 0, crc: chain.unwrap_or(0), last, started: chain.is_some() }
    }

    /// The next record, or `None` where the preallocated zeros or the file's end begin.
    ///
    /// # Errors
    /// [`WalDamage`]: torn or corrupt.
    pub fn next_record(&mut self) -> Result<Option<Record<'a>>, WalDamage> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let Some((length, rest)) = rest.split_first_chunk::<FRAME_HEADER>() else {
            let torn = self.last;
            return Err(WalDamage { torn, ..self.corrupt(WalFault::CutLength) });
        };
        let length = u64::from_le_bytes(*length);
        if length == 0 {
            return Ok(None);
        }
        let (len, padding) = split_length(length);
        let whole = usize::try_from(len + padding).ok().filter(|whole| *whole <= rest.len());
        let (Some(whole), Ok(len)) = (whole, usize::try_from(len)) else {
            let fault = WalFault::PastEnd { len: len + padding };
            return Err(WalDamage { torn: self.last, ..self.corrupt(fault) });
        };
        let frame = &rest[..whole];
        let record = self.check(&frame[..len]).map_err(|fault| self.damage(fault, frame))?;
        let content = content(&record).map_err(|fault| self.corrupt(fault))?;
        self.at += FRAME_HEADER + whole;
        Ok(Some(content))
    }

    /// Bytes of whole, good frames read so far.
    pub fn offset(&self) -> u64 {
        self.at as u64
    }

    /// The chain's value so far.
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// Reads the record's own fields and holds it to the chain, which moves on.
    fn check(&mut self, bytes: &'a [u8]) -> Result<RawRecord<'a>, WalFault> {
        let record = raw_record(bytes).map_err(WalFault::Record)?;
        let stored = record.crc;
        if record.kind == TYPE_CRC {
            // Takes up the chain; a chain already under way must have arrived at the same value.
            if self.started && self.crc != stored {
                return Err(WalFault::Crc { stored, chain: self.crc });
            }
            self.crc = stored;
        } else {
            let chain = crc32c::crc32c_append(self.crc, record.data);
            if chain != stored {
                return Err(WalFault::Crc { stored, chain });
            }
            self.crc = chain;
        }
        self.started = true;
        Ok(record)
    }

    fn corrupt(&self, fault: WalFault) -> WalDamage {
        WalDamage { offset: self.at as u64, torn: false, fault }
    }

    fn damage(&self, fault: WalFault, frame: &[u8]) -> WalDamage {
        let torn = self.last && has_zero_sector(frame, self.at + FRAME_HEADER);
        WalDamage { torn, ..self.corrupt(fault) }
    }
}

/// The record's length and its padding.
pub(super) fn split_length(length: u64) -> (u64, u64) {
    let padding = if length >> 63 == 1 { length >> 56 & 7 } else { 0 };
    (length & ((1 << 56) - 1), padding)
}

/// Whether a piece of `frame`, cut where the disk's sectors are, is all zero. `offset` is the place
/// of the frame's first byte in the segment.
fn has_zero_sector(frame: &[u8], offset: usize) -> bool {
    let first = (SECTOR - offset % SECTOR).min(frame.len());
    let (head, rest) = frame.split_at(first);
    std::iter::once(head)
        .chain(rest.chunks(SECTOR))
        .any(|sector| sector.iter().all(|byte| *byte == 0))
}

pub(super) fn raw_record(bytes: &[u8]) -> Result<RawRecord<'_>, WireError> {
    let mut reader = Reader::new(bytes);
    let mut out = RawRecord { kind: 0, crc: 0, data: &[] };
    while let Some((number, field)) = reader.next_field()? {
        match number {
            1 => out.kind = field.as_u64(&reader)?,
            2 => out.crc = field.as_u32(&reader)?,
            3 => out.data = field.as_bytes(&reader)?,
            _ => {}
        }
    }
    Ok(out)
}

fn content<'a>(record: &RawRecord<'a>) -> Result<Record<'a>, WalFault> {
    let kind = record.kind;
    let read = match kind {
        TYPE_METADATA => metadata(record.data).map(Record::Metadata),
        TYPE_ENTRY => Entry::decode(record.data).map(Record::Entry),
        TYPE_STATE => HardState::decode(record.data).map(Record::State),
        TYPE_CRC => Ok(Record::Crc(record.crc)),
        TYPE_SNAPSHOT => snapshot(record.data).map(Record::Snapshot),
        _ => return Err(WalFault::Kind { kind }),
    };
    read.map_err(|source| WalFault::Content { kind, source })
}

fn metadata(bytes: &[u8]) -> Result<WalMetadata, WireError> {
    let mut reader = Reader::new(bytes);
    let mut out = WalMetadata::default();
    while let Some((number, field)) = reader.next_field()? {
        match number {
            1 => out.node_id = field.as_u64(&reader)?,
            2 => out.cluster_id = field.as_u64(&reader)?,
            _ => {}
        }
    }
    Ok(out)
}

fn snapshot(bytes: &[u8]) -> Result<SnapshotRecord, WireError> {
    let mut reader = Reader::new(bytes);
    let mut out = SnapshotRecord::default();
    while let Some((number, field)) = reader.next_field()? {
        match number {
            1 => out.index = field.as_u64(&reader)?,
            2 => out.term = field.as_u64(&reader)?,
            3 => out.conf_state = Some(raftpb::decode_conf_state(field.as_bytes(&reader)?)?),
            _ => {}
        }
    }
    Ok(out)
}
