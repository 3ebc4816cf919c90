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
}

impl WalEncoder {
    /// Starts a segment. `previous_crc` is the chain's value at the end of the segment before, 0
    /// for the first one. Writes the crc record and the metadata that every segment begins with.
    pub fn new(previous_crc: u32, metadata: WalMetadata) -> Self {
        let mut encoder = WalEncoder { out: Vec::new(), crc: previous_crc };
        encoder.record(TYPE_CRC, None);
        let mut data = Vec::new();
        wire::put_u64(&mut data, 1, metadata.node_id);
        wire::put_u64(&mut data, 2, metadata.cluster_id);
        encoder.record(TYPE_METADATA, Some(&data));
        encoder
    }

    /// Appends an entry.
    pub fn entry(&mut self, entry: &Entry<'_>) {
        self.record(TYPE_ENTRY, Some(&entry.to_bytes()));
    }

    /// Appends the hard state.
    pub fn hard_state(&mut self, state: HardState) {
        self.record(TYPE_STATE, Some(&state.to_bytes()));
    }

    /// Appends the note that a snapshot was saved.
    pub fn snapshot(&mut self, snapshot: &SnapshotRecord) {
        let mut data = Vec::new();
        wire::put_u64(&mut data, 1, snapshot.index);
        wire::put_u64(&mut data, 2, snapshot.term);
        if let Some(state) = &snapshot.conf_state {
            wire::put_bytes(&mut data, 3, &raftpb::encode_conf_state(state));
        }
        self.record(TYPE_SNAPSHOT, Some(&data));
    }

    /// The chain's value so far.
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// The bytes appended so far: a multiple of 8.
    pub fn bytes(&self) -> &[u8] {
        &self.out
    }

    fn record(&mut self, kind: u64, data: Option<&[u8]>) {
        self.crc = crc32c::crc32c_append(self.crc, data.unwrap_or_default());
        let mut record = Vec::new();
        wire::put_u64(&mut record, 1, kind);
        wire::put_u64(&mut record, 2, u64::from(self.crc));
        if let Some(data) = data {
            wire::put_bytes(&mut record, 3, data);
        }
        let padding = record.len().next_multiple_of(FRAME_HEADER) - record.len();
        let mark = if padding == 0 { 0 } else { (0x80 | padding as u64) << 56 };
        assert!((record.len() as u64) < 1 << 56, "a record's length has 56 bits");
        self.out.extend_from_slice(&(record.len() as u64 | mark).to_le_bytes());
        self.out.extend_from_slice(&record);
        self.out.resize(self.out.len() + padding, 0);
        assert!(self.out.len().is_multiple_of(FRAME_HEADER), "frames stay aligned");
    }
}
