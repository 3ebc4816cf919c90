//! Leases: granted, kept alive, attached to keys, run out.
//!
//! A pure state machine. Time comes in as `now`, the time since the member started, from a clock
//! that never goes back. What is to be stored comes back as [`BucketChange`]: id, TTL and a
//! checkpoint, never the keys, since those name their lease in their records.
//!
//! Only the leader's clock counts. A member that does not lead knows which leases and keys there
//! are, and lets none run out. Whoever becomes leader refreshes all of them ([`Leases::promote`]).
//!
//! What must hold:
//! - a key has at most one lease, and each of them knows the other;
//! - while we lead, each lease has a current entry in the expiry queue: at the time it runs out,
//!   earlier (then it is looked at and queued again), or at the time it is handed out again;
//! - a lease is handed out as expired at or after the time it runs out, never before;
//! - keeping a lease alive costs O(1): its entry in the queue stays where it is.

mod checkpoint;
mod error;
mod expiry;
mod keys;
mod lifetime;
mod promotion;
mod restore;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::buckets::{self, Lease as StoredLease};
use crate::change::BucketChange;
pub use error::{LeaseError, RestoreError};
use expiry::Deadlines;
use keys::KeySet;
pub use lifetime::{KeepAlive, TimeToLive};
pub use restore::OrphanKeys;

/// Longest TTL in seconds (lease/lessor.go: the span must fit into nanoseconds).
pub const MAX_TTL_SECONDS: i64 = 9_000_000_000;

/// What a member is configured to do with leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseConfig {
    /// A shorter TTL is raised to this. Upstream: 1.5 election timeouts, rounded up to seconds.
    pub min_ttl_seconds: i64,
    /// How many leases may run out in a second; half of it is handed out at once.
    pub revoke_rate: usize,
    /// A lease that was handed out as expired and is still there is handed out again after this.
    pub retry_after: Duration,
    /// Whether the leader proposes checkpoints. Off by default.
    pub checkpoints: bool,
    /// Time between a lease's checkpoints.
    pub checkpoint_interval: Duration,
}

impl Default for LeaseConfig {
    /// As upstream without flags: 100 ms heartbeats, 1 s elections.
    fn default() -> Self {
        LeaseConfig {
            min_ttl_seconds: 2,
            revoke_rate: 1000,
            retry_after: Duration::from_secs(3),
            checkpoints: false,
            checkpoint_interval: Duration::from_secs(300),
        }
    }
}

/// All leases of a cluster, as one member sees them.
#[derive(Debug, Clone)]
pub struct Leases {
    config: LeaseConfig,
    leases: HashMap<i64, Lease>,
    /// The lease of each key that has one.
    of_key: HashMap<Arc<[u8]>, i64>,
    /// Seconds left at the last checkpoint, of those leases that have one.
    checkpoints: HashMap<i64, i64>,
    /// What only a leader has.
    leading: Option<Leading>,
}

/// One lease. Times are nanoseconds since the member's start; both mean nothing unless we lead.
#[derive(Debug, Clone)]
struct Lease {
    ttl_seconds: i64,
    expires: u64,
    /// The time of its current entry in the expiry queue.
    queued: u64,
    keys: KeySet,
}

#[derive(Debug, Clone, Default)]
struct Leading {
    expiry: Deadlines,
    checkpoints: Deadlines,
    /// When each lease is to be looked at for a checkpoint.
    checkpoint_due: HashMap<i64, u64>,
}

/// A lease that was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// TTL in seconds, raised to the minimum.
    pub ttl_seconds: i64,
    /// What to store.
    pub change: BucketChange,
}

/// A lease that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Its keys in order, to be deleted in one revision. They are detached already.
    pub keys: Vec<Arc<[u8]>>,
    /// What to store, in the transaction that deletes the keys.
    pub change: BucketChange,
}

impl Leases {
    /// No leases.
    pub fn new(config: LeaseConfig) -> Self {
        Leases {
            config,
            leases: HashMap::new(),
            of_key: HashMap::new(),
            checkpoints: HashMap::new(),
            leading: None,
        }
    }

    /// Applies a grant. The id was chosen before it was proposed.
    ///
    /// # Errors
    /// Id 0, an id that is taken, a TTL above [`MAX_TTL_SECONDS`].
    pub fn grant(
        &mut self,
        id: i64,
        ttl_seconds: i64,
        now: Duration,
    ) -> Result<Granted, LeaseError> {
        if id == 0 {
            return Err(LeaseError::NotFound);
        }
        if ttl_seconds > MAX_TTL_SECONDS {
            return Err(LeaseError::TtlTooLarge);
        }
        if self.leases.contains_key(&id) {
            return Err(LeaseError::Exists);
        }
        let lease = Lease::new(ttl_seconds, self.config.min_ttl_seconds);
        let ttl_seconds = lease.ttl_seconds;
        self.leases.insert(id, lease);
        self.refresh(id, now, Duration::ZERO);
        self.schedule_checkpoint(id, now);
        Ok(Granted { ttl_seconds, change: self.stored(id, ttl_seconds) })
    }

    /// Applies a revocation, by a client or of a lease that ran out.
    ///
    /// # Errors
    /// There is none.
    pub fn revoke(&mut self, id: i64) -> Result<Revoked, LeaseError> {
        let lease = self.leases.remove(&id).ok_or(LeaseError::NotFound)?;
        let keys = lease.keys.into_sorted();
        for key in &keys {
            self.of_key.remove(key);
        }
        self.checkpoints.remove(&id);
        if let Some(leading) = &mut self.leading {
            leading.checkpoint_due.remove(&id);
            leading.expiry.shrink(self.leases.len(), |at, id| {
                self.leases.get(&id).is_some_and(|lease| lease.queued == at)
            });
        }
        let change = BucketChange::delete(buckets::LEASE, StoredLease::bucket_key(id));
        Ok(Revoked { keys, change })
    }

    /// Attaches a key, taking it from the lease it had.
    ///
    /// # Errors
    /// There is no such lease; the key keeps the one it had.
    pub fn attach(&mut self, id: i64, key: &[u8]) -> Result<(), LeaseError> {
        if !self.leases.contains_key(&id) {
            return Err(LeaseError::NotFound);
        }
        if self.of_key.get(key) == Some(&id) {
            return Ok(());
        }
        self.detach(key);
        let key: Arc<[u8]> = Arc::from(key);
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.insert(Arc::clone(&key));
        }
        self.of_key.insert(key, id);
        Ok(())
    }

    /// Takes a key from its lease: it was deleted, or put without one. Gives the lease it had.
    pub fn detach(&mut self, key: &[u8]) -> Option<i64> {
        let id = self.of_key.remove(key)?;
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.remove(key);
        }
        Some(id)
    }

    /// The lease of a key.
    pub fn of_key(&self, key: &[u8]) -> Option<i64> {
        self.of_key.get(key).copied()
    }

    /// Whether there is such a lease.
    pub fn contains(&self, id: i64) -> bool {
        self.leases.contains_key(&id)
    }

    /// The keys of a lease in order; none if there is no such lease.
    pub fn keys(&self, id: i64) -> impl Iterator<Item = &[u8]> {
        self.leases.get(&id).into_iter().flat_map(|lease| lease.keys.iter())
    }

    /// How many leases there are.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// All ids: on a leader those that run out first come first, else by id.
    pub fn list(&self) -> Vec<i64> {
        let time = |lease: &Lease| if self.is_leading() { lease.expires } else { 0 };
        let mut out: Vec<_> = self.leases.iter().map(|(id, lease)| (time(lease), *id)).collect();
        out.sort_unstable();
        out.into_iter().map(|(_, id)| id).collect()
    }

    /// Whether this member's clock counts.
    pub fn is_leading(&self) -> bool {
        self.leading.is_some()
    }

    /// Seconds from a refresh until a lease runs out: its checkpoint's, else its TTL.
    fn rest_seconds(&self, id: i64, ttl_seconds: i64) -> i64 {
        self.checkpoints.get(&id).copied().unwrap_or(ttl_seconds)
    }

    fn stored(&self, id: i64, ttl_seconds: i64) -> BucketChange {
        let remaining_ttl_seconds = self.checkpoints.get(&id).copied().unwrap_or(0);
        let value = StoredLease { id, ttl_seconds, remaining_ttl_seconds }.to_bytes();
        BucketChange::put(buckets::LEASE, StoredLease::bucket_key(id), value)
    }

    /// What must hold, in tests and simulations.
    ///
    /// # Panics
    /// It does not.
    pub fn check_invariants(&self) {
        let mut keys = 0;
        for (id, lease) in &self.leases {
            for key in lease.keys.iter() {
                assert_eq!(self.of_key.get(key), Some(id), "a key and its lease know each other");
                keys += 1;
            }
            assert!(lease.ttl_seconds >= self.config.min_ttl_seconds.max(1));
        }
        assert_eq!(keys, self.of_key.len(), "no key names a lease that does not know it");
        assert!(self.checkpoints.keys().all(|id| self.leases.contains_key(id)));
        if let Some(leading) = &self.leading {
            let current: HashSet<i64> = leading
                .expiry
                .iter()
                .filter(|(at, id)| self.leases.get(id).is_some_and(|lease| lease.queued == *at))
                .map(|(_, id)| id)
                .collect();
            assert_eq!(current.len(), self.leases.len(), "each is in the queue");
        }
    }
}

impl Lease {
    fn new(ttl_seconds: i64, min_ttl_seconds: i64) -> Self {
        let ttl_seconds = ttl_seconds.max(min_ttl_seconds).max(1);
        Lease { ttl_seconds, expires: 0, queued: 0, keys: KeySet::default() }
    }
}

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// A time as nanoseconds since the start; 584 years are enough.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Seconds as nanoseconds.
fn seconds(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0).saturating_mul(SECOND)
}

#[cfg(test)]
mod tests;
