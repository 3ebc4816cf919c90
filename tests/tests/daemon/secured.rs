//! TLS, authentication and a key service, all at once; and certificates that are renewed on disk.

use super::running::{Agent, QUICK, configure};
use holdfast_tests::contents;
use holdfast_tests::etcd::{Etcd, Options};
use holdfast_tests::kms::KeyPlugin;
use holdfast_tests::objects::object;
use holdfast_tests::pki::Pki;
use holdfast_tests::seed::{self, ROOT};
use holdfast_tests::site::{Login, Provider, Site};
use std::sync::Arc;

const DONE: &str = "holdfast_jobs_completed_total{job=\"round\"}";

async fn secured() -> (Etcd, Arc<Pki>) {
    let pki = Arc::new(Pki::new());
    let etcd = Etcd::start_with(Options::new("3.6").with_tls(&pki)).await;
    contents::put(&etcd.client(), (0..30).map(|index| object(31, index, 1)), 1).await.unwrap();
    seed::authentication(&etcd.client()).await.unwrap();
    (etcd, pki)
}

#[tokio::test]
async fn a_password_certificates_and_a_key_service_at_once() {
    let (etcd, pki) = secured().await;
    let plugin = KeyPlugin::start();
    let site = Site::on_disk();
    site.watch(&etcd, Login { user: Some(ROOT), pki: Some(&pki) });
    site.provide(&[Provider::Kms("hsm", plugin.endpoint())]);
    site.init().await;
    configure(&site, QUICK, "");
    let mut agent = Agent::start(&site, &[]);
    agent.until(DONE, |done| done >= 1.0).await;
    assert_eq!(agent.metric("holdfast_alarms"), Some(0.0), "{}", agent.tail());
    drop(agent);
    site.succeed(&site.on_vault(&["vault", "check", "--level", "3"])).await;
    site.assert_kept(&[ROOT.1.as_bytes()]);
}

#[tokio::test]
async fn certificates_renewed_on_disk_are_read_again() {
    let (etcd, pki) = secured().await;
    let site = Site::on_disk();
    // The certificate's name is the user.
    site.watch(&etcd, Login { user: None, pki: Some(&pki) });
    site.init().await;
    configure(&site, QUICK, "");
    let pair = pki.client("root");
    let good = (std::fs::read(&pair.cert).unwrap(), std::fs::read(&pair.key).unwrap());
    // What another authority signed: as an expired one, the members do not take it.
    let other = Pki::new().client("root");
    std::fs::write(&pair.cert, std::fs::read(other.cert).unwrap_or(b"gone".to_vec())).unwrap();
    let mut agent = Agent::start(&site, &[]);
    agent.until("holdfast_failures_in_a_row", |failed| failed >= 2.0).await;
    let said = agent.page("/healthz").unwrap().1;
    assert!(said.contains("attempts failed"), "{said}");
    // Renewed while the agent runs.
    std::fs::write(&pair.cert, good.0).unwrap();
    std::fs::write(&pair.key, good.1).unwrap();
    agent.until(DONE, |done| done >= 1.0).await;
    assert_eq!(agent.metric("holdfast_failures_in_a_row"), Some(0.0));
}
