//! Sound databases pass, each kind of damage is named.

use super::*;
use crate::revision::BucketKey;
use holdfast_bolt::{BuildOptions, Builder, FileDisk, MappedFile};

/// Records as (main, sub, tombstone, message).
type Records = Vec<(i64, i64, bool, Vec<u8>)>;

fn put(main: i64, sub: i64, key: &[u8], lease: i64) -> (i64, i64, bool, Vec<u8>) {
    let (create_revision, mod_revision) = (main, main);
    let kv = KeyValue { key, create_revision, mod_revision, version: 1, value: b"v", lease };
    (main, sub, false, kv.to_bytes())
}

fn tombstone(main: i64, sub: i64, key: &[u8]) -> (i64, i64, bool, Vec<u8>) {
    (main, sub, true, KeyValue { key, ..KeyValue::default() }.to_bytes())
}

fn findings(small: &SmallBuckets, records: &Records) -> Findings {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let disk = FileDisk::create_new(&path).unwrap();
    let mut builder = Builder::new(disk, BuildOptions::default()).unwrap();
    builder.begin_bucket(buckets::KEY).unwrap();
    for (main, sub, tombstone, value) in records {
        let revision = Revision::new(*main, *sub);
        let key = BucketKey { revision, tombstone: *tombstone }.encode();
        builder.push(&key, value).unwrap();
    }
    builder.end_bucket().unwrap();
    for (name, entries) in small.iter() {
        builder.begin_bucket(name).unwrap();
        entries.iter().for_each(|(key, value)| builder.push(key, value).unwrap());
        builder.end_bucket().unwrap();
    }
    builder.finish().unwrap();
    check_schema(&Db::open(MappedFile::open(&path).unwrap()).unwrap())
}

fn sound_small() -> SmallBuckets {
    let mut small = SmallBuckets::empty();
    small.put(buckets::META, meta::CONSISTENT_INDEX, 9u64.to_be_bytes());
    small.put(buckets::MEMBERS, b"7", *br#"{"id":7,"peerURLs":["http://a:1"]}"#);
    let lease = Lease { id: 5, ttl_seconds: 60, remaining_ttl_seconds: 0 };
    small.put(buckets::LEASE, &Lease::bucket_key(5), lease.to_bytes());
    small
}

fn sound_records() -> Records {
    vec![put(2, 0, b"a", 5), put(3, 0, b"b", 0), put(3, 1, b"c", 0), tombstone(4, 0, b"a")]
}

/// Exactly one finding of this severity that says so.
fn says(findings: &Findings, severity: Severity, text: &str) {
    let mut all = findings.all.iter().filter(|finding| finding.severity >= severity);
    let found = all.next().map(ToString::to_string).unwrap_or_default();
    assert!(found.contains(text), "wanted {text}: {findings:#?}");
    assert_eq!(all.next(), None, "{findings:#?}");
}

#[test]
fn a_sound_database_has_no_findings() {
    assert_eq!(findings(&sound_small(), &sound_records()), Findings::default());
}

#[test]
fn what_is_wrong_with_records() {
    let with = |change: &dyn Fn(&mut Records)| {
        let mut records = sound_records();
        change(&mut records);
        findings(&sound_small(), &records)
    };
    let fault = |change: &dyn Fn(&mut Records), text| says(&with(change), Severity::Fault, text);
    fault(&|all| drop(all.remove(1)), "does not begin with sub revision 0");
    fault(&|all| all[2].1 = 2, "a gap: the record before it is 3.0");
    fault(&|all| all[0] = put(2, 0, b"", 5), "it has no key");
    fault(&|all| all[3].3.extend([0x10, 4]), "a tombstone with more than a key");
    fault(&|all| all[1].3 = put(2, 0, b"b", 0).3, "mod revision 2");
    fault(&|all| all[1].3.extend([0x30, 0]), "not as etcd writes it");
    let broken = with(&|all| all[1].3.push(0x0a));
    assert!(!broken.is_sound() && broken.all[0].place == "key/3.0", "{broken:#?}");
    let unknown = with(&|all| all[1] = put(3, 0, b"b", 6));
    says(&unknown, Severity::Warning, "1 live keys name unknown leases (6");
    let missing = with(&|all| all[3] = tombstone(9, 0, b"a"));
    says(&missing, Severity::Warning, "revisions 4 to 8 are missing");
    let bumped = with(&|all| all.push((5, 0, false, vec![])));
    says(&bumped, Severity::Note, "revision bump");
    let mut compacted = sound_small();
    compacted.put(buckets::META, meta::SCHEDULED_COMPACT_REV, Revision::new(3, 0).encode());
    compacted.put(buckets::META, meta::FINISHED_COMPACT_REV, Revision::new(3, 0).encode());
    let thinned = vec![put(3, 1, b"c", 0), tombstone(4, 0, b"c")];
    assert_eq!(findings(&compacted, &thinned), Findings::default());
    let lost = vec![put(3, 1, b"c", 0), put(6, 0, b"c", 0)];
    says(&findings(&compacted, &lost), Severity::Warning, "revisions 4 to 5 are missing");
}

#[test]
fn what_is_wrong_with_small_buckets() {
    let with = |bucket: &[u8], key: &[u8], value: &[u8]| {
        let mut small = sound_small();
        small.put(bucket, key, value);
        findings(&small, &sound_records())
    };
    use Severity::{Fault, Warning};
    says(&with(buckets::META, meta::TERM, b"x"), Fault, "meta/term has 1 bytes");
    says(&with(buckets::META, b"novel", b"x"), Warning, "a key that no known etcd has");
    says(&with(buckets::META, meta::STORAGE_VERSION, b"new"), Fault, "not a version");
    says(&with(buckets::MEMBERS, b"8", br#"{"id":7}"#), Fault, "its JSON has the id 7");
    says(&with(buckets::MEMBERS, b"8", b"{"), Fault, "members/8");
    says(&with(buckets::LEASE, &Lease::bucket_key(6), &[8, 5]), Fault, "the id 5");
    says(&with(buckets::ALARM, &[8, 7, 16, 1], b""), Warning, "NOSPACE is raised by member 7");
    says(&with(b"test", b"a", b"b"), Warning, "a bucket that no known etcd has");
    let downgrade = br#"{"target-version":"3.5.0","enabled":true}"#;
    says(&with(buckets::CLUSTER, DOWNGRADE, downgrade), Warning, "is under way");
}
