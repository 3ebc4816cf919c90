//! The cluster in the database's buckets: one reader, one writer.
//!
//! | bucket | key | value |
//! |---|---|---|
//! | `members` | id in hex | the member's JSON |
//! | `members_removed` | id in hex | `removed` |
//! | `cluster` | `clusterVersion` | the version in clear |
//! | `cluster` | `downgrade` | the downgrade's JSON |

use serde::{Deserialize, Serialize};

use super::Member;
use super::outcome::ClusterError;
use super::roster::Roster;
use crate::buckets::{CLUSTER, MEMBERS, MEMBERS_REMOVED, SmallBuckets};
use crate::change::BucketChange;
use crate::ids;
use crate::rebuilt::{CLUSTER_VERSION, DOWNGRADE};
use crate::versions::EtcdVersion;

/// A downgrade, running or not; the JSON is upstream's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Downgrade {
    /// The version it goes to; empty when none is running.
    #[serde(rename = "target-version")]
    pub target_version: String,
    /// Whether one is running.
    pub enabled: bool,
}

/// Members, and ids that were.
pub(super) fn read_roster(small: &SmallBuckets) -> Result<Roster, ClusterError> {
    let mut roster = Roster::default();
    for (key, json) in small.entries(MEMBERS) {
        let mut member = Member::from_json(json).map_err(unreadable(MEMBERS, key))?;
        member.id = id_of(MEMBERS, key)?;
        roster.members.insert(member.id, member);
    }
    for (key, _) in small.entries(MEMBERS_REMOVED) {
        roster.removed.insert(id_of(MEMBERS_REMOVED, key)?);
    }
    Ok(roster)
}

/// The version that all members speak, if it was ever set.
pub(super) fn read_version(small: &SmallBuckets) -> Result<Option<EtcdVersion>, ClusterError> {
    let Some(text) = small.get(CLUSTER, CLUSTER_VERSION) else { return Ok(None) };
    let read = String::from_utf8_lossy(text).parse::<EtcdVersion>();
    read.map(Some).map_err(unreadable(CLUSTER, CLUSTER_VERSION))
}

/// The downgrade, running or not.
pub(super) fn read_downgrade(small: &SmallBuckets) -> Result<Downgrade, ClusterError> {
    let Some(json) = small.get(CLUSTER, DOWNGRADE) else { return Ok(Downgrade::default()) };
    serde_json::from_slice(json).map_err(unreadable(CLUSTER, DOWNGRADE))
}

pub(super) fn put_member(member: &Member) -> BucketChange {
    BucketChange::put(MEMBERS, ids::hex(member.id), member.to_json())
}

pub(super) fn remove_member(id: u64) -> [BucketChange; 2] {
    let key = ids::hex(id);
    [BucketChange::delete(MEMBERS, key.clone()), BucketChange::put(MEMBERS_REMOVED, key, "removed")]
}

pub(super) fn put_version(version: EtcdVersion) -> BucketChange {
    BucketChange::put(CLUSTER, CLUSTER_VERSION, version.to_string())
}

pub(super) fn put_downgrade(downgrade: &Downgrade) -> BucketChange {
    let json = serde_json::to_vec(downgrade).expect("strings always serialize");
    BucketChange::put(CLUSTER, DOWNGRADE, json)
}

fn id_of(bucket: &[u8], key: &[u8]) -> Result<u64, ClusterError> {
    let text = String::from_utf8_lossy(key);
    u64::from_str_radix(&text, 16).map_err(unreadable(bucket, key))
}

fn unreadable<E: ToString>(bucket: &[u8], key: &[u8]) -> impl FnOnce(E) -> ClusterError {
    let place = format!("{}/{}", bucket.escape_ascii(), key.escape_ascii());
    move |error| ClusterError::Stored { place, reason: error.to_string() }
}
