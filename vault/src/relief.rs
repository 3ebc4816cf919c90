//! Relief chains: where snapshots go while the key service is away, so that nobody can open the
//! cluster's own chain.
//!
//! A relief chain is a cluster of its own in the same vault, `c/<relief>/…`, with seeds of its own
//! that are wrapped for the recovery key, the other wraps following when the key service is back.
//! Its first snapshot is whole, since what the vault has cannot be read.
//! `relief/<cluster>/<relief>` tells in clear which chain stands in for which; each of its commits
//! repeats that sealed.
//!
//! Holds: a relief chain is never taken for the cluster's own; without a recovery key none is
//! begun; the name in clear decides only what is chosen when nobody names a cluster.

use crate::access::AccessError;
use crate::chain::{ChainError, newest_listed};
use crate::clusters::choose;
use crate::format::ClusterId;
use crate::init::{VaultError, VaultOptions, begin_chain, make_access};
use crate::root::read_root;
use crate::store::{Store, StoreError};
use crate::vault::Vault;
use bytes::Bytes;

/// The folder of the names in clear.
const RELIEFS: &str = "relief";
/// Names that are looked at.
const LIST_LIMIT: usize = 100_000;
const CONTENT: &[u8] = b"A relief chain of a Holdfast vault: docs/FORMAT.md, Relief chains.\n";

/// A relief chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relief {
    /// Its id as a cluster of the vault.
    pub cluster: ClusterId,
    /// The cluster that it stands in for.
    pub stands_for: ClusterId,
}

/// A relief chain as one sees it without any key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// Its id as a cluster of the vault.
    pub cluster: ClusterId,
    /// When it was begun, by the store's clock, milliseconds since 1970.
    pub begun_ms: i64,
    /// Whether it has more than its first commit.
    pub holds_snapshot: bool,
}

/// The relief chains of a vault.
pub async fn reliefs(store: &Store) -> Result<Vec<Relief>, StoreError> {
    let listed = store.list_all(RELIEFS, LIST_LIMIT).await?;
    Ok(listed.iter().filter_map(|item| parse(&item.name)).collect())
}

/// The relief chains that stand in for a cluster, or for the vault's only one, and were begun at
/// `since_ms` or later. Opens nothing.
pub async fn begun_since(
    store: &Store,
    cluster: Option<ClusterId>,
    since_ms: i64,
) -> Result<Vec<Begun>, VaultError> {
    let stands_for = choose(store, cluster).await?;
    let mut begun = Vec::new();
    for item in store.list_all(&format!("{RELIEFS}/{stands_for}"), LIST_LIMIT).await? {
        let relief = parse(&item.name).filter(|_| item.modified_ms >= since_ms);
        let Some(Relief { cluster, .. }) = relief else { continue };
        // Where no commit followed the name, nothing was begun.
        let Some((_, number)) = newest_listed(store, cluster).await? else { continue };
        let holds_snapshot = number > 1;
        begun.push(Begun { cluster, begun_ms: item.modified_ms, holds_snapshot });
    }
    Ok(begun)
}

fn parse(name: &str) -> Option<Relief> {
    let (stands_for, cluster) = name.strip_prefix(RELIEFS)?.strip_prefix('/')?.split_once('/')?;
    Some(Relief { cluster: cluster.parse().ok()?, stands_for: stands_for.parse().ok()? })
}

impl Vault {
    /// Begins a relief chain for the cluster that `options` name, or the vault's only one.
    ///
    /// # Errors
    /// Without a recovery key in the options' providers: the key service's error as it comes.
    pub async fn begin_relief(store: Store, options: VaultOptions) -> Result<Vault, VaultError> {
        let root = read_root(&store).await?;
        let stands_for = choose(&store, options.cluster).await?;
        let mut options = options;
        let cluster = ClusterId::random(&mut *options.entropy);
        let access = make_access(store, &root, cluster, options)?;
        let name = format!("{RELIEFS}/{stands_for}/{cluster}");
        // First, so that no half-made chain is taken for a second cluster of the vault.
        access.store().put(&name, Bytes::from_static(CONTENT)).await?;
        begin_chain(access, root, Some(stands_for), "").await
    }

    /// The cluster that this relief chain stands in for; `None`: it is no relief chain.
    pub fn relief_of(&self) -> Option<ClusterId> {
        ClusterId::from_bytes(&self.head().relief_of).ok()
    }

    /// Seeds that nothing but the recovery key opens: a rewrap changes that when the key service is
    /// back.
    pub fn recovery_only_seeds(&self) -> usize {
        let seeds = self.head().seeds.iter().filter(|seed| !seed.wraps.is_empty());
        let alone = |seed: &&crate::proto::Seed| {
            seed.wraps.iter().all(|wrap| crate::access::is_recovery(wrap, None))
        };
        seeds.filter(alone).count()
    }
}

/// Whether a vault could not be opened because its key service is away, and what that said.
pub fn key_service_away(error: &VaultError) -> Option<&AccessError> {
    match error {
        VaultError::Chain(ChainError::Keys(error)) if error.is_key_service() => Some(error),
        _ => None,
    }
}
