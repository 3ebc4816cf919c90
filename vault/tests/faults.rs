//! Every n-th call fails.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod support;

use holdfast_policies::prune::Grace;
use holdfast_policies::retention::RetentionPolicy;
use holdfast_vault::clock::Clock;
use holdfast_vault::format::SegmentSettings;
use holdfast_vault::init::VaultOptions;
use holdfast_vault::prune::PruneOptions;
use holdfast_vault::snapshot::SnapshotOptions;
use holdfast_vault::store::faults::{Clocked, Fault, Faulty};
use holdfast_vault::vault::Vault;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use support::{Etcd, Plain, options, options_with, over, providers, read_inline};

fn small() -> SnapshotOptions {
    SnapshotOptions {
        segment: SegmentSettings { frame_bytes: 400, zstd_level: 1 },
        target_bytes: Some(2500),
        inline: true,
        ..SnapshotOptions::default()
    }
}

fn pruning() -> PruneOptions {
    let policy = RetentionPolicy {
        last: 1,
        hourly: 0,
        daily: 0,
        weekly: 0,
        monthly: 0,
        ..RetentionPolicy::default()
    };
    let grace = Grace { configured: Duration::ZERO, longest_restore: None };
    PruneOptions { grace, ..PruneOptions::new(policy) }
}

/// A clock that goes on with every look, and a store that stamps by it.
#[derive(Default)]
struct Steps(AtomicI64);

impl Clock for Steps {
    fn now_ms(&self) -> i64 {
        1_750_000_000_000 + self.0.fetch_add(1000, Ordering::SeqCst)
    }
    fn boot_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

fn memory() -> (Arc<dyn ObjectStore>, Arc<Steps>) {
    let steps = Arc::new(Steps::default());
    (Arc::new(Clocked::new(Arc::new(InMemory::new()), steps.clone())), steps)
}

type Expected = BTreeMap<i64, Vec<Plain>>;

fn etcds() -> [Etcd; 2] {
    let mut first = Etcd::new();
    for i in 0..30 {
        first.put(&format!("k{}", i % 12), 60);
    }
    let mut second = first.clone();
    for i in 0..10 {
        second.put(&format!("k{i}"), 60);
    }
    second.compact(second.revision - 4);
    [first, second]
}

/// Init, two backups, two prunes; errors end it.
async fn life(inner: Arc<dyn ObjectStore>, steps: &Arc<Steps>) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut vault =
        Vault::init(over(inner), options_with(7, steps.clone())).await.map_err(|e| text(&e))?;
    for etcd in etcds() {
        vault.snapshot(etcd.source(), &small()).await.map_err(|e| text(&e))?;
    }
    vault.prune(&pruning()).await.map_err(|e| text(&e))?;
    vault.prune(&pruning()).await.map_err(|e| text(&e))?;
    Ok(())
}

fn expected() -> Expected {
    etcds().iter().map(|etcd| (etcd.revision, etcd.plain())).collect()
}

async fn everything_restores(inner: Arc<dyn ObjectStore>, what: &str) -> usize {
    let mut vault = match Vault::open(over(inner), options(8)).await {
        Ok(vault) => vault,
        Err(_) => return 0,
    };
    let expected = expected();
    for entry in vault.snapshots() {
        let read = read_inline(&mut vault, entry.number).await;
        let (records, _) = read.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(records, expected[&entry.revision], "{what}");
    }
    vault.snapshots().len()
}

#[tokio::test]
async fn whatever_call_fails_snapshots_restore() {
    let (inner, steps) = memory();
    let counting = Arc::new(Faulty::new(inner));
    life(counting.clone(), &steps).await.unwrap();
    let calls = counting.calls();
    assert!(calls > 50, "{calls}");
    let mut survived = 0;
    for fault in [Fault::FailBefore, Fault::FailAfter, Fault::Cut, Fault::ExistsForOwn] {
        for call in 1..=calls {
            let (inner, steps) = memory();
            let faulty = Arc::new(Faulty::new(inner.clone()));
            faulty.at_call(call, fault);
            let _ = life(faulty, &steps).await;
            survived += everything_restores(inner.clone(), &format!("{fault:?} at {call}")).await;
            // And the next process goes on from there.
            if let Ok(mut vault) = Vault::open(over(inner.clone()), options(9)).await {
                let [_, second] = etcds();
                vault.snapshot(second.source(), &small()).await.unwrap();
                assert!(everything_restores(inner, "after going on").await > 0);
            }
        }
    }
    assert!(survived > 100, "{survived}");
}

#[tokio::test]
async fn from_some_call_on_nothing_answers() {
    let (inner, steps) = memory();
    let counting = Arc::new(Faulty::new(inner));
    life(counting.clone(), &steps).await.unwrap();
    for call in 1..=counting.calls() {
        let (inner, steps) = memory();
        let faulty = Arc::new(Faulty::new(inner.clone()));
        for later in call..call + 400 {
            faulty.at_call(later, Fault::FailBefore);
        }
        let _ = life(faulty, &steps).await;
        everything_restores(inner, &format!("cut off at {call}")).await;
    }
}

#[tokio::test]
async fn a_store_that_ignores_put_if_absent_is_refused() {
    let faulty = Arc::new(Faulty::new(Arc::new(InMemory::new())));
    faulty.on_name("", Fault::IgnoreAbsent);
    let error = Vault::init(over(faulty), options(1)).await.unwrap_err().to_string();
    assert!(error.contains("put-if-absent"), "{error}");
}

/// A new key in front of the one that sealed.
const NEW: &str = "
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: ['*.*']
    providers:
      - secretbox: {keys: [{name: new, secret: QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=}]}
      - aesgcm: {keys: [{name: key1, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}
";

fn only_new() -> String {
    NEW.lines().filter(|line| !line.contains("aesgcm")).collect::<Vec<_>>().join("\n")
}

fn with(config: &str) -> VaultOptions {
    VaultOptions { providers: providers(config), ..options(11) }
}

#[tokio::test]
async fn a_rewrap_cut_off_anywhere_is_finished_by_the_next() {
    for call in 1.. {
        let (inner, steps) = memory();
        life(inner.clone(), &steps).await.unwrap();
        let faulty = Arc::new(Faulty::new(inner.clone()));
        let mut vault = Vault::open(over(faulty.clone()), with(NEW)).await.unwrap();
        let first = faulty.calls() + call;
        for later in first..first + 400 {
            faulty.at_call(later, Fault::FailBefore);
        }
        let cut = vault.rewrap().await;
        if faulty.calls() < first {
            assert!(call > 10 && cut.is_ok(), "{call} calls: {cut:?}");
            break;
        }
        let mut vault = Vault::open(over(inner.clone()), with(NEW)).await.unwrap();
        vault.rewrap().await.unwrap();
        let opened = Vault::open(over(inner), with(&only_new())).await;
        let mut vault = opened.unwrap_or_else(|error| panic!("cut off at {call}: {error}"));
        let number = vault.snapshots()[0].number;
        assert_eq!(read_inline(&mut vault, number).await.unwrap().0, etcds()[1].plain());
    }
}

#[tokio::test]
async fn keys_rotate_and_rewrap() {
    let (inner, steps) = memory();
    life(inner.clone(), &steps).await.unwrap();
    let only_new = only_new();
    let locked = Vault::open(over(inner.clone()), with(&only_new)).await.unwrap_err().to_string();
    assert!(locked.contains("key1"), "{locked}");
    let mut vault = Vault::open(over(inner.clone()), with(NEW)).await.unwrap();
    let report = vault.rewrap().await.unwrap();
    assert!(report.rewrapped >= 2 && report.number.is_some(), "{report:?}");
    assert_eq!(vault.rewrap().await.unwrap().rewrapped, 0);
    let uses = vault.key_uses().await.unwrap();
    let old = uses.iter().find(|line| line.provider_name == "key1").unwrap();
    assert_eq!((old.seeds, old.current), (0, false));
    assert!(old.condemned_wraps >= 2);
    vault.rotate_index_seed().await.unwrap();
    let mut vault = Vault::open(over(inner.clone()), with(&only_new)).await.unwrap();
    let number = vault.snapshots()[0].number;
    assert_eq!(read_inline(&mut vault, number).await.unwrap().0, etcds()[1].plain());
    let [_, second] = etcds();
    vault.snapshot(second.source(), &small()).await.unwrap();
    everything_restores(inner, "after rotation").await;
}
