//! What every part of the engine works with: the store, the names, the open seeds, clocks and
//! chance. Errors, messages and wraps are in files of their own.
//!
//! Holds: seeds are opened when something sealed under them is wanted, and stay open; the newest
//! index seed that the head lists seals.

mod error;
mod messages;
mod wrapping;
mod wraps;

pub use error::AccessError;
pub use messages::MESSAGE_LIMIT;
pub use wraps::WRAP_LIMIT;
pub(crate) use wraps::is_recovery;

use crate::chain::names::Names;
use crate::chain::rules::ChainLimits;
use crate::chain::state::Digest;
use crate::clock::Clock;
use crate::format::{ClusterId, Entropy, ObjectId, SeedId, VaultId, WrapId, WriterId};
use crate::keys::{IndexSeed, Keyring, Providers, Recipient, Seed, WrapOwner};
use crate::proto::{Commit, ObjectRef, WrapRef};
use crate::store::Store;
use sha2::Digest as _;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Store, names, keys, clocks and chance of one cluster in a vault.
pub struct Access {
    store: Store,
    names: Names,
    vault: VaultId,
    cluster: ClusterId,
    writer: WriterId,
    clock: Arc<dyn Clock>,
    entropy: Mutex<Box<dyn Entropy>>,
    keyring: RwLock<Keyring>,
    sealing: RwLock<Option<IndexSeed>>,
    providers: Providers,
    recipient: RwLock<Option<Recipient>>,
    opened: Mutex<BTreeMap<SeedId, String>>,
    known_wraps: RwLock<BTreeMap<SeedId, BTreeSet<WrapId>>>,
    unsealed: bool,
    limits: ChainLimits,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Access({}, cluster {})", self.store.address(), self.cluster)
    }
}

/// What an `Access` is made of.
pub struct AccessParts {
    /// The store.
    pub store: Store,
    /// The vault's id, from its root.
    pub vault: VaultId,
    /// The cluster.
    pub cluster: ClusterId,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Box<dyn Entropy>,
    /// Wrap and open seeds.
    pub providers: Providers,
    /// Whether the vault was created without sealing, as its root says.
    pub unsealed: bool,
    /// How much of the chain is kept.
    pub limits: ChainLimits,
}

impl Access {
    /// With nothing open yet.
    pub fn new(parts: AccessParts) -> Access {
        let mut entropy = parts.entropy;
        Access {
            names: Names::new(parts.cluster),
            store: parts.store,
            vault: parts.vault,
            cluster: parts.cluster,
            writer: WriterId::random(&mut *entropy),
            clock: parts.clock,
            entropy: Mutex::new(entropy),
            keyring: RwLock::new(Keyring::new()),
            sealing: RwLock::new(None),
            recipient: RwLock::new(parts.providers.recipient()),
            opened: Mutex::default(),
            known_wraps: RwLock::default(),
            providers: parts.providers,
            unsealed: parts.unsealed,
            limits: parts.limits,
        }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The cluster's names.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The vault's id.
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// The cluster's id.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// This process as a writer.
    pub fn writer(&self) -> WriterId {
        self.writer
    }

    /// How much of the chain is kept.
    pub fn limits(&self) -> ChainLimits {
        self.limits
    }

    /// The clocks.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Chance, locked.
    pub fn entropy(&self) -> MutexGuard<'_, Box<dyn Entropy>> {
        self.entropy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fresh object id.
    pub fn random_object_id(&self) -> ObjectId {
        ObjectId::random(&mut **self.entropy())
    }

    /// The seeds open now.
    pub fn keyring(&self) -> Keyring {
        self.keyring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds an open seed; the newest index seed seals from here on.
    pub fn add_seed(&self, seed: Seed) {
        if let Some(index) = IndexSeed::from_seed(seed.clone()) {
            *self.sealing.write().unwrap_or_else(PoisonError::into_inner) = Some(index);
        }
        self.keyring.write().unwrap_or_else(PoisonError::into_inner).insert(seed);
    }

    /// The index seed that seals new objects.
    pub fn sealing_seed(&self) -> Option<IndexSeed> {
        self.sealing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Seals under the newest index seed that a head lists, once the one in use is listed too: one
    /// that no commit names yet belongs to a rotation in progress.
    pub(crate) async fn seal_under_newest(&self, seeds: &[crate::proto::Seed]) {
        let index = |seed: &&crate::proto::Seed| {
            seed.kind() == crate::proto::SeedKind::Index && !seed.wraps.is_empty()
        };
        let newest = seeds.iter().filter(index).max_by_key(|seed| seed.created_ms);
        let (Some(newest), Some(used)) = (newest, self.sealing_seed()) else { return };
        let used = used.seed().id();
        let is_listed = seeds.iter().any(|seed| seed.seed_id[..] == used.as_bytes()[..]);
        let Ok(id) = SeedId::from_bytes(&newest.seed_id) else { return };
        if id == used || !is_listed {
            return;
        }
        match self.ensure_seed(id).await {
            Ok(()) => {
                if let Some(index) = self.keyring().index(&id) {
                    *self.sealing.write().unwrap_or_else(PoisonError::into_inner) =
                        Some(index.clone());
                }
            }
            Err(error) => tracing::warn!(seed = %id, %error, "the newest index seed is not used"),
        }
    }

    /// Opens the seed `id` unless it is open.
    pub async fn ensure_seed(&self, id: SeedId) -> Result<(), AccessError> {
        {
            let keyring = self.keyring.read().unwrap_or_else(PoisonError::into_inner);
            if keyring.index(&id).is_some() || keyring.data(&id).is_some() {
                return Ok(());
            }
        }
        let seed = self.open_wraps(id).await?;
        let first = self.sealing_seed().is_none();
        if first {
            self.add_seed(seed);
        } else {
            self.keyring.write().unwrap_or_else(PoisonError::into_inner).insert(seed);
        }
        Ok(())
    }

    /// Opens the index seed that an object names.
    pub async fn ensure_index_seed(&self, object: &ObjectRef) -> Result<(), AccessError> {
        match SeedId::from_bytes(&object.index_seed_id) {
            Ok(id) => self.ensure_seed(id).await,
            Err(_) => Ok(()),
        }
    }

    /// Opens both seeds that an object names.
    pub async fn ensure_seeds(&self, object: &ObjectRef) -> Result<(), AccessError> {
        for bytes in [&object.index_seed_id, &object.data_seed_id] {
            if let Ok(id) = SeedId::from_bytes(bytes) {
                self.ensure_seed(id).await?;
            }
        }
        Ok(())
    }

    /// For each seed that a provider opened for this process, which one did, by key id. Seeds that
    /// this process made itself are not among them.
    pub fn opened_by(&self) -> Vec<String> {
        let list = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        list.values().cloned().collect()
    }

    /// Whose seeds these are.
    pub fn owner(&self) -> WrapOwner {
        WrapOwner { vault: self.vault, cluster: self.cluster }
    }

    /// The configured providers.
    pub fn providers(&self) -> &Providers {
        &self.providers
    }

    /// Whether the first provider would make this wrap now.
    pub async fn is_current(&self, wrap: &WrapRef) -> Result<bool, AccessError> {
        let answer = self.providers.is_current(wrap).await;
        answer.map_err(|source| AccessError::Service { source })
    }

    /// Whether the vault was created without sealing.
    pub fn is_unsealed(&self) -> bool {
        self.unsealed
    }

    /// The recovery key that new seeds are wrapped for: the configured one, else the chain's.
    pub fn recipient(&self) -> Option<Recipient> {
        *self.recipient.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over the chain's recovery key, unless one is configured.
    pub(crate) fn adopt_recipient(&self, head: &Commit) {
        let mut known = self.recipient.write().unwrap_or_else(PoisonError::into_inner);
        *known = self.providers.recipient().or(Recipient::from_bytes(&head.recovery_public));
    }
}

/// SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> Digest {
    sha2::Sha256::digest(bytes).into()
}
