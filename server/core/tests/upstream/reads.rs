//! Directories that etcd 3.5, 3.6 and 3.7 wrote are read, found sound, and damage in them is found.

use crate::peers::{Etcd, Ports, VERSIONS, fill, open};
use holdfast_core::check::check_member;
use holdfast_core::database::DatabaseFacts;
use holdfast_core::datadir::{db_path, snap_dir, wal_dir};
use holdfast_core::snap;
use holdfast_core::v2store;
use holdfast_core::wal;
use std::fs;

#[test]
fn what_three_versions_write_is_read_and_sound() {
    for version in VERSIONS {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("source");
        let etcd = Etcd::start(version, &dir, Ports::free(), &["--snapshot-count", "40"]);
        let marks = fill(&etcd, 1);
        etcd.compact(marks[1]);
        let revision = etcd.revision();
        etcd.stop();

        let findings = check_member(&dir);
        assert!(findings.is_sound(), "{version}: {findings:#?}");

        let names = list(&wal_dir(&dir), ".wal");
        let log = wal::summarize::<wal::WalError>(&names, |name| {
            Ok(fs::read(wal_dir(&dir).join(name)).unwrap())
        });
        let log = log.unwrap();
        assert!(log.last_index > 100 && log.torn_tail.is_none(), "{version}: {log:?}");
        assert!(log.snapshots.len() > 2, "{version}: {log:?}");

        let facts = DatabaseFacts::read(&open(&db_path(&dir))).unwrap();
        assert_eq!((facts.revision, facts.leases), (revision, 2), "{version}");
        assert_eq!(facts.meta.marks.finished, Some(marks[1]), "{version}");
        assert_eq!(facts.members[0].id, log.metadata.node_id, "{version}");
        // The server writes it some seconds after its first boot.
        let storage = facts.meta.storage_version.unwrap_or_else(|| format!("{version}.0"));
        assert_eq!(storage, format!("{version}.0"));

        let snaps = list(&snap_dir(&dir), ".snap");
        let newest = fs::read(snap_dir(&dir).join(snaps.last().unwrap())).unwrap();
        let snapshot = snap::decode(&newest).unwrap();
        let membership = v2store::decode(snapshot.data).unwrap();
        assert_eq!(membership.members[0].id, log.metadata.node_id, "{version}");
        assert_eq!(membership.members[0].name, "n", "{version}");
    }
}

#[test]
fn damage_is_found_and_never_a_panic() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("source");
    let etcd = Etcd::start("3.6", &dir, Ports::free(), &["--snapshot-count", "40"]);
    fill(&etcd, 2);
    etcd.stop();

    // The log: any flipped byte of the part in use is an error, or lies in padding.
    let name = list(&wal_dir(&dir), ".wal").remove(0);
    let whole = fs::read(wal_dir(&dir).join(&name)).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let read = |bytes: Vec<u8>| {
        let name = std::slice::from_ref(&name);
        wal::summarize::<wal::WalError>(name, |_| Ok(bytes.clone()))
    };
    let used_only = whole[..used.next_multiple_of(8)].to_vec();
    let good = read(used_only.clone()).unwrap();
    let mut unnoticed = 0;
    for at in 0..used {
        let mut bad = used_only.clone();
        bad[at] ^= 0x41;
        unnoticed += usize::from(read(bad).is_ok_and(|log| log == good));
    }
    assert!(unnoticed * 10 < used, "{unnoticed} of {used} bytes can be flipped unnoticed");
    for len in (0..used).step_by(3) {
        let cut = read(used_only[..len].to_vec());
        assert!(cut.is_err() || cut.is_ok_and(|log| log != good), "cut to {len}");
    }

    // A snapshot: no flipped byte passes.
    let newest = snap_dir(&dir).join(list(&snap_dir(&dir), ".snap").pop().unwrap());
    let bytes = fs::read(&newest).unwrap();
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x41;
        assert!(snap::decode(&bad).is_err(), "byte {at}");
    }
    assert!(check_member(&dir).is_sound());
    fs::write(wal_dir(&dir).join(&name), &whole[..100]).unwrap();
    let findings = check_member(&dir);
    assert!(!findings.is_sound(), "a log that is cut is a fault: {findings:#?}");
}

fn list(dir: &std::path::Path, suffix: &str) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(suffix));
    names.sort();
    names
}
