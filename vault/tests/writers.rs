//! Two processes on one vault: what one of them commits while the other is at work, or has read the
//! chain long ago.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod support;

use holdfast_vault::chain::ChainError;
use holdfast_vault::format::SegmentSettings;
use holdfast_vault::proto::{Facts, SeedKind};
use holdfast_vault::snapshot::{
    Outcome, SnapshotOptions, Source, SourceBucket, SourceError, SourceRecord, Summary, WalkResult,
};
use holdfast_vault::vault::Vault;
use holdfast_vault::{Store, StoreOptions};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Arc;
use std::time::Duration;
use support::{Etcd, options, read_inline};

type Inner = Arc<dyn ObjectStore>;

fn small() -> SnapshotOptions {
    SnapshotOptions {
        segment: SegmentSettings { frame_bytes: 400, zstd_level: 1 },
        target_bytes: Some(2500),
        inline: true,
        ..SnapshotOptions::default()
    }
}

fn over(inner: &Inner) -> Store {
    let options = StoreOptions {
        attempts: 1,
        first_pause: Duration::from_millis(1),
        max_pause: Duration::from_millis(1),
        jitter_seed: Some(1),
        ..StoreOptions::default()
    };
    Store::over(inner.clone(), "memory", options)
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

/// A member that lags, and an agent that was overtaken by another: no new lineage.
#[tokio::test]
async fn what_another_committed_meanwhile_is_no_reason_for_a_new_lineage() {
    let inner: Inner = Arc::new(InMemory::new());
    let mut one = Vault::init(over(&inner), options(1)).await.unwrap();
    let mut two = Vault::open(over(&inner), options(2)).await.unwrap();
    let mut etcd = filled(10);
    taken(&mut one, &etcd).await;
    two.refresh().await.unwrap();
    // The second asks the cluster and streams; then the first streams and commits.
    let streamed = etcd.clone();
    (0..30).for_each(|_| etcd.put("k3", 300));
    taken(&mut one, &etcd).await;
    let vouched = SnapshotOptions { linearizable: true, ..small() };
    let outcome = two.snapshot(streamed.source(), &vouched).await.unwrap();
    assert!(matches!(outcome, Outcome::Covered { .. } | Outcome::Late { .. }), "{outcome:?}");
    // Asked once more, and the same is there: now it is another history.
    let outcome = two.snapshot(streamed.source(), &vouched).await.unwrap();
    assert!(matches!(outcome, Outcome::Diverged { .. }), "{outcome:?}");
    let long_ago = SnapshotOptions { known: Some(2), ..vouched };
    let outcome = two.snapshot(streamed.source(), &long_ago).await.unwrap();
    assert!(matches!(outcome, Outcome::Late { .. }), "{outcome:?}");
}

type Hook = Box<dyn FnOnce() + Send>;

/// Something happens when the walk is through.
struct Hooked(Box<dyn Source>, Option<Hook>);

impl Source for Hooked {
    fn rewind(&mut self) -> Result<(), SourceError> {
        self.0.rewind()
    }
    fn facts(&self) -> Facts {
        self.0.facts()
    }
    fn next_record(&mut self) -> Result<Option<SourceRecord<'_>>, SourceError> {
        self.0.next_record()
    }
    fn next_bucket(&mut self) -> Result<Option<SourceBucket>, SourceError> {
        self.0.next_bucket()
    }
    fn next_entry(&mut self) -> Result<Option<(&[u8], &[u8])>, SourceError> {
        self.0.next_entry()
    }
    fn finish(&mut self, walk: &WalkResult, facts: &mut Facts) -> Result<(), SourceError> {
        if let Some(hook) = self.1.take() {
            hook();
        }
        self.0.finish(walk, facts)
    }
}

/// While one walks, another begins a new lineage on the very same objects.
#[tokio::test]
async fn a_round_of_the_old_lineage_does_not_go_into_a_new_one() {
    let inner: Inner = Arc::new(InMemory::new());
    let mut vault = Vault::init(over(&inner), options(1)).await.unwrap();
    let etcd = filled(10);
    taken(&mut vault, &etcd).await;
    let idle = Etcd { raft_index: etcd.raft_index + 500, ..etcd.clone() };
    let restored = Etcd { raft_index: 4, raft_term: 1, ..etcd.clone() };
    let store = inner.clone();
    let begin = async move || {
        let mut other = Vault::open(over(&store), options(2)).await.unwrap();
        let reason = Some("restored".to_owned());
        let fork = SnapshotOptions { linearizable: true, new_lineage: reason, ..small() };
        let outcome = other.snapshot(restored.source(), &fork).await.unwrap();
        assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
    };
    let hook = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        std::thread::spawn(move || runtime.unwrap().block_on(begin())).join().unwrap();
    };
    let source = Box::new(Hooked(idle.source(), Some(Box::new(hook))));
    let outcome = vault.snapshot(source, &small()).await.unwrap();
    // In the history of the new lineage index and revision grow together; this one is judged by it.
    let snapshots = vault.snapshots();
    let (ours, theirs) = (&snapshots[0], snapshots.last().unwrap());
    assert_eq!(snapshots.len(), 2, "{outcome:?}");
    assert_ne!(ours.lineage_id, theirs.lineage_id);
    assert_eq!(theirs.raft_index, 4);
}

/// A commit was replaced by another of the same number: nothing is built on it.
#[tokio::test]
async fn a_head_that_was_replaced_is_noticed() {
    let inner: Inner = Arc::new(InMemory::new());
    let mut vault = Vault::init(over(&inner), options(1)).await.unwrap();
    let mut etcd = filled(5);
    let before = InMemory::new();
    for item in vault.store().list_all("", 1000).await.unwrap() {
        let path = Path::from(item.name);
        let bytes = inner.get(&path).await.unwrap().bytes().await.unwrap();
        before.put(&path, bytes.into()).await.unwrap();
    }
    let number = taken(&mut vault, &etcd).await.number;
    // A rolled-back copy, on which somebody else has gone on.
    let before: Inner = Arc::new(before);
    let mut other = Vault::open(over(&before), options(2)).await.unwrap();
    etcd.put("other", 100);
    assert_eq!(taken(&mut other, &etcd).await.number, number);
    let head = Path::from(vault.access().names().commit(0, number));
    let bytes = before.get(&head).await.unwrap().bytes().await.unwrap();
    inner.put(&head, bytes.into()).await.unwrap();
    let error = vault.refresh().await.unwrap_err();
    assert!(matches!(error, ChainError::Replaced { .. }), "{error}");
}

/// A new index seed seals what running agents write next, and what others write behind that.
#[tokio::test]
async fn a_rotation_of_the_index_seed_reaches_running_agents() {
    let inner: Inner = Arc::new(InMemory::new());
    let mut agent = Vault::init(over(&inner), options(1)).await.unwrap();
    let mut etcd = filled(10);
    taken(&mut agent, &etcd).await;
    let mut operator = Vault::open(over(&inner), options(2)).await.unwrap();
    for _ in 0..3 {
        operator.rotate_index_seed().await.unwrap();
        etcd.put("later", 100);
        let by_agent = taken(&mut agent, &etcd).await;
        etcd.put("later", 100);
        let mut late = Vault::open(over(&inner), options(etcd.raft_index)).await.unwrap();
        let behind = taken(&mut late, &etcd).await;
        operator.refresh().await.unwrap();
        let kind = i32::from(SeedKind::Index);
        let seeds = operator.head().seeds.iter().filter(|seed| seed.kind == kind);
        let newest = seeds.max_by_key(|seed| seed.created_ms).unwrap();
        for number in [by_agent.number, behind.number] {
            let objects = operator.chain().state().objects().values();
            let mut fresh = objects.filter(|extant| extant.added == number);
            assert!(fresh.all(|extant| extant.object.index_seed_id == newest.seed_id));
            read_inline(&mut agent, by_agent.number).await.unwrap();
        }
    }
}
