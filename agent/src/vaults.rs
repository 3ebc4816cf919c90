//! Where a vault is, who opens it, and opening it: for the agent and for every verb of the command
//! line.
//!
//! What must hold: key files are read when the vault is opened, keys never come from arguments, and
//! no secret stands in an error; the agent uses its vault only together with the witness in the
//! state file, so a store that is behind it is never written to.

use crate::config::{Config, Sealing as ConfiguredSealing, Size, VaultConfig};
use crate::state::AgentState;
use holdfast_vault::access::AccessError;
use holdfast_vault::format::ClusterId;
use holdfast_vault::init::{VaultError, VaultOptions};
use holdfast_vault::keys::{
    EncryptionConfig, KeyService, KmsConfig, PaperError, ProviderConfig, Providers, Recipient,
    RecoveryKey, Sealing, parse_encryption_config,
};
use holdfast_vault::relief::{Begun, begun_since, key_service_away, reliefs};
use holdfast_vault::vault::Vault;
use holdfast_vault::{Store, StoreError, StoreOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Longest key file that is read.
const KEYS_LIMIT_BYTES: u64 = 1 << 20;

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
    /// The recovery key cannot be read.
    #[error("{}: no recovery key: {source}", path.display())]
    Paper {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: PaperError,
    },
    /// Nobody said who opens it.
    #[error(
        "which keys? give --keys FILE (a Kubernetes EncryptionConfiguration), --config with the \
         agent's configuration, or --recovery-key-file with the recovery key from paper"
    )]
    NoKeys,
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

impl OpenError {
    /// The key service's fault, if it is that.
    pub fn key_service(&self) -> Option<&AccessError> {
        match self {
            OpenError::Vault(error) => key_service_away(error),
            _ => None,
        }
    }
}

/// Who opens a vault: files, and what is known without one.
#[derive(Debug, Clone, Default)]
pub struct KeyFiles {
    /// A Kubernetes EncryptionConfiguration.
    pub encryption_config: Option<PathBuf>,
    /// A file with the secret half of the recovery key, typed off the paper.
    pub recovery_key: Option<PathBuf>,
    /// The public half.
    pub recipient: Option<Recipient>,
    /// Whether an unsealed vault is meant.
    pub sealing: Sealing,
}

impl KeyFiles {
    /// Reads them.
    ///
    /// # Errors
    /// [`OpenError::Keys`], [`OpenError::Paper`], [`OpenError::NoKeys`].
    pub fn providers(&self, connect: &ConnectKms) -> Result<Providers, OpenError> {
        let paper = self.recovery_key.as_deref().map(read_paper).transpose()?;
        let config = match (&self.encryption_config, self.sealing) {
            (Some(path), _) => {
                let wrong = |reason: String| OpenError::Keys { path: path.clone(), reason };
                parse_encryption_config(&read(path)?).map_err(|error| wrong(error.to_string()))?
            }
            (None, Sealing::None) => EncryptionConfig {
                resources: Vec::new(),
                providers: vec![ProviderConfig::Identity],
            },
            (None, Sealing::Required) => {
                return Ok(Providers::from_paper(paper.ok_or(OpenError::NoKeys)?));
            }
        };
        let providers = Providers::from_config(&config, self.sealing, &mut |kms| connect(kms));
        let providers = providers.with_recipient(self.recipient);
        Ok(match paper {
            Some(paper) => providers.with_paper(paper),
            None => providers,
        })
    }
}

fn read(path: &Path) -> Result<Zeroizing<String>, OpenError> {
    let wrong = |reason: String| OpenError::Keys { path: path.to_owned(), reason };
    let cannot = |error: std::io::Error| wrong(format!("the key file cannot be read: {error}"));
    let size_bytes = std::fs::metadata(path).map_err(cannot)?.len();
    if size_bytes > KEYS_LIMIT_BYTES {
        return Err(wrong(format!("{size_bytes} bytes are no key file (limit 1 MiB)")));
    }
    Ok(Zeroizing::new(std::fs::read_to_string(path).map_err(cannot)?))
}

fn read_paper(path: &Path) -> Result<RecoveryKey, OpenError> {
    let parsed = RecoveryKey::parse(&read(path)?);
    parsed.map_err(|source| OpenError::Paper { path: path.to_owned(), source })
}

/// A vault: where it is, who opens it, and which cluster of it is meant.
#[derive(Debug, Clone)]
pub struct VaultPlace {
    /// Its address.
    pub url: String,
    /// Who opens it.
    pub providers: Providers,
    /// The cluster, if it was named: its id, the first digits of it, or its name.
    pub cluster: Option<String>,
    /// Uploads per second at most, bytes.
    pub upload_limit: Option<u64>,
}

impl VaultPlace {
    /// The one that the agent's configuration names.
    ///
    /// # Errors
    /// The key files.
    pub fn configured(config: &VaultConfig, connect: &ConnectKms) -> Result<VaultPlace, OpenError> {
        Ok(VaultPlace {
            url: config.url.clone(),
            providers: key_files(config).providers(connect)?,
            cluster: config.cluster_id.clone(),
            upload_limit: config.upload_limit.map(Size::bytes),
        })
    }

    /// Its store; `create`: a folder that is not there is made.
    ///
    /// # Errors
    /// The address.
    pub fn store(&self, create: bool) -> Result<Store, StoreError> {
        let upload_bytes_per_second = self.upload_limit;
        let options = StoreOptions { create, upload_bytes_per_second, ..StoreOptions::default() };
        Store::open(&self.url, options)
    }

    /// What opening it needs.
    ///
    /// # Errors
    /// None today.
    pub fn options(&self) -> Result<VaultOptions, OpenError> {
        let mut options = VaultOptions::new(self.providers.clone());
        if let Some(text) = &self.cluster {
            match text.parse() {
                Ok(id) => options.cluster = Some(id),
                Err(_) => options.cluster_text = Some(text.clone()),
            }
        }
        Ok(options)
    }
}

/// The key files of the agent's configuration.
pub fn key_files(config: &VaultConfig) -> KeyFiles {
    KeyFiles {
        encryption_config: config.encryption_config.clone(),
        recovery_key: None,
        recipient: config.recovery_recipient.as_ref().map(|text| text.recipient()),
        sealing: match config.sealing {
            ConfiguredSealing::Sealed => Sealing::Required,
            ConfiguredSealing::None => Sealing::None,
        },
    }
}

/// Opens the agent's vault, as its state file knows it.
///
/// # Errors
/// See [`OpenError`].
pub async fn open(
    config: &Config,
    connect: &ConnectKms,
    state: &AgentState,
) -> Result<Vault, OpenError> {
    let place = VaultPlace::configured(&config.vault, connect)?;
    let options = remembered(place.options()?, state)?;
    let vault = Vault::open(place.store(false)?, options).await?;
    // The cluster of the state file was opened: it must be the one that the configuration names.
    if let Some(text) = place.cluster.filter(|text| !vault.is_called(text)) {
        let remembered = vault.access().cluster().to_string();
        return Err(OpenError::OtherCluster { remembered, found: text });
    }
    for relief in reliefs(vault.store()).await? {
        if relief.stands_for == vault.access().cluster() {
            let cluster = relief.cluster;
            tracing::warn!(
                %cluster,
                "snapshots from a time without the key service lie in a relief chain: `holdfast \
                 snapshots --cluster`"
            );
        }
    }
    Ok(vault)
}

/// Begins a relief chain, since the key service is away.
///
/// # Errors
/// See [`OpenError`].
pub async fn begin_relief(
    config: &Config,
    connect: &ConnectKms,
    state: &AgentState,
) -> Result<Vault, OpenError> {
    let place = VaultPlace::configured(&config.vault, connect)?;
    let options = VaultOptions { witness: None, ..remembered(place.options()?, state)? };
    Ok(Vault::begin_relief(place.store(false)?, options).await?)
}

/// The relief chains of the agent's cluster that were begun at `since_ms` or later; asks no key.
///
/// # Errors
/// See [`OpenError`].
pub async fn reliefs_since(
    config: &Config,
    connect: &ConnectKms,
    state: &AgentState,
    since_ms: i64,
) -> Result<Vec<Begun>, OpenError> {
    let place = VaultPlace::configured(&config.vault, connect)?;
    let options = remembered(place.options()?, state)?;
    Ok(begun_since(&place.store(false)?, options.cluster, since_ms).await?)
}

/// Opens a relief chain with the configured keys.
///
/// # Errors
/// See [`OpenError`].
pub async fn open_relief(
    config: &Config,
    connect: &ConnectKms,
    cluster: ClusterId,
) -> Result<Vault, OpenError> {
    let place = VaultPlace::configured(&config.vault, connect)?;
    let cluster = Some(cluster);
    let options = VaultOptions { cluster, cluster_text: None, ..place.options()? };
    Ok(Vault::open(place.store(false)?, options).await?)
}

/// With what the state file knows of the vault.
fn remembered(mut options: VaultOptions, state: &AgentState) -> Result<VaultOptions, OpenError> {
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
    Ok(options)
}
