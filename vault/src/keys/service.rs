//! Key services: whoever can encrypt 64 bytes and give them back later, as a Kubernetes KMS v2
//! plugin does.
//!
//! Holds: the vault knows the trait only; the plugin's client implements it elsewhere. What a
//! service answers is bounded here by Kubernetes' own limits (`k8s.io/apiserver`,
//! kmsv2/envelope.go: 1 KiB of ciphertext and key id, 32 KiB of annotations), so that what we
//! store, any kube-apiserver's plugin could also have made.

use std::collections::BTreeMap;
use std::time::Duration;
use zeroize::Zeroizing;

/// Longest ciphertext and longest key id in bytes.
pub(crate) const MAX_ANSWER_BYTES: usize = 1024;
/// Longest sum of annotation names and values in bytes.
pub(crate) const MAX_ANNOTATION_BYTES: usize = 32 * 1024;

/// How a service feels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceStatus {
    /// The protocol version it speaks: `v2`, or `v2beta1`.
    pub version: String,
    /// `ok`, or what is wrong.
    pub healthz: String,
    /// The key id that it encrypts under now.
    pub key_id: String,
}

/// What a service made of a plaintext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encrypted {
    /// Opaque; 1 to 1,024 bytes.
    pub ciphertext: Vec<u8>,
    /// The key it is under; 1 to 1,024 bytes.
    pub key_id: String,
    /// Handed back on decrypt; at most 32 KiB.
    pub annotations: BTreeMap<String, Vec<u8>>,
}

/// Why a service did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// Not there, or too slow: try again.
    #[error("it did not answer within {} ms: {detail}", timeout.as_millis())]
    Unavailable {
        /// How long it was waited for.
        timeout: Duration,
        /// The transport's words.
        detail: String,
    },
    /// It answered, and refused (wrong key id, damaged ciphertext, no permission).
    #[error("it refused: {detail}")]
    Refused {
        /// Its words.
        detail: String,
    },
    /// It answered what no plugin may answer.
    #[error("its answer breaks the protocol: {detail}")]
    Protocol {
        /// Which rule.
        detail: String,
    },
}

/// A key service.
#[async_trait::async_trait]
pub trait KeyService: Send + Sync {
    /// Asks for version, health and current key id.
    async fn status(&self) -> Result<ServiceStatus, ServiceError>;

    /// Encrypts a short plaintext under the current key. `uid` is for the service's logs.
    async fn encrypt(&self, uid: &str, plaintext: &[u8]) -> Result<Encrypted, ServiceError>;

    /// Gives a plaintext back.
    async fn decrypt(
        &self,
        uid: &str,
        encrypted: &Encrypted,
    ) -> Result<Zeroizing<Vec<u8>>, ServiceError>;
}

/// An answer within the protocol's limits.
pub(crate) fn check_answer(answer: &Encrypted) -> Result<(), ServiceError> {
    let annotations: usize =
        answer.annotations.iter().map(|(name, value)| name.len() + value.len()).sum();
    let broken = |detail: String| Err(ServiceError::Protocol { detail });
    if answer.ciphertext.is_empty() || answer.ciphertext.len() > MAX_ANSWER_BYTES {
        return broken(format!("a ciphertext of {} bytes", answer.ciphertext.len()));
    }
    if answer.key_id.is_empty() || answer.key_id.len() > MAX_ANSWER_BYTES {
        return broken(format!("a key id of {} bytes", answer.key_id.len()));
    }
    if annotations > MAX_ANNOTATION_BYTES {
        return broken(format!("{annotations} bytes of annotations"));
    }
    Ok(())
}
