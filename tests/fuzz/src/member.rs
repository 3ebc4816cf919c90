//! A member's own files: the write-ahead log and .snap.

use crate::pieces::Pieces;
use holdfast_core::wal::{SegmentReader, WalError, segment_name, summarize};
use holdfast_core::{snap, v2store, wire};

/// A log: as it is, and as records with the right rolling checksum: a byte for the type, then the
/// content, a piece each.
pub fn wal(data: &[u8]) {
    read(data);
    let mut pieces = Pieces(data);
    let (mut crc, mut log) = (0, Vec::new());
    while !pieces.is_empty() {
        let Some((kind, content)) = pieces.next().split_first() else { continue };
        frame(&mut log, u64::from(*kind), &mut crc, content);
    }
    read(&log);
}

/// One framed record. Type 4 states the checksum so far.
pub(crate) fn frame(log: &mut Vec<u8>, kind: u64, crc: &mut u32, content: &[u8]) {
    if kind != 4 {
        *crc = crc32c::crc32c_append(*crc, content);
    }
    let mut record = Vec::new();
    wire::put_u64(&mut record, 1, kind);
    wire::put_u64(&mut record, 2, u64::from(*crc));
    if kind != 4 {
        wire::put_bytes(&mut record, 3, content);
    }
    let padding = (8 - record.len() % 8) % 8;
    let flag = if padding == 0 { 0 } else { (0x80 | padding as u64) << 56 };
    log.extend_from_slice(&(record.len() as u64 | flag).to_le_bytes());
    log.extend_from_slice(&record);
    log.resize(log.len() + padding, 0);
}

fn read(log: &[u8]) {
    for last in [false, true] {
        let mut reader = SegmentReader::new(log, None, last);
        while let Ok(Some(_)) = reader.next_record() {}
        assert!(reader.offset() <= log.len() as u64, "it stays within the segment");
    }
    let names = [segment_name(0, 0)];
    let _ = summarize::<WalError>(&names, |_| Ok(log.to_vec()));
}

/// A .snap file: as it is, and as content with the right checksum; then the v2 store in it.
pub fn snap(data: &[u8]) {
    let mut framed = Vec::new();
    wire::put_u64(&mut framed, 1, u64::from(crc32c::crc32c(data)));
    wire::put_bytes(&mut framed, 2, data);
    for bytes in [data, &framed] {
        if let Ok(snapshot) = snap::decode(bytes) {
            let _ = v2store::decode(snapshot.data);
        }
    }
    let _ = v2store::decode(data);
}
