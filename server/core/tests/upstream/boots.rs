//! A data directory that we write boots on 3.5, 3.6 and 3.7, from stores of each of them.

use crate::peers::{Etcd, Ports, VERSIONS, fill, kubernetes, open, restore};
use holdfast_bolt::{Db, MappedFile};
use holdfast_core::buckets::{AUTH, AUTH_ROLES, AUTH_USERS, LEASE};
use holdfast_core::check::check_member;
use holdfast_core::compaction::{LivenessBuilder, TombstoneRule, Verdict};
use holdfast_core::database::{DatabaseFacts, DatabaseRecords, read_small};
use holdfast_core::datadir::db_path;
use holdfast_core::hashkv::{HashScope, RecordSource, hashkv};
use holdfast_core::membership::Founding;
use holdfast_core::record::Record;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Restores `source` for `target`, boots it, and holds it against the file.
fn boot(source: &Path, root: &Path, label: &str, target: &'static str, bump_by: Option<i64>) {
    let dir = root.join(format!("{label}-on-{target}"));
    let ports = Ports::free();
    let founding = Founding::single("n", &[ports.peer_url()], label).unwrap();
    restore(source, &dir, &founding, target.parse().unwrap(), bump_by);
    let findings = check_member(&dir);
    assert!(findings.is_sound(), "{label} on {target}: {findings:#?}");

    let db = open(source);
    let facts = DatabaseFacts::read(&db).unwrap();
    let etcd = Etcd::start(target, &dir, ports, &[]);
    let (revision, compact_revision, hash) = etcd.hashkv(0);
    match bump_by {
        None => {
            assert_eq!(revision, facts.revision, "{label} on {target}");
            let scope = HashScope { revision, compact_revision };
            let want = hashkv(&DatabaseRecords::new(&db), scope).unwrap();
            assert_eq!(hash, want, "{label} on {target}: {scope:?}");
        }
        Some(by) => {
            let want = (facts.revision + by, facts.revision + by);
            assert_eq!((revision, compact_revision), want, "{label} on {target}");
        }
    }
    let members = etcd.ctl(&["member", "list"]);
    assert!(members.contains(&format!("{:x}", founding.local().id)), "{members}");
    assert_eq!(members.lines().count(), 1, "{members}");
    let leases = etcd.ctl(&["lease", "list"]);
    assert_eq!(leases.lines().count() as u64, facts.leases + 1, "{leases}");
    etcd.put("written-after", "x", 0);
    assert_eq!(etcd.revision(), revision + 1, "{label} on {target}");
    assert_eq!(etcd.ctl(&["get", "written-after", "--print-value-only"]).trim(), "x");
    etcd.stop();
    let findings = check_member(&dir);
    assert!(findings.is_sound(), "{label} after {target}: {findings:#?}");

    let after = open(&db_path(&dir));
    let before = read_small(&db).unwrap();
    let carried = read_small(&after).unwrap();
    for bucket in [LEASE, AUTH, AUTH_USERS, AUTH_ROLES] {
        let both = [&before, &carried].map(|small| small.entries(bucket).collect::<Vec<_>>());
        assert_eq!(both[0], both[1], "{label} on {target}: {}", bucket.escape_ascii());
    }
    let newest = |db: &Db<MappedFile>, compacted| newest_puts(db, compacted, facts.revision);
    let compacted = facts.meta.marks.effective();
    assert_eq!(newest(&db, compacted), newest(&after, compact_revision), "{label} on {target}");
}

/// Raw keys and values of the newest records up to a revision: what no compaction takes away.
fn newest_puts(db: &Db<MappedFile>, compacted: i64, upto: i64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let records = DatabaseRecords::new(db);
    let rule = TombstoneRule::KeepAtCompaction;
    let mut builder = LivenessBuilder::new(compacted, rule);
    records.scan(&mut |record| builder.observe(&record)).unwrap();
    let liveness = builder.finish();
    let (mut judge, mut out) = (liveness.judge(), BTreeMap::new());
    let mut visit = |record: Record<'_>| {
        let newest = judge.next(&record)? == Verdict::Live { superseded: false };
        if newest && !record.at.tombstone && record.at.revision.main <= upto {
            out.insert(record.raw_key.to_vec(), record.raw_value.to_vec());
        }
        Ok(())
    };
    records.scan(&mut visit).unwrap();
    out
}

/// A snapshot of a store of `version`, compacted and with an alarm raised.
fn source(version: &'static str, root: &Path) -> PathBuf {
    let etcd = Etcd::start(version, &root.join("source"), Ports::free(), &[]);
    let marks = fill(&etcd, 4);
    etcd.compact(marks[1]);
    etcd.call("/v3/auth/role/add", &json!({"name": "reader"}));
    etcd.call("/v3/auth/user/add", &json!({"name": "u", "password": "p"}));
    etcd.call("/v3/auth/user/grant", &json!({"user": "u", "role": "reader"}));
    let alarm = json!({"action": "ACTIVATE", "memberID": "1", "alarm": "NOSPACE"});
    etcd.call("/v3/maintenance/alarm", &alarm);
    etcd.wait_for_storage_version();
    let file = root.join("source.db");
    etcd.snapshot(&file);
    file
}

fn all_targets(version: &'static str) {
    let root = tempfile::tempdir().unwrap();
    let file = source(version, root.path());
    for target in VERSIONS {
        boot(&file, root.path(), version, target, None);
    }
    boot(&file, root.path(), &format!("{version}-bumped"), version, Some(1_000_000_000));
}

#[test]
fn stores_of_3_5_boot_everywhere() {
    all_targets("3.5");
}

#[test]
fn stores_of_3_6_boot_everywhere() {
    all_targets("3.6");
}

#[test]
fn stores_of_3_7_boot_everywhere() {
    all_targets("3.7");
}

#[test]
fn a_real_cluster_boots_everywhere() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("k8s.db");
    kubernetes(&file);
    for target in VERSIONS {
        boot(&file, root.path(), "k8s", target, None);
    }
    boot(&file, root.path(), "k8s-bumped", "3.7", Some(1_000_000_000));
}

#[test]
fn a_directory_of_one_of_three_founders_is_sound() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("k8s.db");
    kubernetes(&file);
    let ports = [Ports::free(), Ports::free(), Ports::free()];
    let urls: Vec<String> = ports.iter().map(|ports| ports.peer_url()).collect();
    let list = format!("a={},b={},c={}", urls[0], urls[1], urls[2]);
    for local in ["a", "b", "c"] {
        let dir = root.path().join(local);
        let founding = Founding::parse(&list, local, "three").unwrap();
        restore(&file, &dir, &founding, "3.6".parse().unwrap(), None);
        let findings = check_member(&dir);
        assert!(findings.is_sound(), "{findings:#?}");
        let facts = DatabaseFacts::read(&open(&db_path(&dir))).unwrap();
        assert_eq!((facts.members.len(), facts.meta.consistent_index), (3, 3));
    }
}
