//! The two objects that stand in clear: the root and the wraps of seeds.
//!
//! ```text
//! magic 8 ("HOLDROOT" or "HOLDWRAP") | message length u32 | message | SHA-256 of all before (32)
//! ```
//! The digest finds damage; it proves nothing against an attacker. What proves a root is that every
//! sealed commit repeats it, and what proves a wrap is that it opens and its commitment fits.
//! Holds: no bytes behind the digest; at most 1 MiB.

use super::seal::sha256;
use super::{FORMAT, VaultId};
use crate::proto::{Root, VaultIdentity, Wrap};
use prost::Message;

/// Longest object in clear, in bytes.
pub const MAX_CLEAR_BYTES: usize = 1 << 20;

const HEAD: usize = 8 + 4;
const ROOT: &[u8; 8] = b"HOLDROOT";
const WRAP: &[u8; 8] = b"HOLDWRAP";

/// Why a root or a wrap cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClearError {
    /// The bytes are not what was written: another copy is needed.
    #[error("the {what} is damaged: {reason}")]
    Damaged {
        /// Root or wrap.
        what: &'static str,
        /// What was seen.
        reason: String,
    },
    /// Written by a newer Holdfast.
    #[error(
        "the {what} asks for a reader of format {needed}, this one reads {FORMAT}; \
         use a newer holdfast"
    )]
    TooNew {
        /// Root or wrap.
        what: &'static str,
        /// The format it needs.
        needed: u32,
    },
}

/// Encodes the root object `vault`.
pub fn encode_root(identity: &VaultIdentity) -> Vec<u8> {
    let format = u32::from(FORMAT);
    let root = Root { format, min_reader: format, identity: Some(identity.clone()) };
    encode(ROOT, &root)
}

/// Reads the root object: the vault's id and identity.
pub fn decode_root(bytes: &[u8]) -> Result<(VaultId, VaultIdentity), ClearError> {
    let what = "vault's root";
    let root: Root = decode(ROOT, what, bytes)?;
    if root.format == 0 || root.min_reader == 0 || root.min_reader > root.format {
        return Err(damaged(what, "its format versions contradict each other"));
    }
    if root.min_reader > u32::from(FORMAT) {
        return Err(ClearError::TooNew { what, needed: root.min_reader });
    }
    let identity = root.identity.ok_or_else(|| damaged(what, "it has no identity"))?;
    let vault = VaultId::from_bytes(&identity.vault_id)
        .map_err(|_| damaged(what, "its vault id has not 16 bytes"))?;
    if !matches!(identity.root_key_fingerprint.len(), 0 | 32) {
        return Err(damaged(what, "its root key fingerprint has not 32 bytes"));
    }
    Ok((vault, identity))
}

/// Encodes a wrap object.
pub fn encode_wrap(wrap: &Wrap) -> Vec<u8> {
    encode(WRAP, wrap)
}

/// Reads a wrap object; its fields are judged when it is opened.
pub fn decode_wrap(bytes: &[u8]) -> Result<Wrap, ClearError> {
    let what = "wrap";
    let wrap: Wrap = decode(WRAP, what, bytes)?;
    if wrap.format > u32::from(FORMAT) {
        return Err(ClearError::TooNew { what, needed: wrap.format });
    }
    if wrap.format == 0 {
        return Err(damaged(what, "its format is zero"));
    }
    Ok(wrap)
}

fn encode(magic: &[u8; 8], message: &impl Message) -> Vec<u8> {
    let encoded = message.encode_to_vec();
    let length = u32::try_from(encoded.len()).unwrap_or(u32::MAX);
    assert!(encoded.len() + HEAD + 32 <= MAX_CLEAR_BYTES, "roots and wraps are small");
    let mut out = [&magic[..], &length.to_le_bytes(), &encoded].concat();
    let digest = sha256(&out);
    out.extend_from_slice(&digest);
    out
}

fn decode<M: Message + Default>(
    magic: &[u8; 8],
    what: &'static str,
    bytes: &[u8],
) -> Result<M, ClearError> {
    if bytes.len() > MAX_CLEAR_BYTES {
        return Err(damaged(what, "it is longer than 1 MiB"));
    }
    let parts = bytes.split_last_chunk::<32>().filter(|(before, _)| before.len() >= HEAD);
    let (before, digest) = parts.ok_or_else(|| damaged(what, "it is cut short"))?;
    let (head, message) = before.split_at(HEAD);
    if head[..8] != magic[..] {
        return Err(damaged(what, "it does not start with its magic"));
    }
    let length = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    if length as usize != message.len() {
        return Err(damaged(what, "its length is not the one it states"));
    }
    if sha256(before) != *digest {
        return Err(damaged(what, "its SHA-256 does not fit"));
    }
    M::decode(message).map_err(|error| damaged(what, &format!("it does not decode: {error}")))
}

fn damaged(what: &'static str, reason: &str) -> ClearError {
    ClearError::Damaged { what, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::SeededEntropy;
    use proptest::prelude::*;

    fn identity() -> VaultIdentity {
        let vault = VaultId::random(&mut SeededEntropy::new(7));
        VaultIdentity {
            vault_id: vault.to_bytes(),
            unsealed: true,
            root_key_fingerprint: "".into(),
        }
    }

    #[test]
    fn a_root_is_read_back_and_every_damage_is_named() {
        let bytes = encode_root(&identity());
        let (vault, read) = decode_root(&bytes).unwrap();
        assert_eq!((vault.to_bytes(), &read), (identity().vault_id, &identity()));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut other = bytes.clone();
                other[at] ^= 1 << bit;
                assert!(matches!(decode_root(&other), Err(ClearError::Damaged { .. })), "{at}");
            }
            assert!(matches!(decode_root(&bytes[..at]), Err(ClearError::Damaged { .. })), "{at}");
        }
        assert!(decode_root(&[&bytes[..], b"x"].concat()).is_err());
        assert!(decode_wrap(&bytes).is_err(), "a root is no wrap");
    }

    #[test]
    fn a_newer_root_is_refused_as_such() {
        let root = Root { format: 3, min_reader: 2, identity: Some(identity()) };
        let refused = decode_root(&encode(ROOT, &root));
        assert_eq!(refused, Err(ClearError::TooNew { what: "vault's root", needed: 2 }));
        let root = Root { format: 2, min_reader: 1, identity: Some(identity()) };
        assert!(decode_root(&encode(ROOT, &root)).is_ok(), "newer, but readable by format 1");
    }

    proptest! {
        #[test]
        fn garbage_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(decode_root(&bytes).is_err());
            prop_assert!(decode_wrap(&bytes).is_err());
            // With a right frame around it, the message parser is reached.
            let length = u32::try_from(bytes.len()).unwrap();
            let mut framed = [&WRAP[..], &length.to_le_bytes(), &bytes].concat();
            let digest = sha256(&framed);
            framed.extend_from_slice(&digest);
            let _ = decode_wrap(&framed);
        }
    }
}
