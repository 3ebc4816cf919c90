//! When leases run out: a queue of times, read from its front.
//!
//! The queue holds (time, id) and is never searched. An entry whose lease is gone or was queued
//! anew is stale: it is dropped when it comes to the front, and when stale ones outnumber the
//! others all of them are swept. So the queue stays linear in the number of leases.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::{Leases, SECOND, nanos, seconds};

/// Stale entries that are not worth a sweep.
const SWEEP_ABOVE: usize = 64;

/// Times in nanoseconds and ids, the earliest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(u64, i64)>>,
}

impl Deadlines {
    pub(super) fn push(&mut self, at: u64, id: i64) {
        self.heap.push(Reverse((at, id)));
    }

    /// Takes the first entry if its time has come.
    pub(super) fn pop_due(&mut self, now: u64) -> Option<(u64, i64)> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Sweeps stale entries when they outnumber `live` ones.
    pub(super) fn shrink(&mut self, live: usize, mut is_current: impl FnMut(u64, i64) -> bool) {
        if self.heap.len() > 2 * live + SWEEP_ABOVE {
            self.heap.retain(|Reverse((at, id))| is_current(*at, *id));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, i64)> {
        self.heap.iter().map(|Reverse(entry)| *entry)
    }
}

impl Leases {
    /// Leases that ran out, the earliest first, to be revoked by proposals: at most half of the
    /// revoke rate, so that two calls a second keep to it. One that is still there after the retry
    /// time is given again. Nothing unless we lead.
    pub fn expired(&mut self, now: Duration) -> Vec<i64> {
        let now = nanos(now);
        let retry_at = now.saturating_add(nanos(self.config.retry_after).max(1));
        let most = (self.config.revoke_rate / 2).max(1);
        let Some(leading) = &mut self.leading else { return Vec::new() };
        let mut out = Vec::new();
        while out.len() < most {
            let Some((at, id)) = leading.expiry.pop_due(now) else { break };
            let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.queued == at) else {
                continue;
            };
            // One that was kept alive comes back at its true time, also if that is past: the order
            // holds.
            lease.queued = if lease.expires > at {
                lease.expires
            } else {
                out.push(id);
                retry_at
            };
            leading.expiry.push(lease.queued, id);
        }
        out
    }

    /// Lets a lease live from now on for what it has left, and `extend` more; nothing unless we
    /// lead.
    pub(super) fn refresh(&mut self, id: i64, now: Duration, extend: Duration) {
        let Some(leading) = &mut self.leading else { return };
        let Some(lease) = self.leases.get_mut(&id) else { return };
        let rest = self.checkpoints.get(&id).copied().unwrap_or(lease.ttl_seconds);
        lease.expires = nanos(now).saturating_add(nanos(extend)).saturating_add(seconds(rest));
        // Its entry may stay where it is if it is early enough. A new lease has none.
        if lease.queued == 0 || lease.queued > lease.expires {
            lease.queued = lease.expires;
            leading.expiry.push(lease.queued, id);
            leading.expiry.shrink(self.leases.len(), |at, id| {
                self.leases.get(&id).is_some_and(|lease| lease.queued == at)
            });
        }
    }

    /// How many entries the expiry queue holds, stale ones included.
    pub fn queue_len(&self) -> usize {
        self.leading.as_ref().map_or(0, |leading| leading.expiry.len())
    }
}

/// Nanoseconds rounded up to seconds.
pub(super) fn ceil_seconds(nanos: u64) -> i64 {
    i64::try_from(nanos.div_ceil(SECOND)).unwrap_or(i64::MAX)
}
