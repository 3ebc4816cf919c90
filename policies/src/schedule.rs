//! When to run: five-field crontab lines as an operator writes them, a time zone, a fixed jitter.
//!
//! Holds:
//! - Fields: minute 0-59, hour 0-23, day of month 1-31, month 1-12 or jan-dec, day of week 0-7 or
//!   sun-sat (0 and 7 are Sunday); `*`, lists, ranges, steps behind `*` or a range. Also @hourly
//!   @daily @midnight @weekly @monthly @yearly @annually.
//! - When day of month and day of week are both restricted, either one suffices; when one of them
//!   begins with `*` (`*/15` too, as in Vixie's cron), both must match.
//! - A tick whose wall time a daylight-saving gap skips runs once, at the first moment after the
//!   gap; several such ticks are one run. A repeated hour runs in its first pass only, also for
//!   `@hourly` and `*/5`: who wants even spacing through the night in October uses UTC, which is
//!   the default.
//! - A date that never comes (31 February) is an error when the line is read.
//! - The jitter shifts every tick by the same whole seconds, derived from a seed; it never changes
//!   for the same seed, line and zone, so that a fleet spreads out and each cluster keeps its
//!   rhythm.
//! - A missed tick runs once at start, however many were missed.

mod calendar;
mod fields;
mod jitter;

pub use fields::{FieldName, ScheduleError};

use crate::duration;
use crate::zone::Zone;
use calendar::Calendar;
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::time::Duration;

/// The longest jitter: a day.
pub const LONGEST_JITTER: Duration = Duration::from_secs(86_400);
/// A tick that is noticed later than this counts as missed, not as run on time.
pub const ON_TIME: Duration = Duration::from_secs(60);
/// Missed ticks are counted up to here.
pub const MISSED_LIMIT: u32 = 1_000;

/// A parsed schedule.
#[derive(Debug, Clone)]
pub struct Schedule {
    line: String,
    calendar: Calendar,
    zone: Zone,
    jitter: SignedDuration,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Run, once.
    RunNow {
        /// Why.
        reason: RunReason,
    },
    /// Nothing is due before this moment.
    WaitUntil(Timestamp),
    /// No tick lies ahead before the calendar ends (year 9999).
    Never,
}

/// Why a run is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunReason {
    /// No earlier run is known.
    NeverRan,
    /// A tick has come.
    Tick {
        /// Its moment, jitter included.
        at: Timestamp,
    },
    /// Ticks passed while nobody ran; they are made up for by one run.
    Missed {
        /// The oldest of them, jitter included.
        first: Timestamp,
        /// How many; [`MISSED_LIMIT`] means that many or more.
        count: u32,
    },
}

impl Schedule {
    /// Reads a line. Errors say which field, what was read and what is allowed.
    pub fn parse(line: &str, zone: &Zone) -> Result<Schedule, ScheduleError> {
        let fields = fields::parse(line)?;
        let calendar = Calendar::new(&fields)?;
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Schedule { line, calendar, zone: zone.clone(), jitter: SignedDuration::ZERO })
    }

    /// Shifts every tick by a fixed number of seconds in `[0, longest)`, derived from `seed` (a
    /// cluster's id).
    pub fn with_jitter(mut self, seed: &[u8], longest: Duration) -> Result<Self, ScheduleError> {
        if longest > LONGEST_JITTER {
            return Err(ScheduleError::JitterTooLong { read: duration::text(longest) });
        }
        let seconds = jitter::seconds(seed, &self.line, self.zone.name(), longest.as_secs());
        self.jitter = SignedDuration::from_secs(i64::from(seconds));
        Ok(self)
    }

    /// The line, with single spaces.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The shift of every tick.
    pub fn jitter(&self) -> Duration {
        self.jitter.unsigned_abs()
    }

    /// The first tick strictly after `t`, jitter included; `None` beyond the year 9999.
    pub fn next_after(&self, t: Timestamp) -> Option<Timestamp> {
        let from = t.checked_sub(self.jitter).unwrap_or(Timestamp::MIN);
        self.calendar.next_after(from, &self.zone)?.checked_add(self.jitter).ok()
    }

    /// Whether to run, given when the last run began (`None`: none is known).
    ///
    /// A last run that lies ahead of `now` (a clock was set back) counts as a run at `now`, so that
    /// the next tick is not waited for longer than the schedule says.
    pub fn due(&self, last_run: Option<Timestamp>, now: Timestamp) -> Decision {
        let Some(last_run) = last_run else {
            return Decision::RunNow { reason: RunReason::NeverRan };
        };
        let Some(first) = self.next_after(last_run.min(now)) else { return Decision::Never };
        if first > now {
            return Decision::WaitUntil(first);
        }
        let mut count = 1;
        let mut newest = first;
        while count < MISSED_LIMIT {
            match self.next_after(newest) {
                Some(next) if next <= now => newest = next,
                _ => break,
            }
            count += 1;
        }
        let late = now.duration_since(first).unsigned_abs();
        let reason = if count == 1 && late <= ON_TIME {
            RunReason::Tick { at: first }
        } else {
            RunReason::Missed { first, count }
        };
        Decision::RunNow { reason }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, jitter {})", self.line, self.zone, duration::text(self.jitter()))
    }
}

impl fmt::Display for RunReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunReason::NeverRan => write!(f, "no earlier run is known"),
            RunReason::Tick { at } => write!(f, "due at {at}"),
            RunReason::Missed { first, count: 1 } => write!(f, "missed the tick of {first}"),
            RunReason::Missed { first, count } => {
                let more = if *count == MISSED_LIMIT { " or more" } else { "" };
                write!(f, "missed {count}{more} ticks since {first}: one run makes up for them")
            }
        }
    }
}

#[cfg(test)]
mod tests;
