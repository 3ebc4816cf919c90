//! The whole chain on a local directory: init, snapshots, reading back.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod support;

use holdfast_vault::format::SegmentSettings;
use holdfast_vault::snapshot::{Finding, Outcome, SnapshotOptions, Summary};
use holdfast_vault::vault::Vault;
use holdfast_vault::{Store, StoreOptions};
use support::{Etcd, options, read, read_inline};

fn small() -> SnapshotOptions {
    SnapshotOptions {
        segment: SegmentSettings { frame_bytes: 4096, zstd_level: 3 },
        target_bytes: Some(20_000),
        ..SnapshotOptions::default()
    }
}

fn store(dir: &tempfile::TempDir) -> Store {
    let options = StoreOptions { create: true, ..StoreOptions::default() };
    Store::open(&dir.path().display().to_string(), options).unwrap()
}

fn committed(outcome: Outcome) -> Summary {
    match outcome {
        Outcome::Committed(summary) => *summary,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_snapshots_read_back_equal() {
    let dir = tempfile::tempdir().unwrap();
    let mut vault = Vault::init(store(&dir), options(1)).await.unwrap();
    let mut etcd = Etcd::new();
    for i in 0..300 {
        etcd.put(&format!("/registry/pods/{}", i % 120), 400);
        etcd.put(&format!("/registry/secrets/{}", i % 7), 300);
    }
    let first = committed(vault.snapshot(etcd.source(), &small()).await.unwrap());
    assert_eq!(first.number, 2);
    assert!(first.segments > 3, "{first:?}");
    let before = etcd.plain();

    for i in 0..40 {
        etcd.put(&format!("/registry/pods/{i}"), 200);
    }
    etcd.delete("/registry/pods/3");
    etcd.compact(etcd.revision - 20);
    let second = committed(vault.snapshot(etcd.source(), &small()).await.unwrap());
    assert!(second.findings.is_empty(), "{:?}", second.findings);
    assert!(second.counts.common > 0);

    // Another process, with nothing but keys and the address.
    let mut other = Vault::open(store(&dir), options(2)).await.unwrap();
    assert_eq!(other.fingerprint(), vault.fingerprint());
    for (number, expected) in [(first.number, before), (second.number, etcd.plain())] {
        let (records, verified) = read(&mut other, number).await.unwrap();
        assert_eq!(records, expected);
        assert!(verified.digest_compared);
        assert_eq!(read_inline(&mut other, number).await.unwrap().0, expected);
    }
    let reader = other.reader(second.number).await.unwrap();
    let auth = reader.bucket(&reader.buckets()[0]).await.unwrap();
    assert_eq!((&auth[0].key[..], &auth[0].value[..]), (&b"authRevision"[..], &[1u8][..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_bucket_is_spilled_and_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut vault = Vault::init(store(&dir), options(1)).await.unwrap();
    let mut etcd = Etcd::new();
    etcd.put("a", 10);
    let leases = etcd.buckets.get_mut(&b"lease"[..]).unwrap();
    for i in 0u64..3000 {
        leases.insert(i.to_be_bytes().to_vec(), vec![i.to_be_bytes()[7]; 1000]);
    }
    let first = committed(vault.snapshot(etcd.source(), &small()).await.unwrap());
    etcd.put("b", 10);
    let second = committed(vault.snapshot(etcd.source(), &small()).await.unwrap());
    assert!(second.uploaded_bytes < 100_000 && first.uploaded_bytes > 5_000, "{second:?}");
    let reader = vault.reader(second.number).await.unwrap();
    let lease = reader.buckets().iter().find(|bucket| &bucket.name[..] == b"lease").unwrap();
    assert!(lease.spill.is_some());
    assert_eq!(reader.bucket(lease).await.unwrap().len(), 3000);
    let spills = vault.store().list_all("c", 1000).await.unwrap();
    assert_eq!(spills.iter().filter(|item| item.name.contains("/spill/")).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_record_is_contested_and_the_old_one_restored() {
    let dir = tempfile::tempdir().unwrap();
    let mut vault = Vault::init(store(&dir), options(1)).await.unwrap();
    let mut etcd = Etcd::new();
    for i in 0..50 {
        etcd.put(&format!("k{i}"), 100);
    }
    vault.snapshot(etcd.source(), &small()).await.unwrap();
    let expected = etcd.plain();
    etcd.records[7].1.value[0] ^= 1;
    etcd.raft_index += 1;
    let second = committed(vault.snapshot(etcd.source(), &small()).await.unwrap());
    assert_eq!(second.findings, [Finding::Changed((8, 0))]);
    assert!(second.entry.contested);
    let (records, verified) = read(&mut vault, second.number).await.unwrap();
    assert_eq!(records, expected);
    assert!(!verified.digest_compared);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_members_strangers_and_new_lineages() {
    let dir = tempfile::tempdir().unwrap();
    let mut vault = Vault::init(store(&dir), options(1)).await.unwrap();
    let mut etcd = Etcd::new();
    for i in 0..50 {
        etcd.put(&format!("k{i}"), 100);
    }
    let late = etcd.clone();
    for i in 0..50 {
        etcd.put(&format!("k{i}"), 100);
    }
    vault.snapshot(etcd.source(), &small()).await.unwrap();
    let outcome = vault.snapshot(late.source(), &small()).await.unwrap();
    assert!(matches!(outcome, Outcome::Late { .. }), "{outcome:?}");

    let mut stranger = Etcd::new();
    stranger.noise = 99;
    for i in 0..200 {
        stranger.put(&format!("other{i}"), 120);
    }
    let outcome = vault.snapshot(stranger.source(), &small()).await.unwrap();
    assert!(matches!(outcome, Outcome::Unrelated { .. }), "{outcome:?}");

    // A restore elsewhere from an older backup, with a bump of revisions and raft begun anew.
    let mut restored = late.clone();
    restored.raft_index = 3;
    restored.revision = 1_000_000;
    restored.compacted = 999_999;
    let outcome = vault.snapshot(restored.source(), &small()).await.unwrap();
    assert!(matches!(outcome, Outcome::Diverged { .. }), "{outcome:?}");
    let options = SnapshotOptions { new_lineage: Some("restored elsewhere".into()), ..small() };
    let summary = committed(vault.snapshot(restored.source(), &options).await.unwrap());
    assert_eq!(vault.head().lineage.as_ref().unwrap().since_number, summary.number);
    assert_eq!(read(&mut vault, summary.number).await.unwrap().0, restored.plain());
}

/// A cluster that nobody compacts: superseded records stay alive, and their segments join as others
/// do.
#[tokio::test(flavor = "multi_thread")]
async fn without_compactions_segments_do_not_pile_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut vault = Vault::init(store(&dir), options(1)).await.unwrap();
    let mut etcd = Etcd::new();
    let mut most = 0;
    for round in 0..40 {
        for i in 0..6 {
            etcd.put(&format!("/registry/leases/{}", i % 3), 200 + round);
        }
        let summary = committed(vault.snapshot(etcd.source(), &small()).await.unwrap());
        most = most.max(summary.segments);
    }
    assert!(most < 40, "{most} segments after 40 rounds");
    let newest = vault.snapshots().last().unwrap().number;
    assert_eq!(read(&mut vault, newest).await.unwrap().0, etcd.plain());
}

/// Its compaction lies above everything that the vault holds, so no record can be compared.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_with_a_high_compaction_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut vault = Vault::init(store(&dir), options(1)).await.unwrap();
    let mut etcd = Etcd::new();
    (0..40).for_each(|i| etcd.put(&format!("k{i}"), 200));
    vault.snapshot(etcd.source(), &small()).await.unwrap();
    let mut stranger = Etcd::new();
    (stranger.revision, stranger.raft_index) = (5000, 9000);
    (0..30).for_each(|i| stranger.put(&format!("stranger{i}"), 200));
    stranger.compact(5010);
    let vouched = SnapshotOptions { linearizable: true, ..small() };
    let outcome = vault.snapshot(stranger.source(), &vouched).await.unwrap();
    assert!(matches!(outcome, Outcome::Unrelated { .. }), "{outcome:?}");
    // Our own cluster, all of whose keys were written anew.
    (0..40).for_each(|i| etcd.put(&format!("k{i}"), 200));
    etcd.compact(etcd.revision);
    let summary = committed(vault.snapshot(etcd.source(), &vouched).await.unwrap());
    assert_eq!(read(&mut vault, summary.number).await.unwrap().0, etcd.plain());
}

/// Old members drop the tombstone at the compaction revision, new ones keep it.
#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_at_the_compaction_is_no_finding() {
    let dir = tempfile::tempdir().unwrap();
    let mut vault = Vault::init(store(&dir), options(1)).await.unwrap();
    let mut etcd = Etcd::new();
    (0..20).for_each(|i| etcd.put(&format!("k{i}"), 200));
    etcd.delete("k3");
    etcd.compact(etcd.revision);
    let mut old = etcd.clone();
    old.records.retain(|(key, _)| key != b"k3");
    for (round, mut member) in (1..).zip([old.clone(), etcd.clone(), old]) {
        member.raft_index += round;
        let summary = committed(vault.snapshot(member.source(), &small()).await.unwrap());
        assert!(summary.findings.is_empty(), "{:?}", summary.findings);
        assert_eq!(read(&mut vault, summary.number).await.unwrap().0, member.plain());
    }
}
