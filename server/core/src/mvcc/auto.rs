//! Auto-compaction: when to compact, and at which revision. Pure functions of time and history.
//!
//! Periodic, for a retention P: the revision is noted every tenth of P (of an hour at most); the
//! first compaction comes after P, later ones every P (every hour at most), at the revision of P
//! ago. By revision: every five minutes, at the current revision less the retention. What upstream
//! does; only the leader asks.

use std::collections::VecDeque;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const NOTES_PER_INTERVAL: u32 = 10;
const REVISION_INTERVAL: Duration = Duration::from_secs(300);

/// Either mode.
#[derive(Debug, Clone)]
pub enum AutoCompaction {
    /// History of a time is kept.
    Periodic(Periodic),
    /// A number of revisions is kept.
    ByRevision(ByRevision),
}

/// Keeps the history of a time. Times are counted from any fixed moment.
#[derive(Debug, Clone)]
pub struct Periodic {
    retention: Duration,
    /// Revisions noted, oldest first; the first is of about `retention` ago.
    notes: VecDeque<i64>,
    next: Duration,
    compacted_at: Duration,
    wait: Duration,
    last: i64,
}

/// Keeps a number of revisions.
#[derive(Debug, Clone)]
pub struct ByRevision {
    retention: i64,
    next: Duration,
    last: i64,
}

impl AutoCompaction {
    /// When [`AutoCompaction::decide`] is to be called next.
    pub fn next(&self) -> Duration {
        match self {
            AutoCompaction::Periodic(periodic) => periodic.next,
            AutoCompaction::ByRevision(by_revision) => by_revision.next,
        }
    }

    /// The revision to compact at, if it is time. `paused` if this member does not lead.
    pub fn decide(&mut self, now: Duration, revision: i64, paused: bool) -> Option<i64> {
        match self {
            AutoCompaction::Periodic(periodic) => periodic.decide(now, revision, paused),
            AutoCompaction::ByRevision(by_revision) => by_revision.decide(now, revision, paused),
        }
    }

    /// Tells that a compaction went through, or was not needed since a later one was there. Without
    /// it the same is decided again at the next call.
    pub fn compacted(&mut self, now: Duration, at: i64) {
        match self {
            AutoCompaction::Periodic(periodic) => {
                (periodic.last, periodic.compacted_at) = (at, now);
            }
            AutoCompaction::ByRevision(by_revision) => by_revision.last = at,
        }
    }
}

impl Periodic {
    /// Starts at `now`, at a revision.
    pub fn new(retention: Duration, now: Duration, revision: i64) -> Periodic {
        let retention = retention.max(Duration::from_millis(10));
        let mut periodic = Periodic {
            retention,
            notes: VecDeque::new(),
            next: now,
            compacted_at: now,
            wait: retention,
            last: 0,
        };
        periodic.note(now, revision);
        periodic
    }

    fn interval(&self) -> Duration {
        self.retention.min(HOUR)
    }

    fn note(&mut self, now: Duration, revision: i64) {
        let step = self.interval() / NOTES_PER_INTERVAL;
        let most = self.retention.as_nanos() / step.as_nanos().max(1) + 1;
        self.notes.push_back(revision);
        while self.notes.len() as u128 > most {
            self.notes.pop_front();
        }
        self.next = now + step;
    }

    fn decide(&mut self, now: Duration, revision: i64, paused: bool) -> Option<i64> {
        if now < self.next {
            return None;
        }
        let oldest = self.notes.front().copied().unwrap_or(revision);
        self.note(now, revision);
        let waited = now.saturating_sub(self.compacted_at);
        if paused || waited < self.wait || oldest == self.last {
            return None;
        }
        self.wait = self.interval();
        Some(oldest)
    }
}

impl ByRevision {
    /// Starts at `now`.
    pub fn new(retention: i64, now: Duration) -> ByRevision {
        ByRevision { retention, next: now + REVISION_INTERVAL, last: 0 }
    }

    fn decide(&mut self, now: Duration, revision: i64, paused: bool) -> Option<i64> {
        if now < self.next {
            return None;
        }
        self.next = now + REVISION_INTERVAL;
        let at = revision.saturating_sub(self.retention);
        (!paused && at > 0 && at != self.last).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs for so many minutes, one revision a minute; what is compacted when (in minutes).
    fn run(mut auto: AutoCompaction, minutes: u64) -> Vec<(u64, i64)> {
        let mut out = Vec::new();
        for minute in 0..=minutes {
            let now = Duration::from_secs(minute * 60);
            let revision = i64::try_from(minute).unwrap() + 1;
            if now >= auto.next()
                && let Some(at) = auto.decide(now, revision, false)
            {
                out.push((minute, at));
                auto.compacted(now, at);
            }
        }
        out
    }

    fn periodic(minutes: u64) -> AutoCompaction {
        let retention = Duration::from_secs(minutes * 60);
        AutoCompaction::Periodic(Periodic::new(retention, Duration::ZERO, 1))
    }

    #[test]
    fn an_hour_is_kept() {
        // Notes every six minutes; once they slide, the oldest is of an hour before the last one.
        let want = [(60, 1), (120, 55), (180, 115)];
        assert_eq!(run(periodic(60), 200), want);
    }

    #[test]
    fn a_day_is_kept_and_compacted_hourly() {
        let got = run(periodic(24 * 60), 27 * 60);
        assert_eq!(got, [(1440, 1), (1500, 55), (1560, 115), (1620, 175)]);
    }

    #[test]
    fn a_thousand_revisions_are_kept() {
        let by = |retention| AutoCompaction::ByRevision(ByRevision::new(retention, Duration::ZERO));
        assert_eq!(run(by(10), 21), [(10, 1), (15, 6), (20, 11)]);
        assert_eq!(run(by(100), 60), []);
    }

    #[test]
    fn who_is_paused_or_fails_decides_again() {
        let retention = Duration::from_secs(600);
        let mut auto = AutoCompaction::Periodic(Periodic::new(retention, Duration::ZERO, 5));
        let minute = |minute: u64| Duration::from_secs(minute * 60);
        for early in 1..10 {
            assert_eq!(auto.decide(minute(early), 5, false), None);
        }
        assert_eq!(auto.decide(minute(10), 5, true), None);
        assert_eq!(auto.decide(minute(11), 5, false), Some(5));
        assert_eq!(auto.decide(minute(12), 5, false), Some(5), "it was not told to be done");
        auto.compacted(minute(12), 5);
        assert_eq!(auto.decide(minute(22), 5, false), None, "nothing new");
    }
}
