//! Which leases must be made up: those that a live key names and the lease bucket does not have.
//!
//! Only a key's newest record attaches it to a lease, so a key leaves the list when a later
//! record of it names a known lease, none, or deletes it. Holds: no needed lease is ever missed.
//! Memory is bounded: beyond [`MAX_KEY_BYTES`] of such keys only lease ids are kept, and then
//! leases may be made up that no key needs any more (they expire by themselves).

use std::collections::{BTreeSet, HashMap, HashSet};

use holdfast_core::buckets::{LEASE, SmallBuckets};
use holdfast_core::record::KeyValue;

/// Bytes of keys remembered exactly.
const MAX_KEY_BYTES: usize = 64 << 20;

#[derive(Debug)]
pub(crate) struct LeaseWatch {
    known: HashSet<i64>,
    /// Live keys with an unknown lease.
    orphans: HashMap<Box<[u8]>, i64>,
    orphan_bytes: usize,
    limit: usize,
    /// Ids that were ever unknown, once there are too many keys.
    spilled: BTreeSet<i64>,
}

impl LeaseWatch {
    /// Knows the leases of a database.
    pub(crate) fn of(small: &SmallBuckets) -> LeaseWatch {
        let id = |key: &[u8]| <[u8; 8]>::try_from(key).ok().map(i64::from_be_bytes);
        LeaseWatch {
            known: small.entries(LEASE).filter_map(|(key, _)| id(key)).collect(),
            orphans: HashMap::new(),
            orphan_bytes: 0,
            limit: MAX_KEY_BYTES,
            spilled: BTreeSet::new(),
        }
    }

    /// Takes the next record, in revision order.
    pub(crate) fn observe(&mut self, tombstone: bool, content: &KeyValue<'_>) {
        let lease = if tombstone { 0 } else { content.lease };
        if lease == 0 || self.known.contains(&lease) {
            if !self.orphans.is_empty() && self.orphans.remove(content.key).is_some() {
                self.orphan_bytes -= content.key.len();
            }
            return;
        }
        if self.orphan_bytes + content.key.len() > self.limit {
            self.spilled.insert(lease);
            return;
        }
        if self.orphans.insert(content.key.into(), lease).is_none() {
            self.orphan_bytes += content.key.len();
        }
    }

    /// The unknown ids, ascending.
    pub(crate) fn unknown(&self) -> BTreeSet<i64> {
        self.orphans.values().chain(&self.spilled).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_core::buckets::Lease;

    fn watch() -> LeaseWatch {
        let mut small = SmallBuckets::empty();
        let lease = Lease { id: 7, ttl_seconds: 60, remaining_ttl_seconds: 0 };
        small.put(LEASE, &Lease::bucket_key(7), lease.to_bytes());
        LeaseWatch::of(&small)
    }

    fn put(watch: &mut LeaseWatch, key: &[u8], lease: i64) {
        watch.observe(false, &KeyValue { key, lease, ..KeyValue::default() });
    }

    #[test]
    fn only_the_newest_record_of_a_key_counts() {
        let mut watch = watch();
        for (key, lease) in [(b"a", 1), (b"b", 2), (b"c", 3), (b"d", 4), (b"e", 7), (b"f", 9)] {
            put(&mut watch, key, lease);
        }
        put(&mut watch, b"a", 0);
        put(&mut watch, b"b", 7);
        put(&mut watch, b"d", 5);
        watch.observe(true, &KeyValue { key: b"f", ..KeyValue::default() });
        assert_eq!(watch.unknown().into_iter().collect::<Vec<_>>(), [3, 5]);
    }

    #[test]
    fn beyond_the_limit_no_lease_is_missed() {
        let mut watch = LeaseWatch { limit: 2, ..watch() };
        put(&mut watch, b"a", 1);
        put(&mut watch, b"b", 2);
        put(&mut watch, b"c", 3);
        put(&mut watch, b"a", 0);
        assert_eq!(watch.unknown().into_iter().collect::<Vec<_>>(), [2, 3]);
        put(&mut watch, b"a", 4);
        assert_eq!(watch.unknown().len(), 3);
    }
}
