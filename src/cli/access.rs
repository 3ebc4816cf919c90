//! How a verb names a vault and its keys: by address and key file, or by the agent's configuration.
//!
//! Must hold: a restore needs the binary, the keys and the store's address, and nothing else; keys
//! come from files, never from arguments.

use anyhow::{Context, bail};
use clap::Args;
use holdfast_agent::config::{Config, Sealing as ConfiguredSealing};
use holdfast_vault::init::VaultOptions;
use holdfast_vault::keys::{Providers, Sealing, parse_encryption_config};
use holdfast_vault::vault::Vault;
use holdfast_vault::{Store, StoreOptions};
use std::path::{Path, PathBuf};

/// Longest key file that is read.
const KEYS_LIMIT_BYTES: u64 = 1 << 20;

/// Where the vault is and who can open it.
#[derive(Args)]
pub(crate) struct VaultArguments {
    /// Address of the vault: file:///path or s3://bucket/prefix (credentials from AWS_* variables)
    #[arg(long, value_name = "URL", env = "HOLDFAST_FROM")]
    from: Option<String>,
    #[command(flatten)]
    keys: KeyArguments,
}

/// Who can open a vault.
#[derive(Args)]
pub(crate) struct KeyArguments {
    /// Kubernetes EncryptionConfiguration with the keys of the vault
    #[arg(long, value_name = "FILE", env = "HOLDFAST_KEYS")]
    keys: Option<PathBuf>,
    /// The agent's configuration: gives address, keys and cluster where no flag does
    #[arg(long, value_name = "FILE", env = "HOLDFAST_CONFIG")]
    config: Option<PathBuf>,
    /// The cluster's id in the vault; only needed where a vault holds several
    #[arg(long, value_name = "ID")]
    cluster: Option<String>,
    /// The vault was created without sealing, and you know it
    #[arg(long)]
    unsealed: bool,
}

/// A vault that a verb works on.
pub(crate) struct VaultPlace {
    /// Its address.
    pub(crate) url: String,
    /// The configured providers.
    pub(crate) providers: Providers,
    /// The cluster's id, 32 hex digits, if it was named.
    pub(crate) cluster: Option<String>,
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
            bail!("which vault? give --from URL, or --config with the agent's configuration");
        };
        let configured = vault.is_some_and(|vault| vault.sealing == ConfiguredSealing::None);
        let sealing = if self.unsealed || configured { Sealing::None } else { Sealing::Required };
        let keys =
            self.keys.as_deref().or(vault.and_then(|vault| vault.encryption_config.as_deref()));
        Ok(VaultPlace {
            url: url.to_owned(),
            providers: providers(keys, sealing)?,
            cluster: self
                .cluster
                .clone()
                .or_else(|| vault.and_then(|vault| vault.cluster_id.clone())),
            config,
        })
    }
}

/// The providers of a key file; without one, only what an unsealed vault needs.
fn providers(keys: Option<&Path>, sealing: Sealing) -> anyhow::Result<Providers> {
    let text = match keys {
        Some(path) => read(path)?,
        None if sealing == Sealing::None => UNSEALED.to_owned(),
        None => bail!(
            "which keys? give --keys FILE (a Kubernetes EncryptionConfiguration), or --config"
        ),
    };
    let shown = keys.map_or_else(|| "keys".to_owned(), |path| path.display().to_string());
    let config = parse_encryption_config(&text).with_context(|| shown)?;
    Ok(Providers::from_config(&config, sealing, &mut |kms| holdfast_kms::connect(kms)))
}

const UNSEALED: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n\
resources:\n- resources: [\"*.*\"]\n  providers:\n  - identity: {}\n";

fn read(path: &Path) -> anyhow::Result<String> {
    let cannot = || format!("cannot read the key file {}", path.display());
    let size = std::fs::metadata(path).with_context(cannot)?.len();
    if size > KEYS_LIMIT_BYTES {
        bail!("{}: {size} bytes are no EncryptionConfiguration (limit 1 MiB)", path.display());
    }
    std::fs::read_to_string(path).with_context(cannot)
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
        let store = Store::open(&self.url, StoreOptions::default())?;
        let mut options = VaultOptions::new(self.providers);
        if let Some(cluster) = &self.cluster {
            let parsed = cluster.parse();
            options.cluster = Some(parsed.with_context(|| format!("cluster id `{cluster}`"))?);
        }
        ask(&mut options);
        Ok(Vault::open(store, options).await?)
    }
}
