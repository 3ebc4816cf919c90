//! Numbers as people read them.

use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;

/// A table with lines around it and under its header, at most as wide as most terminals are made:
/// cells wrap at the width in `COLUMNS`, else at 120.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut style = presets::UTF8_HORIZONTAL_ONLY;
    style.row_separator = presets::NOTHING.row_separator;
    let width = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let mut table = Table::new();
    table.load_style(style).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(width.unwrap_or(120)).set_header(header);
    table
}

/// Bytes with a binary unit and one decimal: `1.5 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut value = count as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Milliseconds since 1970 as UTC to the second; `-` for 0.
pub(crate) fn time(milliseconds: i64) -> String {
    match Timestamp::from_millisecond(milliseconds) {
        Ok(time) if milliseconds != 0 => time.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        _ => "-".to_owned(),
    }
}

/// The same to the minute, for tables.
pub(crate) fn minute(milliseconds: i64) -> String {
    let whole = time(milliseconds);
    whole.get(..16).map_or(whole.clone(), |minute| format!("{minute}Z"))
}

/// A span in its largest two units: `3h 20m`, `45s`.
pub(crate) fn span(milliseconds: i64) -> String {
    let seconds = milliseconds.max(0) / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_the_largest_that_fit() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(64 << 20), "64.0 MiB");
        assert_eq!(span(45_000), "45s");
        assert_eq!(span(12_000_000), "3h 20m");
        assert_eq!(time(0), "-");
        assert_eq!(
            (minute(0), minute(1_700_000_000_000)),
            ("-".into(), "2023-11-14 22:13Z".into())
        );
        assert_eq!(time(1_700_000_000_000), "2023-11-14 22:13:20Z");
    }
}
