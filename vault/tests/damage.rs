//! Damage at rest: every byte of every object flipped, every object cut at every length, missing,
//! or exchanged with another. `check` names the object, or the vault does not open and says which.
//!
//! The vaults are small and hold every kind of object; each thread damages its own copy.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod support;

use bytes::Bytes;
use holdfast_vault::chain::Witness;
use holdfast_vault::chain::rules::ChainLimits;
use holdfast_vault::check::{CheckOptions, Level};
use holdfast_vault::format::SegmentSettings;
use holdfast_vault::init::VaultOptions;
use holdfast_vault::proto::Report;
use holdfast_vault::snapshot::SnapshotOptions;
use holdfast_vault::vault::Vault;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{Etcd, options, over};

type Objects = BTreeMap<String, Bytes>;

fn all() -> CheckOptions {
    CheckOptions { level: Level::L2, snapshots: BTreeSet::new() }
}

fn etcd() -> Etcd {
    let mut etcd = Etcd::new();
    for i in 0..4 {
        etcd.put(&format!("k{i}"), 20);
    }
    etcd.put("/registry/secrets/a", 20);
    etcd
}

/// A vault with one object of each kind at least, and what an agent remembers of it.
fn small_vault(spilled: bool) -> (Objects, Witness) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let inner = Arc::new(InMemory::new());
        let limits = ChainLimits { kept_commits: 256, ledger_every: 3, page_entries: 1 };
        let with = VaultOptions { limits, ..options(7) };
        let mut vault = Vault::init(over(inner.clone()), with).await.unwrap();
        let taking = SnapshotOptions {
            segment: SegmentSettings { frame_bytes: 60, zstd_level: 1 },
            ..SnapshotOptions::default()
        };
        let mut etcd = etcd();
        if spilled {
            let lease = etcd.buckets.get_mut(&b"lease"[..]).unwrap();
            lease.extend((0u32..1100).map(|i| (i.to_be_bytes().to_vec(), vec![0; 1000])));
        }
        vault.snapshot(etcd.source(), &taking).await.unwrap();
        if !spilled {
            etcd.put("k0", 20);
            etcd.compact(etcd.revision);
            vault.snapshot(etcd.source(), &taking).await.unwrap();
            let report = Report { snapshot: 3, passed: true, level: 2, ..Report::default() };
            vault.report(&report).await.unwrap();
        }
        let report = vault.check(&all()).await.unwrap();
        assert!(report.findings.is_empty(), "{report:#?}");
        let mut objects = Objects::new();
        for item in over(inner.clone()).list_all("", 1000).await.unwrap() {
            let bytes = inner.get(&Path::from(item.name.as_str())).await.unwrap();
            objects.insert(item.name, bytes.bytes().await.unwrap());
        }
        objects.retain(|name, _| !name.ends_with("/hint"));
        (objects, vault.witness())
    })
}

/// Opens and checks; whether what is said names `name`.
async fn is_named(inner: &Arc<InMemory>, witness: &Witness, name: &str) -> Result<(), String> {
    let with = VaultOptions { witness: Some(witness.clone()), ..options(8) };
    let said = match Vault::open(over(inner.clone()), with).await {
        Err(error) => error.to_string(),
        Ok(mut vault) => match vault.check(&all()).await {
            Err(error) => error.to_string(),
            Ok(report) => {
                let mut found = report.findings.iter();
                return found
                    .any(|finding| finding.object == name)
                    .then_some(())
                    .ok_or_else(|| format!("{:?}", report.findings));
            }
        },
    };
    // A wrap that is gone is told by its seed, a commit that is gone by its number.
    let mut parts = name.rsplit('/');
    let leaf = parts.next().unwrap().trim_start_matches('0');
    let folder = parts.next().unwrap_or_default();
    let told = said.contains(leaf) || (name.contains("/keys") && said.contains(folder));
    told.then_some(()).ok_or(said)
}

enum Damage {
    Flip(usize),
    Cut(usize),
    Gone,
    Exchanged(String),
}

/// Does every damage of `list` to a copy of `objects`, on all processors.
fn try_all(objects: &Objects, witness: &Witness, list: &[(String, Damage)]) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
                runtime.unwrap().block_on(share(objects, witness, list, &next));
            });
        }
    });
}

async fn share(
    objects: &Objects,
    witness: &Witness,
    list: &[(String, Damage)],
    next: &AtomicUsize,
) {
    let inner = Arc::new(InMemory::new());
    for (name, bytes) in objects {
        inner.put(&Path::from(name.as_str()), bytes.clone().into()).await.unwrap();
    }
    while let Some((name, damage)) = list.get(next.fetch_add(1, Ordering::Relaxed)) {
        let (path, good) = (Path::from(name.as_str()), &objects[name]);
        let what = match damage {
            Damage::Flip(offset) => {
                let mut bad = good.to_vec();
                bad[*offset] ^= 1 << (offset % 8);
                inner.put(&path, bad.into()).await.unwrap();
                format!("flipped at {offset} of {}", good.len())
            }
            Damage::Cut(length) => {
                inner.put(&path, good.slice(..*length).into()).await.unwrap();
                format!("cut at {length} of {}", good.len())
            }
            Damage::Gone => {
                inner.delete(&path).await.unwrap();
                "missing".to_owned()
            }
            Damage::Exchanged(other) => {
                inner.put(&path, objects[other].clone().into()).await.unwrap();
                format!("replaced by {other}")
            }
        };
        let named = is_named(&inner, witness, name).await;
        assert!(named.is_ok(), "{name} {what}: {}", named.unwrap_err());
        inner.put(&path, good.clone().into()).await.unwrap();
    }
}

/// `segment`, `wrap` and so on.
fn kind(name: &str) -> &str {
    name.split('/').nth(2).unwrap_or(name)
}

#[test]
fn a_flipped_byte_anywhere_is_found_and_named() {
    let (objects, witness) = small_vault(false);
    let kinds: BTreeSet<&str> = objects.keys().map(|name| kind(name)).collect();
    let every = ["body", "commit", "keys", "keys2", "ledger", "page", "report", "seg", "vault"];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), every);
    let list: Vec<(String, Damage)> = objects
        .iter()
        .flat_map(|(name, bytes)| (0..bytes.len()).map(|at| (name.clone(), Damage::Flip(at))))
        .collect();
    assert!(list.len() > 5000, "{}", list.len());
    try_all(&objects, &witness, &list);
}

#[test]
fn a_flipped_byte_in_a_spilled_bucket_is_found_and_named() {
    let (objects, witness) = small_vault(true);
    let (name, bytes) = objects.iter().find(|(name, _)| kind(name) == "spill").unwrap();
    let list: Vec<_> = (0..bytes.len()).map(|at| (name.clone(), Damage::Flip(at))).collect();
    assert!(list.len() > 500, "{}", list.len());
    try_all(&objects, &witness, &list);
}

#[test]
fn an_object_cut_at_any_length_or_missing_or_exchanged_is_found_and_named() {
    let (objects, witness) = small_vault(false);
    let mut list = Vec::new();
    for (name, bytes) in &objects {
        list.push((name.clone(), Damage::Gone));
        list.extend((0..bytes.len()).map(|length| (name.clone(), Damage::Cut(length))));
        let others = objects.keys().filter(|other| kind(other) == kind(name) && *other != name);
        list.extend(others.map(|other| (name.clone(), Damage::Exchanged(other.clone()))));
    }
    try_all(&objects, &witness, &list);
}
