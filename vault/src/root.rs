//! The root again, from what the chain repeats sealed.
//!
//! Holds: a root that is there and sound is never replaced; what is written has the vault id and
//! the choice of sealing of a chain that our keys open, so nobody can give us another vault's.

use crate::chain::{Chain, ChainError, Names};
use crate::format::{
    ClusterId, FormatError, Header, MAX_COMMIT_BYTES, ObjectName, ROOT_NAME, decode_root,
    encode_root,
};
use crate::init::{ROOT_LIMIT, VaultError, VaultOptions, check_fingerprint, choose, make_access};
use crate::proto::{ObjectKind, VaultIdentity};
use crate::store::{Store, StoreError};
use crate::vault::Vault;
use std::sync::Arc;

/// Most commits that are expected in a listing.
const LIST_LIMIT: usize = 4_000_000;

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
        let cluster = choose(&store, options.cluster).await?;
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
    let listed = store.list_all(&names.commits(), LIST_LIMIT).await?;
    let commits =
        listed.into_iter().filter_map(|item| Some((names.parse_commit(&item.name)?, item)));
    let Some((_, newest)) = commits.max_by_key(|(number, _)| *number) else {
        return Err(ChainError::Empty { folder: names.folder() }.into());
    };
    let bytes = store.get(&newest.name, MAX_COMMIT_BYTES).await?;
    let damaged = |error: FormatError| ChainError::Damaged {
        name: newest.name.clone(),
        detail: error.to_string(),
    };
    let kind = ObjectName { kind: ObjectKind::Commit, id: None };
    Ok(Header::parse(&bytes, kind).map_err(damaged)?.vault.to_bytes())
}
