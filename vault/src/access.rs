//! What every part of the engine works with: the store, the names, the open seeds, clocks and
//! chance; and the sealing and opening of the small messages.

mod wrapping;
mod wraps;

pub use wraps::WRAP_LIMIT;
pub(crate) use wraps::is_recovery;

use crate::chain::names::Names;
use crate::chain::rules::ChainLimits;
use crate::chain::state::Digest;
use crate::clock::Clock;
use crate::format::{
    ClusterId, Entropy, Expected, FormatError, Header, NewObject, ObjectContext, ObjectId,
    ObjectName, OpenedCommit, OpenedObject, Part, SeedId, VaultId, WrapId, WriterId,
    has_sound_trailer, open_commit, open_message, seal_commit, seal_message,
};
use crate::keys::{
    IndexSeed, Keyring, Providers, Recipient, Seed, ServiceError, WrapError, WrapOwner,
};
use crate::proto::{
    CatalogueEntry, CataloguePage, Commit, Ledger, LedgerRef, ObjectKind, ObjectRef, PageRef,
    WrapRef,
};
use crate::store::{Store, StoreError};
use bytes::Bytes;
use prost::Message;
use sha2::Digest as _;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Longest message object that is read whole: pages, ledgers, bodies' index sections.
pub const MESSAGE_LIMIT: u64 = 1 << 30;

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

/// Why something sealed cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The object.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The first provider does not wrap, or a wrap that was just stored is not what was stored.
    #[error(transparent)]
    Wrap(Box<WrapError>),
    /// The key service does not say under which key it wraps.
    #[error("the first provider's key service: {source}")]
    Service {
        /// What it said.
        source: ServiceError,
    },
    /// No configured provider opens the seed.
    #[error("seed {seed} cannot be opened: {}", list(errors))]
    Locked {
        /// Its id.
        seed: SeedId,
        /// The name of each of its wraps, and why it does not open.
        errors: Vec<(String, WrapError)>,
    },
    /// A wrap that was just stored reads back as something else.
    #[error(
        "seed {seed}: its wrap does not read back as it was written; run `holdfast store doctor`"
    )]
    NotKept {
        /// Its id.
        seed: SeedId,
    },
    /// A commit lists a seed whose id is none.
    #[error("the chain lists a seed whose id has not 16 bytes: run `holdfast vault check`")]
    BadSeedId,
    /// A listing shows no wrap of this seed, and no head that was read tells of one.
    #[error("seed {seed}: no wrap of it is in the store; what it seals cannot be opened")]
    NoWrap {
        /// Its id.
        seed: SeedId,
    },
    /// Every wrap that the head lists was asked for by name, and is not there.
    #[error(
        "seed {seed}: its {wraps} wraps are gone from the store, under both names each; what it \
         seals cannot be opened any more, unless another copy of the vault has them"
    )]
    WrapsGone {
        /// Its id.
        seed: SeedId,
        /// How many the head lists.
        wraps: usize,
    },
}

impl From<WrapError> for AccessError {
    fn from(error: WrapError) -> Self {
        AccessError::Wrap(Box::new(error))
    }
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

    /// What an object of this kind must be.
    pub fn expected<'a>(&self, kind: ObjectKind, reference: Option<&'a ObjectRef>) -> Expected<'a> {
        Expected { kind, vault: self.vault, cluster: self.cluster, reference }
    }

    /// Opens the commit of this era and number.
    pub(crate) async fn open_commit(
        &self,
        number: (u64, u64),
        bytes: &[u8],
    ) -> Result<OpenedCommit, AccessError> {
        let name = ObjectName { kind: ObjectKind::Commit, id: None };
        let spoilt = |error: &dyn std::fmt::Display| {
            let reason = format!("its SHA-256 is not the one in its trailer ({error})").into();
            FormatError::Damaged { object: name, part: Part::Header, reason }.into()
        };
        // What a damaged header asks for is not what was written.
        let header = match Header::parse(bytes, name) {
            Err(error) if !error.is_damage() && !has_sound_trailer(bytes) => {
                return Err(spoilt(&error));
            }
            parsed => parsed?,
        };
        match self.ensure_seed(header.index_seed).await {
            Err(error @ AccessError::NoWrap { .. }) if !has_sound_trailer(bytes) => {
                return Err(spoilt(&error));
            }
            ensured => ensured?,
        }
        Ok(open_commit(bytes, (self.vault, self.cluster), number, &self.keyring())?)
    }

    /// Seals a commit.
    pub(crate) fn seal_commit(&self, commit: &Commit) -> Result<Bytes, crate::chain::ChainError> {
        let seed = self.sealing_seed().ok_or(crate::chain::ChainError::ReadOnly)?;
        let id = ObjectId::from_bytes(&commit.attempt_id).expect("drafts carry a random id");
        let new = NewObject::with_id(id, &mut **self.entropy());
        let sealed = seal_commit(&self.context(&seed), &new, commit, Vec::new());
        let (_, bytes) = sealed.map_err(AccessError::from)?;
        Ok(bytes.into())
    }

    /// Whose objects, under this index seed, without data frames.
    pub fn context<'a>(&self, index: &'a IndexSeed) -> ObjectContext<'a> {
        ObjectContext { vault: self.vault, cluster: self.cluster, data: None, index }
    }

    /// Seals a message into an object of its own and stores it.
    pub async fn put_message<M: Message>(
        &self,
        kind: ObjectKind,
        message: &M,
    ) -> Result<ObjectRef, crate::chain::ChainError> {
        let seed = self.sealing_seed().ok_or(crate::chain::ChainError::ReadOnly)?;
        let new = NewObject::random(&mut **self.entropy());
        let sealed = seal_message(kind, &self.context(&seed), &new, message);
        let (finished, bytes) = sealed.map_err(AccessError::from)?;
        self.store.put(&self.names.object(kind, new.id()), bytes.into()).await?;
        Ok(finished.reference)
    }

    /// Reads and opens the message object that `reference` names.
    pub async fn read_message<M: Message + Default>(
        &self,
        reference: &ObjectRef,
    ) -> Result<(M, OpenedObject), AccessError> {
        let kind = reference.kind();
        let id = ObjectId::from_bytes(&reference.object_id).map_err(|error| {
            let object = ObjectName { kind, id: None };
            FormatError::Refused { object, reason: error.to_string().into() }
        })?;
        self.ensure_index_seed(reference).await?;
        let limit = reference.size_bytes.min(MESSAGE_LIMIT);
        let bytes = self.store.get(&self.names.object(kind, id), limit).await?;
        let expected = self.expected(kind, Some(reference));
        Ok(open_message(&bytes, &expected, &self.keyring())?)
    }

    /// The entries of a catalogue page.
    pub(crate) async fn read_page(
        &self,
        page: &PageRef,
    ) -> Result<Vec<CatalogueEntry>, AccessError> {
        let reference = page.object.clone().unwrap_or_default();
        let (page, _) = self.read_message::<CataloguePage>(&reference).await?;
        Ok(page.entries)
    }

    /// A ledger.
    pub(crate) async fn read_ledger(&self, ledger: &LedgerRef) -> Result<Ledger, AccessError> {
        let reference = ledger.object.clone().unwrap_or_default();
        Ok(self.read_message::<Ledger>(&reference).await?.0)
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

impl AccessError {
    /// Whether a key service is the reason: it is away, refuses, or answers nonsense.
    pub fn is_key_service(&self) -> bool {
        let by_service = |error: &WrapError| matches!(error, WrapError::Service { .. });
        match self {
            AccessError::Wrap(error) => by_service(error),
            AccessError::Service { .. } => true,
            AccessError::Locked { errors, .. } => errors.iter().any(|(_, error)| by_service(error)),
            _ => false,
        }
    }
}

fn list(errors: &[(String, WrapError)]) -> String {
    let lines = errors.iter().map(|(name, error)| format!("{name}: {error}"));
    lines.collect::<Vec<_>>().join("; ")
}

/// SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> Digest {
    sha2::Sha256::digest(bytes).into()
}
