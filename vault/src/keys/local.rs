//! Local provider keys (aesgcm, aescbc, secretbox): the configuration is Kubernetes', the wrap is
//! ours.
//!
//! ```text
//! 40 bytes      HKDF-Expand-SHA256(HKDF-Extract-SHA256(no salt, key),
//!                                    "holdfast/1/wrap/" ‖ kind ‖ "/" ‖ name, 40)
//!               = wrapping key 32 ‖ key check value 8
//! key id        name ‖ ":" ‖ key check value in hex
//! sealed seed   AES-256-GCM(wrapping key, random nonce 12, seed 32,
//!                           associated data of the place) = 48 bytes
//! ```
//! Holds: the configured key itself encrypts nothing; the check value tells a wrong key from a
//! damaged wrap and says nothing about the wrapping key.

use super::ProviderKind;
use crate::format::hex;
use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{Aes256Gcm, KeyInit as _};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Length of a key check value in bytes.
pub(crate) const CHECK_BYTES: usize = 8;
const TAG_BYTES: usize = 16;

/// A configured key, ready to wrap.
#[derive(Clone)]
pub(crate) struct LocalKey {
    cipher: Aes256Gcm,
    pub(crate) check: [u8; CHECK_BYTES],
    pub(crate) key_id: String,
}

impl std::fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LocalKey({})", self.key_id)
    }
}

impl LocalKey {
    pub(crate) fn new(kind: ProviderKind, name: &str, secret: &[u8]) -> LocalKey {
        let (_, hkdf) = Hkdf::<Sha256>::extract(None, secret);
        let mut okm = Zeroizing::new([0; 32 + CHECK_BYTES]);
        let info: [&[u8]; 4] =
            [b"holdfast/1/wrap/", kind.as_str().as_bytes(), b"/", name.as_bytes()];
        hkdf.expand_multi_info(&info, &mut *okm).expect("40 bytes are within HKDF's limit");
        let (key, check) = okm.split_at(32);
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(key.try_into().expect("split at 32"));
        let check: [u8; CHECK_BYTES] = check.try_into().expect("8 of 40 bytes are left");
        let key_id = key_id(name, &check);
        LocalKey { cipher: Aes256Gcm::new((&*key).into()), check, key_id }
    }

    /// Seals a seed's 32 bytes.
    pub(crate) fn seal(&self, nonce: &[u8; 12], data: &[u8], seed: &[u8; 32]) -> Vec<u8> {
        seal_in(&self.cipher, nonce, data, seed)
    }

    /// Opens a seed; `None`: it was not sealed like this.
    pub(crate) fn open(
        &self,
        nonce: &[u8; 12],
        data: &[u8],
        sealed: &[u8],
    ) -> Option<Zeroizing<[u8; 32]>> {
        open_in(&self.cipher, nonce, data, sealed)
    }
}

/// Seals a seed under a wrapping key.
pub(crate) fn seal_with(key: &[u8; 32], nonce: &[u8; 12], data: &[u8], seed: &[u8; 32]) -> Vec<u8> {
    seal_in(&Aes256Gcm::new(key.into()), nonce, data, seed)
}

/// Opens a seed under a wrapping key; `None`: it was not sealed like this.
pub(crate) fn open_sealed(
    key: &[u8; 32],
    nonce: &[u8; 12],
    data: &[u8],
    sealed: &[u8],
) -> Option<Zeroizing<[u8; 32]>> {
    open_in(&Aes256Gcm::new(key.into()), nonce, data, sealed)
}

fn seal_in(cipher: &Aes256Gcm, nonce: &[u8; 12], data: &[u8], seed: &[u8; 32]) -> Vec<u8> {
    let mut sealed = seed.to_vec();
    let tag = cipher
        .encrypt_inout_detached(nonce.into(), data, InOutBuf::from(&mut sealed[..]))
        .expect("32 bytes are within the cipher's limit");
    sealed.extend_from_slice(&tag);
    sealed
}

fn open_in(
    cipher: &Aes256Gcm,
    nonce: &[u8; 12],
    data: &[u8],
    sealed: &[u8],
) -> Option<Zeroizing<[u8; 32]>> {
    let sealed: &[u8; 32 + TAG_BYTES] = sealed.try_into().ok()?;
    let (body, tag) = sealed.split_last_chunk::<TAG_BYTES>()?;
    let mut seed = Zeroizing::new([0; 32]);
    seed.copy_from_slice(body);
    cipher
        .decrypt_inout_detached(nonce.into(), data, InOutBuf::from(&mut seed[..]), tag.into())
        .ok()?;
    Some(seed)
}

/// The key id of a local key.
pub(crate) fn key_id(name: &str, check: &[u8]) -> String {
    format!("{name}:{}", hex(check))
}
