//! Sizes with decimal units, as upstream's tables show them: `20 kB`, `2.1 GB`.

/// Bytes with two or three significant digits.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn text(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let unit = (bytes.ilog10() / 3) as usize;
    let scaled = bytes as f64 / 1000f64.powi(i32::try_from(unit).unwrap_or(0));
    let rounded = (scaled * 10.0 + 0.5).floor() / 10.0;
    let places = usize::from(rounded < 10.0);
    format!("{rounded:.places$} {}", UNITS[unit.min(UNITS.len() - 1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_upstreams_tables() {
        for (bytes, shown) in [
            (0, "0 B"),
            (9, "9 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (20_480, "20 kB"),
            (2_147_483_648, "2.1 GB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(text(bytes), shown);
        }
    }
}
