//! Seeds whose wraps are all gone: what they seal is given up and stored again, and backups go on.
//! A wrap that merely cannot be read now makes nobody give anything up.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod support;

use futures::TryStreamExt;
use holdfast_vault::chain::rules::ChainLimits;
use holdfast_vault::check::{CheckOptions, Level};
use holdfast_vault::format::SegmentSettings;
use holdfast_vault::init::VaultOptions;
use holdfast_vault::proto::{ObjectKind, Seed, SeedKind};
use holdfast_vault::snapshot::{Finding, Outcome, SnapshotOptions, Summary};
use holdfast_vault::store::faults::{Fault, Faulty};
use holdfast_vault::vault::Vault;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::BTreeSet;
use std::sync::Arc;
use support::{Etcd, options, over, read_inline};

type Inner = Arc<dyn ObjectStore>;

/// A ledger with every third commit.
fn often(seed: u64) -> VaultOptions {
    let limits = ChainLimits { kept_commits: 256, ledger_every: 3, page_entries: 1024 };
    VaultOptions { limits, ..options(seed) }
}

fn filled() -> Etcd {
    let mut etcd = Etcd::new();
    for i in 0..40 {
        etcd.put(&format!("k{i}"), 300);
    }
    etcd
}

async fn taken(vault: &mut Vault, etcd: &Etcd) -> Summary {
    let options = SnapshotOptions {
        segment: SegmentSettings { frame_bytes: 400, zstd_level: 1 },
        target_bytes: Some(2500),
        inline: true,
        ..SnapshotOptions::default()
    };
    match vault.snapshot(etcd.source(), &options).await.unwrap() {
        Outcome::Committed(done) => *done,
        other => panic!("{other:?}"),
    }
}

/// All copies of all wraps of a seed.
async fn copies(inner: &Inner, seed: &Seed) -> Vec<Path> {
    let hex: String = seed.seed_id.iter().map(|byte| format!("{byte:02x}")).collect();
    let all: Vec<_> = inner.list(None).try_collect().await.unwrap();
    let names = all.into_iter().map(|item| item.location);
    let found: Vec<Path> = names.filter(|name| name.as_ref().contains(&hex)).collect();
    assert!(found.len() >= 2, "{found:?}");
    found
}

async fn lose(inner: &Inner, seed: &Seed) {
    for name in copies(inner, seed).await {
        inner.delete(&name).await.unwrap();
    }
}

fn lost(summary: &Summary) -> BTreeSet<String> {
    let lost = summary.findings.iter().map(|finding| match finding {
        Finding::Lost(id) => id.to_string(),
        other => panic!("{other:?}"),
    });
    lost.collect()
}

/// Ids of live segments (or of the objects of another kind) that a seed seals.
fn under(vault: &Vault, seed: &Seed, kind: ObjectKind) -> BTreeSet<String> {
    let is = |object: &holdfast_vault::proto::ObjectRef| {
        object.kind() == kind
            && (object.data_seed_id == seed.seed_id || object.index_seed_id == seed.seed_id)
    };
    let live = vault.chain().state().live();
    live.filter(|(_, one)| is(&one.object)).map(|(id, _)| id.to_string()).collect()
}

fn oldest(vault: &Vault, kind: SeedKind) -> Seed {
    let seeds = vault.head().seeds.iter().filter(|seed| seed.kind() == kind);
    seeds.min_by_key(|seed| seed.created_ms).unwrap().clone()
}

async fn commits(vault: &mut Vault, snapshot: u64, count: usize) {
    for _ in 0..count {
        vault.pin(snapshot, "one more commit", 0).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_lost_data_seed_seals_is_stored_again() {
    let inner: Inner = Arc::new(InMemory::new());
    let mut vault = Vault::init(over(inner.clone()), often(1)).await.unwrap();
    let mut etcd = filled();
    let first = taken(&mut vault, &etcd).await;
    let seed = oldest(&vault, SeedKind::Data);
    etcd.put("of another process", 300);
    let mut other = Vault::open(over(inner.clone()), often(2)).await.unwrap();
    let second = taken(&mut other, &etcd).await;
    assert!(second.findings.is_empty());
    let expected = under(&other, &seed, ObjectKind::Segment);
    assert!(expected.len() > 2, "{expected:?}");
    lose(&inner, &seed).await;

    let mut fresh = Vault::open(over(inner.clone()), often(3)).await.unwrap();
    for level in [Level::L0, Level::L1, Level::L2] {
        let check = CheckOptions { level, snapshots: BTreeSet::new() };
        let report = fresh.check(&check).await.unwrap();
        let named = |id: &String| report.findings.iter().any(|one| one.object.ends_with(id));
        assert!(expected.iter().all(named), "{level:?}: {:?}", report.findings);
        assert!(report.sound.is_empty());
        let some = CheckOptions { level, snapshots: [second.number].into() };
        let report = fresh.check(&some).await.unwrap();
        assert_eq!(report.findings.is_empty(), level != Level::L2, "{:?}", report.findings);
    }
    etcd.put("later", 300);
    let third = taken(&mut fresh, &etcd).await;
    assert_eq!(lost(&third), expected);
    assert_eq!(read_inline(&mut fresh, third.number).await.unwrap().0, etcd.plain());
    let error = read_inline(&mut fresh, first.number).await.unwrap_err().to_string();
    assert!(error.contains("are gone from the store"), "{error}");
    // The chain goes on, ledgers included.
    commits(&mut fresh, third.number, 4).await;
    etcd.put("k4", 300);
    let fourth = taken(&mut fresh, &etcd).await;
    assert!(fourth.findings.is_empty() && fourth.counts.common > 40, "{fourth:?}");
    assert_eq!(fresh.rewrap().await.unwrap().rewrapped, 0);
}

#[tokio::test]
async fn what_a_lost_index_seed_seals_is_stored_again() {
    // Whether the newest body is sealed under the new seed.
    for later in [true, false] {
        let inner: Inner = Arc::new(InMemory::new());
        let mut vault = Vault::init(over(inner.clone()), often(1)).await.unwrap();
        let mut etcd = filled();
        let mut newest = taken(&mut vault, &etcd).await;
        let seed = oldest(&vault, SeedKind::Index);
        vault.rotate_index_seed().await.unwrap();
        if later {
            etcd.put("under the new seed", 300);
            newest = taken(&mut vault, &etcd).await;
        }
        // So many that the newest ledger, and what follows it, is sealed under the new seed.
        commits(&mut vault, newest.number, 6).await;
        let segments = under(&vault, &seed, ObjectKind::Segment);
        assert!(segments.len() > 2, "{segments:?}");
        lose(&inner, &seed).await;

        let mut fresh = Vault::open(over(inner.clone()), often(3)).await.unwrap();
        etcd.put("even later", 300);
        let third = taken(&mut fresh, &etcd).await;
        match later {
            true => assert_eq!(lost(&third), segments),
            // The body is lost, and with it what it says of segments.
            false => {
                let body = newest.entry.body_id.iter().map(|byte| format!("{byte:02x}"));
                assert_eq!(lost(&third), BTreeSet::from([body.collect::<String>()]));
            }
        }
        assert_eq!(read_inline(&mut fresh, third.number).await.unwrap().0, etcd.plain());
        commits(&mut fresh, third.number, 4).await;
        etcd.put("k4", 300);
        assert!(taken(&mut fresh, &etcd).await.findings.is_empty());
    }
}

/// Any error but "not found" may pass, and a wrap that is one of several is enough.
#[tokio::test]
async fn a_wrap_that_cannot_be_read_now_gives_nothing_up() {
    let inner: Inner = Arc::new(InMemory::new());
    let mut vault = Vault::init(over(inner.clone()), often(1)).await.unwrap();
    let mut etcd = filled();
    taken(&mut vault, &etcd).await;
    let seed = oldest(&vault, SeedKind::Data);
    let names = copies(&inner, &seed).await;
    inner.delete(&names[1]).await.unwrap();
    let faulty = Arc::new(Faulty::new(inner.clone()));
    faulty.on_name(names[0].as_ref(), Fault::FailBefore);
    let flaky: Inner = faulty;
    etcd.put("later", 300);
    let mut fresh = Vault::open(over(flaky.clone()), often(2)).await.unwrap();
    let second = taken(&mut fresh, &etcd).await;
    assert!(second.findings.is_empty(), "{:?}", second.findings);
    assert!(inner.head(&names[1]).await.is_err(), "nothing to put it from");
    // It passed: a prune puts the copy again.
    let mut again = Vault::open(over(inner.clone()), often(3)).await.unwrap();
    etcd.put("later still", 300);
    assert!(taken(&mut again, &etcd).await.findings.is_empty());
    assert!(inner.head(&names[1]).await.is_ok());
}
