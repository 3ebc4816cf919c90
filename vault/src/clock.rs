//! Time as an argument: the wall clock for what people read, a clock that counts suspend for
//! limits.

/// The two clocks that the vault needs.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn now_ms(&self) -> i64;
    /// Milliseconds of a clock that only grows and counts while the machine sleeps
    /// (CLOCK_BOOTTIME).
    fn boot_ms(&self) -> i64;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        read(rustix::time::ClockId::Realtime)
    }

    fn boot_ms(&self) -> i64 {
        read(rustix::time::ClockId::Boottime)
    }
}

fn read(clock: rustix::time::ClockId) -> i64 {
    let time = rustix::time::clock_gettime(clock);
    time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_run() {
        assert!(SystemClock.now_ms() > 1_700_000_000_000);
        let before = SystemClock.boot_ms();
        assert!(before > 0 && SystemClock.boot_ms() >= before);
    }
}
