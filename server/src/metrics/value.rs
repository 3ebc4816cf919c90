//! Numbers as Go's Prometheus client writes them: the shortest digits, an exponent from 1e+06 on.

/// A number's text.
pub(super) fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let shortest = format!("{value:e}");
    let Some((digits, exponent)) = shortest.split_once('e') else { return shortest };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Go writes the shortest digits plainly for exponents from -4 to 5.
    if value == 0.0 || (-4..EXPONENT_FROM).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// Exponents from here on are written.
const EXPONENT_FROM: i32 = 6;

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_gos() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (20480.0, "20480"),
            (0.25, "0.25"),
            (123_456.0, "123456"),
            (2_147_483_648.0, "2.147483648e+09"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
