//! Becoming the leader, and ceasing to be.
//!
//! A new leader cannot know when leases were last kept alive: it gives each its whole TTL (or what
//! its checkpoint left) and an election timeout more. All leases that were granted with one TTL
//! would then run out in the same instant, if their clients are gone. Such a pile is spread: behind
//! the first ones of it, no more than three quarters of the revoke rate run out in a second.

use std::time::Duration;

use super::{Leading, Leases, SECOND};

/// The pile that leases are being counted into, in the order they run out.
struct Pile {
    /// When the first of it runs out.
    begins: u64,
    /// Up to when leases belong to it.
    ends: u64,
    count: u64,
    per_second: u64,
}

impl Pile {
    fn new(begins: u64, per_second: u64) -> Self {
        Pile { begins, ends: begins.saturating_add(SECOND), count: 0, per_second }
    }

    /// Counts the next lease; how much later than its time it may run out.
    fn delay(&mut self, expires: u64) -> Option<u64> {
        if expires > self.ends {
            *self = Pile { count: 1, ..Pile::new(expires, self.per_second) };
            return None;
        }
        self.count += 1;
        if self.count <= self.per_second {
            return None;
        }
        let place = SECOND.saturating_mul(self.count) / self.per_second;
        let delay = place.saturating_sub(expires - self.begins);
        self.ends = self.begins.saturating_add(delay);
        Some(delay)
    }
}

impl Leases {
    /// We lead from now on: every lease is refreshed and lives `extend` longer (an election
    /// timeout), and piles are spread.
    pub fn promote(&mut self, extend: Duration, now: Duration) {
        self.leading = Some(Leading::default());
        let mut ids: Vec<i64> = self.leases.keys().copied().collect();
        ids.sort_unstable();
        for &id in &ids {
            self.queue_anew(id, now, extend);
        }
        if ids.len() < self.config.revoke_rate {
            return;
        }
        let mut order: Vec<(u64, i64)> =
            self.leases.iter().map(|(id, lease)| (lease.expires, *id)).collect();
        order.sort_unstable();
        let per_second = u64::try_from(self.config.revoke_rate * 3 / 4).unwrap_or(1).max(1);
        let Some(&(first, _)) = order.first() else { return };
        let mut pile = Pile::new(first, per_second);
        for (expires, id) in order {
            if let Some(delay) = pile.delay(expires) {
                self.queue_anew(id, now, Duration::from_nanos(delay).saturating_add(extend));
            }
        }
    }

    /// We lead no longer: no lease runs out until someone leads again.
    pub fn demote(&mut self) {
        self.leading = None;
        for lease in self.leases.values_mut() {
            (lease.expires, lease.queued) = (0, 0);
        }
    }

    fn queue_anew(&mut self, id: i64, now: Duration, extend: Duration) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.queued = 0;
        }
        self.refresh(id, now, extend);
        self.schedule_checkpoint(id, now);
    }

    /// When a lease runs out, since the member's start; `None` unless we lead.
    pub fn expires_at(&self, id: i64) -> Option<Duration> {
        let lease = self.leases.get(&id).filter(|_| self.is_leading())?;
        Some(Duration::from_nanos(lease.expires))
    }
}
