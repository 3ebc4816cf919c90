//! Bitmaps of the record ordinals that are alive: roaring, portable serialization.
//!
//! Source of the format: <https://github.com/RoaringBitmap/RoaringFormatSpec>. Holds: reading
//! allocates at most one bit per record of the segment (and its containers' heads), whatever the
//! bytes claim.

use bytes::Bytes;
use roaring::RoaringBitmap;

/// Cookies of the portable serialization, without and with run containers.
const COOKIE_NO_RUNS: u32 = 12346;
const COOKIE_RUNS: u32 = 12347;

/// A bitmap that is not one, or not one of this segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BitmapError {
    /// Not a roaring bitmap, or bytes behind its end.
    #[error("the live bitmap is not a roaring bitmap")]
    Malformed,
    /// Bits beyond the segment's records.
    #[error("the live bitmap has bits beyond the segment's {records} records")]
    Beyond {
        /// Records in the segment.
        records: u64,
    },
    /// The count beside it differs.
    #[error("the live bitmap has {found} bits, {recorded} are recorded")]
    Count {
        /// Bits set.
        found: u64,
        /// `SegmentRef.live_count`.
        recorded: u64,
    },
}

/// All of `count` records alive.
pub fn all_alive(count: u32) -> RoaringBitmap {
    let mut live = RoaringBitmap::new();
    live.insert_range(0..count);
    live
}

/// Serializes a bitmap, with run containers where they are shorter.
pub fn encode_live(live: &RoaringBitmap) -> Bytes {
    let mut live = live.clone();
    live.optimize();
    let mut out = Vec::with_capacity(live.serialized_size());
    live.serialize_into(&mut out).expect("a Vec takes all bytes");
    out.into()
}

/// Reads the bitmap of a segment that has `records` records, `alive` of them alive.
pub fn parse_live(bytes: &[u8], records: u64, alive: u64) -> Result<RoaringBitmap, BitmapError> {
    let containers = claimed_containers(bytes).ok_or(BitmapError::Malformed)?;
    if containers > records.div_ceil(1 << 16) {
        return Err(BitmapError::Beyond { records });
    }
    let mut rest = bytes;
    let live = RoaringBitmap::deserialize_from(&mut rest).map_err(|_| BitmapError::Malformed)?;
    if !rest.is_empty() {
        return Err(BitmapError::Malformed);
    }
    if live.max().is_some_and(|highest| u64::from(highest) >= records) {
        return Err(BitmapError::Beyond { records });
    }
    if live.len() != alive {
        return Err(BitmapError::Count { found: live.len(), recorded: alive });
    }
    Ok(live)
}

/// The number of containers that the head claims, before anything is allocated for them.
fn claimed_containers(bytes: &[u8]) -> Option<u64> {
    let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    match word(0)? {
        COOKIE_NO_RUNS => word(4).map(u64::from),
        cookie if cookie & 0xffff == COOKIE_RUNS => Some(u64::from(cookie >> 16) + 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(bits in proptest::collection::btree_set(0u32..200_000, 0..500)) {
            let live: RoaringBitmap = bits.iter().copied().collect();
            let bytes = encode_live(&live);
            prop_assert_eq!(parse_live(&bytes, 200_000, live.len()), Ok(live.clone()));
            if let Some(highest) = live.max() {
                let refused = parse_live(&bytes, u64::from(highest), live.len());
                prop_assert_eq!(refused, Err(BitmapError::Beyond { records: u64::from(highest) }));
            }
            prop_assert!(parse_live(&bytes, 200_000, live.len() + 1).is_err());
        }

        #[test]
        fn garbage_is_an_error_or_a_small_bitmap(
            cookie in prop_oneof![Just(COOKIE_NO_RUNS), Just(COOKIE_RUNS), any::<u32>()],
            rest in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [&cookie.to_le_bytes()[..], &rest].concat();
            for alive in [0, 1, 5] {
                if let Ok(live) = parse_live(&bytes, 70_000, alive) {
                    prop_assert!(live.len() == alive && live.max().is_none_or(|bit| bit < 70_000));
                }
            }
        }
    }

    #[test]
    fn full_bitmaps_are_small() {
        let bytes = encode_live(&all_alive(150_000));
        assert!(bytes.len() < 100, "{}", bytes.len());
        assert_eq!(parse_live(&bytes, 150_000, 150_000).unwrap().len(), 150_000);
        assert_eq!(parse_live(&encode_live(&all_alive(0)), 0, 0).unwrap().len(), 0);
    }
}
