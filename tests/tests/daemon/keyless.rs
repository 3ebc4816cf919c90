//! The key service is away when an agent starts: with a recovery key it goes on, without one the
//! stream waits.

use super::running::{Agent, QUICK, cluster, configure};
use holdfast_tests::contents;
use holdfast_tests::etcd::{Etcd, Options};
use holdfast_tests::kms::KeyPlugin;
use holdfast_tests::objects::{Object, object};
use holdfast_tests::site::{Provider, Site};

const DONE: &str = "holdfast_jobs_completed_total{job=\"round\"}";
const AWAITING: &str = "holdfast_jobs_failed_total{job=\"round\",kind=\"keys\"}";
const SERVICE: &str = "holdfast_key_service_reachable";

async fn vault_of(plugin: &KeyPlugin) -> (Etcd, Site) {
    let (etcd, site) = cluster(30).await;
    let key = "/registry/secrets/team/password".to_owned();
    let secret = Object { key, value: b"in-a-kubernetes-secret".to_vec() };
    contents::put(&etcd.client(), [secret].into_iter(), 1).await.unwrap();
    site.provide(&[Provider::Kms("hsm", plugin.endpoint())]);
    (etcd, site)
}

/// The word behind a mark in what was printed.
fn word(said: &str, mark: &str) -> String {
    let found = said.split_whitespace().find(|word| word.starts_with(mark));
    found.unwrap_or_else(|| panic!("no {mark} in\n{said}")).to_owned()
}

#[tokio::test]
async fn with_a_recovery_key_it_goes_on_and_the_paper_restores() {
    let mut plugin = KeyPlugin::start();
    let (etcd, site) = vault_of(&plugin).await;
    let keys = site.keys().display().to_string();
    let made = ["vault", "init", site.url(), "--keys", &keys, "--recovery"];
    let made = site.succeed(&made).await.out;
    let (paper, public) = (word(&made, "HFKEY-"), word(&made, "HFPUB-"));
    std::fs::write(site.path("paper"), paper.to_lowercase()).unwrap();
    configure(&site, QUICK, &format!("  recoveryRecipient: {public}\n"));
    site.back_up().await;
    contents::put(&etcd.client(), (100..120).map(|index| object(31, index, 1)), 1).await.unwrap();
    let expected = contents::read(&etcd.client()).await.unwrap();

    plugin.kill();
    std::fs::remove_dir_all(site.path("state")).unwrap();
    let mut agent = Agent::start(&site, &[]);
    agent.until(DONE, |done| done >= 1.0).await;
    assert_eq!(agent.metric(SERVICE), Some(0.0));
    assert_eq!(agent.metric("holdfast_recovery_only_seeds"), Some(2.0));
    assert_eq!(agent.metric("holdfast_alarms"), Some(1.0));
    let (status, reason) = agent.page("/healthz").unwrap();
    assert!(status != 200 && reason.contains("key service is away"), "{status} {reason}");

    // The paper alone restores what no key service opens, and the newest by its chain's name.
    let relief = std::fs::read_dir(site.path("vault/relief")).unwrap().next().unwrap().unwrap();
    let relief = std::fs::read_dir(relief.path()).unwrap().next().unwrap().unwrap();
    let relief = relief.file_name().into_string().unwrap();
    let paper_file = site.path("paper").display().to_string();
    let data_dir = site.path("restored").display().to_string();
    let restore = ["restore", "--from", site.url(), "--recovery-key-file", &paper_file];
    let place = ["--name", "default", "--data-dir", &data_dir, "--peer-url"];
    let rest = ["http://127.0.0.1:2380", "--bump", "none", "--cluster", &relief];
    site.succeed(&[&restore[..], &place, &rest].concat()).await;
    let options = Options::new("3.6").with_data_dir(&site.path("restored"));
    let restored = Etcd::start_with(options).await;
    let found = contents::read(&restored.client()).await.unwrap();
    assert_eq!(expected.differences(&found), Vec::<String>::new());
    let list = ["snapshots", "--from", site.url(), "--recovery-key-file", &paper_file];
    let said = site.succeed(&list).await;
    assert!(said.err.contains(&relief), "the relief chain is told of: {}", said.err);

    // Back: the wraps follow, the alarm clears, the service alone opens the relief chain.
    plugin.restart();
    agent.until("holdfast_recovery_only_seeds", |seeds| seeds == 0.0).await;
    agent.until("holdfast_alarms", |alarms| alarms == 0.0).await;
    assert_eq!(agent.metric(SERVICE), Some(1.0));
    assert_eq!(agent.page("/healthz").unwrap().0, 200);
    drop(agent);
    site.succeed(&site.on_vault(&["vault", "check", "--level", "2", "--cluster", &relief])).await;
    let paper = paper.trim_start_matches("HFKEY-").replace('-', "");
    site.remember(&made.replace(&paper, ""));
    site.assert_kept(&[b"in-a-kubernetes-secret"]);
}

#[tokio::test]
async fn without_one_the_stream_waits_and_says_how_long() {
    let mut plugin = KeyPlugin::start();
    let (mut etcd, site) = vault_of(&plugin).await;
    site.init().await;
    configure(&site, QUICK, "");
    let expected = contents::read(&etcd.client()).await.unwrap();
    plugin.kill();
    let config = site.path("agent.yaml").display().to_string();
    let once = site.refuse(&["agent", "--once", "--config", &config]).await;
    for words in ["nothing was stored and nothing waits", "again", "recovery-key", "kek-1"] {
        assert!(once.contains(words), "{words}: {once}");
    }
    let mut agent = Agent::start(&site, &[]);
    agent.until(AWAITING, |failed| failed >= 2.0).await;
    assert_eq!(agent.metric(SERVICE), Some(0.0));
    assert!(agent.metric("holdfast_spool_waiting_timestamp_seconds").unwrap() > 1e9);
    let (status, reason) = agent.page("/healthz").unwrap();
    assert_ne!(status, 200);
    for words in ["waits in the spool in", "for as long as this agent runs", "kek-1"] {
        assert!(reason.contains(words), "{words}: {reason}");
    }
    assert!(!site.path("vault/relief").exists(), "nothing is begun without a recovery key");
    let asked = agent.said().matches("the stream is whole").count();
    assert_eq!(asked, 1, "one stream a tick\n{}", agent.tail());

    // The source is lost; the key service comes back: what waited is stored.
    etcd.kill().await;
    plugin.restart();
    agent.until(DONE, |done| done >= 1.0).await;
    agent.until("holdfast_spool_waiting_timestamp_seconds", |taken| taken == 0.0).await;
    assert_eq!(agent.metric("holdfast_alarms"), Some(0.0));
    drop(agent);
    let data_dir = site.restore("restored", "3.6", &["--bump", "none"]).await;
    let restored = Etcd::start_with(Options::new("3.6").with_data_dir(&data_dir)).await;
    let found = contents::read(&restored.client()).await.unwrap();
    assert_eq!(expected.differences(&found), Vec::<String>::new());
}

#[tokio::test]
async fn the_example_key_is_refused() {
    let site = Site::on_disk();
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/encryption.yaml");
    let example = example.display().to_string();
    let message = site.refuse(&["vault", "init", site.url(), "--keys", &example]).await;
    assert!(message.contains("example file") && message.contains("/dev/urandom"), "{message}");
    assert!(!site.path("vault").exists(), "nothing was made");
}
