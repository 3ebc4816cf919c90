//! What each kept snapshot costs: the bytes it needs, and those that only it needs.
//!
//! Holds: one pass over objects and snapshots, no product of both.

use super::ObjectFact;

/// The bytes behind one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinnedBytes {
    /// The snapshot's number.
    pub number: u64,
    /// Sealed bytes of all objects that it needs.
    pub needed_bytes: u64,
    /// Those that no other kept snapshot needs and that are not in the live set: what forgetting
    /// it would free.
    pub only_bytes: u64,
}

/// The bytes behind each kept snapshot, ascending by number.
pub fn pinned_bytes(kept: &[u64], objects: &[ObjectFact]) -> Vec<PinnedBytes> {
    let mut numbers = kept.to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    let mut only = vec![0u64; numbers.len()];
    // Where a span of snapshots begins to need bytes, and where it ends to.
    let mut begins = vec![0u64; numbers.len() + 1];
    let mut ends = vec![0u64; numbers.len() + 1];
    for object in objects {
        let first = numbers.partition_point(|number| *number < object.added);
        let past = object
            .removed
            .map_or(numbers.len(), |removed| numbers.partition_point(|number| *number < removed));
        if first >= past {
            continue;
        }
        begins[first] = begins[first].saturating_add(object.sealed_bytes);
        ends[past] = ends[past].saturating_add(object.sealed_bytes);
        if past - first == 1 && object.removed.is_some() {
            only[first] = only[first].saturating_add(object.sealed_bytes);
        }
    }
    let mut needed = 0u64;
    let mut pinned = Vec::with_capacity(numbers.len());
    for (at, number) in numbers.iter().enumerate() {
        needed = needed.saturating_add(begins[at]).saturating_sub(ends[at]);
        pinned.push(PinnedBytes { number: *number, needed_bytes: needed, only_bytes: only[at] });
    }
    pinned
}
