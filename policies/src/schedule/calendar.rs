//! Which wall times match, and when they happen.
//!
//! Holds: ticks are found on the calendar first and placed in time afterwards. Placing never goes
//! back: a wall time in a gap happens at the first moment after it, one that is repeated happens in
//! its first pass. So the first tick after a moment is the first later wall time whose place is
//! later than that moment.

use super::fields::{Fields, ScheduleError};
use crate::zone::Zone;
use cron::TimeUnitSpec as _;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::AmbiguousOffset;
use jiff::{Timestamp, ToSpan as _};

/// 29 February on a given weekday comes again after at most 40 years (2100 is no leap year).
const SEARCH_DAYS: u32 = 41 * 366;

/// The sets of a schedule, and how the two day fields combine.
#[derive(Debug, Clone)]
pub(super) struct Calendar {
    sets: cron::Schedule,
    both_days: bool,
}

impl Calendar {
    /// Refuses what no date can match.
    pub(super) fn new(fields: &Fields) -> Result<Calendar, ScheduleError> {
        let both_days = fields.any_day_of_month || fields.any_day_of_week;
        let calendar = Calendar { sets: fields.sets.clone(), both_days };
        let exists = |month: u32| {
            let longest = match month {
                2 => 29,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            calendar.sets.days_of_month().iter().any(|day| day <= longest)
        };
        if both_days && !calendar.sets.months().iter().any(exists) {
            return Err(ScheduleError::NeverRuns { line: fields.dates.clone() });
        }
        Ok(calendar)
    }

    /// The first tick strictly after `t`.
    pub(super) fn next_after(&self, t: Timestamp, zone: &Zone) -> Option<Timestamp> {
        let mut wall = zone.wall(t);
        // A second pass of a repeated hour is left behind minute by minute; no zone repeats more
        // than a day.
        for _ in 0..=24 * 60 {
            wall = self.next_wall(wall)?;
            let placed = place(wall, zone)?;
            if placed > t {
                return Some(placed);
            }
        }
        None
    }

    /// The first matching minute strictly after the minute of `after`.
    fn next_wall(&self, after: DateTime) -> Option<DateTime> {
        let minute = after.with().second(0).subsec_nanosecond(0).build().ok()?;
        let from = minute.checked_add(1.minute()).ok()?;
        let mut date = from.date();
        let mut earliest = from.time();
        for _ in 0..SEARCH_DAYS {
            if self.day_matches(date)
                && let Some(time) = self.first_time(earliest)
            {
                return Some(date.to_datetime(time));
            }
            date = date.tomorrow().ok()?;
            earliest = Time::midnight();
        }
        None
    }

    fn day_matches(&self, date: Date) -> bool {
        if !self.sets.months().includes(ordinal(date.month())) {
            return false;
        }
        let day = self.sets.days_of_month().includes(ordinal(date.day()));
        let weekday = ordinal(date.weekday().to_sunday_one_offset());
        let weekday = self.sets.days_of_week().includes(weekday);
        if self.both_days { day && weekday } else { day || weekday }
    }

    fn first_time(&self, earliest: Time) -> Option<Time> {
        let (hour, minute) = (ordinal(earliest.hour()), ordinal(earliest.minute()));
        let first_minute = self.sets.minutes().iter().next()?;
        for at in self.sets.hours().range(hour..) {
            let minutes = if at == hour {
                self.sets.minutes().range(minute..).next()
            } else {
                Some(first_minute)
            };
            if let Some(minutes) = minutes {
                let time = (i8::try_from(at).ok()?, i8::try_from(minutes).ok()?);
                return Time::new(time.0, time.1, 0, 0).ok();
            }
        }
        None
    }
}

/// When a wall time happens: the only time, the first of two, or the first moment after the gap
/// that skips it.
fn place(wall: DateTime, zone: &Zone) -> Option<Timestamp> {
    let rules = zone.rules();
    match rules.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall).ok(),
        AmbiguousOffset::Gap { before, .. } => {
            // With the offset before the gap this wall time lies behind the change; the change is
            // the last one there.
            let behind = before.to_timestamp(wall).ok()?;
            let after_it = behind.checked_add(1.nanosecond()).ok()?;
            rules.preceding(after_it).next().map(|change| change.timestamp())
        }
    }
}

/// Calendar numbers are small and never negative.
fn ordinal(number: i8) -> u32 {
    u32::from(number.unsigned_abs())
}
