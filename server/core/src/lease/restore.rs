//! Leases out of a database that was opened: the bucket `lease`, and the live keys that name one.

use super::{Lease, LeaseConfig, Leases, RestoreError};
use crate::buckets::Lease as StoredLease;

/// How many keys of unknown leases a report names.
const NAMED_ORPHANS: usize = 100;

/// Live keys whose lease is not stored: they never expire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrphanKeys {
    /// How many.
    pub count: u64,
    /// The first hundred: key and the lease it names.
    pub first: Vec<(Vec<u8>, i64)>,
}

impl Leases {
    /// Reads the entries of the bucket `lease`. TTLs below the minimum are raised, in memory only.
    ///
    /// # Errors
    /// An entry that is no lease.
    pub fn restore<'a>(
        config: LeaseConfig,
        entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Self, RestoreError> {
        let mut out = Leases::new(config);
        for (key, value) in entries {
            let damaged = |source| RestoreError::Damaged { key: key.to_vec(), source };
            let stored = StoredLease::decode(value).map_err(damaged)?;
            if StoredLease::bucket_key(stored.id) != *key {
                return Err(RestoreError::Misplaced { key: key.to_vec(), id: stored.id });
            }
            out.leases.insert(stored.id, Lease::new(stored.ttl_seconds, config.min_ttl_seconds));
            if stored.remaining_ttl_seconds > 0 {
                out.checkpoints.insert(stored.id, stored.remaining_ttl_seconds);
            }
        }
        Ok(out)
    }

    /// Attaches the live keys of a database that was opened: (key, lease), any order, lease 0 for
    /// none. Those that name a lease that is not there are reported.
    pub fn restore_keys<'a>(
        &mut self,
        keys: impl IntoIterator<Item = (&'a [u8], i64)>,
    ) -> OrphanKeys {
        let mut orphans = OrphanKeys::default();
        for (key, id) in keys {
            if id == 0 || self.attach(id, key).is_ok() {
                continue;
            }
            orphans.count += 1;
            if orphans.first.len() < NAMED_ORPHANS {
                orphans.first.push((key.to_vec(), id));
            }
        }
        orphans
    }
}
