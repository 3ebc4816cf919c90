//! Reads back what a round stored, before anybody counts on it.
//!
//! What must hold: of each snapshot since a commit the body and all indexes open from the store's
//! own bytes (L2), bound to the commit by their digests; every segment that came since then has the
//! length and the SHA-256 that the body says (L1). The oldest snapshot comes first, so an error
//! says that all before it are read back. Memory: one piece of [`PIECE_BYTES`].

use crate::stop::Stop;
use holdfast_vault::StoreError;
use holdfast_vault::format::ObjectId;
use holdfast_vault::proto::ObjectRef;
use holdfast_vault::snapshot::SnapshotError;
use holdfast_vault::vault::Vault;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// Bytes that are read at once.
pub const PIECE_BYTES: u64 = 4 << 20;

/// What was stored is not what was sent.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The body or an index.
    #[error("snapshot {number} cannot be read back: {source}")]
    Snapshot {
        /// Its number.
        number: u64,
        /// Why.
        source: SnapshotError,
    },
    /// The store does not give an object back.
    #[error("snapshot {number}: {source}")]
    Store {
        /// Its number.
        number: u64,
        /// Why.
        source: StoreError,
    },
    /// An object has other bytes.
    #[error(
        "snapshot {number}: {name} has other bytes in the store than were sent; run `holdfast \
         vault check`, \
         and look at the store's disks"
    )]
    Changed {
        /// Its number.
        number: u64,
        /// The object.
        name: String,
    },
    /// The round was left.
    #[error("the round was left")]
    Stopped,
}

impl VerifyError {
    /// The snapshot that is not what was stored; `None`: that is not known.
    pub fn damaged_snapshot(&self) -> Option<u64> {
        match self {
            VerifyError::Snapshot { number, .. } | VerifyError::Changed { number, .. } => {
                Some(*number)
            }
            VerifyError::Store { number, source } => source.is_loss().then_some(*number),
            VerifyError::Stopped => None,
        }
    }
}

/// Verifies what commit `from` and those after it brought; gives the bytes that were read.
///
/// # Errors
/// See [`VerifyError`].
pub async fn verify(vault: &mut Vault, from: u64, stop: &Stop) -> Result<u64, VerifyError> {
    let numbers = vault.chain().catalogue().numbers();
    let (mut read_bytes, mut seen) = (0, BTreeSet::new());
    for number in numbers.range(from..).copied() {
        let reader = vault.reader(number).await;
        let reader = reader.map_err(|source| VerifyError::Snapshot { number, source })?;
        for segment in &reader.body().segments {
            let Some(object) = &segment.object else { continue };
            let Ok(id) = ObjectId::from_bytes(&object.object_id) else { continue };
            let extant = vault.chain().state().objects().get(&id);
            if extant.is_none_or(|extant| extant.added < from) || !seen.insert(id) {
                continue;
            }
            let name = vault.access().names().object(object.kind(), id);
            read_bytes += object_digest(vault, number, &name, object, stop).await?;
        }
    }
    Ok(read_bytes)
}

/// Whether an object has the recorded bytes now; `None`: the store does not say.
pub async fn is_whole(vault: &Vault, object: &ObjectRef) -> Option<bool> {
    let id = ObjectId::from_bytes(&object.object_id).ok()?;
    let name = vault.access().names().object(object.kind(), id);
    match object_digest(vault, 0, &name, object, &Stop::default()).await {
        Ok(_) => Some(true),
        Err(error) => error.damaged_snapshot().map(|_| false),
    }
}

async fn object_digest(
    vault: &Vault,
    number: u64,
    name: &str,
    object: &ObjectRef,
    stop: &Stop,
) -> Result<u64, VerifyError> {
    let store = vault.store();
    let failed = |source| VerifyError::Store { number, source };
    let changed = || VerifyError::Changed { number, name: name.to_owned() };
    if store.head(name).await.map_err(failed)?.size_bytes != object.size_bytes {
        return Err(changed());
    }
    let mut hash = Sha256::new();
    let mut at = 0;
    while at < object.size_bytes {
        if stop.is_set() {
            return Err(VerifyError::Stopped);
        }
        let end = (at + PIECE_BYTES).min(object.size_bytes);
        hash.update(&store.get_range(name, at..end).await.map_err(failed)?);
        at = end;
    }
    if hash.finalize()[..] == object.sha256[..] { Ok(at) } else { Err(changed()) }
}
