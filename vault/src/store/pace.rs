//! A limit on uploads: bytes are spread over time.
//!
//! Holds: over any span, no more than the limit times its length plus what is in flight (three
//! parts at most) leaves for the store; without a limit nobody waits. Creates of commits and wraps
//! are too small to be held up.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// When the next bytes may leave.
#[derive(Debug, Default)]
pub(super) struct Pace {
    bytes_per_second: Option<NonZeroU64>,
    free_at: Mutex<Option<Instant>>,
}

impl Pace {
    /// `None` and zero: no limit.
    pub(super) fn new(bytes_per_second: Option<u64>) -> Pace {
        let bytes_per_second = bytes_per_second.and_then(NonZeroU64::new);
        Pace { bytes_per_second, free_at: Mutex::new(None) }
    }

    /// Waits until bytes that were announced before have had their time, and announces these.
    pub(super) async fn wait(&self, bytes: usize) {
        let Some(rate) = self.bytes_per_second else { return };
        let nanoseconds = (bytes as u128 * 1_000_000_000) / u128::from(rate.get());
        let span = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let start = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let start = free_at.map_or(now, |free_at| free_at.max(now));
            *free_at = start.checked_add(span).or(Some(start));
            start
        };
        tokio::time::sleep_until(start).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_limit_holds_over_time_and_idle_time_is_not_saved_up() {
        let pace = Pace::new(Some(1_000));
        let started = Instant::now();
        for _ in 0..11 {
            pace.wait(500).await;
        }
        assert_eq!(started.elapsed(), Duration::from_secs(5));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let later = Instant::now();
        for _ in 0..3 {
            pace.wait(500).await;
        }
        assert_eq!(later.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nobody_waits() {
        let started = Instant::now();
        for pace in [Pace::new(None), Pace::new(Some(0))] {
            pace.wait(usize::MAX).await;
        }
        assert_eq!(started.elapsed(), Duration::ZERO);
    }
}
