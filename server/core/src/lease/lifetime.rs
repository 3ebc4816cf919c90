//! How long a lease lives, and its renewal: what only the member that leads can answer.

use std::time::Duration;

use super::{Leases, SECOND, nanos};

/// What became of a keep-alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAlive {
    /// It lives on.
    Renewed {
        /// TTL as granted, in seconds.
        ttl_seconds: i64,
    },
    /// It ran out and is about to be revoked: ask again when an entry was applied or leadership
    /// was lost.
    RunOut,
    /// A checkpoint of 0 must be applied first; then ask again. Only with checkpoints on.
    CheckpointFirst,
    /// There is none: the client is answered TTL 0, without an error.
    Unknown,
    /// We do not lead: forward it to the leader.
    NotLeader,
}

/// How long a lease will live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeToLive {
    /// Seconds.
    Lease {
        /// Left, cut to whole seconds; below 0 if it ran out a while ago.
        remaining_seconds: i64,
        /// As granted.
        granted_seconds: i64,
    },
    /// There is none: the client is answered TTL -1 and granted TTL 0, without an error.
    Unknown,
    /// We do not lead: forward it, or answer that the leader changed.
    NotLeader,
}

impl Leases {
    /// Keeps a lease alive.
    pub fn keep_alive(&mut self, id: i64, now: Duration) -> KeepAlive {
        if !self.is_leading() {
            return KeepAlive::NotLeader;
        }
        let Some(lease) = self.leases.get(&id) else { return KeepAlive::Unknown };
        let ttl_seconds = lease.ttl_seconds;
        if lease.expires <= nanos(now) {
            return KeepAlive::RunOut;
        }
        if self.checkpoints.contains_key(&id) {
            if self.config.checkpoints {
                return KeepAlive::CheckpointFirst;
            }
            // One of an earlier time: the client is promised the whole TTL. Upstream would give
            // the checkpoint's rest again and again.
            self.checkpoints.remove(&id);
        }
        self.refresh(id, now, Duration::ZERO);
        KeepAlive::Renewed { ttl_seconds }
    }

    /// How long a lease will live.
    pub fn time_to_live(&self, id: i64, now: Duration) -> TimeToLive {
        // A leader answers for leases that are not there; a follower may just not know them yet.
        if !self.is_leading() {
            return TimeToLive::NotLeader;
        }
        let Some(lease) = self.leases.get(&id) else { return TimeToLive::Unknown };
        let left = i128::from(lease.expires) - i128::from(nanos(now));
        let remaining_seconds = i64::try_from(left / i128::from(SECOND)).unwrap_or(i64::MAX);
        TimeToLive::Lease { remaining_seconds, granted_seconds: lease.ttl_seconds }
    }
}
