//! HashKV computed from a snapshot equals what etcd answers, at every revision and compaction.

use crate::peers::{Etcd, Ports, VERSIONS, base64, fill, open};
use holdfast_bolt::{Store, StoreOptions};
use holdfast_core::backend::{Backend, BoltBase};
use holdfast_core::compaction::{LivenessBuilder, TombstoneRule};
use holdfast_core::database::DatabaseFacts;
use holdfast_core::database::DatabaseRecords;
use holdfast_core::hashkv::RecordSource;
use holdfast_core::hashkv::{HashScope, hashkv};
use holdfast_core::schema::check_schema;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Compares the hash at some revisions with the one computed from a snapshot taken now.
fn compare(etcd: &Etcd, dir: &Path, label: &str) -> usize {
    let file = dir.join(format!("{label}.db"));
    etcd.snapshot(&file);
    let db = open(&file);
    let findings = check_schema(&db);
    assert!(findings.is_sound(), "{} {label}: {findings:#?}", etcd.version);
    let records = DatabaseRecords::new(&db);
    let current = etcd.revision();
    let (_, compacted, _) = etcd.hashkv(0);
    let mut asked = vec![0];
    asked.extend((compacted.max(2)..=current).step_by(13));
    asked.extend([compacted.max(2), current]);
    let mut compared = 0;
    for revision in asked {
        let (revision, compact_revision, hash) = etcd.hashkv(revision);
        let scope = HashScope { revision, compact_revision };
        // The member may answer from its cache, with an earlier compaction revision than the
        // file's.
        if compact_revision >= compacted {
            let version = etcd.version;
            assert_eq!(hashkv(&records, scope).unwrap(), hash, "{version} {label} {scope:?}");
            compared += 1;
        }
    }
    compared
}

#[test]
fn equals_the_rpc_before_and_after_compactions() {
    for version in VERSIONS {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("source");
        let ports = Ports::free();
        let etcd = Etcd::start(version, &dir, ports, &[]);
        let marks = fill(&etcd, 3);
        let mut compared = compare(&etcd, root.path(), "never-compacted");
        // Each of these revisions is a tombstone of a key that is never put again at once.
        for mark in &marks {
            etcd.compact(*mark);
            compared += compare(&etcd, root.path(), &format!("compacted-{mark}"));
        }
        etcd.stop();
        let etcd = Etcd::start(version, &dir, ports, &[]);
        compared += compare(&etcd, root.path(), "restarted");
        let last = etcd.revision();
        etcd.compact(last);
        compared += compare(&etcd, root.path(), "compacted-to-the-end");
        etcd.call("/v3/kv/deleterange", &serde_json::json!({"key": "AA==", "range_end": "AA=="}));
        compared += compare(&etcd, root.path(), "all-deleted");
        etcd.compact(etcd.revision());
        compared += compare(&etcd, root.path(), "nothing-left");
        assert!(compared >= 30, "{version}: only {compared} hashes were comparable");
    }
}

#[test]
fn the_hash_of_all_buckets_equals_the_rpc() {
    let root = tempfile::tempdir().unwrap();
    let etcd = Etcd::start("3.6", &root.path().join("source"), Ports::free(), &[]);
    fill(&etcd, 6);
    etcd.wait_for_storage_version();
    let file = root.path().join("source.db");
    etcd.snapshot(&file);
    let want = &etcd.call("/v3/maintenance/hash", &json!({}))["hash"];
    let bolt = Arc::new(Store::open_path(&file, StoreOptions::default()).unwrap());
    let backend = Backend::new(Box::new(BoltBase::new(bolt))).unwrap();
    assert_eq!(json!(backend.view().hash().unwrap()), *want);
    backend.put(b"meta", b"consistent_index", vec![0; 8].into());
    backend.publish();
    assert_eq!(json!(backend.view().hash().unwrap()), *want, "members differ in it");
    backend.put(b"lease", b"12345678", vec![0; 8].into());
    backend.publish();
    assert_ne!(json!(backend.view().hash().unwrap()), *want);
}

/// The live records of a snapshot, their keys in the bucket; and whether dead ones lie beside them.
fn live(file: &Path) -> (Vec<Vec<u8>>, bool) {
    let db = open(file);
    let facts = DatabaseFacts::read(&db).unwrap();
    let compacted = facts.meta.marks.effective();
    let mut builder = LivenessBuilder::new(compacted, TombstoneRule::KeepAtCompaction);
    let records = DatabaseRecords::new(&db);
    records.scan(&mut |record| builder.observe(&record)).unwrap();
    let liveness = builder.finish();
    let (mut judge, mut out) = (liveness.judge(), Vec::new());
    let mut visit = |record: holdfast_core::record::Record<'_>| {
        if judge.next(&record)?.is_live() {
            out.push(record.raw_key.to_vec());
        }
        Ok(())
    };
    records.scan(&mut visit).unwrap();
    judge.finish().unwrap();
    (out, facts.meta.marks.is_running() && liveness.live_records() < liveness.records())
}

#[test]
fn a_compaction_caught_half_way_has_the_same_live_set_and_hash() {
    for version in VERSIONS {
        let root = tempfile::tempdir().unwrap();
        let prefix = if version == "3.5" { "experimental-" } else { "" };
        let (limit, sleep) = (
            format!("--{prefix}compaction-batch-limit=4"),
            format!("--{prefix}compaction-sleep-interval=100ms"),
        );
        let dir = root.path().join("source");
        let etcd = Etcd::start(version, &dir, Ports::free(), &[&limit, &sleep]);
        let marks = fill(&etcd, 5);
        let body = json!({"revision": marks[2].to_string(), "physical": false});
        etcd.call("/v3/kv/compaction", &body);
        let file = root.path().join("half.db");
        etcd.snapshot(&file);
        let (half, caught) = live(&file);
        assert!(caught, "{version}: the compaction was not caught half way");
        compare(&etcd, root.path(), "half");
        let end = Instant::now() + Duration::from_secs(120);
        let whole = loop {
            let file = root.path().join("whole.db");
            etcd.snapshot(&file);
            if DatabaseFacts::read(&open(&file)).unwrap().meta.marks.finished == Some(marks[2]) {
                break file;
            }
            assert!(Instant::now() < end, "{version}: the compaction does not end");
            std::thread::sleep(Duration::from_millis(50));
        };
        let (after, dead_left) = live(&whole);
        assert_eq!(half, after, "{version}");
        assert!(!dead_left, "{version}");
        let answer = etcd.call("/v3/kv/range", &json!({"key": base64("after")}));
        assert_eq!(answer["count"], "1", "{version}");
    }
}
