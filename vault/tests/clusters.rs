//! Several clusters in one vault: each has its own chain and seeds, and none is taken for another.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod support;

use holdfast_vault::init::{VaultError, VaultOptions};
use holdfast_vault::snapshot::{Outcome, SnapshotOptions};
use holdfast_vault::vault::Vault;
use holdfast_vault::{Store, StoreOptions};
use object_store::memory::InMemory;
use std::sync::Arc;
use support::{Etcd, Plain, options, providers, read_inline};

fn over(inner: &Arc<InMemory>) -> Store {
    Store::over(inner.clone(), "memory", StoreOptions::default())
}

fn called(seed: u64, name: &str) -> VaultOptions {
    VaultOptions { name: Some(name.to_owned()), ..options(seed) }
}

fn meaning(seed: u64, text: &str) -> VaultOptions {
    VaultOptions { cluster_text: Some(text.to_owned()), ..options(seed) }
}

async fn take(vault: &mut Vault, key: &str) -> (u64, Vec<Plain>) {
    let mut etcd = Etcd::new();
    (0..5).for_each(|i| etcd.put(&format!("{key}{i}"), 50));
    let outcome = vault.snapshot(etcd.source(), &SnapshotOptions::default()).await.unwrap();
    let Outcome::Committed(summary) = outcome else { panic!("{outcome:?}") };
    (summary.number, etcd.plain())
}

#[tokio::test]
async fn clusters_of_one_vault_are_strangers_to_each_other() {
    let inner = Arc::new(InMemory::new());
    let mut prod = Vault::init(over(&inner), called(1, "prod")).await.unwrap();
    let again = Vault::init(over(&inner), options(2)).await.unwrap_err();
    assert!(matches!(&again, VaultError::Exists { .. }), "{again}");
    assert!(again.to_string().contains("--add-cluster"), "{again}");
    let mut edge = Vault::add_cluster(over(&inner), called(3, "edge")).await.unwrap();
    assert_eq!(prod.fingerprint(), edge.fingerprint());
    assert_ne!(prod.access().cluster(), edge.access().cluster());
    assert_ne!(prod.head().tag_key, edge.head().tag_key);
    assert_ne!(prod.head().seeds, edge.head().seeds);

    let (prod_number, prod_records) = take(&mut prod, "p").await;
    let (edge_number, edge_records) = take(&mut edge, "e").await;
    let prod_id = prod.access().cluster().to_string();
    for text in ["prod", &prod_id, &prod_id[..8]] {
        let mut vault = Vault::open(over(&inner), meaning(4, text)).await.unwrap();
        assert!(
            vault.cluster_name() == "prod" && vault.is_called(text) && !vault.is_called("edge")
        );
        assert_eq!(read_inline(&mut vault, prod_number).await.unwrap().0, prod_records);
    }
    let mut vault = Vault::open(over(&inner), meaning(5, "edge")).await.unwrap();
    assert_eq!(read_inline(&mut vault, edge_number).await.unwrap().0, edge_records);
    assert_eq!(vault.cluster_name(), "edge", "a snapshot keeps the name");
}

#[tokio::test]
async fn where_two_could_be_meant_they_are_listed() {
    let inner = Arc::new(InMemory::new());
    let nothing = Vault::add_cluster(over(&inner), called(1, "edge")).await.unwrap_err();
    assert!(matches!(nothing, VaultError::NoVault { .. }), "{nothing}");
    let prod = Vault::init(over(&inner), called(1, "prod")).await.unwrap();
    let edge = Vault::add_cluster(over(&inner), called(2, "edge")).await.unwrap();
    let ids = [prod.access().cluster().to_string(), edge.access().cluster().to_string()];
    let of = |options| async { Vault::open(over(&inner), options).await.unwrap_err().to_string() };
    for said in
        [of(options(3)).await, of(meaning(4, "staging")).await, of(meaning(5, "ffff")).await]
    {
        for (id, name) in ids.iter().zip(["prod", "edge"]) {
            assert!(said.contains(&format!("{id} ({name})")), "{said}");
        }
        assert!(said.contains("--cluster"), "{said}");
    }
    let taken = Vault::add_cluster(over(&inner), called(6, "edge")).await.unwrap_err();
    assert!(taken.to_string().contains("is taken"), "{taken}");
    let wrong = Vault::add_cluster(over(&inner), called(7, "no name")).await.unwrap_err();
    assert!(wrong.to_string().contains("letters"), "{wrong}");
    // What other keys seal is listed without its name, and an unsealed one is not added.
    let other = support::CONFIG.replace("MDEy", "MDEz");
    let strange = VaultOptions { providers: providers(&other), ..options(8) };
    let said = of(strange).await;
    assert!(ids.iter().all(|id| said.contains(id)) && !said.contains("(prod)"), "{said}");
}
