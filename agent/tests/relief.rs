//! Agents that start while the key service is away: how much they leave behind, and that it is told
//! until somebody with the paper has come.

#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod support;

use async_trait::async_trait;
use holdfast_agent::config::Config;
use holdfast_agent::cycle::Job;
use holdfast_agent::jobs::{Shared, Tools, Worker};
use holdfast_agent::metrics::Metrics;
use holdfast_agent::run::{Outcome, Parts, once};
use holdfast_agent::state::AgentState;
use holdfast_vault::format::SystemEntropy;
use holdfast_vault::init::VaultOptions;
use holdfast_vault::keys::{
    Encrypted, KeyService, KmsConfig, Providers, RecoveryKey, Sealing, ServiceError, ServiceStatus,
    parse_encryption_config,
};
use holdfast_vault::relief::reliefs;
use holdfast_vault::vault::Vault;
use holdfast_vault::{Store, StoreOptions};
use jiff::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use support::fake::{Fake, Fault};
use support::{Site, database, files};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

const KMS: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n\
resources:\n- resources: [\"*.*\"]\n  providers:\n  - kms: {apiVersion: v2, name: hsm, \
endpoint: \"unix:///nowhere\"}\n";
const ALONE: &str = "opened by the recovery key alone";

/// A key service that is away when it is told so.
#[derive(Default)]
struct Service(AtomicBool);

impl Service {
    fn answer<T>(&self, answer: T) -> Result<T, ServiceError> {
        let (timeout, detail) = (Duration::from_secs(3), "no socket".to_owned());
        let away = self.0.load(Ordering::Relaxed);
        if away { Err(ServiceError::Unavailable { timeout, detail }) } else { Ok(answer) }
    }
}

fn masked(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ 0x5a).collect()
}

#[async_trait]
impl KeyService for Service {
    async fn status(&self) -> Result<ServiceStatus, ServiceError> {
        let (version, healthz, key_id) = ("v2".into(), "ok".into(), "kek-1".into());
        self.answer(ServiceStatus { version, healthz, key_id })
    }

    async fn encrypt(&self, _: &str, plain: &[u8]) -> Result<Encrypted, ServiceError> {
        let (ciphertext, key_id) = (masked(plain), "kek-1".into());
        self.answer(Encrypted { ciphertext, key_id, annotations: [].into() })
    }

    async fn decrypt(
        &self,
        _: &str,
        encrypted: &Encrypted,
    ) -> Result<Zeroizing<Vec<u8>>, ServiceError> {
        self.answer(Zeroizing::new(masked(&encrypted.ciphertext)))
    }
}

/// A vault that a key service and a paper open, and a member.
struct Place {
    site: Site,
    service: Arc<Service>,
    paper: RecoveryKey,
    fake: Fake,
    url: String,
}

impl Place {
    async fn new() -> Place {
        let site = Site { folder: tempfile::tempdir().unwrap() };
        std::fs::write(site.path("keys.yaml"), KMS).unwrap();
        let (fake, url) = Fake::start(database(), Fault::None).await;
        let paper = RecoveryKey::random(&mut SystemEntropy);
        let place = Place { site, service: Arc::default(), paper, fake, url };
        Vault::init(place.store(), VaultOptions::new(place.providers())).await.unwrap();
        place
    }

    fn store(&self) -> Store {
        let options = StoreOptions { create: true, ..StoreOptions::default() };
        Store::open(&self.site.url(), options).unwrap()
    }

    fn providers(&self) -> Providers {
        let config = parse_encryption_config(KMS).unwrap();
        let service = &mut |_: &KmsConfig| self.service.clone() as Arc<dyn KeyService>;
        let providers = Providers::from_config(&config, Sealing::Required, service);
        providers.with_recipient(Some(self.paper.recipient()))
    }

    fn config(&self) -> Config {
        let public = self.paper.recipient().to_text();
        let text = format!(
            "etcd: {{endpoints: ['{}']}}\nvault:\n  url: {}\n  encryptionConfig: keys.yaml\n  \
             recoveryRecipient: {public}\nstateDirectory: state\n",
            self.url,
            self.site.url()
        );
        Config::parse(&text, &self.site.path("agent.yaml")).unwrap()
    }

    fn parts(&self) -> Parts {
        let service = self.service.clone();
        Parts::new(Arc::new(move |_: &KmsConfig| service.clone()))
    }

    /// What a process of one round says.
    async fn once(&self) -> Result<Vec<String>, String> {
        let (_terminate, signals) = mpsc::channel(1);
        match once(self.config(), self.parts(), signals).await {
            Ok(Outcome::Round(report)) => Ok(report.alarms),
            other => Err(other.unwrap_err().to_string()),
        }
    }

    fn worker(&self) -> (Worker, Tools) {
        let state = AgentState::load(&self.site.path("state")).unwrap();
        let tools = Tools {
            config: Arc::new(self.config()),
            machine: "cp-1".into(),
            connect: self.parts().connect_kms,
            drill: self.parts().drill,
            metrics: Metrics::new().0,
            shared: Arc::new(Shared::new(state, Timestamp::now())),
        };
        (Worker::new(tools.clone()), tools)
    }

    fn chains(&self) -> Vec<PathBuf> {
        let folder = self.site.path("vault/relief");
        if folder.exists() { files(&folder) } else { Vec::new() }
    }
}

fn about_paper(alarms: &[String]) -> Vec<&str> {
    alarms.iter().map(String::as_str).filter(|alarm| alarm.contains(ALONE)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_without_the_key_service_leave_one_relief_chain_an_hour() {
    let place = Place::new().await;
    place.once().await.unwrap();
    place.service.0.store(true, Ordering::Relaxed);
    let alarms = place.once().await.unwrap();
    assert!(alarms.iter().any(|alarm| alarm.contains("lies in the relief chain")), "{alarms:?}");
    let (first, streams) = (place.chains(), place.fake.streams.load(Ordering::SeqCst));
    assert_eq!(first.len(), 1);
    let stored = files(&place.site.path("vault"));
    for _ in 0..2 {
        let said = place.once().await.unwrap_err();
        for words in ["no socket", "relief chain", "at the earliest", "nothing waits"] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
    assert_eq!(place.fake.streams.load(Ordering::SeqCst), streams, "etcd was left alone");
    // A daemon keeps a stream meanwhile.
    let (mut worker, tools) = place.worker();
    let said = worker.run(Job::Round).await.error.unwrap();
    assert!(said.contains("waits in the spool in"), "{said}");
    assert!(tools.metrics.waiting.get() > 1e9);
    assert_eq!(files(&place.site.path("vault")), stored, "nothing was stored");

    // An hour later what waited goes into a chain of its own.
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let file = std::fs::File::options().write(true).open(&first[0]).unwrap();
    file.set_modified(hour_ago).unwrap();
    let (mut later, tools) = place.worker();
    assert_eq!(later.run(Job::Round).await.error, None);
    assert_eq!((place.chains().len(), tools.metrics.waiting.get()), (2, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn relief_chains_that_need_the_paper_are_an_alarm_until_they_open() {
    let place = Place::new().await;
    place.service.0.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        place.once().await.unwrap();
        for chain in place.chains() {
            let file = std::fs::File::options().write(true).open(chain).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
        }
    }
    place.service.0.store(false, Ordering::Relaxed);
    let alarms = place.once().await.unwrap();
    let paper = about_paper(&alarms);
    assert!(paper.len() == 1 && paper[0].starts_with("2 relief chains are"), "{alarms:?}");
    assert!(paper[0].contains("vault rewrap --cluster"), "{paper:?}");
    let state = AgentState::load(&place.site.path("state")).unwrap();
    assert_eq!(about_paper(&state.alarms), paper);
    assert!(state.last_orphans_ms > 0, "a prune follows all the same");

    let (mut worker, tools) = place.worker();
    let told = || {
        let traces = tools.shared.lock();
        let alarms = about_paper(&traces.health.alarms).join("; ");
        (tools.metrics.recovery_only_chains.get(), alarms)
    };
    worker.run(Job::Round).await;
    assert_eq!(told(), (2, paper[0].to_owned()));
    // It asks for no LIST in each round: one would find nothing now.
    let (folder, elsewhere) = (place.site.path("vault/relief"), place.site.path("relief"));
    std::fs::rename(&folder, &elsewhere).unwrap();
    worker.run(Job::Round).await;
    assert_eq!(told(), (2, paper[0].to_owned()));
    std::fs::rename(&elsewhere, &folder).unwrap();

    // Somebody comes with the paper.
    for (left, says) in [(1, "1 relief chain is"), (0, "")] {
        let relief = reliefs(&place.store()).await.unwrap()[left].cluster;
        let paper = RecoveryKey::parse(&place.paper.to_text()).unwrap();
        let options = VaultOptions::new(place.providers().with_paper(paper));
        let options = VaultOptions { cluster: Some(relief), ..options };
        let mut vault = Vault::open(place.store(), options).await.unwrap();
        assert_eq!(vault.rewrap().await.unwrap().rewrapped, 2);
        let job = if left > 0 { Job::Round } else { Job::Wraps };
        worker.run(job).await;
        let (metric, alarm) = told();
        assert_eq!(metric, i64::try_from(left).unwrap());
        assert!(alarm.starts_with(says) && alarm.is_empty() == (left == 0), "{alarm}");
    }
}
