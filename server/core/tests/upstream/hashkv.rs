//! HashKV computed from a snapshot equals what etcd answers, at every revision and compaction.

use crate::peers::{Etcd, Ports, VERSIONS, fill, open};
use holdfast_core::database::DatabaseRecords;
use holdfast_core::hashkv::{HashScope, hashkv};
use holdfast_core::schema::check_schema;
use std::path::Path;

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
        // The member may answer from its cache, with an earlier compaction revision than the file's.
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
