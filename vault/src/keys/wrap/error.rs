//! Why a seed could not be wrapped or a wrap not opened, and how a wrap stands in messages.
//!
//! Holds: no message has key material; what a wrap says of itself is cut before it is printed.

use crate::format::{ClearError, hex};
use crate::keys::{KeyName, ProviderKind, ServiceError};
use crate::proto::Wrap;
use std::fmt;

/// An id has 16 bytes; of one that has more no more than this is printed.
const SHOWN_ID_BYTES: usize = 64;

/// Why a seed could not be wrapped or a wrap not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// No configured provider is the one that the wrap names.
    #[error("{wrap} needs {needed}; configured are: {configured}. {}", add(needed))]
    NoProvider {
        /// The wrap.
        wrap: WrapName,
        /// The key that opens it.
        needed: Box<KeyName>,
        /// The configured keys, by id.
        configured: String,
    },
    /// A key of that kind and name is configured, but it is another one.
    #[error(
        "{wrap} needs {needed}; the configured key of that name is another one, with key id \
         {found:?}. Keys may share a name: add the old one below the new one"
    )]
    WrongKey {
        /// The wrap.
        wrap: WrapName,
        /// The key that opens it.
        needed: Box<KeyName>,
        /// Id of the configured key of that name.
        found: String,
    },
    /// The recovery key's public half is not one that seals anything.
    #[error(
        "the recovery key {key_id} is weak and seals nothing: make another one with `holdfast \
         vault recovery-key`"
    )]
    WeakRecipient {
        /// Its id.
        key_id: String,
    },
    /// The wrap is in clear, and that is not allowed here.
    #[error(
        "{wrap} holds its seed in clear (identity), which is allowed only in a vault created \
         without sealing and with `sealing: none` in the local configuration"
    )]
    NotSealed {
        /// The wrap.
        wrap: WrapName,
    },
    /// The first provider is `identity`, but the vault is sealed.
    #[error(
        "the first provider is identity, which would leave new seeds in clear in a sealed vault; \
         put a provider with a key first"
    )]
    WouldNotSeal,
    /// The first key stands in our documentation.
    #[error(
        "the first key is the one in the example file, which everybody can read; make your own: \
         head -c 32 /dev/urandom | base64"
    )]
    Published,
    /// The stored bytes are at fault: another copy, or another wrap of the seed, is needed.
    #[error("{wrap} is damaged: {reason}")]
    Damaged {
        /// The wrap.
        wrap: WrapName,
        /// What was seen.
        reason: &'static str,
    },
    /// A sound wrap, but of another vault, cluster or seed.
    #[error("{wrap} belongs elsewhere: {reason}")]
    Exchanged {
        /// The wrap.
        wrap: WrapName,
        /// What differs.
        reason: &'static str,
    },
    /// The object around the wrap.
    #[error(transparent)]
    Object(#[from] ClearError),
    /// The key service.
    #[error("{wrap} needs {needed}: {source}")]
    Service {
        /// The wrap.
        wrap: WrapName,
        /// The key that opens or makes it.
        needed: Box<KeyName>,
        /// What it said.
        source: ServiceError,
    },
}

/// A wrap in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrapName {
    /// Its id in hex; empty when it has none.
    pub wrap: String,
    /// The seed's id in hex.
    pub seed: String,
}

impl fmt::Display for WrapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wrap {} of seed {}", self.wrap, self.seed)
    }
}

/// How a missing key is given.
fn add(needed: &KeyName) -> &'static str {
    match needed.kind {
        ProviderKind::Recovery => "Type it off the paper into a file for --recovery-key-file",
        _ => "Add that key to the providers",
    }
}

pub(super) fn name_of(wrap: &Wrap) -> WrapName {
    let shown = |id: &[u8]| hex(&id[..id.len().min(SHOWN_ID_BYTES)]);
    WrapName { wrap: shown(&wrap.wrap_id), seed: shown(&wrap.seed_id) }
}

pub(super) fn damaged(wrap: &Wrap, reason: &'static str) -> WrapError {
    WrapError::Damaged { wrap: name_of(wrap), reason }
}
