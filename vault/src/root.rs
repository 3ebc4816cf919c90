//! The root object: made once, read, and written again from what the chain repeats sealed.
//!
//! Holds: a root that is there and sound is never replaced; one that is written again has the vault
//! id and the choice of sealing of a chain that our keys open, so nobody can give us another
//! vault's.

use crate::access::sha256;
use crate::chain::{Chain, ChainError, Names, newest_listed};
use crate::clusters;
use crate::format::{
    ClusterId, FormatError, Header, MAX_COMMIT_BYTES, ObjectName, ROOT_NAME, decode_root,
    encode_root, hex,
};
use crate::init::{VaultError, VaultOptions, make_access};
use crate::proto::{Commit, ObjectKind, VaultIdentity};
use crate::store::{Store, StoreError};
use crate::vault::Vault;
use std::sync::Arc;

/// Longest root object.
pub(crate) const ROOT_LIMIT: u64 = 1 << 16;

impl Vault {
    /// Writes the lost or damaged root again, under the same vault id.
    ///
    /// # Errors
    /// `RootThere` when nothing is wrong with it; without a chain that our keys open: why.
    pub async fn rebuild_root(store: Store, options: VaultOptions) -> Result<Vault, VaultError> {
        let address = store.address().to_owned();
        let lost = match store.get(ROOT_NAME, ROOT_LIMIT).await {
            Ok(bytes) if decode_root(&bytes).is_ok() => {
                return Err(VaultError::RootThere { address });
            }
            Ok(_) | Err(StoreError::Size { .. }) => false,
            Err(StoreError::NotFound { .. }) => true,
            Err(error) => return Err(error.into()),
        };
        let cluster = clusters::choose(&store, options.cluster).await?;
        let vault_id = vault_id(&store, cluster).await?;
        // Our keys open nothing if either is not what the chain was sealed with.
        let unsealed = options.providers.unsealed();
        let (wanted, witness) = (options.fingerprint.clone(), options.witness.clone());
        let guess = VaultIdentity { vault_id, unsealed, ..VaultIdentity::default() };
        let access = make_access(store.clone(), &guess, cluster, options)?;
        let chain = Chain::load(Arc::new(access)).await?;
        if let Some(witness) = witness {
            chain.check_witness(&witness).await?;
        }
        let sealed = chain.head().identity.clone().unwrap_or_default();
        if (&sealed.vault_id, sealed.unsealed) != (&guess.vault_id, guess.unsealed) {
            let detail = "the sealed chain tells of another vault than its headers".to_owned();
            return Err(ChainError::Damaged { name: ROOT_NAME.to_owned(), detail }.into());
        }
        check_fingerprint(&address, &sealed, wanted.as_deref())?;
        let bytes = encode_root(&sealed);
        if lost {
            store.put_if_absent(ROOT_NAME, bytes.into()).await?;
        } else {
            store.put(ROOT_NAME, bytes.into()).await?;
        }
        Ok(Vault::over(chain, sealed))
    }
}

/// The vault's id, as the header of a cluster's newest commit says in clear.
async fn vault_id(store: &Store, cluster: ClusterId) -> Result<bytes::Bytes, VaultError> {
    let names = Names::new(cluster);
    let Some((era, number)) = newest_listed(store, cluster).await? else {
        return Err(ChainError::Empty { folder: names.folder() }.into());
    };
    let name = names.commit(era, number);
    let bytes = store.get(&name, MAX_COMMIT_BYTES).await?;
    let damaged = |error: FormatError| ChainError::Damaged { name, detail: error.to_string() };
    let kind = ObjectName { kind: ObjectKind::Commit, id: None };
    Ok(Header::parse(&bytes, kind).map_err(damaged)?.vault.to_bytes())
}

/// Creates the root, or takes the one that is there.
pub(crate) async fn make_root(
    store: &Store,
    identity: VaultIdentity,
) -> Result<VaultIdentity, VaultError> {
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
    let clusters = clusters::with_commits(store).await?;
    Ok(match clusters.is_empty() {
        true => VaultError::NoVault { address },
        false => VaultError::RootMissing { address, clusters },
    })
}

/// Whether the root in clear is the one that the sealed chain repeats. A root key that was taken up
/// later stands in the chain alone.
pub(crate) fn is_root_of(root: &VaultIdentity, head: &Commit) -> bool {
    head.identity.as_ref().is_some_and(|sealed| {
        let key = &root.root_key_fingerprint;
        sealed.vault_id == root.vault_id
            && sealed.unsealed == root.unsealed
            && (key.is_empty() || *key == sealed.root_key_fingerprint)
    })
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

/// Hash of vault id and root public key.
pub(crate) fn fingerprint(root: &VaultIdentity) -> String {
    let text =
        [b"holdfast/1/fingerprint", &root.vault_id[..], &root.root_key_fingerprint[..]].concat();
    let hex = hex(&sha256(&text));
    let groups: Vec<&str> = (0..8).map(|group| &hex[group * 8..group * 8 + 8]).collect();
    groups.join("-")
}
