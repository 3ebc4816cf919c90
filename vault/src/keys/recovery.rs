//! The recovery key: a key pair whose secret half lies on paper. Whoever has the public half wraps
//! seeds for it without being able to open them; so an agent whose key service is away need not
//! stop, and the paper alone opens a vault whose key service is gone for ever.
//!
//! ```text
//! shared        X25519(fresh secret, public half) = X25519(secret half, fresh public)
//! wrapping key  HKDF-Expand-SHA256(HKDF-Extract-SHA256("holdfast/1/recovery", shared),
//!                                  "holdfast/1/wrap/recovery/" ‖ fresh public ‖ public half, 32)
//! sealed seed   fresh public 32 | AES-256-GCM(wrapping key, nonce 12, seed 32, associated data of
//!               the place) = 80 bytes
//! check value   HKDF-Expand(HKDF-Extract(none, public half), "holdfast/1/recovery/id", 8)
//! key id        check value in hex
//! ```
//! Holds: the public half is no secret towards a reader, but whoever knows it and writes the store
//! can wrap seeds of their own for the paper key. So it stands in local configurations and sealed
//! in commits, never in clear in the store; the key id does not give it away.

use super::local::{CHECK_BYTES, open_sealed, seal_with};
use super::paper::{Half, PaperError};
use crate::format::{Entropy, hex};
use hkdf::Hkdf;
use sha2::Sha256;
use std::fmt;
use x25519_dalek::{PublicKey, SharedSecret, StaticSecret};
use zeroize::Zeroizing;

const PUBLIC_BYTES: usize = 32;
/// Length of a sealed seed.
pub(crate) const SEALED_BYTES: usize = PUBLIC_BYTES + 48;

/// The public half: wraps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Recipient([u8; PUBLIC_BYTES]);

/// Both halves: opens, and wraps.
#[derive(Clone)]
pub struct RecoveryKey {
    secret: StaticSecret,
    recipient: Recipient,
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({})", self.key_id())
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecoveryKey({})", self.recipient.key_id())
    }
}

impl RecoveryKey {
    /// A fresh one.
    pub fn random(entropy: &mut dyn Entropy) -> RecoveryKey {
        let mut secret = Zeroizing::new([0; 32]);
        entropy.fill(&mut *secret);
        RecoveryKey::from_secret(&secret)
    }

    /// From the text on paper.
    pub fn parse(text: &str) -> Result<RecoveryKey, PaperError> {
        Ok(RecoveryKey::from_secret(&*Half::Secret.read(text)?))
    }

    fn from_secret(secret: &[u8; 32]) -> RecoveryKey {
        let secret = StaticSecret::from(*secret);
        let recipient = Recipient(PublicKey::from(&secret).to_bytes());
        RecoveryKey { secret, recipient }
    }

    /// The text for paper.
    pub fn to_text(&self) -> Zeroizing<String> {
        Half::Secret.write(self.secret.as_bytes())
    }

    /// The public half.
    pub fn recipient(&self) -> Recipient {
        self.recipient
    }

    /// Opens a seed; `None`: it was not sealed like this.
    pub(crate) fn open(
        &self,
        nonce: &[u8; 12],
        data: &[u8],
        sealed: &[u8],
    ) -> Option<Zeroizing<[u8; 32]>> {
        let (fresh, sealed) = sealed.split_first_chunk::<PUBLIC_BYTES>()?;
        let shared = self.secret.diffie_hellman(&PublicKey::from(*fresh));
        open_sealed(&*self.recipient.wrapping_key(&shared, fresh)?, nonce, data, sealed)
    }
}

impl Recipient {
    /// From the text that `holdfast vault recovery-key` printed.
    pub fn parse(text: &str) -> Result<Recipient, PaperError> {
        Ok(Recipient(*Half::Public.read(text)?))
    }

    /// From its bytes, as a commit holds them; `None`: not 32.
    pub fn from_bytes(bytes: &[u8]) -> Option<Recipient> {
        bytes.try_into().ok().map(Recipient)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As text, for configurations.
    pub fn to_text(&self) -> String {
        Half::Public.write(&self.0).to_string()
    }

    /// Tells a wrong key from a damaged wrap.
    pub(crate) fn check(&self) -> [u8; CHECK_BYTES] {
        let (_, hkdf) = Hkdf::<Sha256>::extract(None, &self.0);
        let mut check = [0; CHECK_BYTES];
        hkdf.expand(b"holdfast/1/recovery/id", &mut check).expect("8 bytes are within the limit");
        check
    }

    /// The key id.
    pub fn key_id(&self) -> String {
        key_id(&self.check())
    }

    /// Seals a seed. `fresh`: 32 random bytes, used once. `None`: the public half is a weak point
    /// of the curve, for which nothing is sealed.
    pub(crate) fn seal(
        &self,
        fresh: &[u8; 32],
        nonce: &[u8; 12],
        data: &[u8],
        seed: &[u8; 32],
    ) -> Option<Vec<u8>> {
        let fresh = StaticSecret::from(*fresh);
        let public = PublicKey::from(&fresh).to_bytes();
        let shared = fresh.diffie_hellman(&PublicKey::from(self.0));
        let mut sealed = public.to_vec();
        sealed.extend(seal_with(&*self.wrapping_key(&shared, &public)?, nonce, data, seed));
        assert_eq!(sealed.len(), SEALED_BYTES, "a public half, a seed, a tag");
        Some(sealed)
    }

    fn wrapping_key(
        &self,
        shared: &SharedSecret,
        fresh: &[u8; PUBLIC_BYTES],
    ) -> Option<Zeroizing<[u8; 32]>> {
        if !shared.was_contributory() {
            return None;
        }
        let (_, hkdf) = Hkdf::<Sha256>::extract(Some(b"holdfast/1/recovery"), shared.as_bytes());
        let mut key = Zeroizing::new([0; 32]);
        let info: [&[u8]; 3] = [b"holdfast/1/wrap/recovery/", fresh, &self.0];
        hkdf.expand_multi_info(&info, &mut *key).expect("32 bytes are within HKDF's limit");
        Some(key)
    }
}

/// The key id of a check value.
pub(crate) fn key_id(check: &[u8]) -> String {
    hex(check)
}
