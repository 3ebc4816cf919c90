//! The two copies of every wrap: each is lost or rots in turn, the vault opens and a check names
//! it; both, and the error says so; the next write puts it again; a rewrap and a sweep leave
//! neither.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod support;

use futures::TryStreamExt;
use holdfast_policies::prune::Grace;
use holdfast_policies::retention::RetentionPolicy;
use holdfast_vault::check::{CheckFinding, CheckOptions, Level};
use holdfast_vault::init::VaultOptions;
use holdfast_vault::proto::SeedKind;
use holdfast_vault::prune::PruneOptions;
use holdfast_vault::snapshot::{Outcome, SnapshotOptions};
use holdfast_vault::vault::Vault;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use support::{CONFIG, Etcd, options, over, providers, read_inline};

type Inner = Arc<dyn ObjectStore>;

fn filled() -> Etcd {
    let mut etcd = Etcd::new();
    for i in 0..20 {
        etcd.put(&format!("k{i}"), 30);
    }
    etcd
}

async fn taken(vault: &mut Vault, etcd: &Etcd) -> u64 {
    let options = SnapshotOptions { inline: true, ..SnapshotOptions::default() };
    match vault.snapshot(etcd.source(), &options).await.unwrap() {
        Outcome::Committed(done) => done.number,
        other => panic!("{other:?}"),
    }
}

/// A vault with one snapshot.
async fn with_one() -> (Inner, u64) {
    let inner: Inner = Arc::new(InMemory::new());
    let mut vault = Vault::init(over(inner.clone()), options(1)).await.unwrap();
    let number = taken(&mut vault, &filled()).await;
    (inner, number)
}

async fn opened(inner: &Inner, seed: u64) -> Vault {
    Vault::open(over(inner.clone()), options(seed)).await.unwrap()
}

/// Names below both folders of wraps.
async fn copies(inner: &Inner) -> [BTreeSet<String>; 2] {
    let all: Vec<_> = inner.list(None).try_collect().await.unwrap();
    ["/keys/", "/keys2/"].map(|folder| {
        let names = all.iter().map(|item| item.location.to_string());
        names.filter(|name| name.contains(folder)).collect()
    })
}

async fn bytes(inner: &Inner, name: &str) -> Vec<u8> {
    inner.get(&Path::from(name)).await.unwrap().bytes().await.unwrap().to_vec()
}

async fn put(inner: &Inner, name: &str, bytes: Vec<u8>) {
    inner.put(&Path::from(name), bytes.into()).await.unwrap();
}

async fn findings(vault: &mut Vault) -> Vec<CheckFinding> {
    let options = CheckOptions { level: Level::L0, snapshots: BTreeSet::new() };
    vault.check(&options).await.unwrap().findings
}

#[derive(Debug, Clone, Copy)]
enum Damage {
    Missing,
    Flipped,
    Huge,
    /// The bytes of another seed's wrap.
    Exchanged,
}

const DAMAGES: [Damage; 4] = [Damage::Missing, Damage::Flipped, Damage::Huge, Damage::Exchanged];

async fn hurt(inner: &Inner, name: &str, damage: Damage, other: &str) {
    let mut old = bytes(inner, name).await;
    match damage {
        Damage::Missing => return inner.delete(&Path::from(name)).await.unwrap(),
        Damage::Flipped => old[40] ^= 1,
        Damage::Huge => old.resize(2 << 20, 0),
        Damage::Exchanged => old = bytes(inner, other).await,
    }
    put(inner, name, old).await;
}

#[tokio::test]
async fn a_copy_that_is_lost_or_rots_is_named_and_put_again() {
    let (inner, number) = with_one().await;
    let both = copies(&inner).await;
    assert_eq!((both[0].len(), both[1].len()), (2, 2), "an index seed and a data seed");
    assert!(findings(&mut opened(&inner, 2).await).await.is_empty());
    let all: Vec<String> = both.iter().flatten().cloned().collect();
    for name in &all {
        let other = all.iter().find(|other| *other != name && !same_wrap(other, name)).unwrap();
        for damage in DAMAGES {
            let before = bytes(&inner, name).await;
            hurt(&inner, name, damage, other).await;
            let mut vault = opened(&inner, 3).await;
            let records = read_inline(&mut vault, number).await.unwrap().0;
            assert_eq!(records, filled().plain(), "{name} {damage:?}");
            let found = findings(&mut vault).await;
            assert_eq!(found.len(), 1, "{name} {damage:?}: {found:?}");
            assert_eq!(&found[0].object, name, "{damage:?}");
            assert!(found[0].snapshots.is_empty(), "the other copy opens it: {found:?}");
            assert!(found[0].detail.contains("is sound"), "{found:?}");
            vault.rewrap().await.unwrap();
            assert_eq!(bytes(&inner, name).await, before, "{damage:?}: put again");
            assert!(findings(&mut vault).await.is_empty());
        }
    }
}

fn same_wrap(one: &str, other: &str) -> bool {
    one.rsplit('/').next() == other.rsplit('/').next()
}

/// An agent that starts adds what is missing; so vaults of the first days get their copies.
#[tokio::test]
async fn the_first_snapshot_of_a_process_adds_missing_copies() {
    let (inner, _) = with_one().await;
    let before = copies(&inner).await;
    for name in &before[1] {
        inner.delete(&Path::from(name.as_str())).await.unwrap();
    }
    let mut etcd = filled();
    etcd.put("later", 30);
    let mut vault = opened(&inner, 4).await;
    assert_eq!(findings(&mut vault).await.len(), 2);
    taken(&mut vault, &etcd).await;
    let after = copies(&inner).await;
    assert!(after[1].is_superset(&before[1]), "{after:?}");
    assert_eq!(after[0].len(), after[1].len());
    assert!(findings(&mut vault).await.is_empty());
}

#[tokio::test]
async fn without_either_copy_the_vault_says_so() {
    let (inner, number) = with_one().await;
    let both = copies(&inner).await;
    let head = opened(&inner, 5).await.head().clone();
    let index = head.seeds.iter().find(|seed| seed.kind() == SeedKind::Index).unwrap();
    let index = index.seed_id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for name in both.iter().flatten() {
        let old = bytes(&inner, name).await;
        let twin = both.iter().flatten().find(|twin| *twin != name && same_wrap(twin, name));
        let twin = twin.unwrap();
        for damage in [Damage::Missing, Damage::Flipped] {
            hurt(&inner, name, damage, name).await;
            hurt(&inner, twin, damage, twin).await;
            match Vault::open(over(inner.clone()), options(6)).await {
                Err(error) => {
                    assert!(name.contains(&index), "{name}: {error}");
                    assert!(error.to_string().contains(&index), "{error}");
                }
                Ok(mut vault) => {
                    assert!(!name.contains(&index), "{name}");
                    let found = findings(&mut vault).await;
                    let named: BTreeSet<&str> =
                        found.iter().map(|one| one.object.as_str()).collect();
                    assert!(named.contains(name.as_str()) && named.contains(twin.as_str()));
                    assert!(found.iter().any(|one| one.snapshots == [number]), "{found:?}");
                    let error = read_inline(&mut vault, number).await.unwrap_err().to_string();
                    let seed = name.rsplit('/').nth(1).unwrap();
                    assert!(error.contains(seed), "{error}");
                }
            }
            put(&inner, name, old.clone()).await;
            put(&inner, twin, old.clone()).await;
        }
    }
}

fn sweeping() -> PruneOptions {
    let policy = RetentionPolicy { last: 1, ..RetentionPolicy::default() };
    let grace = Grace { configured: Duration::ZERO, longest_restore: None };
    PruneOptions { grace, ..PruneOptions::new(policy) }
}

/// Else the old key would go on opening what it should not.
#[tokio::test]
async fn a_rewrap_and_a_sweep_leave_neither_copy_of_the_old_wraps() {
    let (inner, number) = with_one().await;
    let old = copies(&inner).await;
    let keys = CONFIG.replace(
        "          keys:\n",
        "          keys:\n            - name: new\n              secret: \
         QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=\n",
    );
    let with = VaultOptions { providers: providers(&keys), ..options(7) };
    let mut vault = Vault::open(over(inner.clone()), with).await.unwrap();
    assert_eq!(vault.rewrap().await.unwrap().rewrapped, 2);
    let during = copies(&inner).await;
    assert!(during[0].is_superset(&old[0]) && during[1].is_superset(&old[1]));
    assert_eq!((during[0].len(), during[1].len()), (4, 4));
    // What was condemned a moment ago is due a moment later.
    let began = std::time::Instant::now();
    loop {
        vault.prune(&sweeping()).await.unwrap();
        let left = copies(&inner).await;
        if left[0].len() == 2 && left[1].len() == 2 {
            assert!(left[0].is_disjoint(&old[0]) && left[1].is_disjoint(&old[1]));
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{left:?}");
    }
    assert!(findings(&mut vault).await.is_empty());
    assert_eq!(read_inline(&mut vault, number).await.unwrap().0, filled().plain());
}
