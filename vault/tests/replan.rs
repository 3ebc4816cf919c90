//! A read that outlives its snapshot: forgotten, copied forward and swept in the middle, with the
//! grace elapsed.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod support;

use holdfast_policies::retention::RetentionPolicy;
use holdfast_vault::clock::Clock;
use holdfast_vault::format::SegmentSettings;
use holdfast_vault::prune::PruneOptions;
use holdfast_vault::snapshot::{ReadOptions, SnapshotError, SnapshotOptions, VerifiedSnapshot};
use holdfast_vault::store::faults::Clocked;
use holdfast_vault::vault::Vault;
use holdfast_vault::{Store, StoreOptions};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use support::{Etcd, Plain, options_with, plain};

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

/// A vault with one snapshot, number 2, of many small segments.
struct Scene {
    inner: Arc<dyn ObjectStore>,
    clock: Arc<Hands>,
    etcd: Etcd,
}

fn small(target_bytes: Option<u64>) -> SnapshotOptions {
    let segment = SegmentSettings { frame_bytes: 300, zstd_level: 1 };
    SnapshotOptions { segment, target_bytes, ..SnapshotOptions::default() }
}

impl Scene {
    async fn new() -> Scene {
        let clock = Arc::new(Hands::default());
        let inner: Arc<dyn ObjectStore> =
            Arc::new(Clocked::new(Arc::new(InMemory::new()), clock.clone()));
        let mut etcd = Etcd::new();
        for i in 0..60 {
            etcd.put(&format!("/registry/secrets/k{i:02}"), 100);
        }
        let scene = Scene { inner, clock, etcd };
        let with = options_with(1, scene.clock.clone());
        let mut vault = Vault::init(scene.store(), with).await.unwrap();
        vault.snapshot(scene.etcd.source(), &small(Some(600))).await.unwrap();
        scene
    }

    fn store(&self) -> Store {
        let options = StoreOptions { jitter_seed: Some(1), ..StoreOptions::default() };
        Store::over(self.inner.clone(), "memory", options)
    }

    async fn open(&self, seed: u64) -> Vault {
        Vault::open(self.store(), options_with(seed, self.clock.clone())).await.unwrap()
    }

    /// Snapshot 3 copies all small segments into one; 2 is forgotten, and swept after the grace.
    async fn outlive(&self, change: impl FnOnce(&mut Etcd)) {
        let mut vault = self.open(2).await;
        let mut etcd = self.etcd.clone();
        change(&mut etcd);
        vault.snapshot(etcd.source(), &small(None)).await.unwrap();
        self.clock.0.fetch_add(60_000, Ordering::SeqCst);
        let policy = RetentionPolicy { last: 1, hourly: 0, daily: 0, ..RetentionPolicy::default() };
        let pruning = PruneOptions::new(RetentionPolicy { weekly: 0, monthly: 0, ..policy });
        assert_eq!(vault.prune(&pruning).await.unwrap().forgotten, [2]);
        self.clock.0.fetch_add(73 * 3_600_000, Ordering::SeqCst);
        let report = vault.prune(&pruning).await.unwrap();
        assert!(report.swept > 5, "{report:?}");
    }

    /// Reads snapshot 2; after 12 records `meanwhile` happens.
    async fn read(
        self: &Arc<Scene>,
        meanwhile: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(Vec<Plain>, VerifiedSnapshot), SnapshotError> {
        let mut vault = self.open(3).await;
        let reader = vault.reader(2).await?;
        let runtime = tokio::runtime::Handle::current();
        let read = move || {
            let (mut records, mut meanwhile) = (Vec::new(), Some(meanwhile));
            let options = ReadOptions { threads: 1, window_bytes: 1, ..ReadOptions::default() };
            let mut stream = reader.records(options);
            while let Some(record) = stream.next()? {
                records.push(plain(&record));
                if let Some(meanwhile) = meanwhile.take_if(|_| records.len() == 12) {
                    runtime.block_on(meanwhile);
                }
            }
            Ok((records, stream.finish()?))
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }
}

#[tokio::test]
async fn a_read_goes_on_with_what_was_copied_forward() {
    let scene = Arc::new(Scene::new().await);
    let outliving = scene.clone();
    let meanwhile = async move {
        outliving.outlive(|etcd| (0..5).for_each(|i| etcd.put(&format!("new{i}"), 100))).await;
    };
    let (records, verified) = scene.read(meanwhile).await.unwrap();
    assert_eq!(records, scene.etcd.plain());
    let revisions: BTreeSet<(i64, i64)> = records.iter().map(|record| record.rev).collect();
    assert_eq!(revisions.len(), records.len(), "nothing is given twice");
    assert!(verified.digest_compared);
}

#[tokio::test]
async fn a_read_says_so_when_later_snapshots_hold_less() {
    let scene = Arc::new(Scene::new().await);
    let outliving = scene.clone();
    let meanwhile = async move {
        outliving
            .outlive(|etcd| {
                etcd.put("/registry/secrets/k50", 100);
                etcd.compact(etcd.revision);
            })
            .await;
    };
    let error = scene.read(meanwhile).await.unwrap_err();
    assert!(matches!(error, SnapshotError::Contradiction { number: 2, .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("forgotten while it was read") && said.contains("snapshot 3"), "{said}");
}

#[tokio::test]
async fn an_object_that_is_lost_ends_a_read_after_three_plans() {
    let scene = Arc::new(Scene::new().await);
    let losing = scene.clone();
    let meanwhile = async move {
        let listed = losing.store().list_all("c", 1000).await.unwrap();
        for item in listed.iter().filter(|item| item.name.contains("/seg/")) {
            losing.store().delete(&item.name).await.unwrap();
        }
    };
    let error = scene.read(meanwhile).await.unwrap_err();
    assert!(matches!(error, SnapshotError::WentAway { number: 2, plans: 3, .. }), "{error:?}");
    assert!(error.to_string().contains("vault check"), "{error}");
}

#[tokio::test]
async fn one_task_plans_again_too() {
    let scene = Arc::new(Scene::new().await);
    let mut vault = scene.open(3).await;
    let reader = vault.reader(2).await.unwrap();
    scene.outlive(|etcd| etcd.put("new", 100)).await;
    let mut records = Vec::new();
    let each = |record: &holdfast_vault::format::Record<'_>| {
        records.push(plain(record));
        Ok::<(), SnapshotError>(())
    };
    reader.for_each(each).await.unwrap();
    assert_eq!(records, scene.etcd.plain());
}
