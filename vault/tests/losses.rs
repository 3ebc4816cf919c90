//! What was stored is lost or rots: the root, segments, indexes, bodies. Backups go on.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod support;

use futures::TryStreamExt;
use holdfast_vault::format::{ROOT_NAME, SegmentSettings};
use holdfast_vault::init::VaultError;
use holdfast_vault::snapshot::{Outcome, SnapshotOptions, Summary};
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

async fn bytes(inner: &Inner, name: &str) -> bytes::Bytes {
    inner.get(&Path::from(name)).await.unwrap().bytes().await.unwrap()
}

#[tokio::test]
async fn a_lost_root_is_written_again_and_never_replaced_by_another() {
    let inner: Inner = Arc::new(InMemory::new());
    let mut vault = Vault::init(over(&inner), options(1)).await.unwrap();
    let number = taken(&mut vault, &filled(10)).await.number;
    let root = Path::from(ROOT_NAME);
    let old = bytes(&inner, ROOT_NAME).await;
    let error = Vault::rebuild_root(over(&inner), options(2)).await.unwrap_err();
    assert!(matches!(error, VaultError::RootThere { .. }), "{error}");
    inner.delete(&root).await.unwrap();

    for error in [
        Vault::open(over(&inner), options(3)).await.unwrap_err(),
        Vault::init(over(&inner), options(4)).await.unwrap_err(),
    ] {
        assert!(matches!(error, VaultError::RootMissing { .. }), "{error}");
        assert!(error.to_string().contains("--rebuild-root"), "{error}");
    }
    assert!(inner.head(&root).await.is_err(), "nothing was written");

    let rebuilt = Vault::rebuild_root(over(&inner), options(5)).await.unwrap();
    assert_eq!(rebuilt.fingerprint(), vault.fingerprint());
    assert_eq!(bytes(&inner, ROOT_NAME).await, old);
    // One that rotted is written over.
    let mut rotten = old.to_vec();
    rotten[20] ^= 1;
    inner.put(&root, rotten.into()).await.unwrap();
    assert!(Vault::init(over(&inner), options(6)).await.is_err());
    Vault::rebuild_root(over(&inner), options(7)).await.unwrap();
    let mut again = Vault::open(over(&inner), options(8)).await.unwrap();
    read_inline(&mut again, number).await.unwrap();
}

/// A store that is empty, and one whose vault has no cluster yet, are made as ever.
#[tokio::test]
async fn a_vault_that_was_begun_is_taken_up_again() {
    let inner: Inner = Arc::new(InMemory::new());
    let error = Vault::rebuild_root(over(&inner), options(1)).await.unwrap_err();
    assert!(matches!(error, VaultError::Cluster { .. }), "{error}");
    let begun = Vault::init(over(&inner), options(2)).await.unwrap();
    let all: Vec<_> = inner.list(Some(&Path::from("c"))).try_collect().await.unwrap();
    for item in all {
        inner.delete(&item.location).await.unwrap();
    }
    let vault = Vault::init(over(&inner), options(3)).await.unwrap();
    assert_eq!(vault.fingerprint(), begun.fingerprint());
}
