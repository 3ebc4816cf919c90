//! From every version of etcd to every version, through our own binary: backed up by the agent,
//! restored, booted on upstream's server, compared in both directions; upstream's tools judge our
//! files.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

#[path = "matrix/judge.rs"]
mod judge;

use futures::future::join_all;
use holdfast_tests::etcd::{Etcd, Options, run};
use holdfast_tests::objects::object;
use holdfast_tests::peers::{VERSIONS, peer};
use holdfast_tests::site::{Login, Site};
use holdfast_tests::{contents, seed};
use judge::State;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Added to the revision where a test asks for a bump by number.
const BUMP: i64 = 5_000_000;

/// Backs a running source up, and restores it for all versions; `auth`: authentication is on.
async fn through_all_targets(source: &Etcd, auth: bool) {
    let site = Site::on_disk();
    let login = Login { user: auth.then_some(seed::ROOT), ..Login::default() };
    site.watch(source, login);
    site.init().await;
    let state = State::read(&judge::client_of(source, auth)).await.unwrap();
    site.back_up().await;
    let snapshots = site.snapshots().await;
    assert_eq!(snapshots.len(), 1, "{snapshots:?}");
    assert_eq!(snapshots[0]["revision"].as_i64(), Some(state.contents.revision));
    let version = source.version();
    let restored = VERSIONS.map(|target| restored(&site, &state, (version, target), auth));
    let (_, ()) = tokio::join!(join_all(restored), exported(&site, &state, version, auth));
    let now = State::read(&judge::client_of(source, auth)).await.unwrap();
    state.assert_same(&now, "the source was left alone");
    site.assert_kept(&[seed::ROOT.1.as_bytes(), &holdfast_tests::site::Provider::secret(0x11)]);
}

/// One pair of versions without a bump.
async fn same(site: &Site, state: &State, (source, target): (&str, &str), auth: bool) {
    let data_dir = site.restore(&format!("same-{target}"), target, &["--bump", "none"]).await;
    judge::bbolt_agrees(&data_dir.join("member/snap/db"));
    judge::versions_fit(&data_dir, target);
    let same = judge::boot(&data_dir, target, auth).await;
    state.assert_same(&same, &format!("{source} to {target}"));
}

/// One pair of versions, without a bump and with one.
async fn restored(site: &Site, state: &State, versions: (&str, &str), auth: bool) {
    same(site, state, versions, auth).await;
    let (source, target) = versions;
    let bump = BUMP.to_string();
    let data_dir = site.restore(&format!("lifted-{target}"), target, &["--bump", &bump]).await;
    judge::bbolt_agrees(&data_dir.join("member/snap/db"));
    let lifted = judge::boot_lifted(&data_dir, target, auth, state).await;
    state.assert_lifted(&lifted, BUMP, &format!("{source} to {target}, lifted"));
}

/// The exported file, restored by upstream's own tool.
async fn exported(site: &Site, state: &State, version: &str, auth: bool) {
    let file = site.export("export.db").await;
    judge::bbolt_agrees(&file);
    let (_folder, data_dir) = judge::etcdutl_restores(version, &file, state.contents.revision);
    // Upstream keeps alarms, so the store may refuse writes: only what it holds is compared.
    let etcd = Etcd::start_with(Options::new(version).with_data_dir(&data_dir)).await;
    let found = State::read(&judge::client_of(&etcd, auth)).await.unwrap();
    state.assert_same(&found, &format!("{version}, exported"));
}

/// Odd keys and values, deep transactions, leases, tombstones, a compaction at a tombstone's
/// revision, users and roles, a NOSPACE alarm.
async fn hard_cases(version: &str) {
    let source = Etcd::start(version).await;
    seed::records(&source.client()).await.unwrap();
    seed::authentication(&source.client()).await.unwrap();
    seed::nospace(&source.client_as(seed::ROOT.0, seed::ROOT.1)).await.unwrap();
    through_all_targets(&source, true).await;
}

#[tokio::test]
async fn hard_cases_of_3_5() {
    hard_cases("3.5").await;
}

#[tokio::test]
async fn hard_cases_of_3_6() {
    hard_cases("3.6").await;
}

#[tokio::test]
async fn hard_cases_of_3_7() {
    hard_cases("3.7").await;
}

#[tokio::test]
async fn a_compaction_caught_half_way() {
    for version in VERSIONS {
        // Started again it does one more small batch, and rests for an hour.
        let mut source = seed::half_compacted(version).await.unwrap();
        source.boot().await;
        through_all_targets(&source, false).await;
        source.kill().await;
        let [scheduled, finished] = judge::compaction_marks(&source.database());
        assert_ne!(scheduled, finished, "{version}: it was half way all the time");
    }
}

#[tokio::test]
async fn an_upstream_restore_with_a_bump() {
    for version in VERSIONS {
        let first = Etcd::start(version).await;
        seed::records(&first.client()).await.unwrap();
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("snapshot.db");
        first.save_snapshot(&first.client(), &file).await.unwrap();
        let url = "http://127.0.0.1:2380";
        let bumped = seed::bumped_by_upstream(version, &file, folder.path(), url);
        drop(first);
        let source = Etcd::start_with(Options::new(version).with_data_dir(&bumped)).await;
        // On one of them nothing is written: the compaction's revision is the newest.
        if version != "3.6" {
            let objects = (0..20).map(|index| object(13, index, 1));
            contents::put(&source.client(), objects, 2).await.unwrap();
        }
        through_all_targets(&source, false).await;
    }
}

#[tokio::test]
async fn an_empty_store() {
    let sources = VERSIONS.map(|version| async move {
        let source = Etcd::start(version).await;
        through_all_targets(&source, false).await;
    });
    join_all(sources).await;
}

/// The real cluster's snapshot, served by upstream's 3.6.
#[tokio::test]
async fn a_real_kubernetes_cluster() {
    let folder = TempDir::new().unwrap();
    let data_dir = kubernetes(folder.path());
    let source = Etcd::start_with(Options::new("3.6").with_data_dir(&data_dir)).await;
    let _kept = KeepAlive::of_all_leases(&source).await;
    let site = Site::on_disk();
    site.watch(&source, Login::default());
    site.init().await;
    let state = State::read(&source.client()).await.unwrap();
    assert!(state.contents.records.len() > 6000, "{}", state.contents.records.len());
    site.back_up().await;
    join_all(VERSIONS.map(|target| same(&site, &state, ("3.6", target), false))).await;
    // Kubernetes' own data: what upstream advises is done unasked.
    let data_dir = site.restore("lifted", "3.7", &[]).await;
    let lifted = judge::boot_lifted(&data_dir, "3.7", false, &state).await;
    state.assert_lifted(&lifted, 1_000_000_000, "lifted");
    exported(&site, &state, "3.6", false).await;
}

/// A data directory as etcdutl restores it from the packed snapshot.
fn kubernetes(folder: &Path) -> std::path::PathBuf {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/k8s/k8s.db.zst");
    let (file, data_dir) = (folder.join("k8s.db"), folder.join("data"));
    let plain = zstd::decode_all(std::fs::File::open(packed).unwrap()).unwrap();
    std::fs::write(&file, plain).unwrap();
    let mut etcdutl = Command::new(peer("etcdutl-3.6"));
    etcdutl.args(["snapshot", "restore"]).arg(&file).arg("--data-dir").arg(&data_dir);
    run(&mut etcdutl);
    data_dir
}

/// Keeps the leases of a source alive, as the API server that took them did: they last 15 seconds.
struct KeepAlive(Vec<Child>);

impl KeepAlive {
    async fn of_all_leases(etcd: &Etcd) -> KeepAlive {
        let accounts = holdfast_tests::accounts::Accounts::read(&etcd.client()).await.unwrap();
        assert!(!accounts.leases.is_empty(), "the real cluster had leases");
        let keep = |id: &i64| {
            let mut etcdctl = Command::new(peer(&format!("etcdctl-{}", etcd.version())));
            etcdctl.args(["--endpoints", &etcd.endpoint(), "lease", "keep-alive"]);
            etcdctl.arg(format!("{id:x}")).stdin(Stdio::null()).stdout(Stdio::null());
            etcdctl.stderr(Stdio::null()).spawn().expect("etcdctl starts")
        };
        KeepAlive(accounts.leases.keys().map(keep).collect())
    }
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended with the server.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
