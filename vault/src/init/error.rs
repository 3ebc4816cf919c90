//! Why a vault was not made or opened.

use crate::access::AccessError;
use crate::chain::ChainError;
use crate::format::{ClearError, ClusterId};
use crate::store::StoreError;

/// Why a vault was not made or opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The chain, its objects or keys.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The root object.
    #[error("the root of the vault at {address}: {source}")]
    Root {
        /// The store's address.
        address: String,
        /// What is wrong.
        source: ClearError,
    },
    /// There is no vault.
    #[error("{address}: no vault; `holdfast vault init` makes one")]
    NoVault {
        /// The store's address.
        address: String,
    },
    /// The root is gone, and what it is the root of is there.
    #[error(
        "{address}: the root object is missing, but the chain of cluster {} is there; `holdfast vault \
         init --rebuild-root` writes it again, from what the chain repeats sealed",
        list(clusters)
    )]
    RootMissing {
        /// The store's address.
        address: String,
        /// The clusters with commits.
        clusters: Vec<ClusterId>,
    },
    /// The root is there and sound.
    #[error("{address}: the root is there and sound; nothing was changed")]
    RootThere {
        /// The store's address.
        address: String,
    },
    /// There is one already.
    #[error(
        "{address}: a vault with clusters is there already; nothing was changed; `--add-cluster` adds \
         one more to it"
    )]
    Exists {
        /// The store's address.
        address: String,
    },
    /// The vault has no such cluster, or several and none was chosen.
    #[error("{address}: {detail}")]
    Cluster {
        /// The store's address.
        address: String,
        /// Which there are.
        detail: String,
    },
    /// The configuration wants no sealing and the vault has it, or the other way round.
    #[error("{detail}")]
    Sealing {
        /// What does not fit and what to do.
        detail: String,
    },
    /// The root is not the one that is expected.
    #[error(
        "{address}: the vault's fingerprint is {found}, not {expected}: this is another vault, or it was \
         replaced"
    )]
    Fingerprint {
        /// The store's address.
        address: String,
        /// What the root gives.
        found: String,
        /// What was asked for.
        expected: String,
    },
}

impl From<StoreError> for VaultError {
    fn from(error: StoreError) -> Self {
        VaultError::Chain(error.into())
    }
}

impl From<AccessError> for VaultError {
    fn from(error: AccessError) -> Self {
        VaultError::Chain(error.into())
    }
}

fn list(clusters: &[ClusterId]) -> String {
    clusters.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
