//! Opens the configured vault, and keeps it open between jobs.
//!
//! What must hold: a vault is only used together with the witness in the state file; a store that
//! is behind it is never written to; key files are read when the vault is opened, and no secret
//! stands in an error.

use crate::config::{Sealing, Size, VaultConfig};
use crate::state::AgentState;
use holdfast_vault::format::ClusterId;
use holdfast_vault::init::{VaultError, VaultOptions};
use holdfast_vault::keys::{
    EncryptionConfig, KeyService, KmsConfig, ProviderConfig, Providers, parse_encryption_config,
};
use holdfast_vault::vault::Vault;
use holdfast_vault::{Store, StoreError, StoreOptions, keys};
use std::path::PathBuf;
use std::sync::Arc;

/// Makes the client of a KMS plugin. The vault knows plugins as a trait only.
pub type ConnectKms = Arc<dyn Fn(&KmsConfig) -> Arc<dyn KeyService> + Send + Sync>;

/// Why the vault cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store's address.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The vault itself.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The EncryptionConfiguration cannot be read.
    #[error("{}: {reason}", path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column where they are known.
        reason: String,
    },
    /// `vault.clusterId` is no id.
    #[error("vault.clusterId {text:?}: write the 32 hex digits that `holdfast vault init` printed")]
    ClusterId {
        /// As configured.
        text: String,
    },
    /// The state file is about another cluster.
    #[error(
        "the state directory remembers cluster {remembered}, but the vault's cluster is {found}; \
         use \
         another stateDirectory, or remove agent.json there if this is meant"
    )]
    OtherCluster {
        /// In the state file.
        remembered: String,
        /// In the vault.
        found: String,
    },
}

/// Opens the vault.
///
/// # Errors
/// See [`OpenError`].
pub async fn open(
    config: &VaultConfig,
    connect: &ConnectKms,
    state: &AgentState,
) -> Result<Vault, OpenError> {
    let mut options = VaultOptions::new(providers(config, connect)?);
    options.cluster = cluster(config)?;
    options.witness.clone_from(&state.witness);
    let remembered = options.witness.as_ref().map(|witness| witness.cluster.clone());
    if let (None, Some(known)) = (options.cluster, &remembered) {
        // The one that we served before, also when another has joined it.
        options.cluster = known.parse().ok();
    }
    if let (Some(chosen), Some(known)) = (options.cluster, remembered) {
        let found = chosen.to_string();
        if found != known {
            return Err(OpenError::OtherCluster { remembered: known, found });
        }
    }
    let upload_bytes_per_second = config.upload_limit.map(Size::bytes);
    let limits = StoreOptions { upload_bytes_per_second, ..StoreOptions::default() };
    let store = Store::open(&config.url, limits)?;
    Ok(Vault::open(store, options).await?)
}

/// The configured providers.
///
/// # Errors
/// [`OpenError::Keys`].
pub fn providers(config: &VaultConfig, connect: &ConnectKms) -> Result<Providers, OpenError> {
    let parsed = match &config.encryption_config {
        Some(path) => {
            let wrong = |reason: String| OpenError::Keys { path: path.clone(), reason };
            let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
            let text = zeroize::Zeroizing::new(text);
            parse_encryption_config(&text).map_err(|error| wrong(error.to_string()))?
        }
        None => {
            EncryptionConfig { resources: Vec::new(), providers: vec![ProviderConfig::Identity] }
        }
    };
    let sealing = match config.sealing {
        Sealing::Sealed => keys::Sealing::Required,
        Sealing::None => keys::Sealing::None,
    };
    Ok(Providers::from_config(&parsed, sealing, &mut |kms| connect(kms)))
}

fn cluster(config: &VaultConfig) -> Result<Option<ClusterId>, OpenError> {
    let parse = |text: &String| {
        text.parse().map_err(|_| OpenError::ClusterId { text: text.chars().take(64).collect() })
    };
    config.cluster_id.as_ref().map(parse).transpose()
}
