//! Files that crashed puts left in a local directory: nobody trips over them, and the search for
//! orphans removes them when they are old.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod support;

use holdfast_policies::retention::RetentionPolicy;
use holdfast_vault::check::{CheckOptions, Level};
use holdfast_vault::prune::PruneOptions;
use holdfast_vault::snapshot::SnapshotOptions;
use holdfast_vault::store::doctor::examine;
use holdfast_vault::vault::Vault;
use holdfast_vault::{Store, StoreOptions};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};
use support::{Etcd, options, read_inline};

fn leave(path: &Path, days: u64) {
    let file = std::fs::File::create(path).unwrap();
    file.set_len(1000).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(days * 86_400)).unwrap();
}

#[tokio::test]
async fn old_leftovers_of_crashed_puts_go_with_the_orphans() {
    let folder = tempfile::tempdir().unwrap();
    let store = || {
        let options = StoreOptions { create: true, ..StoreOptions::default() };
        Store::open(folder.path().to_str().unwrap(), options).unwrap()
    };
    let mut vault = Vault::init(store(), options(1)).await.unwrap();
    let mut etcd = Etcd::new();
    etcd.put("a", 50);
    vault.snapshot(etcd.source(), &SnapshotOptions::default()).await.unwrap();

    let cluster = folder.path().join(vault.access().names().folder());
    let seed = std::fs::read_dir(cluster.join("keys")).unwrap().next().unwrap().unwrap().path();
    let old = [
        folder.path().join("vault#1"),
        cluster.join("hint#2"),
        cluster.join("seg/0102030405060708090a0b0c0d0e0f10#1"),
        cluster.join("commit/0/00000000000000000003#12"),
        seed.join("0102030405060708090a0b0c0d0e0f10#3"),
    ];
    let young = cluster.join("body/0102030405060708090a0b0c0d0e0f10#1");
    let strange = [cluster.join("seg/notes#today"), folder.path().join("#1")];
    old.iter().chain(&strange).for_each(|path| leave(path, 8));
    leave(&young, 6);

    let all = CheckOptions { level: Level::L2, snapshots: BTreeSet::new() };
    let report = vault.check(&all).await.unwrap();
    assert!(report.findings.is_empty(), "{report:#?}");
    let health = examine(&store(), "t", 0).await;
    assert!(health.is_fit(), "{health:#?}");
    let mut again = Vault::open(store(), options(2)).await.unwrap();
    assert_eq!(read_inline(&mut again, 2).await.unwrap().0, etcd.plain());

    let pruning = PruneOptions::new(RetentionPolicy::default());
    let report = vault.prune(&pruning).await.unwrap();
    assert!(report.orphans == 0 && old.iter().all(|path| path.exists()), "{report:?}");
    let report = vault.prune(&PruneOptions { orphans: true, ..pruning }).await.unwrap();
    assert_eq!((report.orphans, report.freed_bytes), (5, 5000), "{report:?}");
    assert!(old.iter().all(|path| !path.exists()));
    assert!(young.exists() && strange.iter().all(|path| path.exists()));
    assert!(vault.check(&all).await.unwrap().findings.is_empty());
}
