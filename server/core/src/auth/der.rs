//! Just enough of PEM and DER to hand keys to the crypto library: the first block of a file, and
//! the public key in a certificate.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Tag of a sequence.
const SEQUENCE: u8 = 0x30;
/// Tag of a certificate's version, which old ones leave out.
const VERSION: u8 = 0xa0;

/// The first PEM block of a file: what it calls itself, and its bytes.
pub(super) fn first_pem_block(file: &[u8]) -> Option<(String, Zeroizing<Vec<u8>>)> {
    let text = std::str::from_utf8(file).ok()?;
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let lines = body.lines().filter(|line| !line.contains(':'));
    let packed: Zeroizing<String> =
        Zeroizing::new(lines.flat_map(str::chars).filter(|c| !c.is_whitespace()).collect());
    let bytes = BASE64.decode(packed.as_bytes()).ok()?;
    Some((label.to_owned(), Zeroizing::new(bytes)))
}

/// The `SubjectPublicKeyInfo` of an X.509 certificate, whole.
pub(super) fn certificate_key(certificate: &[u8]) -> Option<&[u8]> {
    let (_, content, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, mut fields, _) = element(content).filter(|(tag, ..)| *tag == SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        fields = element(fields)?.2;
    }
    // Serial number, signature, issuer, validity, subject.
    for _ in 0..5 {
        fields = element(fields)?.2;
    }
    let (tag, _, after) = element(fields)?;
    let whole = fields.len() - after.len();
    if tag == SEQUENCE { fields.get(..whole) } else { None }
}

/// One element: tag, content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk()?;
    let (len, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if !(1..=4).contains(&count) {
            return None;
        }
        let (figures, rest) = rest.split_at_checked(count)?;
        let len = figures.iter().fold(0usize, |len, byte| len << 8 | usize::from(*byte));
        (len, rest)
    };
    let (content, after) = rest.split_at_checked(len)?;
    Some((tag, content, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_block_of_a_file() {
        let file = b"text\n-----BEGIN A KEY-----\r\nX: y\r\nAQID\r\nBA==\r\n-----END A KEY-----\n-----BEGIN B";
        let (label, bytes) = first_pem_block(file).unwrap();
        assert_eq!((label.as_str(), &bytes[..]), ("A KEY", &[1, 2, 3, 4][..]));
        for bad in ["", "-----BEGIN A-----\nAQ==", "-----BEGIN A-----\n?-----END A-----"] {
            assert!(first_pem_block(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn elements_have_limits() {
        assert_eq!(element(&[4, 1, 9, 7]), Some((4, &[9][..], &[7][..])));
        assert_eq!(element(&[4, 0x81, 1, 9]), Some((4, &[9][..], &[][..])));
        for bad in
            [&[][..], &[4], &[4, 2, 9], &[4, 0x80], &[4, 0x85, 0, 0, 0, 0, 1, 9], &[4, 0x82, 1]]
        {
            assert_eq!(element(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn garbage_is_no_certificate(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(key) = certificate_key(&bytes) {
                prop_assert!(key.len() <= bytes.len());
            }
            let _ = first_pem_block(&bytes);
        }
    }
}
