//! Times, spans and sizes as people read them, for plans, reports and errors.

use jiff::Timestamp;

/// Milliseconds since 1970 as UTC to the second; a number that is no date stays a number.
pub(crate) fn time(milliseconds: i64) -> String {
    match Timestamp::from_millisecond(milliseconds) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => format!("{milliseconds} ms"),
    }
}

/// A time as part of a file name: `20270115-080000`.
pub(crate) fn file_time(milliseconds: i64) -> String {
    match Timestamp::from_millisecond(milliseconds) {
        Ok(time) => time.strftime("%Y%m%d-%H%M%S").to_string(),
        Err(_) => milliseconds.unsigned_abs().to_string(),
    }
}

/// A span in its largest two units.
pub(crate) fn span(milliseconds: i64) -> String {
    let seconds = milliseconds.max(0) / 1000;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// Bytes with a binary unit and one decimal.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut unit, mut tenths) = (0, u128::from(count) * 10);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths = (tenths + 512) / 1024;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_them() {
        assert_eq!(time(1_800_000_000_000), "2027-01-15T08:00:00Z");
        assert_eq!(file_time(1_800_000_000_000), "20270115-080000");
        assert_eq!(time(i64::MAX), "9223372036854775807 ms");
        assert_eq!(
            (span(-5), span(61_000), span(90_000_000)),
            ("0s".into(), "1m 1s".into(), "1d 1h".into())
        );
        assert_eq!((bytes(1023), bytes(1536)), ("1023 B".into(), "1.5 KiB".into()));
        assert_eq!(bytes(64 << 20), "64.0 MiB");
    }
}
