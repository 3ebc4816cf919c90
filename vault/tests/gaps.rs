//! An object of the chain itself is lost or rots: commits, the ledger, a page of the catalogue.
//! What was backed up is still restored and checked; nothing is written or deleted any more.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod support;

use futures::TryStreamExt;
use holdfast_policies::retention::RetentionPolicy;
use holdfast_vault::chain::ChainError;
use holdfast_vault::chain::rules::ChainLimits;
use holdfast_vault::check::{CheckOptions, Level};
use holdfast_vault::format::SegmentSettings;
use holdfast_vault::init::VaultOptions;
use holdfast_vault::prune::PruneOptions;
use holdfast_vault::snapshot::{SnapshotError, SnapshotOptions};
use holdfast_vault::vault::Vault;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::BTreeSet;
use std::sync::Arc;
use support::{Etcd, options, over, read_inline};

type Inner = Arc<dyn ObjectStore>;

/// Ledgers and pages come soon.
fn small(seed: u64) -> VaultOptions {
    let limits = ChainLimits { page_entries: 4, ledger_every: 6, ..ChainLimits::default() };
    VaultOptions { limits, ..options(seed) }
}

fn snapshot_options() -> SnapshotOptions {
    SnapshotOptions {
        segment: SegmentSettings { frame_bytes: 400, zstd_level: 1 },
        inline: true,
        ..SnapshotOptions::default()
    }
}

async fn round(vault: &mut Vault, etcd: &mut Etcd) -> Result<(), SnapshotError> {
    etcd.put("k", 100);
    vault.snapshot(etcd.source(), &snapshot_options()).await.map(|_| ())
}

async fn names(inner: &Inner) -> BTreeSet<String> {
    let all: Vec<_> = inner.list(None).try_collect().await.unwrap();
    all.into_iter()
        .map(|item| item.location.to_string())
        .filter(|n| !n.ends_with("/hint"))
        .collect()
}

async fn copy(inner: &Inner) -> Inner {
    let copy: Inner = Arc::new(InMemory::new());
    for name in names(inner).await {
        let bytes = inner.get(&Path::from(name.as_str())).await.unwrap().bytes().await.unwrap();
        copy.put(&Path::from(name), bytes.into()).await.unwrap();
    }
    copy
}

fn everything() -> CheckOptions {
    CheckOptions { level: Level::L2, snapshots: BTreeSet::new() }
}

#[tokio::test]
async fn whatever_the_chain_lost_what_it_names_is_restored() {
    let sound: Inner = Arc::new(InMemory::new());
    let mut vault = Vault::init(over(sound.clone()), small(1)).await.unwrap();
    let mut etcd = Etcd::new();
    for _ in 0..10 {
        round(&mut vault, &mut etcd).await.unwrap();
    }
    let all = vault.chain().catalogue().numbers();
    let parts = ["/commit/", "/ledger/", "/page/"];
    let chain: Vec<String> = names(&sound)
        .await
        .into_iter()
        .filter(|name| parts.iter().any(|part| name.contains(part)))
        .collect();
    assert!(parts.iter().all(|part| chain.iter().any(|name| name.contains(part))), "{chain:?}");
    let newest = chain.iter().filter(|name| name.contains("/commit/")).max().unwrap().clone();
    let mut gaps = 0;
    for name in &chain {
        for flipped in [false, true] {
            if !flipped && *name == newest {
                continue; // that looks like an older copy of the store: a witness tells
            }
            let inner = copy(&sound).await;
            let path = Path::from(name.as_str());
            let old = inner.get(&path).await.unwrap().bytes().await.unwrap();
            inner.delete(&path).await.unwrap();
            if flipped {
                let mut bytes = old.to_vec();
                bytes[300] ^= 1;
                inner.put(&path, bytes.into()).await.unwrap();
            }
            gaps += usize::from(is_met(&inner, name, &all, &newest).await);
            inner.put(&path, old.into()).await.unwrap();
            let mut healed = Vault::open(over(inner.clone()), small(5)).await.unwrap();
            assert!(healed.chain().gaps().is_empty(), "{name}");
            round(&mut healed, &mut etcd).await.unwrap();
        }
    }
    assert!(gaps > 10, "{gaps} of {} objects matter", chain.len());
}

/// What there is to see and to do with this damage; whether the chain has a gap by it.
async fn is_met(inner: &Inner, name: &str, all: &BTreeSet<u64>, newest: &str) -> bool {
    let mut vault = Vault::open(over(inner.clone()), small(2)).await.unwrap();
    let gap = !vault.chain().gaps().is_empty();
    let seen = vault.chain().catalogue().numbers();
    let lost: Vec<u64> = all.difference(&seen).copied().collect();
    match (name == newest, name.contains("/page/")) {
        (true, _) => assert_eq!(lost, [*all.last().unwrap()], "{name}"),
        (_, true) => assert!(!gap || lost.len() == 4, "{name}: {lost:?}"),
        _ => assert!(lost.is_empty(), "{name}: {lost:?}"),
    }
    for number in seen {
        read_inline(&mut vault, number).await.unwrap();
    }
    let report = vault.check(&everything()).await.unwrap();
    let about: Vec<_> = report.findings.iter().map(|finding| finding.object.as_str()).collect();
    let condemned = name.contains("/ledger/") || name.contains("/page/");
    assert!(about == [name] || (condemned && !gap && about.is_empty()), "{name}: {about:?}");
    if gap {
        let before = names(inner).await;
        let refused = round(&mut vault, &mut Etcd::new()).await.unwrap_err();
        let incomplete = |error: &ChainError| match error {
            ChainError::Incomplete { name: said, .. } => said == name,
            _ => false,
        };
        assert!(
            matches!(&refused, SnapshotError::Chain(error) if incomplete(error)),
            "{name}: {refused}"
        );
        let mut prune =
            PruneOptions::new(RetentionPolicy { last: 1, ..RetentionPolicy::default() });
        prune.orphans = true;
        let refused = vault.prune(&prune).await.unwrap_err();
        assert!(incomplete(&refused), "{name}: {refused}");
        assert_eq!(names(inner).await, before, "nothing was written or deleted");
    }
    gap
}
