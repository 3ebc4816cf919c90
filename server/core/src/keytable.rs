//! The newest record of each key, for millions of keys in bounded memory.
//!
//! Maps a key to the ordinal of its latest record in 20 bytes per slot, whatever the key's length.
//! The key stands as 128 bits of its SHA-256. Two keys with the same 128 bits would make one look
//! like an older version of the other; by accident that needs some 10^19 keys, and an attacker who
//! wants such a pair has 2^64 hashes to compute. The vault's digests rest on the same assumption,
//! so a collision is treated as impossible and the answers as exact.
//!
//! Sixty-four shards grow one by one by a quarter, so that a growing shard adds little to the peak:
//! at most seven eighths full and at least 0.7, a key takes 23 to 29 bytes. Two million keys: at
//! most 57 MB.

use sha2::{Digest, Sha256};

const SHARDS: usize = 64;
const FIRST_SLOTS: usize = 16;
const TOMBSTONE_BIT: u32 = 1 << 31;
const EMPTY: u32 = u32::MAX;

/// Most records that can be told apart: ordinals have 31 bits, one value marks an empty slot.
pub(crate) const MAX_RECORDS: u32 = TOMBSTONE_BIT - 1;

/// The latest record seen of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Latest {
    /// Position in the scan, from 0, below [`MAX_RECORDS`].
    pub(crate) ordinal: u32,
    /// Whether it is a tombstone.
    pub(crate) tombstone: bool,
}

/// Key → [`Latest`].
#[derive(Debug)]
pub(crate) struct KeyTable {
    shards: Vec<Shard>,
}

#[derive(Debug, Default)]
struct Shard {
    slots: Vec<Slot>,
    used: usize,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    digest: [u32; 4],
    packed: u32,
}

impl KeyTable {
    pub(crate) fn new() -> Self {
        KeyTable { shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }

    /// Puts `latest` and returns what stood there before.
    pub(crate) fn replace(&mut self, key: &[u8], latest: Latest) -> Option<Latest> {
        assert!(latest.ordinal < MAX_RECORDS, "ordinals have 31 bits");
        let digest = digest(key);
        let shard = digest[3] as usize % SHARDS;
        let before = self.shards[shard].replace(Slot { digest, packed: pack(latest) })?;
        Some(Latest { ordinal: before & !TOMBSTONE_BIT, tombstone: before & TOMBSTONE_BIT != 0 })
    }

    /// Number of distinct keys.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.used).sum()
    }
}

impl Shard {
    fn replace(&mut self, new: Slot) -> Option<u32> {
        // Seven eighths full at most, so that a probe ends.
        if (self.used + 1) * 8 > self.slots.len() * 7 {
            self.grow();
        }
        let at = self.find(&new.digest);
        let slot = &mut self.slots[at];
        let before = (slot.packed != EMPTY).then_some(slot.packed);
        *slot = new;
        if before.is_none() {
            self.used += 1;
        }
        before
    }

    /// The slot that holds `digest`, or the empty one where it belongs.
    fn find(&self, digest: &[u32; 4]) -> usize {
        let count = self.slots.len();
        // Scales 32 bits of the digest to the slots: a shard never has more than 2^31 / 64 keys.
        let scaled = (u64::from(digest[0]) * count as u64) >> 32;
        let mut at = usize::try_from(scaled).expect("below the number of slots");
        for _ in 0..count {
            let slot = &self.slots[at];
            if slot.packed == EMPTY || slot.digest == *digest {
                return at;
            }
            at = if at + 1 == count { 0 } else { at + 1 };
        }
        unreachable!("a shard is never full")
    }

    fn grow(&mut self) {
        let count = (self.slots.len() * 5 / 4).max(FIRST_SLOTS);
        let empty = Slot { digest: [0; 4], packed: EMPTY };
        let old = std::mem::replace(&mut self.slots, vec![empty; count]);
        for slot in old.into_iter().filter(|slot| slot.packed != EMPTY) {
            let at = self.find(&slot.digest);
            self.slots[at] = slot;
        }
    }
}

fn pack(latest: Latest) -> u32 {
    latest.ordinal | if latest.tombstone { TOMBSTONE_BIT } else { 0 }
}

fn digest(key: &[u8]) -> [u32; 4] {
    let full: [u8; 32] = Sha256::digest(key).into();
    let word = |at: usize| u32::from_le_bytes([full[at], full[at + 1], full[at + 2], full[at + 3]]);
    [word(0), word(4), word(8), word(12)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn behaves_like_a_map(
            ops in proptest::collection::vec((0u16..600, any::<bool>()), 0..3000),
        ) {
            let (mut table, mut model) = (KeyTable::new(), HashMap::new());
            for (ordinal, (key, tombstone)) in (0..).zip(ops) {
                let latest = Latest { ordinal, tombstone };
                let before = table.replace(&key.to_be_bytes(), latest);
                prop_assert_eq!(before, model.insert(key, latest));
            }
            prop_assert_eq!(table.len(), model.len());
        }
    }

    #[test]
    fn two_hundred_thousand_keys_fit_in_six_megabytes() {
        let mut table = KeyTable::new();
        for ordinal in 0..200_000u32 {
            table.replace(&ordinal.to_be_bytes(), Latest { ordinal, tombstone: false });
        }
        assert_eq!(table.len(), 200_000);
        let slots: usize = table.shards.iter().map(|shard| shard.slots.capacity()).sum();
        assert!(slots * size_of::<Slot>() < 6_000_000, "{slots} slots");
    }
}
