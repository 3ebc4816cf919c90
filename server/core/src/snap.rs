//! The .snap file: a checksum around a raft snapshot.
//!
//! ```text
//! field  type    name
//!     1  uint32  crc   CRC-32C of data
//!     2  bytes   data  raftpb.Snapshot, see `raftpb`
//! ```
//!
//! Its name is `<term>-<index>.snap`, both with 16 hex digits. The database that a leader sends
//! along with a snapshot lies beside it as `<index>.snap.db` until it is applied.

mod files;

pub use files::{Found, LoadedSnap, SnapFiles, db_name};

use crate::raftpb::RaftSnapshot;
use crate::wire::{self, Reader, WireError};

/// A .snap file that cannot be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnapError {
    /// No bytes or no data.
    #[error("the .snap file is empty")]
    Empty,
    /// The frame is not readable.
    #[error("the .snap file's frame: {0}")]
    Frame(WireError),
    /// The checksum does not fit.
    #[error("the .snap file's data has CRC {found:08x}, its frame says {stored:08x}")]
    Crc {
        /// What the frame says.
        stored: u32,
        /// What the data has.
        found: u32,
    },
    /// The snapshot in it is not readable although the checksum fits.
    #[error("the .snap file's snapshot: {0}")]
    Snapshot(WireError),
}

/// The file's name.
pub fn file_name(term: u64, index: u64) -> String {
    format!("{term:016x}-{index:016x}.snap")
}

/// Term and index out of a file's name.
pub fn parse_file_name(name: &str) -> Option<(u64, u64)> {
    let (term, index) = name.strip_suffix(".snap")?.split_once('-')?;
    Some((hex16(term)?, hex16(index)?))
}

/// The file's bytes.
pub fn encode(snapshot: &RaftSnapshot<'_>) -> Vec<u8> {
    let data = snapshot.to_bytes();
    let mut out = Vec::with_capacity(data.len() + 16);
    wire::put_u64(&mut out, 1, u64::from(crc32c::crc32c(&data)));
    wire::put_bytes(&mut out, 2, &data);
    out
}

/// Reads a file's bytes; the snapshot borrows from them.
///
/// # Errors
/// See [`SnapError`].
pub fn decode(bytes: &[u8]) -> Result<RaftSnapshot<'_>, SnapError> {
    let (stored, data) = frame(bytes).map_err(SnapError::Frame)?;
    if data.is_empty() {
        return Err(SnapError::Empty);
    }
    let found = crc32c::crc32c(data);
    if stored != found {
        return Err(SnapError::Crc { stored, found });
    }
    RaftSnapshot::decode(data).map_err(SnapError::Snapshot)
}

fn frame(bytes: &[u8]) -> Result<(u32, &[u8]), WireError> {
    let mut reader = Reader::new(bytes);
    let (mut crc, mut data): (u32, &[u8]) = (0, &[]);
    while let Some((number, field)) = reader.next_field()? {
        match number {
            1 => crc = field.as_u32(&reader)?,
            2 => data = field.as_bytes(&reader)?,
            _ => {}
        }
    }
    Ok((crc, data))
}

/// Sixteen hex digits.
pub(crate) fn hex16(text: &str) -> Option<u64> {
    let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits { u64::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::ConfState;
    use crate::raftpb::SnapshotMetadata;

    fn sample() -> Vec<u8> {
        let conf_state = ConfState::of_voters(vec![7, 8]);
        let metadata = SnapshotMetadata { conf_state, index: 3, term: 1 };
        encode(&RaftSnapshot { data: b"{\"Root\":1}", metadata })
    }

    #[test]
    fn comes_back() {
        let bytes = sample();
        let read = decode(&bytes).unwrap();
        assert_eq!((read.metadata.index, read.data), (3, &b"{\"Root\":1}"[..]));
        assert_eq!(parse_file_name(&file_name(1, 0xabc)), Some((1, 0xabc)));
        assert_eq!(parse_file_name("0000000000000001-0000000000000001.snap.db"), None);
        assert_eq!(parse_file_name("1-1.snap"), None);
        assert_eq!(decode(b""), Err(SnapError::Empty));
    }

    #[test]
    fn no_flipped_bit_passes() {
        let good = sample();
        for at in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(decode(&bad).is_err(), "bit {at}");
        }
        for len in 0..good.len() {
            assert!(decode(&good[..len]).is_err(), "cut to {len}");
        }
    }
}
