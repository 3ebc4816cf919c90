//! The jitter of a schedule: a stable hash, so that a new release keeps every cluster's rhythm.
//!
//! Holds: FNV-1a (64 bit) over seed, line and zone, each closed by a zero byte, then one finishing
//! mix so that seeds that differ in their last byte only spread too. Pinned by a test: changing it
//! moves every fleet's load at once.

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Seconds in `[0, longest)`; 0 when `longest` is 0.
pub(super) fn seconds(seed: &[u8], line: &str, zone: &str, longest: u64) -> u32 {
    if longest == 0 {
        return 0;
    }
    let mut hash = FNV_OFFSET;
    for part in [seed, line.as_bytes(), zone.as_bytes()] {
        for byte in part.iter().chain(&[0]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    u32::try_from(hash % longest).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_pinned() {
        let pinned = [(&b"one"[..], 3_103), (b"two", 3_473), (b"", 1_024)];
        let got = pinned.map(|(seed, _)| (seed, seconds(seed, "@hourly", "UTC", 3_600)));
        assert_eq!(got, pinned);
    }

    #[test]
    fn it_is_bounded_and_spreads() {
        let mut buckets = [0u32; 12];
        for id in 0u32..1_200 {
            let shift = seconds(&id.to_be_bytes(), "@hourly", "UTC", 3_600);
            assert!(shift < 3_600);
            buckets[(shift / 300) as usize] += 1;
        }
        assert!(buckets.iter().all(|count| (60..=140).contains(count)), "{buckets:?}");
        assert_eq!(seconds(b"x", "@hourly", "UTC", 0), 0);
        assert_eq!(seconds(b"x", "@hourly", "UTC", 1), 0);
    }
}
