//! Durations as Go writes and reads them, in flags, token options and what the tools print:
//! `1h2m3.5s`, `300ms`, `-1.5h`, `0`.
//!
//! What must hold: nothing is rounded but what is below a nanosecond; what cannot be read is
//! refused in Go's words.

use std::fmt;
use std::time::Duration;

/// Nanoseconds in each unit.
const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A length of time in nanoseconds; may be negative, since upstream's may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct GoDuration(pub i64);

/// A text that is no duration, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No number where one should be, or a time beyond 292 years.
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    /// A number without a unit.
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    /// A unit that is none.
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
}

impl From<Duration> for GoDuration {
    /// Beyond 292 years: the longest.
    fn from(span: Duration) -> GoDuration {
        GoDuration(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl GoDuration {
    /// As the standard library's; what is negative becomes zero.
    pub fn to_std(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }

    /// Seconds, for a log line.
    #[expect(clippy::cast_precision_loss, reason = "a log line")]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Reads one: numbers with units, `0` without.
    ///
    /// # Errors
    /// It is none, or too long.
    pub fn parse(text: &str) -> Result<GoDuration, DurationError> {
        let invalid = || DurationError::Invalid(text.to_owned());
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(GoDuration(0));
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (value, after) = rest.split_at(number);
            let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
            let (unit, next) = after.split_at(unit);
            let nanos = match UNITS.iter().find(|(name, _)| *name == unit) {
                Some((_, nanos)) => *nanos,
                None if !is_decimal(value) => return Err(invalid()),
                None if unit.is_empty() => return Err(DurationError::MissingUnit(text.to_owned())),
                None => {
                    let (unit, text) = (unit.to_owned(), text.to_owned());
                    return Err(DurationError::UnknownUnit { unit, text });
                }
            };
            let sum = scaled(value, nanos).and_then(|nanos| total.checked_add(nanos));
            total = sum.ok_or_else(invalid)?;
            rest = next;
        }
        let nanos = i64::try_from(if negative { -total } else { total });
        nanos.map(GoDuration).map_err(|_| invalid())
    }

    /// Reads one that is not negative.
    ///
    /// # Errors
    /// As [`GoDuration::parse`]; it is negative.
    pub fn parse_span(text: &str) -> Result<Duration, DurationError> {
        let read = GoDuration::parse(text)?;
        let nanos = u64::try_from(read.0).map_err(|_| DurationError::Invalid(text.to_owned()))?;
        Ok(Duration::from_nanos(nanos))
    }
}

/// Digits, and at most one point among them.
fn is_decimal(value: &str) -> bool {
    value.bytes().any(|byte| byte.is_ascii_digit()) && value.matches('.').count() < 2
}

/// A decimal number times a unit, what is below a nanosecond cut off.
fn scaled(value: &str, nanos: i128) -> Option<i128> {
    if !is_decimal(value) {
        return None;
    }
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let digits = &fraction[..fraction.len().min(18)];
    let part: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let power = 10_i128.pow(u32::try_from(digits.len()).ok()?);
    whole.checked_mul(nanos)?.checked_add(part * nanos / power)
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let small = [("ns", 1_u64), ("µs", 1_000), ("ms", 1_000_000)];
        if nanos < 1_000_000_000 {
            let (unit, size) =
                small.into_iter().rev().find(|(_, size)| nanos >= *size).unwrap_or(small[0]);
            return write!(f, "{}{unit}", decimal(nanos, size));
        }
        let (hours, minutes) = (nanos / 3_600_000_000_000, nanos / 60_000_000_000 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{}s", decimal(nanos % 60_000_000_000, 1_000_000_000))
    }
}

/// `nanos / size` without trailing zeros.
fn decimal(nanos: u64, size: u64) -> String {
    let width = size.ilog10() as usize;
    let text = format!("{}.{:0width$}", nanos / size, nanos % size);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_writes_what_go_does() {
        for (text, nanos, back) in [
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
            ("5s", 5_000_000_000, "5s"),
            ("2h", 7_200_000_000_000, "2h0m0s"),
            ("1m", 60_000_000_000, "1m0s"),
            ("1.5h", 5_400_000_000_000, "1h30m0s"),
            ("300ms", 300_000_000, "300ms"),
            ("-1.5ms", -1_500_000, "-1.5ms"),
            ("1us", 1_000, "1µs"),
            (".5s", 500_000_000, "500ms"),
            ("1h1ns", 3_600_000_000_001, "1h0m0.000000001s"),
        ] {
            assert_eq!(GoDuration::parse(text), Ok(GoDuration(nanos)), "{text}");
            assert_eq!(GoDuration(nanos).to_string(), back, "{text}");
        }
        for bad in ["", "5", "s", "1x", "1.s.", ".", "-", "1 s", "9999999h", "1..5s"] {
            assert!(GoDuration::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_span_is_not_negative() {
        for (text, nanos) in [
            ("0", 0),
            ("1h1m1s1ms1us1ns", 3_661_001_001_001),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("+2µs", 2_000),
            ("0s", 0),
        ] {
            assert_eq!(GoDuration::parse_span(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        for bad in ["", "+", "5", "s", ".s", "-5s", "5x", "1.2.3s", "5s ", "99999999999h", "1s5"] {
            assert!(GoDuration::parse_span(bad).is_err(), "{bad}");
        }
        for (given, nanos, written) in [
            ("0", 0, "0s"),
            ("5s", 5_000_000_000, "5s"),
            ("1h30m", 5_400_000_000_000, "1h30m0s"),
            ("1m0.5s", 60_500_000_000, "1m0.5s"),
            ("1.5ms", 1_500_000, "1.5ms"),
            ("250us", 250_000, "250µs"),
            ("17ns", 17, "17ns"),
        ] {
            let span = GoDuration::parse_span(given).unwrap();
            assert_eq!(span.as_nanos(), nanos, "{given}");
            assert_eq!(GoDuration::from(span).to_string(), written, "{given}");
        }
        let shown = GoDuration::from(Duration::from_nanos(7_356_944)).to_string();
        assert_eq!(shown, "7.356944ms");
    }

    #[test]
    fn refusals_are_in_gos_words() {
        for (bad, words) in [
            ("", "time: invalid duration \"\""),
            ("s", "time: invalid duration \"s\""),
            ("-5s", "time: invalid duration \"-5s\""),
            ("1..2s", "time: invalid duration \"1..2s\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5x", "time: unknown unit \"x\" in duration \"5x\""),
            ("1e3s", "time: unknown unit \"e\" in duration \"1e3s\""),
        ] {
            assert_eq!(GoDuration::parse_span(bad).unwrap_err().to_string(), words);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(nanos in (i64::MIN + 1)..i64::MAX) {
            let text = GoDuration(nanos).to_string();
            prop_assert_eq!(GoDuration::parse(&text), Ok(GoDuration(nanos)));
        }

        #[test]
        fn any_text_is_survived(text in ".{0,40}") {
            let _ = (GoDuration::parse(&text), GoDuration::parse_span(&text));
        }
    }
}
