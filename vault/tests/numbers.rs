//! A number is never used twice: a writer stops before its put, hundreds of commits and a prune
//! pass, and it goes on.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod support;

use bytes::Bytes;
use holdfast_policies::retention::RetentionPolicy;
use holdfast_vault::clock::Clock;
use holdfast_vault::format::SegmentSettings;
use holdfast_vault::prune::PruneOptions;
use holdfast_vault::snapshot::{Outcome, SnapshotOptions};
use holdfast_vault::store::faults::Clocked;
use holdfast_vault::vault::Vault;
use holdfast_vault::{Store, StoreOptions};
use object_store::memory::InMemory;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use support::{Etcd, options_with, read_inline};

#[derive(Default)]
struct Hands(AtomicI64);

impl Clock for Hands {
    fn now_ms(&self) -> i64 {
        1_750_000_000_000 + self.0.load(Ordering::SeqCst)
    }
    fn boot_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Hands {
    fn forward(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

const DAY: i64 = 86_400_000;

fn small() -> SnapshotOptions {
    SnapshotOptions {
        segment: SegmentSettings { frame_bytes: 300, zstd_level: 1 },
        inline: true,
        ..SnapshotOptions::default()
    }
}

#[tokio::test]
async fn a_writer_that_slept_through_a_prune_finds_the_head_again() {
    let clock = Arc::new(Hands::default());
    let inner = Arc::new(Clocked::new(Arc::new(InMemory::new()), clock.clone()));
    let store = || Store::over(inner.clone(), "memory", StoreOptions::default());
    let mut vault = Vault::init(store(), options_with(1, clock.clone())).await.unwrap();
    let mut etcd = Etcd::new();
    etcd.put("a", 50);
    vault.snapshot(etcd.source(), &small()).await.unwrap();
    let mut sleeper = Vault::open(store(), options_with(2, clock.clone())).await.unwrap();
    let asleep_at = sleeper.head().number;
    // What the sleeper was about to put: it lands long after its number was deleted.
    let zombie_name = format!("c/{}/commit/0/{:020}", sleeper.access().cluster(), asleep_at + 1);

    for _ in 0..600 {
        clock.forward(60_000);
        vault.pin(2, "again", 0).await.unwrap();
    }
    let zombie = store().get(&zombie_name, 1 << 20).await.unwrap();
    clock.forward(8 * DAY);
    let pruning = PruneOptions::new(RetentionPolicy::default());
    vault.prune(&pruning).await.unwrap();
    clock.forward(60_000);
    let report = vault.prune(&pruning).await.unwrap();
    assert!(report.swept > 200, "{report:?}");
    let floor = vault.head().floor;
    assert!(floor > 300 && floor + 255 <= vault.head().number, "floor {floor}");
    let kept = store().list_all("c", 10_000).await.unwrap();
    assert!(!kept.iter().any(|item| item.name == zombie_name));
    store().put(&zombie_name, zombie).await.unwrap();
    let nonsense = format!("c/{}/commit/0/{:020}", sleeper.access().cluster(), asleep_at + 3);
    store().put(&nonsense, Bytes::from_static(b"nonsense")).await.unwrap();

    // The zombie is below the floor: whoever wakes beside it or starts anew finds the real head.
    sleeper.refresh().await.unwrap();
    assert_eq!(sleeper.head().number, vault.head().number);
    etcd.put("b", 50);
    let outcome = sleeper.snapshot(etcd.source(), &small()).await.unwrap();
    let Outcome::Committed(summary) = outcome else { panic!("{outcome:?}") };
    let mut fresh = Vault::open(store(), options_with(3, clock.clone())).await.unwrap();
    assert_eq!(fresh.head().number, summary.number);
    assert_eq!(read_inline(&mut fresh, summary.number).await.unwrap().0, etcd.plain());
    assert!(fresh.head().ledger.is_some());
    assert_eq!(fresh.chain().state().objects(), sleeper.chain().state().objects());
}

#[tokio::test]
async fn a_rolled_back_store_is_noticed_by_the_witness() {
    let clock = Arc::new(Hands::default());
    let inner = Arc::new(InMemory::new());
    let store = || Store::over(inner.clone(), "memory", StoreOptions::default());
    let mut vault = Vault::init(store(), options_with(1, clock.clone())).await.unwrap();
    let mut etcd = Etcd::new();
    etcd.put("a", 50);
    vault.snapshot(etcd.source(), &small()).await.unwrap();
    let witness = vault.witness();
    let mut remembering = options_with(2, clock.clone());
    remembering.witness = Some(witness.clone());
    Vault::open(store(), remembering).await.unwrap();
    store().delete(&vault.access().names().commit(0, 2)).await.unwrap();
    let mut remembering = options_with(3, clock.clone());
    remembering.witness = Some(witness);
    let error = Vault::open(store(), remembering).await.unwrap_err().to_string();
    assert!(error.contains("rolled back"), "{error}");
    // And the process that had seen it does not go on either.
    let error = vault.refresh().await.unwrap_err().to_string();
    assert!(error.contains("rolled back"), "{error}");
}
