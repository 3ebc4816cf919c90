//! Whole numbers as Go's `strconv` reads them, with its words for those it does not.

/// Reads a signed number. Base 0 takes the prefixes `0x`, `0o`, `0b` and `0`, and underscores.
///
/// # Errors
/// `strconv.ParseInt: parsing "x": invalid syntax` or `… value out of range`.
pub(crate) fn int(text: &str, base: u32) -> Result<i64, String> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = magnitude(digits, base).map_err(|why| fault("ParseInt", text, why))?;
    let signed = if negative { -i128::from(magnitude) } else { i128::from(magnitude) };
    i64::try_from(signed).map_err(|_| fault("ParseInt", text, OUT_OF_RANGE))
}

/// Reads a number without a sign.
///
/// # Errors
/// As [`int`], with `ParseUint`.
pub(crate) fn uint(text: &str, base: u32) -> Result<u64, String> {
    magnitude(text, base).map_err(|why| fault("ParseUint", text, why))
}

const SYNTAX: &str = "invalid syntax";
const OUT_OF_RANGE: &str = "value out of range";

fn fault(function: &str, text: &str, why: &str) -> String {
    format!("strconv.{function}: parsing {}: {why}", super::quote::text(text))
}

fn magnitude(text: &str, base: u32) -> Result<u64, &'static str> {
    let (digits, base) = match (base, text.get(..2).map(str::to_ascii_lowercase).as_deref()) {
        (0, Some("0x")) => (text[2..].replace('_', ""), 16),
        (0, Some("0o")) => (text[2..].replace('_', ""), 8),
        (0, Some("0b")) => (text[2..].replace('_', ""), 2),
        (0, _) if text.len() > 1 && text.starts_with('0') => (text[1..].replace('_', ""), 8),
        (0, _) => (text.replace('_', ""), 10),
        (base, _) => (text.to_owned(), base),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return Err(SYNTAX);
    }
    u64::from_str_radix(&digits, base).map_err(|_| OUT_OF_RANGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_gos_words_for_others() {
        assert_eq!(int("-12", 10), Ok(-12));
        assert_eq!(int("0x1F", 0), Ok(31));
        assert_eq!(int("010", 0), Ok(8));
        assert_eq!(int("1_000", 0), Ok(1000));
        assert_eq!(int("3e99a1ffe7bd0d0f", 16), Ok(4_510_814_622_264_921_359));
        assert_eq!(uint("ffffffffffffffff", 16), Ok(u64::MAX));
        let refused = int("x", 10).unwrap_err();
        assert_eq!(refused, "strconv.ParseInt: parsing \"x\": invalid syntax");
        assert!(int("9223372036854775808", 10).unwrap_err().ends_with("value out of range"));
        assert!(uint("-1", 10).unwrap_err().contains("ParseUint"));
        for bad in ["", "-", "1_0", "é1"] {
            assert!(int(bad, 10).is_err(), "{bad}");
        }
    }
}
