//! Durations as operators write them: `90s`, `15m`, `36h`, `7d`, `2w`, `1h30m`.
//!
//! Holds: `parse(text(d)) == d` for whole milliseconds; a day is 24 hours and a week seven days,
//! whatever the time zone does; nothing above 100 years, so that sums of times cannot overflow. For
//! configuration: `#[serde(with = "holdfast_policies::duration")]`, and `duration::option` for
//! optional ones.

use serde::{Deserialize as _, Deserializer, Serializer};
use std::time::Duration;

/// The longest duration that is accepted: 36,525 days.
pub const LONGEST: Duration = Duration::from_secs(36_525 * 86_400);

const UNITS: [(&str, u64); 6] = [
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Why a duration was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not numbers with units.
    #[error(
        "duration {read:?}: write whole numbers with units w, d, h, m, s or ms, as in 36h, 7d or 1h30m"
    )]
    Syntax {
        /// What was read.
        read: String,
    },
    /// Longer than [`LONGEST`].
    #[error("duration {read:?}: at most 100 years (36525d)")]
    TooLong {
        /// What was read.
        read: String,
    },
}

/// Reads a duration. Units may follow each other in any order; `0` alone needs no unit.
pub fn parse(read: &str) -> Result<Duration, DurationError> {
    let syntax = || DurationError::Syntax { read: shorten(read) };
    let too_long = || DurationError::TooLong { read: shorten(read) };
    let mut rest = read.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() || rest.len() > 64 {
        return Err(syntax());
    }
    let mut total_ms = 0u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(syntax)?;
        if number.is_empty() {
            return Err(syntax());
        }
        let count: u64 = number.parse().map_err(|_| too_long())?;
        let part = count.checked_mul(*unit_ms).ok_or_else(too_long)?;
        total_ms = total_ms.checked_add(part).ok_or_else(too_long)?;
        rest = after;
    }
    let duration = Duration::from_millis(total_ms);
    if duration > LONGEST { Err(too_long()) } else { Ok(duration) }
}

/// The shortest exact text of whole milliseconds: `1d12h`, `0s`. Weeks are written as days.
pub fn text(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut out = String::new();
    for (unit, unit_ms) in &UNITS[1..] {
        let count = rest / u128::from(*unit_ms);
        rest %= u128::from(*unit_ms);
        if count > 0 {
            out.push_str(&format!("{count}{unit}"));
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// Milliseconds of a duration, capped where an `i64` ends.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A time span for people, two units at most: `3d4h`, `17m`. Negative spans count as zero.
pub(crate) fn rough(span_ms: i64) -> String {
    let span_ms = u64::try_from(span_ms).unwrap_or(0);
    let grain = match span_ms {
        86_400_000.. => 3_600_000,
        3_600_000.. => 60_000,
        1_000.. => 1_000,
        _ => 1,
    };
    text(Duration::from_millis(span_ms / grain * grain))
}

fn shorten(read: &str) -> String {
    read.chars().take(64).collect()
}

/// For `#[serde(with = "holdfast_policies::duration")]`.
pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&text(*duration))
}

/// For `#[serde(with = "holdfast_policies::duration")]`.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let read = String::deserialize(from)?;
    parse(&read).map_err(serde::de::Error::custom)
}

/// For `#[serde(with = "holdfast_policies::duration::option", default)]`.
pub mod option {
    use super::{Duration, parse, text};
    use serde::{Deserialize as _, Deserializer, Serializer};

    /// Writes the text, or nothing.
    pub fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(duration) => to.serialize_some(&text(*duration)),
            None => to.serialize_none(),
        }
    }

    /// Reads the text, or nothing.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        match Option::<String>::deserialize(from)? {
            Some(read) => parse(&read).map(Some).map_err(serde::de::Error::custom),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_operators_write() {
        for (read, seconds) in [
            ("90s", 90),
            ("15m", 900),
            ("36h", 129_600),
            ("7d", 604_800),
            ("2w", 1_209_600),
            ("1h30m", 5_400),
            (" 1d ", 86_400),
            ("0", 0),
        ] {
            assert_eq!(parse(read), Ok(Duration::from_secs(seconds)), "{read}");
        }
        assert_eq!(parse("36525d"), Ok(LONGEST));
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
    }

    #[test]
    fn what_is_refused() {
        for read in ["", "7", "h", "-1h", "1.5h", "1 h", "7 days", "1y", "1H", "é"] {
            assert!(matches!(parse(read), Err(DurationError::Syntax { .. })), "{read}");
        }
        for read in ["36526d", "99999999999999999999d", "18446744073709551615w"] {
            assert!(matches!(parse(read), Err(DurationError::TooLong { .. })), "{read}");
        }
    }

    #[test]
    fn rough_spans_have_two_units() {
        assert_eq!(rough(-5), "0s");
        assert_eq!(rough(1_500), "1s");
        assert_eq!(rough(3_600_000 + 61_500), "1h1m");
        assert_eq!(rough(3 * 86_400_000 + 4 * 3_600_000 + 59_000), "3d4h");
    }

    proptest! {
        #[test]
        fn text_reads_back(ms in 0u64..=36_525 * 86_400_000) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse(&text(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(read in "\\PC{0,80}") {
            let _ = parse(&read);
        }
    }
}
