//! Why something sealed cannot be opened.

use crate::format::{FormatError, SeedId};
use crate::keys::{ServiceError, WrapError};
use crate::store::StoreError;

/// Why something sealed cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The object.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The first provider does not wrap, or a wrap that was just stored is not what was stored.
    #[error(transparent)]
    Wrap(Box<WrapError>),
    /// The key service does not say under which key it wraps.
    #[error("the first provider's key service: {source}")]
    Service {
        /// What it said.
        source: ServiceError,
    },
    /// No configured provider opens the seed.
    #[error("seed {seed} cannot be opened: {}", list(errors))]
    Locked {
        /// Its id.
        seed: SeedId,
        /// The name of each of its wraps, and why it does not open.
        errors: Vec<(String, WrapError)>,
    },
    /// A wrap that was just stored reads back as something else.
    #[error(
        "seed {seed}: its wrap does not read back as it was written; run `holdfast store doctor`"
    )]
    NotKept {
        /// Its id.
        seed: SeedId,
    },
    /// A commit lists a seed whose id is none.
    #[error("the chain lists a seed whose id has not 16 bytes: run `holdfast vault check`")]
    BadSeedId,
    /// A listing shows no wrap of this seed, and no head that was read tells of one.
    #[error("seed {seed}: no wrap of it is in the store; what it seals cannot be opened")]
    NoWrap {
        /// Its id.
        seed: SeedId,
    },
    /// Every wrap that the head lists was asked for by name, and is not there.
    #[error(
        "seed {seed}: its {wraps} wraps are gone from the store, under both names each; what it \
         seals cannot be opened any more, unless another copy of the vault has them"
    )]
    WrapsGone {
        /// Its id.
        seed: SeedId,
        /// How many the head lists.
        wraps: usize,
    },
}

impl From<WrapError> for AccessError {
    fn from(error: WrapError) -> Self {
        AccessError::Wrap(Box::new(error))
    }
}

impl AccessError {
    /// Whether a key service is the reason: it is away, refuses, or answers nonsense.
    pub fn is_key_service(&self) -> bool {
        let by_service = |error: &WrapError| matches!(error, WrapError::Service { .. });
        match self {
            AccessError::Wrap(error) => by_service(error),
            AccessError::Service { .. } => true,
            AccessError::Locked { errors, .. } => errors.iter().any(|(_, error)| by_service(error)),
            _ => false,
        }
    }
}

fn list(errors: &[(String, WrapError)]) -> String {
    let lines = errors.iter().map(|(name, error)| format!("{name}: {error}"));
    lines.collect::<Vec<_>>().join("; ")
}
