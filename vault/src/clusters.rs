//! Several clusters in one vault: adding one, and finding the one that is meant.
//!
//! Each has a random id, seeds, a tag key and a chain of its own below `c/<id>/`; only the root is
//! shared. Holds: a cluster is added only when that was asked for, beside a root that is sound;
//! nothing is ever chosen where two could be meant.

use crate::access::{Access, AccessError};
use crate::chain::names::CLUSTERS;
use crate::chain::{Names, newest_listed};
use crate::clock::Clock;
use crate::format::{ClusterId, MAX_COMMIT_BYTES, SystemEntropy};
use crate::init::{VaultError, VaultOptions, begin_chain, make_access, refuse_unsafe};
use crate::keys::Providers;
use crate::proto::VaultIdentity;
use crate::root::{check_fingerprint, read_root};
use crate::store::{Store, StoreError};
use crate::vault::Vault;
use std::sync::Arc;

/// Hex digits that the beginning of an id has at least.
const PREFIX_DIGITS: usize = 4;
/// Longest name of a cluster, bytes.
const NAME_BYTES: usize = 64;

impl Vault {
    /// Adds a cluster to a vault that is there, under the name in `options`.
    ///
    /// # Errors
    /// `NoVault`; `Sealing` when the vault was made with the other choice; `Cluster` when the name
    /// is taken or no name.
    pub async fn add_cluster(store: Store, mut options: VaultOptions) -> Result<Vault, VaultError> {
        let root = read_root(&store).await?;
        let address = store.address().to_owned();
        check_fingerprint(&address, &root, options.fingerprint.as_deref())?;
        let unsealed = options.providers.unsealed();
        options.providers.check_wraps(unsealed).map_err(AccessError::from)?;
        if root.unsealed != unsealed {
            let detail =
                "the vault was made with the other choice of sealing; all of its clusters \
                          share it: use the same configuration, or another address"
                    .to_owned();
            return Err(VaultError::Sealing { detail });
        }
        refuse_unsafe(&store, &mut *options.entropy).await?;
        if let Some(name) = options.name.clone() {
            check_name(&name).map_err(|detail| VaultError::Cluster { address, detail })?;
            let known = named(&store, &root, &Opener::of(&options)).await?;
            if known.iter().any(|one| one.name == name) {
                return Err(unclear(&store, &format!("the name {name:?} is taken"), &known));
            }
        }
        let cluster = ClusterId::random(&mut *options.entropy);
        let name = options.name.take().unwrap_or_default();
        begin_chain(make_access(store, &root, cluster, options)?, root, None, &name).await
    }

    /// Whether `text` means this cluster: its name, or the beginning of its id.
    pub fn is_called(&self, text: &str) -> bool {
        let id = self.access().cluster().to_string();
        self.cluster_name() == text || (is_prefix(text) && id.starts_with(text))
    }

    /// What people call the cluster; empty: nothing.
    pub fn cluster_name(&self) -> &str {
        &self.head().cluster_name
    }
}

/// The clusters of a vault, relief chains and those without a commit among them.
pub(crate) async fn all(store: &Store) -> Result<Vec<ClusterId>, StoreError> {
    let folders = store.folders(CLUSTERS).await?;
    Ok(folders.iter().filter_map(|name| name.parse().ok()).collect())
}

/// The clusters that have a chain, relief chains among them.
pub(crate) async fn with_commits(store: &Store) -> Result<Vec<ClusterId>, StoreError> {
    let mut found = Vec::new();
    for cluster in all(store).await? {
        if has_commits(store, cluster).await? {
            found.push(cluster);
        }
    }
    Ok(found)
}

async fn has_commits(store: &Store, cluster: ClusterId) -> Result<bool, StoreError> {
    Ok(!store.folders(&Names::new(cluster).commits()).await?.is_empty())
}

/// The cluster that is meant: the chosen one, or the only one that is no relief chain.
pub(crate) async fn choose(
    store: &Store,
    wanted: Option<ClusterId>,
) -> Result<ClusterId, VaultError> {
    if let Some(cluster) = wanted {
        return Ok(cluster);
    }
    let reliefs = crate::relief::reliefs(store).await?;
    let mut there = Vec::new();
    for cluster in all(store).await? {
        let is_relief = reliefs.iter().any(|relief| relief.cluster == cluster);
        if !is_relief && has_commits(store, cluster).await? {
            there.push(cluster);
        }
    }
    let address = store.address().to_owned();
    match there[..] {
        [only] => Ok(only),
        [] => {
            let detail = "the vault has no cluster; `holdfast vault init` makes one".to_owned();
            Err(VaultError::Cluster { address, detail })
        }
        _ => {
            let names: Vec<String> = there.iter().map(ToString::to_string).collect();
            let detail = format!("several clusters, choose one: {}", names.join(", "));
            Err(VaultError::Cluster { address, detail })
        }
    }
}

/// A name that is no id nor the beginning of one, and can be printed.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > NAME_BYTES || !name.chars().all(fine) {
        return Err(format!(
            "a cluster's name has 1 to {NAME_BYTES} letters, digits, dots, hyphens and underscores"
        ));
    }
    if is_prefix(name) {
        return Err(format!("{name:?} reads like the beginning of a cluster's id"));
    }
    Ok(())
}

fn is_prefix(text: &str) -> bool {
    text.len() >= PREFIX_DIGITS
        && text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
}

/// What opens the heads of several clusters.
pub(crate) struct Opener {
    providers: Providers,
    clock: Arc<dyn Clock>,
}

impl Opener {
    /// The keys and the clock of `options`.
    pub(crate) fn of(options: &VaultOptions) -> Opener {
        Opener { providers: options.providers.clone(), clock: options.clock.clone() }
    }
}

/// A cluster of the vault and its name, as far as it can be opened.
pub(crate) struct Named {
    cluster: ClusterId,
    name: String,
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name.as_str() {
            "" => write!(f, "{}", self.cluster),
            name => write!(f, "{} ({name})", self.cluster),
        }
    }
}

/// The clusters of a vault that have a chain, with their names where our keys open them.
pub(crate) async fn named(
    store: &Store,
    root: &VaultIdentity,
    opener: &Opener,
) -> Result<Vec<Named>, VaultError> {
    let mut found = Vec::new();
    for cluster in with_commits(store).await? {
        let name = name_of(store, root, opener, cluster).await.unwrap_or_default();
        found.push(Named { cluster, name });
    }
    Ok(found)
}

/// The cluster whose id begins with `text`, or that has it for a name.
pub(crate) async fn find(
    store: &Store,
    root: &VaultIdentity,
    opener: &Opener,
    text: &str,
) -> Result<ClusterId, VaultError> {
    let known = named(store, root, opener).await?;
    let meant = |one: &&Named| {
        one.name == text || (is_prefix(text) && one.cluster.to_string().starts_with(text))
    };
    let mut found = known.iter().filter(meant);
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only.cluster),
        (None, _) => Err(unclear(store, &format!("no cluster is {text:?}"), &known)),
        _ => Err(unclear(store, &format!("several clusters are {text:?}"), &known)),
    }
}

/// Says which clusters there are.
pub(crate) fn unclear(store: &Store, what: &str, known: &[Named]) -> VaultError {
    let list: Vec<String> = known.iter().map(ToString::to_string).collect();
    let detail = format!(
        "{what}; name one of them with --cluster, by name or the first digits of its id: {}",
        list.join(", ")
    );
    VaultError::Cluster { address: store.address().to_owned(), detail }
}

/// The name in the newest commit that is listed.
async fn name_of(
    store: &Store,
    root: &VaultIdentity,
    opener: &Opener,
    cluster: ClusterId,
) -> Result<String, VaultError> {
    let options = VaultOptions {
        clock: opener.clock.clone(),
        entropy: Box::new(SystemEntropy),
        ..VaultOptions::new(opener.providers.clone())
    };
    let access: Access = make_access(store.clone(), root, cluster, options)?;
    let Some((era, number)) = newest_listed(store, cluster).await? else {
        return Ok(String::new());
    };
    let name = Names::new(cluster).commit(era, number);
    let bytes = store.get(&name, MAX_COMMIT_BYTES).await?;
    Ok(access.open_commit((era, number), &bytes).await?.commit.cluster_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_send<T: Send>(_: &T) {}

    /// Whoever embeds the vault may spawn its work.
    #[expect(dead_code, reason = "it is enough that it compiles")]
    fn futures_can_be_spawned(store: &Store, options: fn() -> VaultOptions) {
        is_send(&Vault::open(store.clone(), options()));
        is_send(&Vault::init(store.clone(), options()));
        is_send(&Vault::add_cluster(store.clone(), options()));
    }

    #[test]
    fn names_are_not_taken_for_ids() {
        for name in ["prod", "edge-7", "a", "cafe-1", "beef.local", "abc"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "cafe", "12345", "with space", "ü", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
