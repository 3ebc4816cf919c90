//! Texts in quotes, as Go's `%q` writes and reads them.

use std::fmt::Write;

/// A text in quotes.
pub(crate) fn text(value: &str) -> String {
    bytes(value.as_bytes())
}

/// Bytes in quotes: what is no UTF-8 or cannot be printed is escaped.
pub(crate) fn bytes(value: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in value.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push(&mut out, c));
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

fn push(out: &mut String, c: char) {
    let named = match c {
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\u{c}' => 'f',
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        '\u{b}' => 'v',
        '"' | '\\' => c,
        _ => {
            let code = u32::from(c);
            let shown = c == ' ' || (!c.is_control() && !c.is_whitespace() && is_assigned(c));
            let _ = match code {
                _ if shown => write!(out, "{c}"),
                0..0x80 => write!(out, "\\x{code:02x}"),
                0x80..0x1_0000 => write!(out, "\\u{code:04x}"),
                _ => write!(out, "\\U{code:08x}"),
            };
            return;
        }
    };
    out.push('\\');
    out.push(named);
}

/// Whether Rust knows the character as one that can be shown; marks count, as in Go.
fn is_assigned(c: char) -> bool {
    c.is_alphanumeric() || !c.escape_debug().to_string().starts_with("\\u")
}

/// Reads a quoted text at the start of `given`; its bytes and what follows.
pub(crate) fn read(given: &str) -> Option<(Vec<u8>, &str)> {
    let mut rest = given.strip_prefix('"')?;
    let mut out = Vec::new();
    loop {
        let c = rest.chars().next()?;
        rest = &rest[c.len_utf8()..];
        match c {
            '"' => return Some((out, rest)),
            '\n' => return None,
            '\\' => rest = unescape(rest, &mut out)?,
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Reads what follows a backslash; gives back what comes after it.
fn unescape<'a>(rest: &'a str, out: &mut Vec<u8>) -> Option<&'a str> {
    let kind = rest.chars().next()?;
    let tail = &rest[kind.len_utf8()..];
    let byte = match kind {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '"' => b'"',
        '\\' => b'\\',
        'x' => {
            out.push(u8::from_str_radix(tail.get(..2)?, 16).ok()?);
            return tail.get(2..);
        }
        '0'..='7' => {
            out.push(u8::from_str_radix(rest.get(..3)?, 8).ok()?);
            return rest.get(3..);
        }
        'u' | 'U' => {
            let digits = if kind == 'u' { 4 } else { 8 };
            let code = u32::from_str_radix(tail.get(..digits)?, 16).ok()?;
            out.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
            return tail.get(digits..);
        }
        _ => return None,
    };
    out.push(byte);
    Some(tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_come_back(given: Vec<u8>) {
            let written = bytes(&given);
            prop_assert_eq!(read(&written), Some((given, "")));
        }

        #[test]
        fn any_text_is_read_or_refused(given: String) {
            let _ = read(&format!("\"{given}"));
        }
    }

    #[test]
    fn quoted_as_gos_and_read_back() {
        for (given, written) in [
            (&b"a b"[..], r#""a b""#),
            (b"\"\\\n\t\x00\x7f", r#""\"\\\n\t\x00\x7f""#),
            ("é漢\u{a0}\u{1F600}".as_bytes(), "\"é漢\\u00a0\u{1F600}\""),
            (b"\xff\xfea", r#""\xff\xfea""#),
        ] {
            assert_eq!(bytes(given), written);
            assert_eq!(read(written), Some((given.to_vec(), "")));
        }
        assert_eq!(read(r#""a") > "1""#), Some((b"a".to_vec(), r#") > "1""#)));
        for bad in ["", "a", "\"a", r#""\q""#, r#""\x1""#, r#""\ud800""#, "\"\\", "\"\\x\u{e9}\""] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
