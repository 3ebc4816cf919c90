//! Keys of one object, and the sealing of its parts.
//!
//! Holds: `HKDF-Expand-SHA256(seed, "holdfast/1/" ‖ class ‖ header with both commitments zeroed,
//! 64)` is 32 bytes of AES-256-GCM key and 32 bytes of commitment. A nonce is never used twice
//! under a key: keys are fresh per object (salt), and a writer counts.
//!
//! ```text
//! nonce (12)            class u8 | last u8 | zero u16 | counter u64
//! associated data (56)  SHA-256(header) 32 | class u8 | last u8 | codec u8 | zero 5 |
//!                       counter u64 | plain length u64
//! ```

use super::header::{HEADER_BYTES, Header};
use super::{Codec, FrameClass};
use crate::keys::Seed;
use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{Aes256Gcm, KeyInit as _};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Bytes that sealing adds to a frame.
pub(crate) const TAG_BYTES: usize = 16;

/// Which of an object's two keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyClass {
    Data,
    Index,
}

impl KeyClass {
    fn label(self) -> &'static [u8] {
        match self {
            KeyClass::Data => b"data",
            KeyClass::Index => b"index",
        }
    }
}

/// One key of one object.
#[derive(Clone)]
pub(crate) struct ObjectKey {
    cipher: Aes256Gcm,
    key: Zeroizing<[u8; 32]>,
    pub(crate) commitment: [u8; 32],
}

impl std::fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ObjectKey(..)")
    }
}

impl ObjectKey {
    pub(crate) fn derive(seed: &Seed, class: KeyClass, header: &[u8; HEADER_BYTES]) -> ObjectKey {
        let input = Header::key_input(header);
        let okm = expand::<64>(seed.secret(), &[b"holdfast/1/", class.label(), &input]);
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(&okm[..32]);
        let mut commitment = [0; 32];
        commitment.copy_from_slice(&okm[32..]);
        let cipher = Aes256Gcm::new((&*key).into());
        ObjectKey { cipher, key, commitment }
    }

    /// The key of the record digests in this object.
    pub(crate) fn digest_key(&self) -> DigestKey {
        DigestKey::new(&expand::<32>(&self.key, &[b"holdfast/1/digest"]))
    }

    /// Seals `plain` into `sealed`, which must be as long; returns the tag.
    pub(crate) fn seal(&self, place: &Place, plain: &[u8], sealed: &mut [u8]) -> [u8; TAG_BYTES] {
        let buffer = InOutBuf::new(plain, sealed).expect("the caller gives equal lengths");
        let tag = self
            .cipher
            .encrypt_inout_detached((&place.nonce()).into(), &place.associated_data(), buffer)
            .expect("a frame is far below the cipher's limit of 64 GiB");
        tag.into()
    }

    /// Seals in place and appends the tag.
    pub(crate) fn seal_in_place(&self, place: &Place, buffer: &mut Vec<u8>) {
        let whole = InOutBuf::from(&mut buffer[..]);
        let tag: [u8; TAG_BYTES] = self
            .cipher
            .encrypt_inout_detached((&place.nonce()).into(), &place.associated_data(), whole)
            .expect("a frame is far below the cipher's limit of 64 GiB")
            .into();
        buffer.extend_from_slice(&tag);
    }

    /// Opens `sealed` (tag at its end) into `plain`, which is made to fit. False: it does not open;
    /// `plain` is then empty.
    pub(crate) fn open(&self, place: &Place, sealed: &[u8], plain: &mut Vec<u8>) -> bool {
        plain.clear();
        let Some((body, tag)) = sealed.split_last_chunk::<TAG_BYTES>() else { return false };
        plain.resize(body.len(), 0);
        let buffer = InOutBuf::new(body, &mut plain[..]).expect("made equally long above");
        let opened = self.cipher.decrypt_inout_detached(
            (&place.nonce()).into(),
            &place.associated_data(),
            buffer,
            tag.into(),
        );
        if opened.is_err() {
            plain.clear();
        }
        opened.is_ok()
    }
}

/// Where a frame stands: all that its seal binds it to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) header_sha256: [u8; 32],
    pub(crate) class: FrameClass,
    pub(crate) codec: Codec,
    pub(crate) last: bool,
    pub(crate) counter: u64,
    pub(crate) plain_len: u64,
}

impl Place {
    /// The index section's place; its length on the wire is its plain length plus the tag.
    pub(crate) fn index(header_sha256: [u8; 32], plain_len: u64) -> Place {
        let (class, codec) = (FrameClass::Index, Codec::None);
        Place { header_sha256, class, codec, last: true, counter: 0, plain_len }
    }

    fn nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[0] = self.class as u8;
        nonce[1] = u8::from(self.last);
        nonce[4..].copy_from_slice(&self.counter.to_le_bytes());
        nonce
    }

    fn associated_data(&self) -> [u8; 56] {
        let mut data = [0; 56];
        data[..32].copy_from_slice(&self.header_sha256);
        data[32] = self.class as u8;
        data[33] = u8::from(self.last);
        data[34] = self.codec as u8;
        data[40..48].copy_from_slice(&self.counter.to_le_bytes());
        data[48..].copy_from_slice(&self.plain_len.to_le_bytes());
        data
    }
}

/// A key of 32-bit digests: HMAC-SHA-256, cut to its first 4 bytes (little-endian).
#[derive(Clone)]
pub struct DigestKey {
    mac: Hmac<Sha256>,
    secret: Zeroizing<[u8; DIGEST_KEY_BYTES]>,
}

/// Length of a [`DigestKey`]'s secret.
pub const DIGEST_KEY_BYTES: usize = 32;

impl std::fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DigestKey(..)")
    }
}

impl DigestKey {
    pub(crate) fn new(secret: &[u8; DIGEST_KEY_BYTES]) -> DigestKey {
        let mac = Hmac::new_from_slice(secret).expect("HMAC takes keys of any length");
        DigestKey { mac, secret: Zeroizing::new(*secret) }
    }

    /// Its secret, for whoever is to compute the same digests. It opens nothing.
    pub fn secret(&self) -> [u8; DIGEST_KEY_BYTES] {
        *self.secret
    }

    /// The digest of the parts, joined.
    pub(crate) fn digest(&self, parts: &[&[u8]]) -> u32 {
        let mut mac = self.mac.clone();
        parts.iter().for_each(|part| mac.update(part));
        let full = mac.finalize().into_bytes();
        u32::from_le_bytes([full[0], full[1], full[2], full[3]])
    }
}

/// HKDF-Expand with a 32-byte pseudorandom key.
pub(crate) fn expand<const N: usize>(prk: &[u8; 32], info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    let mut okm = Zeroizing::new([0; N]);
    Hkdf::<Sha256>::from_prk(prk)
        .expect("32 bytes are a whole SHA-256 key")
        .expand_multi_info(info, &mut *okm)
        .expect("far below HKDF's limit of 8,160 bytes");
    okm
}

/// SHA-256 of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Compares secrets and digests without stopping at the first difference.
pub(crate) fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0u8, |acc, (x, y)| acc | (x ^ y));
    a.len() == b.len() && std::hint::black_box(difference) == 0
}
