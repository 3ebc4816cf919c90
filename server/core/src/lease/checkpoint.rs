//! Checkpoints: how much of a long lease is left, told to all members now and then.
//!
//! Off by default. Without them a new leader gives every lease its whole TTL again; with them, what
//! was left at the last checkpoint. The leader proposes them; they are stored only if the cluster's
//! version knows of it (3.6) or a flag says so.

use std::time::Duration;

use holdfast_api::etcdserverpb::LeaseCheckpoint;

use super::expiry::ceil_seconds;
use super::{Leases, SECOND, nanos};
use crate::change::BucketChange;

/// Checkpoints in one proposal (lease/lessor.go).
pub const MAX_BATCH: usize = 1000;

impl Leases {
    /// Checkpoints that are due, at most [`MAX_BATCH`], to be proposed in one request. Upstream
    /// asks twice a second, up to 500 times each. Nothing unless we lead and checkpoints are on.
    pub fn due_checkpoints(&mut self, now: Duration) -> Vec<LeaseCheckpoint> {
        let interval = nanos(self.config.checkpoint_interval).max(SECOND);
        let now = nanos(now);
        let Some(leading) = &mut self.leading else { return Vec::new() };
        let mut out = Vec::new();
        while out.len() < MAX_BATCH {
            let Some((at, id)) = leading.checkpoints.pop_due(now) else { break };
            if leading.checkpoint_due.get(&id) != Some(&at) {
                continue;
            }
            leading.checkpoint_due.remove(&id);
            let Some(lease) = self.leases.get(&id).filter(|lease| lease.expires > now) else {
                continue;
            };
            let remaining_ttl = ceil_seconds(lease.expires - now);
            if remaining_ttl < lease.ttl_seconds {
                out.push(LeaseCheckpoint { id, remaining_ttl });
            }
            // When the checkpoint is applied the next one is scheduled; until then, or if it was
            // just kept alive, this one stands.
            let again = now.saturating_add(interval);
            leading.checkpoint_due.insert(id, again);
            leading.checkpoints.push(again, id);
        }
        out
    }

    /// Applies a checkpoint; 0 clears it. What is to be stored comes back if `persist`. One of an
    /// unknown lease is nothing.
    pub fn checkpoint(
        &mut self,
        id: i64,
        remaining_seconds: i64,
        persist: bool,
        now: Duration,
    ) -> Option<BucketChange> {
        let ttl_seconds = self.leases.get(&id)?.ttl_seconds;
        if remaining_seconds > 0 {
            self.checkpoints.insert(id, remaining_seconds);
        } else {
            self.checkpoints.remove(&id);
        }
        self.schedule_checkpoint(id, now);
        persist.then(|| self.stored(id, ttl_seconds))
    }

    /// Plans a lease's next checkpoint if it lives long enough for one.
    pub(super) fn schedule_checkpoint(&mut self, id: i64, now: Duration) {
        if !self.config.checkpoints {
            return;
        }
        let interval = self.config.checkpoint_interval;
        let Some(ttl_seconds) = self.leases.get(&id).map(|lease| lease.ttl_seconds) else { return };
        let rest = u64::try_from(self.rest_seconds(id, ttl_seconds)).unwrap_or(0);
        let Some(leading) = &mut self.leading else { return };
        if rest > interval.as_secs() {
            let at = nanos(now).saturating_add(nanos(interval));
            if leading.checkpoint_due.insert(id, at) != Some(at) {
                leading.checkpoints.push(at, id);
            }
            let due = &leading.checkpoint_due;
            leading.checkpoints.shrink(due.len(), |at, id| due.get(&id) == Some(&at));
        }
    }
}
