//! The buckets of a member's database, and the small ones as plain lists.
//!
//! A database has ten buckets at its root and none below. `key` holds the history and is streamed;
//! all others are small and are handled whole, as sorted (key, value) lists: [`SmallBuckets`].
//!
//! | bucket | key | value |
//! |---|---|---|
//! | `key` | revision, see [`crate::revision`] | KeyValue, see [`crate::record`] |
//! | `meta` | see [`crate::meta`] | |
//! | `lease` | lease id, 8 bytes big-endian | leasepb.Lease{ID, TTL, RemainingTTL} |
//! | `alarm` | etcdserverpb.AlarmMember{memberID, alarm} | empty |
//! | `auth` | `authEnabled`, `authRevision` | one byte; 8 bytes big-endian |
//! | `authUsers`, `authRoles` | name | authpb.User, authpb.Role |
//! | `cluster` | `clusterVersion`, `downgrade` | `3.6.0`; JSON {"target-version", "enabled"} |
//! | `members` | member id in hex | JSON, see [`crate::membership`] |
//! | `members_removed` | member id in hex | `removed` |
//!
//! Buckets with other names are nobody's we know (`test` exists in upstream's unit tests): they are
//! reported, never dropped in silence.

use std::collections::BTreeMap;

use holdfast_bolt::{BuildError, Builder, Disk};

use crate::wire::{self, Reader, WireError};

/// The history: the one large bucket.
pub const KEY: &[u8] = b"key";
/// Indexes, marks and versions.
pub const META: &[u8] = b"meta";
/// Leases.
pub const LEASE: &[u8] = b"lease";
/// Raised alarms.
pub const ALARM: &[u8] = b"alarm";
/// Whether authentication is on, and its revision.
pub const AUTH: &[u8] = b"auth";
/// Users.
pub const AUTH_USERS: &[u8] = b"authUsers";
/// Roles.
pub const AUTH_ROLES: &[u8] = b"authRoles";
/// Cluster version and a running downgrade.
pub const CLUSTER: &[u8] = b"cluster";
/// Members.
pub const MEMBERS: &[u8] = b"members";
/// Ids of members that were removed.
pub const MEMBERS_REMOVED: &[u8] = b"members_removed";

/// All buckets that etcd 3.5, 3.6 and 3.7 create, sorted as they stand in the root.
pub const ALL: [&[u8]; 10] =
    [ALARM, AUTH, AUTH_ROLES, AUTH_USERS, CLUSTER, KEY, LEASE, MEMBERS, MEMBERS_REMOVED, META];

/// Sorted entries of one bucket.
pub type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// Every bucket but `key`, whole; unknown ones included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SmallBuckets {
    buckets: BTreeMap<Vec<u8>, Entries>,
}

/// A lease as stored. Its keys are not: they name it in their records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Id; never 0.
    pub id: i64,
    /// Seconds granted.
    pub ttl_seconds: i64,
    /// Seconds left at the last checkpoint; 0 without the checkpoint feature.
    pub remaining_ttl_seconds: i64,
}

/// An alarm as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alarm {
    /// The member that raised it.
    pub member_id: u64,
    /// 1 is NOSPACE, 2 is CORRUPT.
    pub kind: u64,
}

impl SmallBuckets {
    /// An empty database: every small bucket of [`ALL`], empty.
    pub fn empty() -> Self {
        let names = ALL.into_iter().filter(|name| *name != KEY);
        SmallBuckets { buckets: names.map(|name| (name.to_vec(), Entries::new())).collect() }
    }

    /// Adds a bucket, or leaves it as it is.
    ///
    /// # Panics
    /// On `key`, which does not belong here.
    pub fn create(&mut self, bucket: &[u8]) -> &mut Entries {
        assert_ne!(bucket, KEY, "the bucket `key` is streamed");
        self.buckets.entry(bucket.to_vec()).or_default()
    }

    /// Puts an entry, creating the bucket.
    pub fn put(&mut self, bucket: &[u8], key: &[u8], value: impl Into<Vec<u8>>) {
        self.create(bucket).insert(key.to_vec(), value.into());
    }

    /// An entry's value.
    pub fn get(&self, bucket: &[u8], key: &[u8]) -> Option<&[u8]> {
        self.buckets.get(bucket)?.get(key).map(Vec::as_slice)
    }

    /// The entries of a bucket in order; none if it does not exist.
    pub fn entries(&self, bucket: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
        let entries = self.buckets.get(bucket).into_iter().flatten();
        entries.map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// Whether the bucket exists, empty or not.
    pub fn contains(&self, bucket: &[u8]) -> bool {
        self.buckets.contains_key(bucket)
    }

    /// Writes all of them with a builder, which must have got the bucket `key` before.
    ///
    /// # Errors
    /// The builder's.
    pub fn write<D: Disk>(&self, builder: &mut Builder<D>) -> Result<(), BuildError> {
        for (name, entries) in self.iter() {
            builder.begin_bucket(name)?;
            for (key, value) in entries {
                builder.push(key, value)?;
            }
            builder.end_bucket()?;
        }
        Ok(())
    }

    /// All buckets with their entries, sorted by name: the order in which a builder wants them.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Entries)> {
        self.buckets.iter().map(|(name, entries)| (name.as_slice(), entries))
    }

    /// Names of buckets that no etcd we know creates.
    pub fn unknown(&self) -> impl Iterator<Item = &[u8]> {
        self.buckets.keys().map(Vec::as_slice).filter(|name| !ALL.contains(name))
    }
}

impl Lease {
    /// The lease's key in the bucket.
    pub fn bucket_key(id: i64) -> [u8; 8] {
        id.to_be_bytes()
    }

    /// Reads leasepb.Lease.
    ///
    /// # Errors
    /// Bytes that are not such a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let mut out = Lease { id: 0, ttl_seconds: 0, remaining_ttl_seconds: 0 };
        while let Some((number, field)) = reader.next_field()? {
            match number {
                1 => out.id = field.as_i64(&reader)?,
                2 => out.ttl_seconds = field.as_i64(&reader)?,
                3 => out.remaining_ttl_seconds = field.as_i64(&reader)?,
                _ => {}
            }
        }
        Ok(out)
    }

    /// The message as upstream writes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        wire::put_u64_nonzero(&mut out, 1, self.id.cast_unsigned());
        wire::put_u64_nonzero(&mut out, 2, self.ttl_seconds.cast_unsigned());
        wire::put_u64_nonzero(&mut out, 3, self.remaining_ttl_seconds.cast_unsigned());
        out
    }
}

impl Alarm {
    /// Reads etcdserverpb.AlarmMember, the *key* of an alarm.
    ///
    /// # Errors
    /// Bytes that are not such a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let mut out = Alarm { member_id: 0, kind: 0 };
        while let Some((number, field)) = reader.next_field()? {
            match number {
                1 => out.member_id = field.as_u64(&reader)?,
                2 => out.kind = field.as_u64(&reader)?,
                _ => {}
            }
        }
        Ok(out)
    }

    /// The alarm's name, as etcdctl prints it.
    pub fn name(&self) -> &'static str {
        match self.kind {
            0 => "NONE",
            1 => "NOSPACE",
            2 => "CORRUPT",
            _ => "UNKNOWN",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_database_has_every_small_bucket() {
        let small = SmallBuckets::empty();
        assert_eq!(small.iter().count(), ALL.len() - 1);
        assert!(ALL.is_sorted());
        assert_eq!(small.unknown().count(), 0);
        let mut small = small;
        small.put(b"test", b"a", *b"b");
        assert_eq!(small.unknown().collect::<Vec<_>>(), [b"test"]);
        assert_eq!(small.get(b"test", b"a"), Some(&b"b"[..]));
    }

    #[test]
    fn leases_and_alarms_come_back() {
        let lease = Lease { id: 0x0694_9c1e, ttl_seconds: 60, remaining_ttl_seconds: 0 };
        assert_eq!(Lease::decode(&lease.to_bytes()), Ok(lease));
        assert_eq!(lease.to_bytes(), [8, 0x9e, 0xb8, 0xd2, 0x34, 16, 60]);
        let alarm = Alarm::decode(&[8, 7, 16, 1]).unwrap();
        assert_eq!((alarm.member_id, alarm.name()), (7, "NOSPACE"));
        assert!(Lease::decode(&[10]).is_err() && Alarm::decode(&[8]).is_err());
    }
}
