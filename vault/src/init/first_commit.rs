//! The first commit of a cluster's chain: its index seed, tag key and lineage.

use super::VaultError;
use crate::access::Access;
use crate::chain::Chain;
use crate::format::{ClusterId, LineageId, MAX_COMMIT_BYTES, StoreId, TagKey};
use crate::keys::IndexSeed;
use crate::proto::action::Kind;
use crate::proto::{Action, Commit, Lineage, StoreRef, VaultIdentity};
use crate::store::StoreError;
use crate::vault::Vault;
use std::sync::Arc;

/// Begins the chain of a cluster and opens it. `relief_of`: the cluster that it stands in for.
pub(crate) async fn begin_chain(
    access: Access,
    root: VaultIdentity,
    relief_of: Option<ClusterId>,
    name: &str,
) -> Result<Vault, VaultError> {
    first_commit(&access, &root, relief_of, name).await?;
    Ok(Vault::over(Chain::load(Arc::new(access)).await?, root))
}

/// The index seed and the first commit.
async fn first_commit(
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
                match access.store().get(&name, MAX_COMMIT_BYTES).await {
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

fn recovery_public(access: &Access) -> bytes::Bytes {
    let recipient = access.recipient();
    recipient.map(|key| key.as_bytes().to_vec().into()).unwrap_or_default()
}
