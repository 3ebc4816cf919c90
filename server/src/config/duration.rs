//! Durations as Go writes and reads them: `1h2m3.5s`, `300ms`, `-1.5h`, `0`.

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

impl GoDuration {
    /// As the standard library's; what is negative becomes zero.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }

    /// Seconds, for a log line.
    #[expect(clippy::cast_precision_loss, reason = "a log line")]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Reads one; `None` when it is none or too long.
    pub fn parse(text: &str) -> Option<GoDuration> {
        let (negative, mut rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Some(GoDuration(0));
        }
        if rest.is_empty() {
            return None;
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (value, after) = rest.split_at(number);
            let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
            let (unit, next) = after.split_at(unit);
            let nanos = UNITS.iter().find(|(name, _)| *name == unit)?.1;
            total = total.checked_add(scaled(value, nanos)?)?;
            rest = next;
        }
        i64::try_from(if negative { -total } else { total }).ok().map(GoDuration)
    }
}

/// A decimal number times a unit, what is below a nanosecond cut off.
fn scaled(value: &str, nanos: i128) -> Option<i128> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let digits = &fraction[..fraction.len().min(18)];
    let part: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let power = 10_i128.pow(u32::try_from(digits.len()).ok()?);
    whole.checked_mul(nanos)?.checked_add(part * nanos / power)
}

impl std::fmt::Display for GoDuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
            assert_eq!(GoDuration::parse(text), Some(GoDuration(nanos)), "{text}");
            assert_eq!(GoDuration(nanos).to_string(), back, "{text}");
        }
        for bad in ["", "5", "s", "1x", "1.s.", ".", "-", "1 s", "9999999h", "1..5s"] {
            assert_eq!(GoDuration::parse(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(nanos in (i64::MIN + 1)..i64::MAX) {
            let text = GoDuration(nanos).to_string();
            prop_assert_eq!(GoDuration::parse(&text), Some(GoDuration(nanos)));
        }

        #[test]
        fn any_text_is_survived(text in ".{0,40}") {
            let _ = GoDuration::parse(&text);
        }
    }
}
