//! The single comparisons of a drill: objects in the store, and what a booted server answers.
//!
//! Each returns what is wrong as a sentence; the drill knows at which level.

use std::path::Path;

use holdfast_api::client::{Client, ClientError};
use holdfast_api::etcdserverpb::{
    DeleteRangeRequest, HashKvRequest, PutRequest, RangeRequest, RangeResponse,
};
use holdfast_core::buckets::{AUTH_ROLES, AUTH_USERS, LEASE};
use holdfast_core::database::read_small;
use holdfast_vault::access::AccessError;
use holdfast_vault::chain::ChainError;
use holdfast_vault::format::{FormatError, ObjectId, Part};
use holdfast_vault::proto::ObjectRef;
use holdfast_vault::proto::segment_ref::Class;
use holdfast_vault::snapshot::{SnapshotError, SnapshotReader};
use holdfast_vault::store::StoreError;
use holdfast_vault::vault::Vault;
use sha2::{Digest, Sha256};

use super::report::Level;
use crate::check::{OpenError, open_database};
use crate::sample::Sampled;

/// The key that the drill writes and deletes again.
const PROBE_KEY: &[u8] = b"holdfast/drill/probe";

/// What the server must serve.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    pub(super) revision: i64,
    pub(super) compact_revision: i64,
    pub(super) hash: u32,
    pub(super) key_count: u64,
}

/// Whether all objects of a restore are in the store with their sizes; how many there are.
pub(super) async fn objects_exist(vault: &Vault, reader: &SnapshotReader) -> Result<usize, String> {
    let access = vault.access();
    let body = reader.body();
    let segments = body
        .segments
        .iter()
        .filter(|segment| segment.class() != Class::Contested && segment.live_count > 0);
    let segments = segments.filter_map(|segment| segment.object.as_ref());
    let spills = body.buckets.iter().filter_map(|bucket| bucket.spill.as_ref());
    let objects: Vec<&ObjectRef> = segments.chain(spills).collect();
    for object in &objects {
        let id = ObjectId::from_bytes(&object.object_id).map_err(|error| error.to_string())?;
        let name = access.names().object(object.kind(), id);
        let found = access.store().head(&name).await.map_err(|error| error.to_string())?;
        if found.size_bytes != object.size_bytes {
            let (found, said) = (found.size_bytes, object.size_bytes);
            return Err(format!("{name} has {found} bytes, the chain says {said}"));
        }
    }
    Ok(objects.len() + 1)
}

/// The level that an error of the reader denies.
pub(super) fn level_of(error: &SnapshotError) -> Level {
    use ChainError as C;
    match error {
        SnapshotError::NoSnapshot { .. }
        | SnapshotError::Chain(
            C::Store(StoreError::NotFound { .. })
            | C::Keys(AccessError::Store(StoreError::NotFound { .. })),
        ) => Level::L0,
        SnapshotError::Chain(C::Store(_) | C::Damaged { .. }) => Level::L1,
        // The digests fit: what fails is the opening.
        SnapshotError::Chain(C::Keys(AccessError::Format(FormatError::Damaged {
            part: Part::Content(_),
            ..
        }))) => Level::L2,
        SnapshotError::Chain(C::Keys(AccessError::Format(error))) if error.is_damage() => Level::L1,
        _ => Level::L2,
    }
}

/// Leases, users and roles of a database.
pub(super) fn small_counts(database: &Path) -> Result<(u64, u64, u64), OpenError> {
    let small = read_small(&open_database(database)?)?;
    let count = |bucket| small.entries(bucket).count() as u64;
    Ok((count(LEASE), count(AUTH_USERS), count(AUTH_ROLES)))
}

/// A read that goes through the leader and its quorum.
pub(super) async fn linearizable_read(client: &Client) -> Result<(), ClientError> {
    let read = RangeRequest { key: vec![0], count_only: true, ..RangeRequest::default() };
    client.check("Range", client.kv().range(read).await).map(|_| ())
}

/// HashKV of the server.
///
/// Revision 0 goes past the cache of compactions; when the revision has moved on (a lease ran
/// out), the snapshot's is asked for by number.
pub(super) async fn same_hash(client: &Client, expected: &Expected) -> Result<(), String> {
    let member = client.members().first().ok_or("no endpoint")?;
    let mut hash = None;
    for revision in [0, expected.revision] {
        let answer = member.maintenance().hash_kv(HashKvRequest { revision }).await;
        let answer = member.check("HashKV", answer).map_err(|error| error.to_string())?;
        let stores = answer.header.as_ref().map_or(0, |header| header.revision);
        if revision != 0 || stores == expected.revision {
            hash = Some(answer);
            break;
        }
    }
    let answer = hash.ok_or("the server gave no HashKV")?;
    let compacted = if answer.compact_revision == 0 { -1 } else { answer.compact_revision };
    if compacted != expected.compact_revision {
        return Err(format!(
            "the server is compacted at {compacted}, the snapshot at {}",
            expected.compact_revision
        ));
    }
    if answer.hash != expected.hash {
        return Err(format!(
            "the server's HashKV at revision {} is {:08x}, the rebuild's {:08x}",
            expected.revision, answer.hash, expected.hash
        ));
    }
    Ok(())
}

/// Number of keys at the snapshot's revision.
pub(super) async fn same_count(client: &Client, expected: &Expected) -> Result<(), String> {
    let all = RangeRequest {
        key: vec![0],
        range_end: vec![0],
        count_only: true,
        revision: expected.revision,
        ..RangeRequest::default()
    };
    let count = u64::try_from(range(client, all).await?.count).unwrap_or(0);
    if count != expected.key_count {
        return Err(format!("{count} keys are served, {} were backed up", expected.key_count));
    }
    Ok(())
}

/// Each sampled record, read at its revision.
pub(super) async fn same_records(client: &Client, sample: &[Sampled]) -> Result<(), String> {
    for one in sample {
        let key = one.key.escape_ascii();
        let read =
            RangeRequest { key: one.key.clone(), revision: one.read_at, ..RangeRequest::default() };
        let answer = range(client, read).await.map_err(|error| format!("key {key}: {error}"))?;
        let Some(found) = answer.kvs.first() else {
            return Err(format!("key {key} is not served at revision {}", one.read_at));
        };
        let numbers = (found.create_revision, found.mod_revision, found.version, found.lease);
        let want = (one.create_revision, one.mod_revision, one.version, one.lease);
        if numbers != want {
            return Err(format!(
                "key {key} at revision {}: create, mod, version and lease are {numbers:?}, were \
                 {want:?}",
                one.read_at
            ));
        }
        let digest: [u8; 32] = Sha256::digest(&found.value).into();
        if digest != one.value_sha256 {
            return Err(format!("key {key} has another value at revision {}", one.read_at));
        }
    }
    Ok(())
}

/// A write, its linearizable read, and its deletion; the write's revision.
pub(super) async fn write_and_read(client: &Client) -> Result<i64, String> {
    let put =
        PutRequest { key: PROBE_KEY.to_vec(), value: b"written".to_vec(), ..PutRequest::default() };
    let answer =
        client.check("Put", client.kv().put(put).await).map_err(|error| error.to_string())?;
    let revision = answer.header.map_or(0, |header| header.revision);
    let read = RangeRequest { key: PROBE_KEY.to_vec(), ..RangeRequest::default() };
    let found = range(client, read).await?;
    if found
        .kvs
        .first()
        .is_none_or(|kv| kv.mod_revision != revision || kv.value[..] != b"written"[..])
    {
        return Err("a value that was just written is not read back".to_owned());
    }
    let delete = DeleteRangeRequest { key: PROBE_KEY.to_vec(), ..DeleteRangeRequest::default() };
    let deleted = client.check("DeleteRange", client.kv().delete_range(delete).await);
    match deleted.map_err(|error| error.to_string())?.deleted {
        1 => Ok(revision),
        count => Err(format!("deleting one key deleted {count}")),
    }
}

async fn range(client: &Client, request: RangeRequest) -> Result<RangeResponse, String> {
    client.check("Range", client.kv().range(request).await).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_vault::format::ObjectName;
    use holdfast_vault::proto::ObjectKind;

    #[test]
    fn what_does_not_open_is_told_from_what_is_not_the_bytes_recorded() {
        let level = |part| {
            let object = ObjectName { kind: ObjectKind::Segment, id: None };
            let reason = "it does not open".into();
            level_of(&FormatError::Damaged { object, part, reason }.into())
        };
        assert_eq!(level(Part::Frame(3)), Level::L1);
        assert_eq!(level(Part::Trailer), Level::L1);
        assert_eq!(level(Part::Content(3)), Level::L2);
    }
}
