//! Seeds: 32 random bytes from which the keys of objects are derived.
//!
//! Holds: the bytes lie on a page of their own that is kept out of swap where the system allows it,
//! and are wiped when the last handle is dropped; `Debug` prints the id only; a data seed is never
//! used where an index seed is asked for, nor the other way round.

use super::locked::LockedSecret;
use crate::format::{Entropy, SeedId};
use crate::proto::SeedKind;
use std::sync::Arc;
use zeroize::Zeroizing;

/// A seed of either kind. Cloning shares the one copy of its bytes.
#[derive(Clone)]
pub struct Seed {
    id: SeedId,
    kind: SeedKind,
    secret: Arc<LockedSecret>,
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Seed({:?}, {})", self.kind, self.id)
    }
}

impl Seed {
    /// A fresh seed.
    pub fn random(kind: SeedKind, entropy: &mut dyn Entropy) -> Seed {
        let id = SeedId::random(entropy);
        let mut secret = Zeroizing::new([0; 32]);
        entropy.fill(&mut *secret);
        Seed::from_secret(id, kind, &secret)
    }

    /// A seed that was unwrapped.
    pub(crate) fn from_secret(id: SeedId, kind: SeedKind, secret: &Zeroizing<[u8; 32]>) -> Seed {
        assert!(kind != SeedKind::Unspecified, "a seed is a data seed or an index seed");
        Seed { id, kind, secret: Arc::new(LockedSecret::new(secret)) }
    }

    /// Its id.
    pub fn id(&self) -> SeedId {
        self.id
    }

    /// Data or index.
    pub fn kind(&self) -> SeedKind {
        self.kind
    }

    pub(crate) fn secret(&self) -> &[u8; 32] {
        self.secret.bytes()
    }
}

/// A seed that seals record frames and small buckets.
#[derive(Debug, Clone)]
pub struct DataSeed(Seed);

/// A seed that seals indexes, commits, bodies and facts.
#[derive(Debug, Clone)]
pub struct IndexSeed(Seed);

impl DataSeed {
    /// A fresh data seed.
    pub fn random(entropy: &mut dyn Entropy) -> DataSeed {
        DataSeed(Seed::random(SeedKind::Data, entropy))
    }

    /// From a seed of that kind; `None` for an index seed.
    pub fn from_seed(seed: Seed) -> Option<DataSeed> {
        (seed.kind == SeedKind::Data).then_some(DataSeed(seed))
    }

    /// Its id.
    pub fn id(&self) -> SeedId {
        self.0.id
    }

    /// The seed itself.
    pub fn seed(&self) -> &Seed {
        &self.0
    }
}

impl IndexSeed {
    /// A fresh index seed.
    pub fn random(entropy: &mut dyn Entropy) -> IndexSeed {
        IndexSeed(Seed::random(SeedKind::Index, entropy))
    }

    /// From a seed of that kind; `None` for a data seed.
    pub fn from_seed(seed: Seed) -> Option<IndexSeed> {
        (seed.kind == SeedKind::Index).then_some(IndexSeed(seed))
    }

    /// Its id.
    pub fn id(&self) -> SeedId {
        self.0.id
    }

    /// The seed itself.
    pub fn seed(&self) -> &Seed {
        &self.0
    }
}
