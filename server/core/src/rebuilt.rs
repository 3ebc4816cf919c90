//! The small buckets of a rebuilt database: what is carried over, what is rewritten, what is
//! dropped.
//!
//! Carried over as they are: leases, users, roles, the state of authentication, the compaction
//! marks. Rewritten for the new cluster: members, voters, raft index and term, storage and cluster
//! version. Dropped, because they would haunt it, and reported: removed members, alarms, a running
//! downgrade. Everything we do not know is carried over and reported. All buckets exist afterwards,
//! also empty ones.
//!
//! A **bump** lifts the revision of the new cluster above everything the old one can have told its
//! clients: a record without content at the new revision, and a scheduled compaction at it, which
//! the server runs at boot, so that watches on old revisions are refused instead of missing events.
//! It ends the history and changes HashKV: prove a rebuild before its bump.

use crate::buckets::{self, Alarm, Lease, SmallBuckets};
use crate::membership::Founding;
use crate::meta::{self, CompactionMarks, ConfState, MetaError};
use crate::revision::{BucketKey, BucketKeyBytes, Revision};
use crate::versions::{EtcdVersion, TargetVersions, VersionError};

/// Raft term in which a founding member's first entries stand.
pub const FOUNDING_TERM: u64 = 1;

/// Key of the cluster's version in the bucket `cluster`.
pub const CLUSTER_VERSION: &[u8] = b"clusterVersion";
/// Key of a running downgrade in the bucket `cluster`.
pub const DOWNGRADE: &[u8] = b"downgrade";

/// What the rebuilt database is for.
#[derive(Debug, Clone, Copy)]
pub struct RebuildPlan<'a> {
    /// The new cluster.
    pub founding: &'a Founding,
    /// The etcd that will boot on it.
    pub target: EtcdVersion,
    /// Lifts the revision, if asked for.
    pub bump: Option<Bump>,
    /// Leases made up for live keys whose lease is unknown. Ids that exist are left alone.
    pub made_up_leases: &'a [Lease],
}

/// A lift of the revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bump {
    /// The database's logical revision, see [`CompactionMarks::logical_revision`].
    pub from: i64,
    /// How much is added; at least 1.
    pub by: i64,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuiltBuckets {
    /// Every bucket but `key`, sorted; all of [`buckets::ALL`] exist.
    pub small: SmallBuckets,
    /// The last record of the bucket `key`, if the revision is bumped.
    pub bump_record: Option<BumpRecord>,
    /// Everything that is not carried over byte for byte, or that we do not know.
    pub changes: Vec<Change>,
}

/// The record that carries a bumped revision: a bucket key and a value of zero bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BumpRecord {
    /// The new revision.
    pub revision: Revision,
    /// Its key in the bucket `key`; the value is empty.
    pub raw_key: BucketKeyBytes,
}

/// One difference between the source's small buckets and the rebuilt ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What was done.
    pub kind: ChangeKind,
    /// Bucket and key, printable.
    pub place: String,
    /// What it was and why, printable.
    pub what: String,
}

/// What was done to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Left out.
    Dropped,
    /// Given another value.
    Rewritten,
    /// New.
    Added,
    /// Carried over although we do not know it.
    Unknown,
}

/// Small buckets that cannot be rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RebuildError {
    /// A compaction mark is not readable: what is alive cannot be told.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// The target is not one we can write for.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// A bump that does not lift.
    #[error(
        "a bump from revision {from} by {by} (compacted at {compacted}) gives no higher revision"
    )]
    Bump {
        /// The logical revision given.
        from: i64,
        /// The lift given.
        by: i64,
        /// The database's compaction mark.
        compacted: i64,
    },
}

/// Makes the small buckets of a new cluster out of a source's.
///
/// # Errors
/// See [`RebuildError`].
pub fn rebuild(
    source: &SmallBuckets,
    plan: &RebuildPlan<'_>,
) -> Result<RebuiltBuckets, RebuildError> {
    let mut work = Work { source, small: SmallBuckets::empty(), changes: Vec::new() };
    work.carry_buckets();
    work.add_leases(plan.made_up_leases);
    work.drop_alarms();
    work.rewrite_members(plan.founding);
    work.rewrite_raft(plan.founding);
    work.rewrite_versions(plan.target)?;
    let bump_record = plan.bump.map(|bump| work.bump(bump)).transpose()?;
    Ok(RebuiltBuckets { small: work.small, bump_record, changes: work.changes })
}

impl Bump {
    /// The record at the new revision.
    ///
    /// # Panics
    /// If the sum is not a revision; [`rebuild`] refuses such a bump.
    pub fn record(self) -> BumpRecord {
        let revision = Revision::new(self.from.saturating_add(self.by), 0);
        BumpRecord { revision, raw_key: BucketKey::put(revision).encode() }
    }
}

struct Work<'a> {
    source: &'a SmallBuckets,
    small: SmallBuckets,
    changes: Vec<Change>,
}

impl Work<'_> {
    fn carry_buckets(&mut self) {
        use buckets::{ALARM, CLUSTER, MEMBERS, MEMBERS_REMOVED, META};
        for (name, entries) in self.source.iter() {
            match name {
                ALARM | MEMBERS | MEMBERS_REMOVED => continue,
                META => self.carry_known(META, &meta::ALL_KEYS),
                CLUSTER => self.carry_known(CLUSTER, &[CLUSTER_VERSION, DOWNGRADE]),
                _ => self.small.create(name).clone_from(entries),
            }
        }
        for name in self.source.unknown() {
            let count = self.source.entries(name).count();
            let what = format!("{count} entries of a bucket that no known etcd has");
            self.changes.push(change(ChangeKind::Unknown, name, b"", what));
        }
    }

    /// Carries a bucket whose keys are known one by one; the known ones are rewritten later.
    fn carry_known(&mut self, bucket: &[u8], known: &[&[u8]]) {
        for (key, value) in self.source.entries(bucket) {
            self.small.put(bucket, key, value);
            if !known.contains(&key) {
                let what = format!("{} bytes under a key that no known etcd has", value.len());
                self.changes.push(change(ChangeKind::Unknown, bucket, key, what));
            }
        }
    }

    fn add_leases(&mut self, leases: &[Lease]) {
        for lease in leases {
            let key = Lease::bucket_key(lease.id);
            if self.small.get(buckets::LEASE, &key).is_some() {
                continue;
            }
            self.small.put(buckets::LEASE, &key, lease.to_bytes());
            let (id, ttl) = (lease.id, lease.ttl_seconds);
            let what = format!("live keys name lease {id:x}: made up with {ttl} s to live");
            self.changes.push(change(ChangeKind::Added, buckets::LEASE, &key, what));
        }
    }

    fn drop_alarms(&mut self) {
        for (key, _) in self.source.entries(buckets::ALARM) {
            let what = match Alarm::decode(key) {
                Ok(alarm) => format!("alarm {} of member {:x}", alarm.name(), alarm.member_id),
                Err(error) => format!("an unreadable alarm: {error}"),
            };
            self.changes.push(change(ChangeKind::Dropped, buckets::ALARM, key, what));
        }
    }

    fn rewrite_members(&mut self, founding: &Founding) {
        for member in founding.members() {
            let id = crate::ids::hex(member.id);
            self.small.put(buckets::MEMBERS, id.as_bytes(), member.to_json());
            let what = format!("member {} at {}", member.name, member.peer_urls.join(", "));
            self.changes.push(change(ChangeKind::Added, buckets::MEMBERS, id.as_bytes(), what));
        }
        for (key, value) in self.source.entries(buckets::MEMBERS) {
            let what = String::from_utf8_lossy(value).into_owned();
            self.changes.push(change(ChangeKind::Dropped, buckets::MEMBERS, key, what));
        }
        for (key, _) in self.source.entries(buckets::MEMBERS_REMOVED) {
            let what =
                "a member removed earlier; its id means nothing to the new cluster".to_owned();
            self.changes.push(change(ChangeKind::Dropped, buckets::MEMBERS_REMOVED, key, what));
        }
    }

    fn rewrite_raft(&mut self, founding: &Founding) {
        let state = ConfState::of_voters(founding.member_ids());
        let index = founding.members().len() as u64;
        let json = serde_json::to_vec(&state).expect("numbers always serialize");
        self.rewrite(meta::CONF_STATE, json, "the new cluster's voters");
        let applied = index.to_be_bytes();
        self.rewrite(meta::CONSISTENT_INDEX, applied.to_vec(), "the new log's applied index");
        self.rewrite(meta::TERM, FOUNDING_TERM.to_be_bytes().to_vec(), "the new log's term");
    }

    fn rewrite(&mut self, key: &[u8], value: Vec<u8>, what: &str) {
        self.small.put(buckets::META, key, value);
        self.changes.push(change(ChangeKind::Rewritten, buckets::META, key, what.to_owned()));
    }

    fn rewrite_versions(&mut self, target: EtcdVersion) -> Result<(), RebuildError> {
        let storage = self.version(buckets::META, meta::STORAGE_VERSION);
        let cluster = self.version(buckets::CLUSTER, CLUSTER_VERSION);
        let versions = TargetVersions::plan(storage, cluster, target)?;
        self.set_version(buckets::META, meta::STORAGE_VERSION, versions.storage);
        self.set_version(buckets::CLUSTER, CLUSTER_VERSION, versions.cluster);
        if let Some(downgrade) = self.small.create(buckets::CLUSTER).remove(DOWNGRADE) {
            let what = String::from_utf8_lossy(&downgrade).into_owned();
            self.changes.push(change(ChangeKind::Dropped, buckets::CLUSTER, DOWNGRADE, what));
        }
        Ok(())
    }

    /// The source's version; one that is not readable counts as absent and is reported as dropped
    /// by [`Work::set_version`].
    fn version(&self, bucket: &[u8], key: &[u8]) -> Option<EtcdVersion> {
        std::str::from_utf8(self.source.get(bucket, key)?).ok()?.parse().ok()
    }

    fn set_version(&mut self, bucket: &[u8], key: &[u8], version: Option<EtcdVersion>) {
        let before = self.source.get(bucket, key);
        let after = version.map(|version| version.to_string().into_bytes());
        if before == after.as_deref() {
            return;
        }
        let shown = before.map(String::from_utf8_lossy).unwrap_or_default();
        let (kind, what) = match after {
            Some(after) => {
                let what = format!("{shown} becomes {}", String::from_utf8_lossy(&after));
                self.small.put(bucket, key, after);
                (ChangeKind::Rewritten, what)
            }
            None => {
                self.small.create(bucket).remove(key);
                (ChangeKind::Dropped, format!("{shown}: not for the target version"))
            }
        };
        self.changes.push(change(kind, bucket, key, what));
    }

    fn bump(&mut self, bump: Bump) -> Result<BumpRecord, RebuildError> {
        let Bump { from, by } = bump;
        let compacted = CompactionMarks::read(self.source)?.effective();
        let fits = from >= compacted.max(0) && by > 0 && from.checked_add(by).is_some();
        if !fits {
            return Err(RebuildError::Bump { from, by, compacted });
        }
        let record = bump.record();
        let what = format!("revision {} after a bump by {by}", record.revision.main);
        let mark = record.revision.encode();
        self.small.put(buckets::META, meta::SCHEDULED_COMPACT_REV, mark);
        let key = meta::SCHEDULED_COMPACT_REV;
        self.changes.push(change(ChangeKind::Rewritten, buckets::META, key, what));
        Ok(record)
    }
}

fn change(kind: ChangeKind, bucket: &[u8], key: &[u8], what: String) -> Change {
    let place = if key.is_empty() {
        bucket.escape_ascii().to_string()
    } else {
        format!("{}/{}", bucket.escape_ascii(), key.escape_ascii())
    };
    Change { kind, place, what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versions::{V3_5, V3_6, V3_7};

    fn founding() -> Founding {
        Founding::single("n", &["http://127.0.0.1:2380".to_owned()], "fresh").unwrap()
    }

    fn source() -> SmallBuckets {
        let mut small = SmallBuckets::empty();
        small.put(buckets::META, meta::SCHEDULED_COMPACT_REV, Revision::new(90, 0).encode());
        small.put(buckets::META, meta::FINISHED_COMPACT_REV, Revision::new(80, 0).encode());
        small.put(buckets::META, meta::CONSISTENT_INDEX, 4_000u64.to_be_bytes());
        small.put(buckets::META, meta::STORAGE_VERSION, *b"3.7.0");
        small.put(buckets::META, b"novel", *b"x");
        small.put(buckets::CLUSTER, CLUSTER_VERSION, *b"3.7.0");
        small.put(buckets::CLUSTER, DOWNGRADE, *br#"{"target-version":"3.6.0","enabled":true}"#);
        small.put(buckets::ALARM, &[8, 7, 16, 1], *b"");
        small.put(buckets::MEMBERS, b"7", *b"{}");
        small.put(buckets::MEMBERS_REMOVED, b"9", *b"removed");
        small.put(buckets::AUTH_USERS, b"root", *b"hash");
        small.put(b"test", b"a", *b"b");
        small
    }

    fn plan(founding: &Founding, target: EtcdVersion) -> RebuildPlan<'_> {
        RebuildPlan { founding, target, bump: None, made_up_leases: &[] }
    }

    #[test]
    fn what_is_carried_rewritten_and_dropped() {
        let founding = founding();
        let source = source();
        let rebuilt = rebuild(&source, &plan(&founding, V3_6)).unwrap();
        let small = &rebuilt.small;
        let id = crate::ids::hex(founding.local().id);
        for name in buckets::ALL.iter().filter(|name| **name != buckets::KEY) {
            assert!(small.contains(name));
        }
        assert_eq!(small.get(buckets::META, meta::STORAGE_VERSION), Some(&b"3.6.0"[..]));
        assert_eq!(small.get(buckets::CLUSTER, CLUSTER_VERSION), Some(&b"3.6.0"[..]));
        assert_eq!(small.get(buckets::CLUSTER, DOWNGRADE), None);
        assert_eq!(small.get(buckets::META, b"novel"), Some(&b"x"[..]));
        assert_eq!(small.get(b"test", b"a"), Some(&b"b"[..]));
        assert_eq!(small.get(buckets::AUTH_USERS, b"root"), Some(&b"hash"[..]));
        assert_eq!(small.entries(buckets::ALARM).count(), 0);
        assert_eq!(small.entries(buckets::MEMBERS_REMOVED).count(), 0);
        let members: Vec<_> = small.entries(buckets::MEMBERS).map(|(key, _)| key).collect();
        assert_eq!(members, [id.as_bytes()]);
        let read = meta::Meta::read(small).unwrap();
        assert_eq!((read.consistent_index, read.term), (1, 1));
        assert_eq!(read.marks, CompactionMarks { scheduled: Some(90), finished: Some(80) });
        assert_eq!(read.conf_state, Some(ConfState::of_voters(founding.member_ids())));
        let told = |kind, text: &str| {
            let mut all = rebuilt.changes.iter().filter(|change| change.kind == kind);
            assert!(all.any(|change| change.what.contains(text)), "{:?}", rebuilt.changes);
        };
        told(ChangeKind::Dropped, "NOSPACE");
        told(ChangeKind::Dropped, "target-version");
        told(ChangeKind::Dropped, "removed earlier");
        told(ChangeKind::Unknown, "1 entries of a bucket");
        told(ChangeKind::Rewritten, "3.7.0 becomes 3.6.0");
    }

    #[test]
    fn versions_follow_the_target() {
        let founding = founding();
        let old = rebuild(&source(), &plan(&founding, V3_5)).unwrap().small;
        assert_eq!(old.get(buckets::META, meta::STORAGE_VERSION), None);
        let same = rebuild(&source(), &plan(&founding, V3_7)).unwrap().small;
        assert_eq!(same.get(buckets::META, meta::STORAGE_VERSION), Some(&b"3.7.0"[..]));
        let mut broken = source();
        broken.put(buckets::CLUSTER, CLUSTER_VERSION, *b"\xff");
        let rebuilt = rebuild(&broken, &plan(&founding, V3_7)).unwrap();
        assert_eq!(rebuilt.small.get(buckets::CLUSTER, CLUSTER_VERSION), None);
    }

    #[test]
    fn bumps_and_leases() {
        let founding = founding();
        let lease = Lease { id: 5, ttl_seconds: 60, remaining_ttl_seconds: 0 };
        let mut source = source();
        let kept = Lease { ttl_seconds: 7, id: 6, remaining_ttl_seconds: 0 };
        source.put(buckets::LEASE, &Lease::bucket_key(6), kept.to_bytes());
        let bump = Some(Bump { from: 95, by: 1_000 });
        let leases = [lease, Lease { id: 6, ..lease }];
        let plan = RebuildPlan { bump, made_up_leases: &leases, ..plan(&founding, V3_7) };
        let rebuilt = rebuild(&source, &plan).unwrap();
        let record = rebuilt.bump_record.unwrap();
        assert_eq!(&*record.raw_key, &Revision::new(1_095, 0).encode());
        let marks = CompactionMarks::read(&rebuilt.small).unwrap();
        assert_eq!(marks, CompactionMarks { scheduled: Some(1_095), finished: Some(80) });
        let lease_of = |id| rebuilt.small.get(buckets::LEASE, &Lease::bucket_key(id)).unwrap();
        assert_eq!(Lease::decode(lease_of(5)), Ok(lease));
        assert_eq!(Lease::decode(lease_of(6)), Ok(kept), "an existing lease is left alone");
        for (from, by) in [(95, 0), (89, 1_000), (i64::MAX, 1), (95, -3)] {
            let plan = RebuildPlan { bump: Some(Bump { from, by }), ..plan };
            assert!(matches!(rebuild(&source, &plan), Err(RebuildError::Bump { .. })));
        }
    }
}
