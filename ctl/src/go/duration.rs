//! Spans of time as Go reads and writes them: `1h2m3.5s`, `7.356944ms`.

use std::time::Duration;

/// Reads a sequence of decimal numbers with units, `300ms` or `1h30m`; `0` needs no unit.
///
/// # Errors
/// Go's words. A negative span is refused: no flag of ours can use one.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration {:?}", text);
    let digits = text.strip_prefix('+').unwrap_or(text);
    if digits == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut nanos) = (digits, 0f64);
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_| invalid())?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        if end == 0 {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let unit = match &rest[..end] {
            "ns" => 1f64,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            other => return Err(format!("time: unknown unit {other:?} in duration {text:?}")),
        };
        nanos += number * unit;
        rest = &rest[end..];
    }
    // Go's spans end at 292 years.
    if nanos > 9.2e18 {
        return Err(invalid());
    }
    Ok(Duration::from_secs_f64(nanos / 1e9))
}

/// Writes a span with the largest fitting unit, without trailing zeros.
pub(crate) fn text(span: Duration) -> String {
    let nanos = span.as_nanos();
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(nanos, 1_000_000)),
        _ => {
            let minutes = nanos / 60_000_000_000;
            let seconds = format!("{}s", decimal(nanos % 60_000_000_000, 1_000_000_000));
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

fn decimal(nanos: u128, unit: u128) -> String {
    let (whole, part) = (nanos / unit, nanos % unit);
    let places = unit.ilog10() as usize;
    let fraction = format!("{part:0places$}");
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_span_comes_back(nanos in 0u64..(1 << 40)) {
            // Numbers are read as floats: to the nanosecond below an hour or so.
            let span = Duration::from_nanos(nanos);
            let read = parse(&text(span)).unwrap();
            prop_assert!(read.abs_diff(span) <= Duration::from_nanos(1));
        }

        #[test]
        fn any_text_is_a_span_or_refused(given: String) {
            let _ = parse(&given);
        }
    }

    #[test]
    fn spans_are_read_and_written_as_gos() {
        for (given, nanos, written) in [
            ("0", 0, "0s"),
            ("5s", 5_000_000_000, "5s"),
            ("1h30m", 5_400_000_000_000, "1h30m0s"),
            ("1m0.5s", 60_500_000_000, "1m0.5s"),
            ("1.5ms", 1_500_000, "1.5ms"),
            ("250us", 250_000, "250µs"),
            ("17ns", 17, "17ns"),
        ] {
            let span = parse(given).unwrap();
            assert_eq!((span.as_nanos(), text(span).as_str()), (nanos, written), "{given}");
        }
        assert_eq!(text(Duration::from_nanos(7_356_944)), "7.356944ms");
        for bad in ["", "5", "s", "5x", "-5s", "1..2s", "1e3s"] {
            assert!(parse(bad).unwrap_err().starts_with("time: "), "{bad}");
        }
    }
}
