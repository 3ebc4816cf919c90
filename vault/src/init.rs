//! Making a vault and opening one.
//!
//! Holds: the root is created once with put-if-absent and repeated sealed in every commit; a
//! difference is an error; a store is probed with a real collision before the first write of every
//! process; a chain that is behind a witness, or has another fingerprint than was asked for, is not
//! opened.

mod error;
mod first_commit;

use crate::access::{Access, AccessError, AccessParts};
use crate::chain::rules::ChainLimits;
use crate::chain::{Chain, ChainError, Witness};
use crate::clock::{Clock, SystemClock};
use crate::clusters::{self, Opener};
use crate::format::{ClusterId, Entropy, ObjectId, ROOT_NAME, SystemEntropy, VaultId};
use crate::keys::Providers;
use crate::proto::VaultIdentity;
use crate::root::{check_fingerprint, is_root_of, make_root, read_root};
use crate::store::Store;
use crate::store::doctor::probe_collision;
use crate::vault::Vault;
pub use error::VaultError;
pub(crate) use first_commit::begin_chain;
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
            clusters::check_name(&name)
                .map_err(|detail| VaultError::Cluster { address: address.clone(), detail })?;
        }
        refuse_unsafe(&store, &mut *options.entropy).await?;
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
        if !clusters::with_commits(&store).await?.is_empty() {
            return Err(VaultError::Exists { address });
        }
        let cluster = ClusterId::random(&mut *options.entropy);
        begin_chain(make_access(store, &root, cluster, options)?, root, None, &name).await
    }

    /// Opens a vault: root, cluster, the chain up to its head. Needs the index seed only; data
    /// seeds are opened when something is read.
    pub async fn open(store: Store, options: VaultOptions) -> Result<Vault, VaultError> {
        let root = read_root(&store).await?;
        let address = store.address().to_owned();
        check_fingerprint(&address, &root, options.fingerprint.as_deref())?;
        let opener = Opener::of(&options);
        let cluster = match (options.cluster, options.cluster_text.clone()) {
            (None, Some(text)) => clusters::find(&store, &root, &opener, &text).await?,
            (wanted, _) => match clusters::choose(&store, wanted).await {
                // With the names, now that the keys are at hand.
                Err(VaultError::Cluster { .. }) if !clusters::all(&store).await?.is_empty() => {
                    let known = clusters::named(&store, &root, &opener).await?;
                    let what = "the vault holds several clusters";
                    return Err(clusters::unclear(&store, what, &known));
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

/// Probes a store with a real collision, before there is a cluster whose folder the probe could
/// stand in.
pub(crate) async fn refuse_unsafe(
    store: &Store,
    entropy: &mut dyn Entropy,
) -> Result<(), VaultError> {
    let probe = ObjectId::random(entropy);
    if !probe_collision(store, &format!("probe/{probe}")).await? {
        return Err(ChainError::UnsafeStore { address: store.address().to_owned() }.into());
    }
    Ok(())
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
