//! Two clocks: the machine's own, and the store's as its answers tell it.
//!
//! Holds: what deletes takes the earlier of both as `now`, so that one clock that runs ahead never
//! shortens what the policy promises; a time within a minute after `now` is not the future to
//! retention, nor one within ten minutes to a restore; clocks that are more than ten minutes apart
//! stop forgetting and sweeping.

use std::fmt;

/// Clocks further apart than this are worth a warning, milliseconds.
pub const WARN_MS: i64 = 60_000;
/// Clocks further apart than this stop forgetting, condemning and sweeping, milliseconds.
pub const STOP_MS: i64 = 10 * 60_000;

// When is a snapshot one of the future? Two rules on purpose, since a wrong answer costs something
// else at each place.

/// Retention: a snapshot that is later than `now` by more than this is kept, and fills no place of
/// a rule until its time comes. Short, since being wrong this way costs only space for a while; a
/// place that is filled by a wrong time costs the good snapshot that it pushes out, for ever. But
/// not 0: clocks within a minute agree, and a store tells whole seconds only.
pub const RETENTION_FUTURE_MS: i64 = WARN_MS;
/// Restore: a snapshot that is later than `now` by more than this never wins "latest" nor a time.
/// Long, since being wrong this way costs the newest data, and a machine that restores is often one
/// that just began, with a clock that is not set yet. Beyond it a vault stops forgetting, too.
pub const RESTORE_FUTURE_MS: i64 = STOP_MS;

/// What both clocks say, milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// The machine's own clock.
    pub own_ms: i64,
    /// The store's clock; `None` where the store tells no time.
    pub store_ms: Option<i64>,
}

/// How well the clocks agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// Within a minute, or there is one clock only.
    Agree,
    /// More than a minute apart: said, but nothing stops.
    Warn(Skew),
    /// More than ten minutes apart: nothing is forgotten, condemned or swept.
    Stop(Skew),
}

/// How far the machine's clock is ahead of the store's, milliseconds; negative: behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew {
    /// Own minus store.
    pub ahead_ms: i64,
}

impl Clocks {
    /// Both clocks at one moment, for callers that have one only.
    pub fn single(own_ms: i64) -> Clocks {
        Clocks { own_ms, store_ms: None }
    }

    /// The earlier of both: the `now` of everything that deletes.
    pub fn now_ms(&self) -> i64 {
        self.store_ms.map_or(self.own_ms, |store| store.min(self.own_ms))
    }

    /// The last moment that is not the future to retention; see [`RETENTION_FUTURE_MS`].
    pub fn latest_ms(&self) -> i64 {
        self.now_ms().saturating_add(RETENTION_FUTURE_MS)
    }

    /// How well they agree.
    pub fn agreement(&self) -> Agreement {
        let Some(store_ms) = self.store_ms else { return Agreement::Agree };
        let skew = Skew { ahead_ms: self.own_ms.saturating_sub(store_ms) };
        let apart = skew.ahead_ms.saturating_abs();
        if apart > STOP_MS {
            Agreement::Stop(skew)
        } else if apart > WARN_MS {
            Agreement::Warn(skew)
        } else {
            Agreement::Agree
        }
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let apart = std::time::Duration::from_millis(self.ahead_ms.unsigned_abs());
        let side = if self.ahead_ms < 0 { "behind" } else { "ahead of" };
        write!(f, "this machine's clock is {} {side} the store's", crate::duration::text(apart))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apart(own_ms: i64, store_ms: i64) -> Clocks {
        Clocks { own_ms, store_ms: Some(store_ms) }
    }

    #[test]
    fn now_is_the_earlier_clock() {
        assert_eq!(apart(5, 9).now_ms(), 5);
        assert_eq!(apart(9, 5).now_ms(), 5);
        assert_eq!(Clocks::single(7).now_ms(), 7);
    }

    #[test]
    fn the_future_begins_a_minute_after_now() {
        assert_eq!(apart(70_000, 5).latest_ms(), 60_005);
        assert_eq!(Clocks::single(i64::MAX).latest_ms(), i64::MAX);
    }

    #[test]
    fn limits_are_exact_in_both_directions() {
        for sign in [-1, 1] {
            assert_eq!(apart(sign * WARN_MS, 0).agreement(), Agreement::Agree);
            assert!(matches!(apart(sign * (WARN_MS + 1), 0).agreement(), Agreement::Warn(_)));
            assert!(matches!(apart(sign * STOP_MS, 0).agreement(), Agreement::Warn(_)));
            assert!(matches!(apart(sign * (STOP_MS + 1), 0).agreement(), Agreement::Stop(_)));
        }
        assert!(matches!(apart(i64::MIN, i64::MAX).agreement(), Agreement::Stop(_)));
    }

    #[test]
    fn the_skew_names_its_side() {
        let Agreement::Stop(skew) = apart(0, 1_020_000).agreement() else { panic!("17 minutes") };
        assert_eq!(skew.to_string(), "this machine's clock is 17m behind the store's");
    }
}
