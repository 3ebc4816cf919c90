//! The write-ahead log: segments of framed records under one chain of checksums.
//!
//! A segment is a file `<sequence>-<first index>.wal`, both with 16 hex digits, made 64,000,000
//! bytes long before it is used and filled from the front; zeros follow the last record. A frame is
//!
//! ```text
//! offset  size  field
//!      0     8  length, little-endian: the low 56 bits count the record's bytes; if padding
//!               follows, the top byte is 0x80 | padding, else 0
//!      8     n  walpb.Record{1 type, 2 crc, 3 data}
//!    8+n     p  zeros up to a multiple of 8
//! ```
//!
//! A record's crc is the CRC-32C over the data of all records so far, through all segments; a
//! record of type crc has no data and carries the value reached, so that a chain can be taken up at
//! a segment's start. Every segment begins with crc and metadata; all but the first also with the
//! hard state.
//!
//! | type | data |
//! |---|---|
//! | 1 metadata | {1 node id, 2 cluster id} |
//! | 2 entry | raftpb.Entry |
//! | 3 state | raftpb.HardState |
//! | 4 crc | none |
//! | 5 snapshot | {1 index, 2 term, 3 conf state}: such a snapshot was saved |
//!
//! An entry whose index is not above the last one's replaces it and all behind it. Only the tail of
//! the last segment may be damaged by a crash: a frame that runs past the end, or one with a
//! 512-byte sector of zeros that was never written, is *torn* and is cut off; anything else is
//! *corrupt*.

mod append;
#[cfg(test)]
mod crashes;
#[cfg(test)]
mod damages;
mod decode;
mod disk;
mod encode;
mod log;
mod open;
#[cfg(test)]
pub(crate) mod simdisk;
#[cfg(test)]
mod story;
mod tail;

pub use append::{KEEP_FILES, PurgeOrder, Spare, SpareOrder, SyncObserver};
pub use append::{Wal, WalOptions, WalWriteError, exists};
pub use decode::{Record, SegmentReader, SnapshotRecord, WalDamage, WalFault};
pub use disk::{LogDisk, LogFile};
pub use encode::WalEncoder;
pub use log::{LogSummary, WalError, summarize};
pub use open::{LogContents, LogEntry, LogStart, Repair, WalOpenError, segment_names};

use crate::snap::hex16;

/// Length of a fresh segment.
pub const SEGMENT_BYTES: u64 = 64_000_000;

const FRAME_HEADER: usize = 8;
const SECTOR: usize = 512;

const TYPE_METADATA: u64 = 1;
const TYPE_ENTRY: u64 = 2;
const TYPE_STATE: u64 = 3;
const TYPE_CRC: u64 = 4;
const TYPE_SNAPSHOT: u64 = 5;

/// Who writes the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WalMetadata {
    /// The member.
    pub node_id: u64,
    /// Its cluster.
    pub cluster_id: u64,
}

/// A segment's name.
pub fn segment_name(sequence: u64, first_index: u64) -> String {
    format!("{sequence:016x}-{first_index:016x}.wal")
}

/// Sequence and first index out of a segment's name.
pub fn parse_segment_name(name: &str) -> Option<(u64, u64)> {
    let (sequence, index) = name.strip_suffix(".wal")?.split_once('-')?;
    Some((hex16(sequence)?, hex16(index)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::ConfState;
    use crate::raftpb::{Entry, EntryKind, HardState};

    const METADATA: WalMetadata = WalMetadata { node_id: 7, cluster_id: 9 };

    fn entry(index: u64, data: &[u8]) -> Entry<'_> {
        Entry { kind: EntryKind::Normal, term: 1, index, data }
    }

    /// A first segment with a snapshot note, three entries and the hard state.
    fn first() -> WalEncoder {
        let mut encoder = WalEncoder::new(0, METADATA);
        encoder.snapshot(&SnapshotRecord::default());
        for index in 1..4 {
            encoder.entry(&entry(index, &[b'x'; 700]));
        }
        encoder.hard_state(HardState { term: 1, vote: 7, commit: 3 });
        encoder
    }

    fn log(segments: &[Vec<u8>]) -> Result<LogSummary, WalError> {
        let names: Vec<String> =
            (0..).zip(segments).map(|(at, _)| segment_name(at, at * 4)).collect();
        summarize(&names, |name| {
            let (sequence, _) = parse_segment_name(name).unwrap();
            Ok(segments[usize::try_from(sequence).unwrap()].clone())
        })
    }

    #[test]
    fn two_segments_under_one_chain() {
        let first = first();
        let mut second = WalEncoder::new(first.crc(), METADATA);
        second.entry(&entry(4, b"four"));
        second.entry(&entry(3, b"three again"));
        let state = Some(ConfState::of_voters(vec![7]));
        second.snapshot(&SnapshotRecord { index: 3, term: 1, conf_state: state });
        let mut segments = [first.bytes().to_vec(), second.bytes().to_vec()];
        segments[1].resize(100_000, 0);
        let summary = log(&segments).unwrap();
        assert_eq!((summary.metadata, summary.hard_state.commit), (METADATA, 3));
        assert_eq!((summary.first_index, summary.last_index, summary.replaced), (1, 3, 2));
        assert_eq!((summary.snapshots.len(), summary.torn_tail), (2, None));
        segments[0] = WalEncoder::new(5, METADATA).bytes().to_vec();
        assert!(matches!(log(&segments), Err(WalError::Damage { .. })), "the chain is broken");
        let gap = [segment_name(0, 0), segment_name(2, 4)];
        let error = summarize(&gap, |_| Ok::<_, WalError>(segments[1].clone())).unwrap_err();
        assert!(matches!(error, WalError::Gap { .. }));
    }

    #[test]
    fn every_cut_is_a_torn_tail_in_the_last_segment_only() {
        let whole = first().bytes().to_vec();
        let mut boundaries = 0;
        for len in 0..whole.len() {
            let mut reader = SegmentReader::new(&whole[..len], None, true);
            let end = loop {
                match reader.next_record() {
                    Ok(Some(_)) => {}
                    other => break other,
                }
            };
            match end {
                Ok(_) => boundaries += 1,
                Err(damage) => {
                    assert!(damage.torn && damage.offset < len as u64, "{len}: {damage}");
                }
            }
            let second = WalEncoder::new(first().crc(), METADATA);
            let segments = [whole[..len].to_vec(), second.bytes().to_vec()];
            assert!(log(&segments).is_err(), "cut to {len} in the middle of a log");
        }
        assert_eq!(boundaries, 7, "every record's start is a clean end");
    }

    #[test]
    fn a_sector_that_was_never_written_is_torn() {
        let mut whole = first().bytes().to_vec();
        let len = whole.len();
        whole.resize(64 << 10, 0);
        // The third entry spans the sector from 1,536 to 2,047.
        whole[1_536..2_048].fill(0);
        let mut reader = SegmentReader::new(&whole, None, true);
        let damage = std::iter::from_fn(|| reader.next_record().err()).next();
        assert_eq!(damage, None, "the first record is good");
        let summary = log(&[whole.clone()]).unwrap();
        assert!(summary.torn_tail.unwrap().torn && summary.last_index == 2, "{summary:?} {len}");
        whole[1_600] = 1;
        let error = log(&[whole]).unwrap_err();
        assert!(matches!(error, WalError::Damage { damage: WalDamage { torn: false, .. }, .. }));
    }

    #[test]
    fn no_flipped_bit_passes_and_none_panics() {
        let whole = first().bytes().to_vec();
        let read = |bytes: &[u8]| log(&[bytes.to_vec()]);
        let good = read(&whole).unwrap();
        let mut unnoticed = Vec::new();
        for at in 0..whole.len() * 8 {
            let mut bad = whole.clone();
            bad[at / 8] ^= 1 << (at % 8);
            if read(&bad) == Ok(good.clone()) {
                unnoticed.push(at / 8);
            }
        }
        // Padding is under no checksum, nor are the unused bits of a frame's length.
        unnoticed.dedup();
        assert!(unnoticed.len() < 7 * 8, "{unnoticed:?}");
    }

    #[test]
    fn only_a_snapshot_covers_a_gap() {
        let mut log_with = first();
        log_with.entry(&entry(9, b"after a gap"));
        let error = log(&[log_with.bytes().to_vec()]).unwrap_err();
        assert!(matches!(error, WalError::Entries { previous: 3, found: 9, .. }));
        let mut covered = first();
        covered.snapshot(&SnapshotRecord { index: 8, term: 2, conf_state: None });
        covered.entry(&entry(9, b"after a snapshot"));
        let summary = log(&[covered.bytes().to_vec()]).unwrap();
        assert_eq!((summary.first_index, summary.last_index), (9, 9));
    }

    #[test]
    fn names_come_back() {
        assert_eq!(segment_name(0, 0), "0000000000000000-0000000000000000.wal");
        assert_eq!(parse_segment_name(&segment_name(3, 0xabc)), Some((3, 0xabc)));
        assert_eq!(parse_segment_name("0.tmp"), None);
    }
}
