//! How the golden vaults were made: each scene shows one thing that a reader must know.

use crate::support::{CONFIG, Etcd, options_with, providers};
use futures::future::LocalBoxFuture;
use holdfast_policies::prune::Grace;
use holdfast_policies::retention::RetentionPolicy;
use holdfast_vault::chain::rules::ChainLimits;
use holdfast_vault::clock::Clock;
use holdfast_vault::format::{SeededEntropy, SegmentSettings};
use holdfast_vault::init::VaultOptions;
use holdfast_vault::keys::{Providers, RecoveryKey, Sealing, parse_encryption_config};
use holdfast_vault::proto::Report;
use holdfast_vault::prune::PruneOptions;
use holdfast_vault::snapshot::{Outcome, SnapshotOptions, Summary};
use holdfast_vault::store::faults::Clocked;
use holdfast_vault::vault::Vault;
use holdfast_vault::{Store, StoreOptions};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A golden vault.
pub struct Scene {
    pub name: &'static str,
    /// Opens it; the argument seeds chance.
    pub options: fn(u64) -> VaultOptions,
    pub play: fn(Stage) -> LocalBoxFuture<'static, Vault>,
    /// Whether the description shows what the scene is there for.
    pub shows: fn(&str) -> bool,
}

pub const SCENES: &[Scene] = &[
    Scene {
        name: "plain",
        options: sealed,
        play: |stage| Box::pin(plain(stage)),
        shows: |text| text.contains("classes {1, 2}") && text.lines().count() == 3,
    },
    Scene {
        name: "pruned",
        options: sealed,
        play: |stage| Box::pin(pruned(stage)),
        // Class 3 are segments that were copied forward.
        shows: |text| text.contains(", 3}") && text.contains("pins 1 holds 1"),
    },
    Scene {
        name: "fork",
        options: sealed,
        play: |stage| Box::pin(fork(stage)),
        shows: |text| text.contains("lineage since 3"),
    },
    Scene {
        name: "contested",
        options: sealed,
        play: |stage| Box::pin(contested(stage)),
        shows: |text| text.contains("contested true") && text.contains(", 4}"),
    },
    Scene {
        name: "spilled",
        options: sealed,
        play: |stage| Box::pin(spilled(stage)),
        shows: |text| text.contains("spilled 1"),
    },
    Scene {
        name: "writers",
        options: sealed,
        play: |stage| Box::pin(writers(stage)),
        shows: |text| text.lines().count() == 3,
    },
    Scene {
        name: "pages",
        options: sealed,
        play: |stage| Box::pin(pages(stage)),
        shows: |text| text.lines().count() == 9,
    },
    Scene {
        name: "recovery",
        // By the paper alone.
        options: |seed| VaultOptions { providers: Providers::from_paper(paper()), ..sealed(seed) },
        play: |stage| Box::pin(simple(stage, recoverable)),
        shows: |text| text.lines().count() == 2,
    },
    Scene {
        name: "aescbc",
        options: |seed| keyed(AESCBC, seed),
        play: |stage| Box::pin(simple(stage, |seed| keyed(AESCBC, seed))),
        shows: |text| text.lines().count() == 2,
    },
    Scene {
        name: "secretbox",
        options: |seed| keyed(SECRETBOX, seed),
        play: |stage| Box::pin(simple(stage, |seed| keyed(SECRETBOX, seed))),
        shows: |text| text.lines().count() == 2,
    },
    Scene {
        // Each wrap lies twice, as in every vault since; the others show what was before.
        name: "copies",
        options: sealed,
        play: |stage| Box::pin(simple(stage, sealed)),
        shows: |text| text.lines().count() == 2,
    },
    Scene {
        name: "unsealed",
        options: unsealed,
        play: |stage| Box::pin(simple(stage, unsealed)),
        shows: |text| text.lines().count() == 2,
    },
];

const AESCBC: &str = "aescbc";
const SECRETBOX: &str = "secretbox";
const START_MS: i64 = 1_790_000_000_000;
const HOUR_MS: i64 = 3_600_000;

fn sealed(seed: u64) -> VaultOptions {
    options_with(seed, Arc::new(holdfast_vault::clock::SystemClock))
}

fn keyed(kind: &str, seed: u64) -> VaultOptions {
    VaultOptions { providers: providers(&CONFIG.replace("aesgcm", kind)), ..sealed(seed) }
}

fn unsealed(seed: u64) -> VaultOptions {
    let text = "
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: ['*.*']
    providers:
      - identity: {}
";
    let config = parse_encryption_config(text).unwrap();
    let providers = Providers::from_config(&config, Sealing::None, &mut |_| panic!("no kms here"));
    VaultOptions { providers, ..sealed(seed) }
}

fn paper() -> RecoveryKey {
    RecoveryKey::random(&mut SeededEntropy::new(2026))
}

fn recoverable(seed: u64) -> VaultOptions {
    let providers = providers(CONFIG).with_recipient(Some(paper().recipient()));
    VaultOptions { providers, ..sealed(seed) }
}

/// A store in memory and a clock that the scene moves.
#[derive(Clone)]
pub struct Stage {
    inner: Arc<dyn ObjectStore>,
    clock: Arc<Moved>,
}

struct Moved(AtomicI64);

impl Clock for Moved {
    fn now_ms(&self) -> i64 {
        START_MS + self.boot_ms()
    }
    fn boot_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Stage {
    pub fn new() -> Stage {
        let clock = Arc::new(Moved(AtomicI64::new(HOUR_MS)));
        Stage { inner: Arc::new(Clocked::new(Arc::new(InMemory::new()), clock.clone())), clock }
    }

    pub fn store(&self) -> Store {
        Store::over(self.inner.clone(), "memory", StoreOptions::default())
    }

    fn pass(&self, hours: i64) {
        self.clock.0.fetch_add(hours * HOUR_MS, Ordering::Relaxed);
    }

    fn dressed(&self, options: VaultOptions) -> VaultOptions {
        let limits = ChainLimits { kept_commits: 5, ledger_every: 4, page_entries: 3 };
        VaultOptions { clock: self.clock.clone(), limits, ..options }
    }

    async fn init(&self) -> Vault {
        Vault::init(self.store(), self.dressed(sealed(1))).await.unwrap()
    }
}

fn small() -> SnapshotOptions {
    SnapshotOptions {
        segment: SegmentSettings { frame_bytes: 1024, zstd_level: 3 },
        target_bytes: Some(4096),
        ..SnapshotOptions::default()
    }
}

async fn take(vault: &mut Vault, etcd: &Etcd, options: &SnapshotOptions) -> Summary {
    match vault.snapshot(etcd.source(), options).await.unwrap() {
        Outcome::Committed(summary) => *summary,
        other => panic!("{other:?}"),
    }
}

fn busy(etcd: &mut Etcd, from: usize, to: usize) {
    for i in from..to {
        etcd.put(&format!("/registry/pods/{}", i % 20), 150);
        if i % 5 == 0 {
            etcd.put(&format!("/registry/secrets/{}", i % 3), 120);
        }
    }
}

/// History, tombstones, secrets, two snapshots.
async fn plain(stage: Stage) -> Vault {
    let mut vault = stage.init().await;
    let mut etcd = Etcd::new();
    busy(&mut etcd, 0, 50);
    etcd.delete("/registry/pods/3");
    take(&mut vault, &etcd, &small()).await;
    busy(&mut etcd, 50, 60);
    etcd.delete("/registry/pods/4");
    etcd.compact(etcd.revision - 5);
    stage.pass(1);
    take(&mut vault, &etcd, &small()).await;
    vault
}

/// Rounds, compactions, copying forward, a report, a pin, a hold, forgetting, sweeping, ledgers, a
/// floor above 1.
async fn pruned(stage: Stage) -> Vault {
    let mut vault = stage.init().await;
    let mut etcd = Etcd::new();
    for i in 0..60 {
        etcd.put(&format!("/registry/nodes/{i}"), 200);
        etcd.put(&format!("/registry/pods/{}", i % 20), 200);
    }
    for round in 0..9 {
        busy(&mut etcd, 13 * round, 13 * round + 17);
        etcd.compact(etcd.revision - 3);
        let summary = take(&mut vault, &etcd, &small()).await;
        if round == 3 {
            vault.pin(summary.number, "before an upgrade", 0).await.unwrap();
            let (snapshot, level) = (summary.number, 6);
            let report = Report { snapshot, level, passed: true, ..Report::default() };
            vault.report(&report).await.unwrap();
        }
        stage.pass(20 * 24);
        let grace = Grace::default();
        vault.prune(&PruneOptions { grace, ..PruneOptions::new(newest_two()) }).await.unwrap();
    }
    let newest = vault.snapshots().last().unwrap().number;
    vault.hold(newest, "a drill", i64::MAX).await.unwrap();
    vault
}

fn newest_two() -> RetentionPolicy {
    let lineages = std::time::Duration::ZERO;
    let counts = RetentionPolicy { last: 2, lineages, ..RetentionPolicy::default() };
    RetentionPolicy { hourly: 0, daily: 0, weekly: 0, monthly: 0, ..counts }
}

/// A restore from elsewhere began another history.
async fn fork(stage: Stage) -> Vault {
    let mut vault = stage.init().await;
    let mut etcd = Etcd::new();
    busy(&mut etcd, 0, 30);
    let mut other = etcd.clone();
    busy(&mut etcd, 30, 60);
    take(&mut vault, &etcd, &small()).await;
    (other.raft_index, other.revision, other.compacted) = (3, 1_000_000, 999_999);
    other.put("/registry/pods/after", 100);
    let options = SnapshotOptions { new_lineage: Some("restored elsewhere".into()), ..small() };
    stage.pass(1);
    take(&mut vault, &other, &options).await;
    vault
}

/// A member that holds another value for one record.
async fn contested(stage: Stage) -> Vault {
    let mut vault = stage.init().await;
    let mut etcd = Etcd::new();
    busy(&mut etcd, 0, 30);
    take(&mut vault, &etcd, &small()).await;
    etcd.records[7].1.value[0] ^= 1;
    etcd.raft_index += 1;
    stage.pass(1);
    take(&mut vault, &etcd, &small()).await;
    vault
}

/// A bucket beside `key` that is above 1 MiB.
async fn spilled(stage: Stage) -> Vault {
    let mut vault = stage.init().await;
    let mut etcd = Etcd::new();
    busy(&mut etcd, 0, 10);
    let leases = etcd.buckets.get_mut(&b"lease"[..]).unwrap();
    for i in 0u64..1200 {
        leases.insert(i.to_be_bytes().to_vec(), vec![7; 1000]);
    }
    take(&mut vault, &etcd, &small()).await;
    vault
}

/// Two writers, one after the other.
async fn writers(stage: Stage) -> Vault {
    let mut first = stage.init().await;
    let mut etcd = Etcd::new();
    busy(&mut etcd, 0, 10);
    take(&mut first, &etcd, &small()).await;
    busy(&mut etcd, 10, 20);
    stage.pass(1);
    let mut second = Vault::open(stage.store(), stage.dressed(sealed(2))).await.unwrap();
    take(&mut second, &etcd, &small()).await;
    second
}

/// More snapshots than a page of the catalogue takes.
async fn pages(stage: Stage) -> Vault {
    let mut vault = stage.init().await;
    let mut etcd = Etcd::new();
    for round in 0..8 {
        busy(&mut etcd, 4 * round, 4 * round + 4);
        take(&mut vault, &etcd, &small()).await;
        stage.pass(1);
    }
    assert!(!vault.head().pages.is_empty(), "no page was written");
    vault
}

async fn simple(stage: Stage, options: fn(u64) -> VaultOptions) -> Vault {
    let mut vault = Vault::init(stage.store(), stage.dressed(options(1))).await.unwrap();
    let mut etcd = Etcd::new();
    busy(&mut etcd, 0, 20);
    take(&mut vault, &etcd, &small()).await;
    vault
}
