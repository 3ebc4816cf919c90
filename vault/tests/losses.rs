//! What was stored is lost or rots: the root, segments, indexes, bodies. Backups go on.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod support;

use futures::TryStreamExt;
use holdfast_vault::check::{CheckFinding, CheckOptions, Level};
use holdfast_vault::format::{ROOT_NAME, SegmentSettings};
use holdfast_vault::init::VaultError;
use holdfast_vault::snapshot::{Finding, Outcome, SnapshotOptions, Summary};
use holdfast_vault::store::faults::{Fault, Faulty};
use holdfast_vault::vault::Vault;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Arc;
use support::{Etcd, options, over, read_inline};

type Inner = Arc<dyn ObjectStore>;

fn small() -> SnapshotOptions {
    SnapshotOptions {
        segment: SegmentSettings { frame_bytes: 400, zstd_level: 1 },
        target_bytes: Some(2500),
        inline: true,
        ..SnapshotOptions::default()
    }
}

fn filled(count: usize) -> Etcd {
    let mut etcd = Etcd::new();
    for i in 0..count {
        etcd.put(&format!("k{i}"), 300);
    }
    etcd
}

async fn taken(vault: &mut Vault, etcd: &Etcd) -> Summary {
    match vault.snapshot(etcd.source(), &small()).await.unwrap() {
        Outcome::Committed(done) => *done,
        other => panic!("{other:?}"),
    }
}

async fn bytes(inner: &Inner, name: &str) -> bytes::Bytes {
    inner.get(&Path::from(name)).await.unwrap().bytes().await.unwrap()
}

#[tokio::test]
async fn a_lost_root_is_written_again_and_never_replaced_by_another() {
    let inner: Inner = Arc::new(InMemory::new());
    let mut vault = Vault::init(over(inner.clone()), options(1)).await.unwrap();
    let number = taken(&mut vault, &filled(10)).await.number;
    let root = Path::from(ROOT_NAME);
    let old = bytes(&inner, ROOT_NAME).await;
    let error = Vault::rebuild_root(over(inner.clone()), options(2)).await.unwrap_err();
    assert!(matches!(error, VaultError::RootThere { .. }), "{error}");
    inner.delete(&root).await.unwrap();

    for error in [
        Vault::open(over(inner.clone()), options(3)).await.unwrap_err(),
        Vault::init(over(inner.clone()), options(4)).await.unwrap_err(),
    ] {
        assert!(matches!(error, VaultError::RootMissing { .. }), "{error}");
        assert!(error.to_string().contains("--rebuild-root"), "{error}");
    }
    assert!(inner.head(&root).await.is_err(), "nothing was written");

    let rebuilt = Vault::rebuild_root(over(inner.clone()), options(5)).await.unwrap();
    assert_eq!(rebuilt.fingerprint(), vault.fingerprint());
    assert_eq!(bytes(&inner, ROOT_NAME).await, old);
    // One that rotted is written over.
    let mut rotten = old.to_vec();
    rotten[20] ^= 1;
    inner.put(&root, rotten.into()).await.unwrap();
    assert!(Vault::init(over(inner.clone()), options(6)).await.is_err());
    Vault::rebuild_root(over(inner.clone()), options(7)).await.unwrap();
    let mut again = Vault::open(over(inner.clone()), options(8)).await.unwrap();
    read_inline(&mut again, number).await.unwrap();
}

/// A store that is empty, and one whose vault has no cluster yet, are made as ever.
#[tokio::test]
async fn a_vault_that_was_begun_is_taken_up_again() {
    let inner: Inner = Arc::new(InMemory::new());
    let error = Vault::rebuild_root(over(inner.clone()), options(1)).await.unwrap_err();
    assert!(matches!(error, VaultError::Cluster { .. }), "{error}");
    let begun = Vault::init(over(inner.clone()), options(2)).await.unwrap();
    let all: Vec<_> = inner.list(Some(&Path::from("c"))).try_collect().await.unwrap();
    for item in all {
        inner.delete(&item.location).await.unwrap();
    }
    let vault = Vault::init(over(inner.clone()), options(3)).await.unwrap();
    assert_eq!(vault.fingerprint(), begun.fingerprint());
}

/// The names of all objects of a kind.
async fn named(inner: &Inner, kind: &str) -> Vec<Path> {
    let all: Vec<_> = inner.list(None).try_collect().await.unwrap();
    let names = all.into_iter().map(|item| item.location);
    names.filter(|name| name.as_ref().contains(kind)).collect()
}

fn lost(summary: &Summary) -> Vec<String> {
    let lost = summary.findings.iter().map(|finding| match finding {
        Finding::Lost(id) => id.to_string(),
        other => panic!("{other:?}"),
    });
    lost.collect()
}

#[derive(Debug, Clone, Copy)]
enum Damage {
    Missing,
    Cut,
    /// A byte of the last kilobyte: there the sealed index is.
    Flipped,
}

async fn hurt(inner: &Inner, name: &Path, damage: Damage) {
    let mut old = bytes(inner, name.as_ref()).await.to_vec();
    match damage {
        Damage::Missing => return inner.delete(name).await.unwrap(),
        Damage::Cut => old.truncate(200),
        Damage::Flipped => {
            let at = old.len() - 80;
            old[at] ^= 1;
        }
    }
    inner.put(name, old.into()).await.unwrap();
}

#[tokio::test]
async fn a_lost_segment_does_not_end_backups() {
    for damage in [Damage::Missing, Damage::Cut, Damage::Flipped] {
        for all in [false, true] {
            let inner: Inner = Arc::new(InMemory::new());
            let mut vault = Vault::init(over(inner.clone()), options(1)).await.unwrap();
            let mut etcd = filled(40);
            let first = taken(&mut vault, &etcd).await;
            let segments = named(&inner, "/seg/").await;
            let hit = if all { &segments[..] } else { &segments[1..2] };
            for name in hit {
                hurt(&inner, name, damage).await;
            }
            etcd.put("later", 300);
            etcd.put("k3", 300);
            let mut fresh = Vault::open(over(inner.clone()), options(3)).await.unwrap();
            let second = taken(&mut fresh, &etcd).await;
            let mut expected: Vec<_> =
                hit.iter().map(|name| name.filename().unwrap().to_owned()).collect();
            let mut found = lost(&second);
            expected.sort();
            found.sort();
            assert_eq!(found, expected, "{damage:?}");
            let (records, verified) = read_inline(&mut fresh, second.number).await.unwrap();
            assert_eq!(records, etcd.plain());
            assert!(verified.digest_compared);
            assert!(read_inline(&mut fresh, first.number).await.is_err());
            // From here on all is as ever.
            etcd.put("k4", 300);
            let third = taken(&mut fresh, &etcd).await;
            assert!(third.findings.is_empty() && third.counts.common > 40, "{third:?}");
            assert_eq!(read_inline(&mut fresh, third.number).await.unwrap().0, etcd.plain());
        }
    }
}

/// As from a disk that gives EIO: the object is there, and cannot be read.
#[tokio::test]
async fn a_bad_sector_does_not_end_backups_nor_a_check() {
    for kind in ["/seg/", "/body/"] {
        let inner: Inner = Arc::new(InMemory::new());
        let mut vault = Vault::init(over(inner.clone()), options(1)).await.unwrap();
        let mut etcd = filled(40);
        taken(&mut vault, &etcd).await;
        let bad = named(&inner, kind).await[0].to_string();
        let faulty = Arc::new(Faulty::new(inner.clone()));
        faulty.on_name(&bad, Fault::BadSector);
        let faulty: Inner = faulty;
        let mut vault = Vault::open(over(faulty.clone()), options(2)).await.unwrap();
        let all = CheckOptions { level: Level::L2, snapshots: Default::default() };
        let report = vault.check(&all).await.unwrap();
        let about: Vec<_> = report.findings.iter().map(|one| one.object.as_str()).collect();
        assert_eq!(about, [&bad], "{:?}", report.findings);
        etcd.put("later", 300);
        let second = taken(&mut vault, &etcd).await;
        assert_eq!(lost(&second), [bad.rsplit('/').next().unwrap()]);
        assert_eq!(read_inline(&mut vault, second.number).await.unwrap().0, etcd.plain());
    }
}

#[tokio::test]
async fn a_lost_body_does_not_end_backups() {
    for damage in [Damage::Missing, Damage::Cut, Damage::Flipped] {
        let inner: Inner = Arc::new(InMemory::new());
        let mut vault = Vault::init(over(inner.clone()), options(1)).await.unwrap();
        let mut etcd = filled(40);
        let first = taken(&mut vault, &etcd).await;
        etcd.put("k1", 300);
        let second = taken(&mut vault, &etcd).await;
        let body = holdfast_vault::format::ObjectId::from_bytes(&second.entry.body_id).unwrap();
        let bodies = named(&inner, "/body/").await;
        let newest = bodies.iter().find(|name| name.as_ref().ends_with(&body.to_string()));
        hurt(&inner, newest.unwrap(), damage).await;
        let late = etcd.clone();
        etcd.put("later", 300);
        let mut fresh = Vault::open(over(inner.clone()), options(3)).await.unwrap();
        let third = taken(&mut fresh, &etcd).await;
        assert_eq!(lost(&third), [body.to_string()], "{damage:?}");
        for (number, expected) in [(first.number, filled(40).plain()), (third.number, etcd.plain())]
        {
            assert_eq!(read_inline(&mut fresh, number).await.unwrap().0, expected, "{damage:?}");
        }
        // What is late is still late.
        let outcome = fresh.snapshot(late.source(), &small()).await.unwrap();
        assert!(matches!(outcome, Outcome::Late { .. }), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_lost_bucket_is_stored_again() {
    let inner: Inner = Arc::new(InMemory::new());
    let mut vault = Vault::init(over(inner.clone()), options(1)).await.unwrap();
    let mut etcd = filled(3);
    let leases = etcd.buckets.get_mut(&b"lease"[..]).unwrap();
    for i in 0u64..3000 {
        leases.insert(i.to_be_bytes().to_vec(), vec![i.to_be_bytes()[7]; 1000]);
    }
    taken(&mut vault, &etcd).await;
    let spill = named(&inner, "/spill/").await.remove(0);
    hurt(&inner, &spill, Damage::Missing).await;
    etcd.put("later", 300);
    let second = taken(&mut vault, &etcd).await;
    assert_eq!(lost(&second), [spill.filename().unwrap()]);
    let reader = vault.reader(second.number).await.unwrap();
    let lease = reader.buckets().iter().find(|bucket| bucket.name == b"lease"[..]).unwrap();
    assert_eq!(reader.bucket(lease).await.unwrap().len(), 3000);
}

/// What a check names as rotten is given up by the next round; until then it is carried along.
#[tokio::test]
async fn what_is_known_to_be_rotten_is_stored_again() {
    let inner: Inner = Arc::new(InMemory::new());
    let mut vault = Vault::init(over(inner.clone()), options(1)).await.unwrap();
    let mut etcd = filled(40);
    taken(&mut vault, &etcd).await;
    let name = named(&inner, "/seg/").await.remove(1);
    let mut rotten = bytes(&inner, name.as_ref()).await.to_vec();
    rotten[300] ^= 1;
    inner.put(&name, rotten.into()).await.unwrap();
    etcd.put("later", 300);
    let second = taken(&mut vault, &etcd).await;
    assert!(read_inline(&mut vault, second.number).await.is_err(), "nobody has looked yet");

    let snapshots = [second.number].into();
    let report = vault.check(&CheckOptions { level: Level::L1, snapshots }).await.unwrap();
    let named = |finding: &CheckFinding| vault.access().names().parse_object(&finding.object);
    let damaged = report.findings.iter().filter_map(named).map(|(_, id)| id).collect();
    etcd.put("again", 300);
    let options = SnapshotOptions { damaged, ..small() };
    let outcome = vault.snapshot(etcd.source(), &options).await.unwrap();
    let Outcome::Committed(third) = outcome else { panic!("{outcome:?}") };
    assert_eq!(lost(&third), [name.filename().unwrap()]);
    assert_eq!(read_inline(&mut vault, third.number).await.unwrap().0, etcd.plain());
    let fourth = taken(&mut vault, &etcd).await;
    assert!(fourth.findings.is_empty());
}
