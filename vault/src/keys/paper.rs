//! The recovery key as text that survives paper: typed off by hand, read out, photographed.
//!
//! ```text
//! text     prefix "-" 14 groups of 4 symbols, joined by "-"
//! symbols  Crockford's base32 (no I, L, O, U), 5 bits each, of: half 32 bytes | check 3 bytes
//! check    first 3 bytes of SHA-256("holdfast/1/paper/" ‖ prefix ‖ half)
//! prefix   HFKEY: the secret half; HFPUB: the public half
//! ```
//! Holds: upper or lower case, blanks, line ends and missing dashes do not matter, O is read as 0,
//! I and L as 1; a wrong symbol is found; no error shows a symbol of the text.

use crate::format::seal::sha256;
use zeroize::Zeroizing;

const SYMBOLS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const HALF_BYTES: usize = 32;
const CHECK_BYTES: usize = 3;
const TEXT_SYMBOLS: usize = (HALF_BYTES + CHECK_BYTES) * 8 / 5;
/// Longest text that is looked at.
const TEXT_LIMIT: usize = 1024;

/// Which half of a recovery key a text holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    /// Opens.
    Secret,
    /// Wraps.
    Public,
}

/// Why a text is no half of a recovery key. Says nothing of what stood there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PaperError {
    /// The other half.
    #[error("this is the secret half (HFKEY-…); here belongs the public half (HFPUB-…)")]
    Secret,
    /// The other half.
    #[error("this is the public half (HFPUB-…); here belongs the secret half from paper (HFKEY-…)")]
    Public,
    /// Neither.
    #[error("it does not begin with {prefix}-")]
    Prefix {
        /// What it should begin with.
        prefix: &'static str,
    },
    /// Too short, too long.
    #[error("it has {found} symbols behind the prefix instead of {TEXT_SYMBOLS} (14 groups of 4)")]
    Length {
        /// How many.
        found: usize,
    },
    /// Not a symbol.
    #[error("symbol {place} of group {group} is none of 0-9 and A-Z without I, L, O, U")]
    Symbol {
        /// From 1.
        group: usize,
        /// From 1.
        place: usize,
    },
    /// A typing error, most likely.
    #[error("its check symbols do not fit: one symbol or more was read wrongly")]
    Check,
}

impl Half {
    fn prefix(self) -> &'static str {
        match self {
            Half::Secret => "HFKEY",
            Half::Public => "HFPUB",
        }
    }

    fn check(self, half: &[u8; HALF_BYTES]) -> [u8; CHECK_BYTES] {
        let text =
            Zeroizing::new([b"holdfast/1/paper/", self.prefix().as_bytes(), &half[..]].concat());
        let digest = sha256(&text);
        [digest[0], digest[1], digest[2]]
    }

    /// As text.
    pub(super) fn write(self, half: &[u8; HALF_BYTES]) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(128));
        text.push_str(self.prefix());
        let (mut bits, mut held, mut symbols) = (0u32, 0u32, 0usize);
        for byte in half.iter().chain(&self.check(half)) {
            (bits, held) = (bits << 8 | u32::from(*byte), held + 8);
            while held >= 5 {
                held -= 5;
                if symbols.is_multiple_of(4) {
                    text.push('-');
                }
                text.push(char::from(SYMBOLS[(bits >> held & 31) as usize]));
                symbols += 1;
            }
        }
        assert_eq!((symbols, held), (TEXT_SYMBOLS, 0), "35 bytes are 56 symbols");
        text
    }

    /// From text.
    pub(super) fn read(self, text: &str) -> Result<Zeroizing<[u8; HALF_BYTES]>, PaperError> {
        let mut plain = Zeroizing::new(String::with_capacity(128));
        let kept = text.chars().filter(|c| !c.is_whitespace() && *c != '-').take(TEXT_LIMIT);
        plain.extend(kept.map(|c| c.to_ascii_uppercase()));
        let Some(symbols) = plain.strip_prefix(self.prefix()) else {
            return Err(match self {
                Half::Public if plain.starts_with(Half::Secret.prefix()) => PaperError::Secret,
                Half::Secret if plain.starts_with(Half::Public.prefix()) => PaperError::Public,
                _ => PaperError::Prefix { prefix: self.prefix() },
            });
        };
        let found = symbols.chars().count();
        if found != TEXT_SYMBOLS {
            return Err(PaperError::Length { found });
        }
        let mut bytes = Zeroizing::new([0; HALF_BYTES + CHECK_BYTES]);
        let (mut bits, mut held, mut at) = (0u32, 0u32, 0usize);
        for (index, symbol) in symbols.chars().enumerate() {
            let wrong = PaperError::Symbol { group: index / 4 + 1, place: index % 4 + 1 };
            (bits, held) = (bits << 5 | value(symbol).ok_or(wrong)?, held + 5);
            if held >= 8 {
                held -= 8;
                bytes[at] = u8::try_from(bits >> held & 0xff).expect("eight bits");
                at += 1;
            }
        }
        let mut half = Zeroizing::new([0; HALF_BYTES]);
        half.copy_from_slice(&bytes[..HALF_BYTES]);
        if bytes[HALF_BYTES..] != self.check(&half) {
            return Err(PaperError::Check);
        }
        Ok(half)
    }
}

fn value(symbol: char) -> Option<u32> {
    let symbol = match symbol {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let at = SYMBOLS.iter().position(|known| char::from(*known) == symbol)?;
    u32::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half() -> [u8; HALF_BYTES] {
        std::array::from_fn(|at| u8::try_from(at * 37 % 256).unwrap())
    }

    #[test]
    fn what_is_written_is_read_however_it_was_typed() {
        for kind in [Half::Secret, Half::Public] {
            let text = kind.write(&half());
            assert_eq!(text.len(), 5 + 14 * 5);
            let typed = [
                text.to_string(),
                text.to_lowercase(),
                text.replace('-', " ") + "\n",
                text.replace('-', ""),
                text.replace('0', "o").replace('1', "l"),
            ];
            for typed in typed {
                assert_eq!(*kind.read(&typed).unwrap(), half(), "{typed}");
            }
        }
    }

    #[test]
    fn every_wrong_symbol_is_found() {
        let text = Half::Secret.write(&half());
        for at in 6..text.len() {
            if &text[at..=at] == "-" {
                continue;
            }
            for symbol in SYMBOLS.iter().filter(|symbol| **symbol != text.as_bytes()[at]) {
                let mut wrong = text.to_string();
                wrong.replace_range(at..=at, &char::from(*symbol).to_string());
                assert_eq!(Half::Secret.read(&wrong), Err(PaperError::Check), "{wrong}");
            }
        }
    }

    #[test]
    fn other_texts_are_refused_and_not_shown() {
        let secret = Half::Secret.write(&half());
        let public = Half::Public.write(&half());
        let cases = [
            (Half::Public, secret.to_string(), PaperError::Secret),
            (Half::Secret, public.to_string(), PaperError::Public),
            (Half::Secret, String::new(), PaperError::Prefix { prefix: "HFKEY" }),
            (Half::Secret, secret[..40].to_owned(), PaperError::Length { found: 28 }),
            (
                Half::Secret,
                secret.replacen("-0", "-U", 1),
                PaperError::Symbol { group: 1, place: 1 },
            ),
            (Half::Secret, "é".repeat(4000), PaperError::Prefix { prefix: "HFKEY" }),
        ];
        for (half, text, error) in cases {
            assert_eq!(half.read(&text).unwrap_err(), error, "{text}");
        }
    }
}
