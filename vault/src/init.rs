//! Making a vault and opening one.
//!
//! Holds: the root is created once with put-if-absent and repeated sealed in every commit; a
//! difference is an error; a store is probed with a real collision before the first write of every
//! process; a chain that is behind a witness, or has another fingerprint than was asked for, is not
//! opened.

use crate::access::{Access, AccessError, AccessParts};
use crate::chain::names::CLUSTERS;
use crate::chain::rules::ChainLimits;
use crate::chain::{Chain, ChainError, Witness};
use crate::clock::{Clock, SystemClock};
use crate::clusters::Opener;
use crate::format::{
    ClearError, ClusterId, Entropy, LineageId, ObjectId, ROOT_NAME, StoreId, SystemEntropy, TagKey,
    VaultId, decode_root, encode_root,
};
use crate::keys::{IndexSeed, Providers};
use crate::proto::action::Kind;
use crate::proto::{Action, Commit, Lineage, StoreRef, VaultIdentity};
use crate::store::doctor::probe_collision;
use crate::store::{Store, StoreError};
use crate::vault::{Vault, fingerprint};
use std::sync::Arc;

/// What opening or making a vault needs.
pub struct VaultOptions {
    /// Wrap and open seeds.
    pub providers: Providers,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Box<dyn Entropy>,
    /// Which cluster; a vault with one cluster needs none.
    pub cluster: Option<ClusterId>,
    /// The same as people say it: a name, or the first digits of an id. `cluster` wins.
    pub cluster_text: Option<String>,
    /// The name of the cluster that `init` and `add_cluster` make.
    pub name: Option<String>,
    /// A memory of the chain from outside of the store.
    pub witness: Option<Witness>,
    /// The fingerprint that the root must have, as `Vault::fingerprint` prints it.
    pub fingerprint: Option<String>,
    /// How much of the chain is kept: the default, but in simulations.
    pub limits: ChainLimits,
}

impl VaultOptions {
    /// With the machine's clocks and randomness.
    pub fn new(providers: Providers) -> VaultOptions {
        VaultOptions {
            providers,
            clock: Arc::new(SystemClock),
            entropy: Box::new(SystemEntropy),
            cluster: None,
            cluster_text: None,
            name: None,
            witness: None,
            fingerprint: None,
            limits: ChainLimits::default(),
        }
    }
}

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

/// Longest root object.
pub(crate) const ROOT_LIMIT: u64 = 1 << 16;

impl Vault {
    /// Makes a vault with one cluster: root, index seed, first commit. A run that was cut off
    /// before its first commit is taken up again.
    pub async fn init(store: Store, mut options: VaultOptions) -> Result<Vault, VaultError> {
        let address = store.address().to_owned();
        let unsealed = options.providers.unsealed();
        // Before anything is written: a refusal leaves nothing behind that a right try would meet.
        options.providers.check_wraps(unsealed).map_err(AccessError::from)?;
        let name = options.name.take().unwrap_or_default();
        if !name.is_empty() {
            crate::clusters::check_name(&name)
                .map_err(|detail| VaultError::Cluster { address: address.clone(), detail })?;
        }
        let probe = ObjectId::random(&mut *options.entropy);
        if !probe_collision(&store, &format!("probe/{probe}")).await? {
            return Err(ChainError::UnsafeStore { address }.into());
        }
        // Before the root: a new one would shut the chains that are there.
        match read_root(&store).await {
            Ok(_) | Err(VaultError::NoVault { .. }) => {}
            Err(error) => return Err(error),
        }
        let identity = VaultIdentity {
            vault_id: VaultId::random(&mut *options.entropy).to_bytes(),
            unsealed,
            root_key_fingerprint: Default::default(),
        };
        let root = make_root(&store, identity).await?;
        if root.unsealed != unsealed {
            let detail = "a vault was begun here with the other choice of sealing; use the same \
                          configuration, or another address"
                .to_owned();
            return Err(VaultError::Sealing { detail });
        }
        if !store.folders(CLUSTERS).await?.is_empty() {
            for cluster in clusters(&store).await? {
                if has_commits(&store, cluster).await? {
                    return Err(VaultError::Exists { address });
                }
            }
        }
        let cluster = ClusterId::random(&mut *options.entropy);
        let access = make_access(store, &root, cluster, options)?;
        first_commit(&access, &root, None, &name).await?;
        Ok(Vault::over(Chain::load(Arc::new(access)).await?, root))
    }

    /// Opens a vault: root, cluster, the chain up to its head. Needs the index seed only; data
    /// seeds are opened when something is read.
    pub async fn open(store: Store, options: VaultOptions) -> Result<Vault, VaultError> {
        let root = read_root(&store).await?;
        let address = store.address().to_owned();
        check_fingerprint(&address, &root, options.fingerprint.as_deref())?;
        let opener = Opener::of(&options);
        let cluster = match (options.cluster, options.cluster_text.clone()) {
            (None, Some(text)) => crate::clusters::find(&store, &root, &opener, &text).await?,
            (wanted, _) => match choose(&store, wanted).await {
                // With the names, now that the keys are at hand.
                Err(VaultError::Cluster { .. }) if !clusters(&store).await?.is_empty() => {
                    let known = crate::clusters::named(&store, &root, &opener).await?;
                    let what = "the vault holds several clusters";
                    return Err(crate::clusters::unclear(&store, what, &known));
                }
                chosen => chosen?,
            },
        };
        let witness = options.witness.clone();
        let access = make_access(store, &root, cluster, options)?;
        let chain = Chain::open(Arc::new(access)).await?;
        if !is_root_of(&root, chain.head()) {
            let detail =
                "the sealed chain tells of another vault than the root in clear".to_owned();
            return Err(ChainError::Damaged { name: ROOT_NAME.to_owned(), detail }.into());
        }
        if let Some(witness) = witness {
            chain.check_witness(&witness).await?;
        }
        Ok(Vault::over(chain, root))
    }
}

/// Whether the root in clear is the one that the sealed chain repeats. A root key that was taken up
/// later stands in the chain alone.
fn is_root_of(root: &VaultIdentity, head: &Commit) -> bool {
    head.identity.as_ref().is_some_and(|sealed| {
        let key = &root.root_key_fingerprint;
        sealed.vault_id == root.vault_id
            && sealed.unsealed == root.unsealed
            && (key.is_empty() || *key == sealed.root_key_fingerprint)
    })
}

fn recovery_public(access: &Access) -> bytes::Bytes {
    let recipient = access.recipient();
    recipient.map(|key| key.as_bytes().to_vec().into()).unwrap_or_default()
}

/// The clusters of a vault, relief chains among them.
pub async fn clusters(store: &Store) -> Result<Vec<ClusterId>, StoreError> {
    let folders = store.folders(CLUSTERS).await?;
    Ok(folders.iter().filter_map(|name| name.parse().ok()).collect())
}

pub(crate) async fn has_commits(store: &Store, cluster: ClusterId) -> Result<bool, StoreError> {
    let folder = crate::chain::Names::new(cluster).commits();
    Ok(!store.folders(&folder).await?.is_empty())
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
    for cluster in clusters(store).await? {
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

pub(crate) fn make_access(
    store: Store,
    root: &VaultIdentity,
    cluster: ClusterId,
    options: VaultOptions,
) -> Result<Access, VaultError> {
    let vault = VaultId::from_bytes(&root.vault_id).map_err(|_| ChainError::Damaged {
        name: ROOT_NAME.to_owned(),
        detail: "its vault id has not 16 bytes".to_owned(),
    })?;
    Ok(Access::new(AccessParts {
        store,
        vault,
        cluster,
        clock: options.clock,
        entropy: options.entropy,
        providers: options.providers,
        unsealed: root.unsealed,
        limits: options.limits,
    }))
}

/// Creates the root, or takes the one that is there.
async fn make_root(store: &Store, identity: VaultIdentity) -> Result<VaultIdentity, VaultError> {
    match store.put_if_absent(ROOT_NAME, encode_root(&identity).into()).await {
        Ok(()) | Err(StoreError::AlreadyExists { .. } | StoreError::Unreachable { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    read_root(store).await
}

pub(crate) async fn read_root(store: &Store) -> Result<VaultIdentity, VaultError> {
    let address = store.address().to_owned();
    let bytes = match store.get(ROOT_NAME, ROOT_LIMIT).await {
        Ok(bytes) => bytes,
        Err(StoreError::NotFound { .. }) => return Err(no_root(store, address).await?),
        Err(error) => return Err(error.into()),
    };
    let root = decode_root(&bytes).map_err(|source| VaultError::Root { address, source })?;
    Ok(root.1)
}

/// Why there is no root: there never was one, or it was lost.
async fn no_root(store: &Store, address: String) -> Result<VaultError, VaultError> {
    let mut there = Vec::new();
    for cluster in clusters(store).await? {
        if has_commits(store, cluster).await? {
            there.push(cluster);
        }
    }
    Ok(match there.is_empty() {
        true => VaultError::NoVault { address },
        false => VaultError::RootMissing { address, clusters: there },
    })
}

fn list(clusters: &[ClusterId]) -> String {
    clusters.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

pub(crate) fn check_fingerprint(
    address: &str,
    root: &VaultIdentity,
    expected: Option<&str>,
) -> Result<(), VaultError> {
    let found = fingerprint(root);
    match expected {
        Some(expected) if expected.trim() != found => Err(VaultError::Fingerprint {
            address: address.to_owned(),
            found,
            expected: expected.trim().to_owned(),
        }),
        _ => Ok(()),
    }
}

/// The index seed and the first commit of a cluster. `relief_of`: the one it stands in for.
pub(crate) async fn first_commit(
    access: &Access,
    root: &VaultIdentity,
    relief_of: Option<ClusterId>,
    name: &str,
) -> Result<(), VaultError> {
    let index = IndexSeed::random(&mut **access.entropy());
    let seed = access.store_seed(index.seed()).await?;
    access.add_seed(index.seed().clone());
    let attempt = access.random_object_id();
    let (tag_key, lineage, store) = {
        let mut entropy = access.entropy();
        let entropy = &mut **entropy;
        (TagKey::random(entropy), LineageId::random(entropy), StoreId::random(entropy))
    };
    let init = Action { kind: Kind::Init.into(), snapshot: 0, reason: String::new() };
    let commit = Commit {
        number: 1,
        identity: Some(root.clone()),
        cluster_id: access.cluster().to_bytes(),
        tag_key: tag_key.to_bytes(),
        writer_id: access.writer().to_bytes(),
        attempt_id: attempt.to_bytes(),
        epoch: 1,
        lineage: Some(Lineage {
            lineage_id: lineage.to_bytes(),
            since_number: 1,
            ..Lineage::default()
        }),
        time_ms: access.clock().now_ms(),
        floor: 1,
        actions: vec![init],
        seeds: vec![seed],
        stores: vec![StoreRef {
            store_id: store.to_bytes(),
            name: "authority".to_owned(),
            authority: true,
        }],
        recovery_public: recovery_public(access),
        cluster_name: name.to_owned(),
        relief_of: relief_of.map(|cluster| cluster.to_bytes()).unwrap_or_default(),
        ..Commit::default()
    };
    let bytes = access.seal_commit(&commit)?;
    let name = access.names().commit(0, 1);
    // The cluster's id is fresh and random: nobody else writes below it.
    let mut tries = 1;
    loop {
        let answer = access.store().put_if_absent(&name, bytes.clone()).await;
        match answer {
            Ok(()) => return Ok(()),
            Err(StoreError::AlreadyExists { .. } | StoreError::Unreachable { .. }) if tries < 8 => {
                match access.store().get(&name, crate::format::MAX_COMMIT_BYTES).await {
                    Ok(found) if found == bytes => return Ok(()),
                    Ok(_) | Err(StoreError::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
        access.store().pause(tries).await;
        tries += 1;
    }
}
