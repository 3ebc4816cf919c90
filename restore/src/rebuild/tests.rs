//! Rebuilds from made-up snapshots, against a plain list of what must come out.

use super::*;
use crate::check::{check_database, hashkv_of};
use holdfast_bolt::Db;
use holdfast_bolt::fault::{FaultDisk, MemoryDisk};
use holdfast_core::database::{DatabaseRecords, read_small};
use holdfast_core::hashkv::HashScope;
use holdfast_core::hashkv::RecordSource;
use holdfast_core::meta;
use holdfast_core::schema::Severity;
use holdfast_core::versions::{V3_5, V3_6, V3_7};

type Stored = (i64, i64, bool, Vec<u8>);

fn put(main: i64, sub: i64, key: &[u8], lease: i64) -> Stored {
    let content = KeyValue {
        key,
        create_revision: main,
        mod_revision: main,
        version: 1,
        value: &[b'v'; 40],
        lease,
    };
    (main, sub, false, content.to_bytes())
}

fn delete(main: i64, sub: i64, key: &[u8]) -> Stored {
    (main, sub, true, KeyValue { key, ..KeyValue::default() }.to_bytes())
}

fn history() -> Vec<Stored> {
    let mut all = vec![
        put(7, 0, b"a", 0),
        put(9, 0, b"b", 3),
        put(12, 0, b"a", 44),
        put(12, 1, b"c", 55),
        delete(13, 0, b"b"),
        put(14, 0, b"c", 0),
    ];
    all.extend((15..400).map(|main| put(main, 0, format!("k{main}").as_bytes(), 0)));
    all
}

fn small() -> SmallBuckets {
    let mut small = SmallBuckets::empty();
    small.put(buckets::META, meta::SCHEDULED_COMPACT_REV, Revision::new(10, 0).encode());
    small.put(buckets::META, meta::STORAGE_VERSION, *b"3.7.0");
    small.put(buckets::AUTH, b"authEnabled", [1]);
    let lease = Lease { id: 3, ttl_seconds: 60, remaining_ttl_seconds: 0 };
    small.put(buckets::LEASE, &Lease::bucket_key(3), lease.to_bytes());
    small
}

fn spec() -> RebuildSpec {
    let url = "http://127.0.0.1:2380".to_owned();
    RebuildSpec::new(Founding::single("n", &[url], "fresh").unwrap(), V3_6)
}

fn run(spec: RebuildSpec) -> Result<(Db<Vec<u8>>, Rebuilt), RebuildError> {
    let mut rebuild = Rebuild::new(MemoryDisk::new(), small(), spec)?;
    for (main, sub, tombstone, value) in &history() {
        let (main, sub, tombstone) = (*main, *sub, *tombstone);
        rebuild.push(&SourceRecord { main, sub, tombstone, value })?;
    }
    let (disk, rebuilt) = rebuild.finish()?;
    Ok((Db::open(disk.into_bytes()).unwrap(), rebuilt))
}

fn records(built: &Db<Vec<u8>>) -> Vec<Stored> {
    let mut out = Vec::new();
    let walk = DatabaseRecords::new(built).scan(&mut |record| {
        let at = record.at;
        out.push((at.revision.main, at.revision.sub, at.tombstone, record.raw_value.to_vec()));
        Ok(())
    });
    walk.unwrap();
    out
}

#[test]
fn everything_comes_out_as_it_went_in() {
    let (built, rebuilt) = run(spec()).unwrap();
    assert_eq!(records(&built), history());
    let findings = check_database(&built);
    assert!(findings.is_sound(), "{findings:?}");
    let warned = |piece| findings.all.iter().any(|one| one.what.contains(piece));
    assert!(!warned("unknown leases"), "{findings:?}");
    assert_eq!(rebuilt.counts.records, 391);
    assert_eq!((rebuilt.revision, rebuilt.served_revision), (399, 399));
    assert_eq!((rebuilt.compact_revision, rebuilt.counts.tombstones), (10, 1));
    let made_up: Vec<i64> = rebuilt.made_up_leases.iter().map(|lease| lease.id).collect();
    assert_eq!(made_up, [44], "c's newest record has no lease, b is deleted");
    let small = read_small(&built).unwrap();
    assert!(small.get(buckets::LEASE, &Lease::bucket_key(44)).is_some());
    assert_eq!(small.get(buckets::META, meta::STORAGE_VERSION), Some(&b"3.6.0"[..]));
    assert_eq!(small.get(buckets::AUTH, b"authEnabled"), Some(&[1][..]));
    hashkv_of(&built, HashScope { revision: 399, compact_revision: 10 }).unwrap();
}

#[test]
fn a_trim_drops_what_lies_above() {
    let trimmed = RebuildSpec { trim_to: Some(12), ..spec() };
    let (built, rebuilt) = run(trimmed).unwrap();
    assert_eq!(records(&built), history()[..4]);
    assert_eq!((rebuilt.revision, rebuilt.counts.trimmed), (12, 387));
    let made_up: Vec<i64> = rebuilt.made_up_leases.iter().map(|lease| lease.id).collect();
    assert_eq!(made_up, [44, 55], "at 12 c hangs on a lease that is gone by 14");
    let low = RebuildSpec { trim_to: Some(9), ..spec() };
    assert!(matches!(run(low), Err(RebuildError::TrimBelowCompaction { compacted: 10, .. })));
}

#[test]
fn a_bump_is_the_last_record_and_a_mark() {
    let bumped = RebuildSpec { bump_to: Some(5_000), target: V3_5, ..spec() };
    let (built, rebuilt) = run(bumped).unwrap();
    let all = records(&built);
    assert_eq!(all[..391], history());
    assert_eq!(all[391], (5_000, 0, false, Vec::new()));
    assert_eq!((rebuilt.revision, rebuilt.served_revision), (399, 5_000));
    let marks = CompactionMarks::read(&read_small(&built).unwrap()).unwrap();
    assert_eq!(marks.scheduled, Some(5_000));
    for bump_to in [399, 0, i64::MIN] {
        let low = RebuildSpec { bump_to: Some(bump_to), ..spec() };
        assert!(matches!(run(low), Err(RebuildError::BumpTooLow { revision: 399, .. })));
    }
}

#[test]
fn a_sandbox_has_no_authentication() {
    let open = RebuildSpec { authentication_off: true, target: V3_7, sample: 20, ..spec() };
    let (built, rebuilt) = run(open).unwrap();
    let small = read_small(&built).unwrap();
    assert_eq!(small.get(buckets::AUTH, b"authEnabled"), Some(&[0][..]));
    assert!(rebuilt.changes.iter().any(|change| change.place == "auth/authEnabled"));
    assert_eq!(rebuilt.sample.len(), 20);
}

#[test]
fn damaged_records_are_errors() {
    let mut rebuild = Rebuild::new(MemoryDisk::new(), small(), spec()).unwrap();
    let mut push = |main, sub, value: &[u8]| {
        rebuild.push(&SourceRecord { main, sub, tombstone: false, value })
    };
    push(20, 0, b"").unwrap();
    assert!(matches!(push(-1, 0, b""), Err(RebuildError::Revision { .. })));
    assert!(matches!(push(21, 0, &[10, 99]), Err(RebuildError::Record(_))));
    assert!(matches!(push(20, 0, b""), Err(RebuildError::Build(_))), "the same revision twice");
    assert!(matches!(push(19, 0, b""), Err(RebuildError::Build(_))));
}

#[test]
fn a_disk_that_fails_any_call_fails_the_rebuild() {
    let build = |fail_at| {
        let disk = FaultDisk::new(MemoryDisk::new(), fail_at);
        let mut rebuild = Rebuild::new(disk, small(), spec())?;
        for (main, sub, tombstone, value) in &history() {
            let (main, sub, tombstone) = (*main, *sub, *tombstone);
            rebuild.push(&SourceRecord { main, sub, tombstone, value })?;
        }
        rebuild.finish().map(|_| ())
    };
    let failures = (0..).take_while(|fail_at| build(*fail_at).is_err()).count();
    assert!(failures >= 4, "only {failures} calls");
}

#[test]
fn a_schema_check_names_what_is_wrong() {
    let mut wrong = small();
    wrong.put(buckets::LEASE, &Lease::bucket_key(8), [8, 9]);
    wrong.put(buckets::MEMBERS, b"77", *b"{\"id\":5}");
    wrong.put(buckets::ALARM, &[8], *b"");
    let mut builder = Builder::new(MemoryDisk::new(), BuildOptions::default()).unwrap();
    builder.begin_bucket(buckets::KEY).unwrap();
    let key = |main| BucketKey::put(Revision::new(main, 0)).encode();
    builder.push(&key(4), &put(5, 0, b"a", 0).3).unwrap();
    builder
        .push(&BucketKey::tombstone(Revision::new(4, 0)).encode(), &delete(4, 0, b"a").3)
        .unwrap();
    builder.push(&key(6), &[10, 99]).unwrap();
    builder.push(&key(9), b"").unwrap();
    builder.end_bucket().unwrap();
    wrong.write(&mut builder).unwrap();
    let (disk, _) = builder.finish().unwrap();
    let mut bytes = disk.into_bytes();
    let findings = check_database(&Db::open(bytes.as_slice()).unwrap());
    let faults: Vec<_> =
        findings.all.iter().filter(|one| one.severity == Severity::Fault).collect();
    let text = format!("{faults:?}");
    for piece in ["id 9", "id 5", "alarm", "mod revision 5", "4.0 stands behind 4.0"] {
        assert!(text.contains(piece), "{piece}: {text}");
    }
    // No byte of a damaged file may crash it.
    for at in (8192..bytes.len()).step_by(37) {
        let before = bytes[at];
        bytes[at] ^= 0x55;
        if let Ok(db) = Db::open(bytes.as_slice()) {
            check_database(&db);
        }
        bytes[at] = before;
    }
}
