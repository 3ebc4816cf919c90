//! Writes records of the write-ahead log.

use super::{FRAME_HEADER, TYPE_CRC, TYPE_ENTRY, TYPE_METADATA, TYPE_SNAPSHOT, TYPE_STATE};
use super::{SnapshotRecord, WalMetadata};
use crate::raftpb::{self, Entry, HardState};
use crate::wire;

/// Appends framed records to a buffer and carries the chain of checksums.
#[derive(Debug, Default)]
pub struct WalEncoder {
    out: Vec<u8>,
    crc: u32,
    message: Vec<u8>,
    head: Vec<u8>,
}

impl WalEncoder {
    /// Starts a segment. `previous_crc` is the chain's value at the end of the segment before, 0
    /// for the first one. Writes the crc record and the metadata that every segment begins with.
    pub fn new(previous_crc: u32, metadata: WalMetadata) -> Self {
        let mut encoder = WalEncoder::resume(previous_crc);
        encoder.start_segment(metadata);
        encoder
    }

    /// Goes on behind a record that left the chain at `crc`.
    pub fn resume(crc: u32) -> Self {
        WalEncoder { crc, ..WalEncoder::default() }
    }

    /// Appends what every segment begins with: the chain's value and the metadata.
    pub fn start_segment(&mut self, metadata: WalMetadata) {
        self.record(TYPE_CRC, false);
        self.message.clear();
        wire::put_u64(&mut self.message, 1, metadata.node_id);
        wire::put_u64(&mut self.message, 2, metadata.cluster_id);
        self.record(TYPE_METADATA, true);
    }

    /// Appends an entry.
    pub fn entry(&mut self, entry: &Entry<'_>) {
        self.message.clear();
        entry.append_to(&mut self.message);
        self.record(TYPE_ENTRY, true);
    }

    /// Appends the hard state.
    pub fn hard_state(&mut self, state: HardState) {
        self.message.clear();
        self.message.extend_from_slice(&state.to_bytes());
        self.record(TYPE_STATE, true);
    }

    /// Appends the note that a snapshot was saved.
    pub fn snapshot(&mut self, snapshot: &SnapshotRecord) {
        self.message.clear();
        wire::put_u64(&mut self.message, 1, snapshot.index);
        wire::put_u64(&mut self.message, 2, snapshot.term);
        if let Some(state) = &snapshot.conf_state {
            wire::put_bytes(&mut self.message, 3, &raftpb::encode_conf_state(state));
        }
        self.record(TYPE_SNAPSHOT, true);
    }

    /// The chain's value so far.
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// The bytes appended since the start or the last [`WalEncoder::clear`]: a multiple of 8.
    pub fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// Forgets the bytes, which the caller has written; the chain goes on. `keep_bytes` bounds the
    /// memory that stays reserved.
    pub fn clear(&mut self, keep_bytes: usize) {
        self.out.clear();
        self.out.shrink_to(keep_bytes);
        self.message.clear();
        self.message.shrink_to(keep_bytes);
    }

    /// Frames `self.message`, or nothing, as a record's data.
    fn record(&mut self, kind: u64, has_data: bool) {
        let data: &[u8] = if has_data { &self.message } else { &[] };
        self.crc = crc32c::crc32c_append(self.crc, data);
        self.head.clear();
        wire::put_u64(&mut self.head, 1, kind);
        wire::put_u64(&mut self.head, 2, u64::from(self.crc));
        if has_data {
            wire::put_varint(&mut self.head, 3 << 3 | 2);
            wire::put_varint(&mut self.head, data.len() as u64);
        }
        let length = self.head.len() + data.len();
        let padding = length.next_multiple_of(FRAME_HEADER) - length;
        let mark = if padding == 0 { 0 } else { (0x80 | padding as u64) << 56 };
        assert!((length as u64) < 1 << 56, "a record's length has 56 bits");
        self.out.reserve(FRAME_HEADER + length + padding);
        self.out.extend_from_slice(&(length as u64 | mark).to_le_bytes());
        self.out.extend_from_slice(&self.head);
        self.out.extend_from_slice(data);
        self.out.resize(self.out.len() + padding, 0);
        assert!(self.out.len().is_multiple_of(FRAME_HEADER), "frames stay aligned");
    }
}
