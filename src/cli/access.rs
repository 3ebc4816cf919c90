//! How a verb names a vault and its keys: by address and key file, or by the agent's configuration.
//!
//! Must hold: a restore needs the binary, the keys and the store's address, and nothing else; keys
//! come from files, never from arguments.

use anyhow::bail;
use clap::Args;
use holdfast_agent::config::Config;
use holdfast_agent::vaults::{self, ConnectKms, KeyFiles};
use holdfast_vault::init::VaultOptions;
use holdfast_vault::keys::Sealing;
use holdfast_vault::relief::reliefs;
use holdfast_vault::vault::Vault;
use std::path::PathBuf;
use std::sync::Arc;

/// The part of a help page that these arguments stand in.
const VAULT: &str = "Vault and keys";

/// Where the vault is and who can open it.
#[derive(Args)]
pub(crate) struct VaultArguments {
    /// Address of the vault: file:///path or s3://bucket/prefix (credentials from AWS_* variables)
    #[arg(long, help_heading = VAULT, value_name = "URL", env = "HOLDFAST_FROM")]
    from: Option<String>,
    #[command(flatten)]
    keys: KeyArguments,
}

/// Who can open a vault.
#[derive(Args)]
pub(crate) struct KeyArguments {
    /// Kubernetes EncryptionConfiguration with the keys of the vault
    #[arg(long, help_heading = VAULT, value_name = "FILE", env = "HOLDFAST_KEYS")]
    keys: Option<PathBuf>,
    /// File with the recovery key, typed off the paper: opens the vault without any other key
    #[arg(long, help_heading = VAULT, value_name = "FILE")]
    recovery_key_file: Option<PathBuf>,
    /// The agent's configuration: gives address, keys and cluster where no flag does
    #[arg(long, help_heading = VAULT, value_name = "FILE", env = "HOLDFAST_CONFIG")]
    config: Option<PathBuf>,
    /// The cluster in the vault: its name, its id, or the first digits of it; only needed where a
    /// vault holds several
    #[arg(long, help_heading = VAULT, value_name = "CLUSTER")]
    cluster: Option<String>,
    /// The vault was created without sealing, and you know it
    #[arg(long, help_heading = VAULT)]
    unsealed: bool,
}

/// A vault that a verb works on.
pub(crate) struct VaultPlace {
    /// Address, keys, cluster.
    pub(crate) place: vaults::VaultPlace,
    /// The agent's configuration, if it was given.
    pub(crate) config: Option<Config>,
}

impl VaultArguments {
    /// Reads what the arguments name.
    pub(crate) fn resolve(&self) -> anyhow::Result<VaultPlace> {
        self.keys.resolve(self.from.as_deref())
    }
}

impl KeyArguments {
    /// Reads what the arguments name; `url` wins over the configuration's.
    pub(crate) fn resolve(&self, url: Option<&str>) -> anyhow::Result<VaultPlace> {
        let config = self.config.as_deref().map(Config::load).transpose()?;
        let vault = config.as_ref().map(|config| &config.vault);
        let Some(url) = url.or(vault.map(|vault| vault.url.as_str())) else {
            bail!(
                "which vault? give its address (file:///path or s3://bucket/prefix: --from URL, or \
                 the first argument of `vault init`), or --config with the agent's configuration"
            );
        };
        let mut files = vault.map(vaults::key_files).unwrap_or_default();
        if self.unsealed {
            files.sealing = Sealing::None;
        }
        let files = KeyFiles {
            encryption_config: self.keys.clone().or(files.encryption_config.take()),
            recovery_key: self.recovery_key_file.clone(),
            ..files
        };
        let place = vaults::VaultPlace {
            url: url.to_owned(),
            providers: files.providers(&connect())?,
            cluster: self
                .cluster
                .clone()
                .or_else(|| vault.and_then(|vault| vault.cluster_id.clone())),
            upload_limit: None,
        };
        Ok(VaultPlace { place, config })
    }
}

/// Makes clients of KMS plugins.
pub(crate) fn connect() -> ConnectKms {
    Arc::new(holdfast_kms::connect)
}

impl VaultPlace {
    /// Opens the vault.
    pub(crate) async fn open(self) -> anyhow::Result<Vault> {
        self.open_with(|_| {}).await
    }

    /// Opens the vault with more asked of it.
    pub(crate) async fn open_with(
        self,
        ask: impl FnOnce(&mut VaultOptions),
    ) -> anyhow::Result<Vault> {
        let mut options = self.place.options()?;
        ask(&mut options);
        let vault = Vault::open(self.place.store(false)?, options).await?;
        for gap in vault.chain().gaps() {
            eprintln!("Warning: {}: {}", gap.name, gap.detail);
        }
        if !vault.chain().gaps().is_empty() {
            eprintln!(
                "The chain has a gap there: what can be read of it follows, and nothing is written \
                 to it any more. `holdfast vault check` tells what is sound."
            );
        }
        if self.place.cluster.is_none() {
            tell_reliefs(&vault).await?;
        }
        Ok(vault)
    }
}

/// Nobody who looks for the newest snapshot should miss those that lie elsewhere.
async fn tell_reliefs(vault: &Vault) -> anyhow::Result<()> {
    for relief in reliefs(vault.store()).await? {
        if relief.stands_for == vault.access().cluster() {
            eprintln!(
                "Snapshots from a time when the key service was away lie in a chain of their own: \
                 --cluster {}",
                relief.cluster
            );
        }
    }
    Ok(())
}
