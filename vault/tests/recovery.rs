//! The recovery key: the paper alone opens a vault; a key service that is away stops nothing, and
//! when it is back the wraps that are missing follow.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod support;

use async_trait::async_trait;
use holdfast_vault::format::SeededEntropy;
use holdfast_vault::init::VaultOptions;
use holdfast_vault::keys::{
    Encrypted, KeyService, Providers, Recipient, RecoveryKey, Sealing, ServiceError, ServiceStatus,
    parse_encryption_config,
};
use holdfast_vault::relief::{begun_since, key_service_away, reliefs};
use holdfast_vault::snapshot::{Outcome, SnapshotOptions, Summary};
use holdfast_vault::vault::Vault;
use holdfast_vault::{Store, StoreOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Etcd, read};
use zeroize::Zeroizing;

const KMS: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n\
resources:\n- resources: [\"*.*\"]\n  providers:\n  - kms: {apiVersion: v2, name: hsm, \
endpoint: \"unix:///nowhere\"}\n";

/// A key service that is away when it is told so.
#[derive(Default)]
struct Service(AtomicBool);

impl Service {
    fn away(&self, away: bool) {
        self.0.store(away, Ordering::Relaxed);
    }

    fn answer<T>(&self, answer: T) -> Result<T, ServiceError> {
        let detail = "no socket".to_owned();
        let timeout = std::time::Duration::from_secs(3);
        let away = self.0.load(Ordering::Relaxed);
        if away { Err(ServiceError::Unavailable { timeout, detail }) } else { Ok(answer) }
    }
}

#[async_trait]
impl KeyService for Service {
    async fn status(&self) -> Result<ServiceStatus, ServiceError> {
        let (version, healthz, key_id) = ("v2".into(), "ok".into(), "kek-1".into());
        self.answer(ServiceStatus { version, healthz, key_id })
    }

    async fn encrypt(&self, _: &str, plain: &[u8]) -> Result<Encrypted, ServiceError> {
        let ciphertext = plain.iter().map(|byte| byte ^ 0x5a).collect();
        self.answer(Encrypted { ciphertext, key_id: "kek-1".into(), annotations: [].into() })
    }

    async fn decrypt(
        &self,
        _: &str,
        encrypted: &Encrypted,
    ) -> Result<Zeroizing<Vec<u8>>, ServiceError> {
        let plain = encrypted.ciphertext.iter().map(|byte| byte ^ 0x5a).collect();
        self.answer(Zeroizing::new(plain))
    }
}

fn service_options(service: &Arc<Service>, recipient: Option<Recipient>) -> VaultOptions {
    let config = parse_encryption_config(KMS).unwrap();
    let providers = Providers::from_config(&config, Sealing::Required, &mut |_| service.clone());
    VaultOptions::new(providers.with_recipient(recipient))
}

fn paper(key: &RecoveryKey) -> VaultOptions {
    VaultOptions::new(Providers::from_paper(RecoveryKey::parse(&key.to_text()).unwrap()))
}

fn store(dir: &tempfile::TempDir) -> Store {
    let options = StoreOptions { create: true, ..StoreOptions::default() };
    Store::open(&dir.path().display().to_string(), options).unwrap()
}

async fn snapshot(vault: &mut Vault, etcd: &Etcd) -> Summary {
    match vault.snapshot(etcd.source(), &SnapshotOptions::default()).await.unwrap() {
        Outcome::Committed(summary) => *summary,
        other => panic!("{other:?}"),
    }
}

fn etcd() -> Etcd {
    let mut etcd = Etcd::new();
    for i in 0..60 {
        etcd.put(&format!("/registry/pods/{i}"), 200);
    }
    etcd
}

fn key(seed: u64) -> RecoveryKey {
    RecoveryKey::random(&mut SeededEntropy::new(seed))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_paper_alone_opens_a_vault_whose_key_service_is_gone() {
    let (dir, service, etcd) = (tempfile::tempdir().unwrap(), Arc::default(), etcd());
    let options = service_options(&service, Some(key(1).recipient()));
    let mut vault = Vault::init(store(&dir), options).await.unwrap();
    let number = snapshot(&mut vault, &etcd).await.number;
    assert_eq!(vault.recovery_only_seeds(), 0);
    service.away(true);
    let mut opened = Vault::open(store(&dir), paper(&key(1))).await.unwrap();
    assert_eq!(read(&mut opened, number).await.unwrap().0, etcd.plain());
    // Another paper key opens nothing, and the error names the one that does.
    let error = Vault::open(store(&dir), paper(&key(2))).await.unwrap_err().to_string();
    assert!(error.contains(&key(1).recipient().key_id()), "{error}");
    assert!(error.contains("--recovery-key-file"), "{error}");
    // The store holds the public half nowhere in clear.
    for item in store(&dir).list_all("c", 1000).await.unwrap() {
        let bytes = store(&dir).get(&item.name, 1 << 24).await.unwrap();
        let public = key(1).recipient();
        assert!(!bytes.windows(32).any(|w| w == public.as_bytes()), "{}", item.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relief_chain_takes_over_and_the_wraps_follow() {
    let (dir, service, etcd) = (tempfile::tempdir().unwrap(), Arc::default(), etcd());
    let recipient = Some(key(1).recipient());
    let mut vault = Vault::init(store(&dir), service_options(&service, recipient)).await.unwrap();
    snapshot(&mut vault, &etcd).await;
    let cluster = vault.access().cluster();
    drop(vault);

    service.away(true);
    let error = Vault::open(store(&dir), service_options(&service, recipient)).await.unwrap_err();
    assert!(key_service_away(&error).is_some(), "{error}");
    // Without a recovery key there is none; nothing was begun that could be met later.
    let error = Vault::begin_relief(store(&dir), service_options(&service, None)).await;
    assert!(key_service_away(&error.unwrap_err()).is_some());
    let options = service_options(&service, recipient);
    assert_eq!(begun_since(&store(&dir), None, 0).await.unwrap(), []);
    let mut relief = Vault::begin_relief(store(&dir), options).await.unwrap();
    let begun = begun_since(&store(&dir), None, 0).await.unwrap();
    assert_eq!((begun.len(), begun[0].holds_snapshot), (1, false));
    let number = snapshot(&mut relief, &etcd).await.number;
    assert_eq!((relief.relief_of(), relief.recovery_only_seeds()), (Some(cluster), 2));
    let id = relief.access().cluster();
    assert!(reliefs(&store(&dir)).await.unwrap().iter().any(|one| one.cluster == id));
    let begun = begun_since(&store(&dir), Some(cluster), begun[0].begun_ms).await.unwrap();
    assert_eq!((begun[0].cluster, begun[0].holds_snapshot), (id, true));
    let later = begun[0].begun_ms + 1;
    assert_eq!(begun_since(&store(&dir), None, later).await.unwrap(), []);
    assert_eq!(begun_since(&store(&dir), Some(id), 0).await.unwrap(), []);

    // The paper opens it; without a name the cluster's own chain is opened.
    let mut by_paper = VaultOptions { cluster: Some(id), ..paper(&key(1)) };
    let mut opened = Vault::open(store(&dir), by_paper).await.unwrap();
    assert_eq!(read(&mut opened, number).await.unwrap().0, etcd.plain());
    by_paper = paper(&key(1));
    let own = Vault::open(store(&dir), by_paper).await.unwrap();
    assert_eq!(own.access().cluster(), cluster);

    // Back: the wraps follow, and the service alone opens it.
    assert!(relief.rewrap().await.is_err(), "it is still away");
    service.away(false);
    assert_eq!(relief.rewrap().await.unwrap().rewrapped, 2);
    assert_eq!(relief.recovery_only_seeds(), 0);
    let options = VaultOptions { cluster: Some(id), ..service_options(&service, None) };
    let mut opened = Vault::open(store(&dir), options).await.unwrap();
    assert_eq!(read(&mut opened, number).await.unwrap().0, etcd.plain());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_seed_made_while_the_service_is_away_is_rewrapped_or_waits_for_the_paper() {
    let (dir, service, mut etcd) = (tempfile::tempdir().unwrap(), Arc::default(), etcd());
    let recipient = Some(key(1).recipient());
    let mut vault = Vault::init(store(&dir), service_options(&service, recipient)).await.unwrap();
    service.away(true);
    snapshot(&mut vault, &etcd).await;
    assert_eq!(vault.recovery_only_seeds(), 1);
    drop(vault);
    service.away(false);
    // Another process has the service, but not the paper: it says what it must leave.
    let mut vault = Vault::open(store(&dir), service_options(&service, None)).await.unwrap();
    let report = vault.rewrap().await.unwrap();
    assert_eq!((report.locked, report.rewrapped, report.current), (1, 0, 1));
    // It goes on all the same, and its own seed is wrapped for the recovery key it found.
    etcd.put("more", 100);
    snapshot(&mut vault, &etcd).await;
    assert_eq!(vault.recovery_only_seeds(), 1);
    let config = parse_encryption_config(KMS).unwrap();
    let providers = Providers::from_config(&config, Sealing::Required, &mut |_| service.clone());
    let options = VaultOptions::new(providers.with_paper(key(1)));
    let mut vault = Vault::open(store(&dir), options).await.unwrap();
    assert_eq!(vault.rewrap().await.unwrap().rewrapped, 1);
    assert_eq!(vault.recovery_only_seeds(), 0);
    service.away(true);
    let mut opened = Vault::open(store(&dir), paper(&key(1))).await.unwrap();
    let newest = opened.chain().catalogue().latest().unwrap().number;
    assert_eq!(read(&mut opened, newest).await.unwrap().0, etcd.plain());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewrap_brings_in_a_recovery_key_and_changes_it() {
    let (dir, service, etcd) = (tempfile::tempdir().unwrap(), Arc::default(), etcd());
    let mut vault = Vault::init(store(&dir), service_options(&service, None)).await.unwrap();
    snapshot(&mut vault, &etcd).await;
    for (old, new) in [(None, 1), (Some(1), 2)] {
        let options = service_options(&service, Some(key(new).recipient()));
        let mut vault = Vault::open(store(&dir), options).await.unwrap();
        assert_eq!(vault.rewrap().await.unwrap().rewrapped, 2, "{old:?}");
        assert_eq!(vault.rewrap().await.unwrap().number, None, "nothing is left to do");
        Vault::open(store(&dir), paper(&key(new))).await.unwrap();
        let found = Recipient::from_bytes(&vault.head().recovery_public).unwrap();
        assert_eq!(found, key(new).recipient());
        let wraps = |seed: &holdfast_vault::proto::Seed| seed.wraps.len();
        assert_eq!(vault.head().seeds.iter().map(wraps).collect::<Vec<_>>(), [2, 2]);
    }
}
