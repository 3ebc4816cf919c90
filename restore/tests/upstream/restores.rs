//! Every source on every target; bump, trim, undo, export.

use std::fs;
use std::path::Path;

use holdfast_core::versions::EtcdVersion;
use holdfast_restore::fetch::{export, high_water, select_in};
use holdfast_restore::plan::{
    BumpChoice, PlannedSnapshot, RestorePlan, RestoreRequest, Surroundings,
};
use holdfast_restore::restore::{RestoreError, RestoreReport, restore};
use holdfast_restore::select::Question;
use holdfast_restore::server::Ports;
use holdfast_restore::swap::{DurableNames, Place, SwapError, undo};
use holdfast_vault::snapshot::ReadOptions;
use holdfast_vault::vault::Vault;

use crate::peers::{Running, free_ports, peer, run};
use crate::sources::{FileSource, canonical, store, vault};

const NOW: i64 = 1_800_000_000_000;

/// A restore of the question's answer into `data_dir`.
pub(crate) async fn restored(
    vault: &mut Vault,
    question: Question,
    data_dir: &Path,
    ports: Ports,
    (target, bump): (&str, BumpChoice),
) -> Result<RestoreReport, RestoreError> {
    let selected = select_in(vault.chain(), question).unwrap();
    let high_water = high_water(vault.chain());
    let reader = vault.reader(selected.number).await.unwrap();
    let request = RestoreRequest {
        name: "m1".to_owned(),
        peer_urls: vec![format!("http://127.0.0.1:{}", ports.peer)],
        target: Some(target.parse::<EtcdVersion>().unwrap()),
        bump,
        prove_hash: true,
        ..RestoreRequest::default()
    };
    let place = Place::look(data_dir).unwrap();
    let around = Surroundings::look(place, NOW).unwrap();
    let facts = reader.facts();
    let snapshot =
        PlannedSnapshot { vault: "test", selected: &selected, facts: &facts, high_water };
    let plan = RestorePlan::make(&snapshot, &request, &around).unwrap();
    assert!(plan.to_string().contains("m1"));
    restore(&reader, &plan, ReadOptions::default(), NOW).await
}

/// One source version restored for every target: hash, keys, leases, users equal; then with a bump.
async fn every_target(version: &str, with_auth: bool) {
    let root = tempfile::tempdir().unwrap();
    let source = Running::start(version, &root.path().join("source"), free_ports()).await;
    source.fill().await;
    let (keys, revision) = source.all(0).await;
    let (hash, leases) = (source.hash().await, source.leases().await);
    let user = with_auth.then_some(("root", "secret"));
    if with_auth {
        source.enable_auth().await;
    }
    let file = root.path().join("snap.db");
    source.save(&file, user.map(|_| "root:secret"));
    source.stop().await;
    let mut vault = vault(&root.path().join("vault")).await;
    let snapshot = FileSource::open(&file, Some(hash));
    store(&mut vault, &snapshot).await;

    for target in ["3.5", "3.6", "3.7"] {
        let data_dir = root.path().join(format!("to-{target}"));
        let ports = free_ports();
        let report =
            restored(&mut vault, Question::Latest, &data_dir, ports, (target, BumpChoice::None))
                .await
                .unwrap();
        assert_eq!((report.revision, report.hash.unwrap().hash), (revision, hash.2));
        let database = data_dir.join("member/snap/db");
        assert_eq!(canonical(&database).0, *snapshot.records, "{version} to {target}");
        run("bbolt", &["check", database.to_str().unwrap()]);
        let running = Running::start_as(target, &data_dir, ports, user).await;
        assert_eq!(running.hash().await, hash, "{version} to {target}");
        assert_eq!(running.all(0).await, (keys.clone(), revision));
        assert_eq!(running.leases().await, leases);
        if with_auth {
            let users = running.users().await;
            assert!(users.iter().any(|user| user.contains("alice [\"reader\"]")), "{users:?}");
            assert_eq!(users.len(), 4);
        }
        running.put(b"after", b"restore", 0).await;
        running.stop().await;
    }

    // The same directory again, now bumped: what is there moves aside.
    let data_dir = root.path().join(format!("to-{version}"));
    let ports = free_ports();
    let bump = BumpChoice::By(1_000_000);
    let report =
        restored(&mut vault, Question::Latest, &data_dir, ports, (version, bump)).await.unwrap();
    assert!(report.moved_aside.is_some_and(|aside| aside.join("member/wal").is_dir()));
    assert_eq!(report.served_revision, revision + 1_000_000);
    assert_eq!(report.hash.unwrap().hash, hash.2, "proven although it is bumped");
    let running = Running::start_as(version, &data_dir, ports, user).await;
    assert_eq!(running.all(0).await, (keys, revision + 1_000_000));
    assert_eq!(running.leases().await, leases);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_3_5_store_restores_for_every_version() {
    every_target("3.5", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_3_6_store_with_users_restores_for_every_version() {
    every_target("3.6", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_3_7_store_restores_for_every_version() {
    every_target("3.7", false).await;
}

/// Revisions in between, an unknown lease, a running server, undo.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_revision_in_between_and_back_again() {
    let root = tempfile::tempdir().unwrap();
    let source_dir = root.path().join("etcd");
    let ports = free_ports();
    let source = Running::start("3.6", &source_dir, ports).await;
    source.fill().await;
    source.grant(0x77, 100_000).await;
    let middle = source.put(b"short-lived", b"x", 0x77).await;
    let (then, _) = source.all(middle).await;
    let revoke = holdfast_api::etcdserverpb::LeaseRevokeRequest { id: 0x77 };
    source.client.lease().lease_revoke(revoke).await.unwrap();
    source.put(b"later", b"y", 0).await;
    let (keys, revision) = source.all(0).await;
    let file = root.path().join("snap.db");
    source.save(&file, None);
    let mut vault = vault(&root.path().join("vault")).await;
    store(&mut vault, &FileSource::open(&file, None)).await;

    let to = ("3.6", BumpChoice::None);
    let question = Question::Revision(middle);
    let error = restored(&mut vault, question, &source_dir, ports, to).await.unwrap_err();
    assert!(matches!(error, RestoreError::Swap(SwapError::Running(_))), "{error}");
    source.stop().await;
    let report = restored(&mut vault, question, &source_dir, ports, to).await.unwrap();
    assert_eq!((report.revision, report.made_up_leases), (middle, 1));
    assert!(report.counts.trimmed > 0);
    let running = Running::start("3.6", &source_dir, ports).await;
    assert_eq!(running.all(0).await, (then, middle));
    assert!(running.leases().await.contains(&(0x77, 3600)));
    running.stop().await;

    let undone = undo(&Place::look(&source_dir).unwrap(), &mut DurableNames, NOW).unwrap();
    assert!(undone.put_back && undone.restored_now_at.join("member/snap/db").is_file());
    let running = Running::start("3.6", &source_dir, ports).await;
    assert_eq!(running.all(0).await, (keys, revision), "the source's own directory again");
    running.stop().await;
}

/// Upstream's tools take our export.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdutl_takes_an_export() {
    let root = tempfile::tempdir().unwrap();
    let source = Running::start("3.6", &root.path().join("source"), free_ports()).await;
    source.fill().await;
    let (keys, revision) = source.all(0).await;
    let hash = source.hash().await;
    let saved = root.path().join("snap.db");
    source.save(&saved, None);
    source.stop().await;
    let mut vault = vault(&root.path().join("vault")).await;
    let snapshot = FileSource::open(&saved, Some(hash));
    let number = store(&mut vault, &snapshot).await;
    let reader = vault.reader(number).await.unwrap();
    let to = root.path().join("export.db");
    let exported = export(&reader, &to, None, ReadOptions::default()).await.unwrap();
    assert_eq!(exported.counts.records, snapshot.records.len() as u64);
    assert_eq!(fs::metadata(&to).unwrap().len() % 512, 32);
    let (records, small, _) = canonical(&to);
    assert_eq!((records, small), ((*snapshot.records).clone(), snapshot.small.clone()));
    assert!(export(&reader, &to, None, ReadOptions::default()).await.is_err(), "never replaced");
    let names: Vec<_> =
        fs::read_dir(root.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("partial")), "{names:?}");
    for version in ["3.5", "3.6", "3.7"] {
        let copy = root.path().join(format!("copy-{version}.db"));
        fs::copy(&to, &copy).unwrap();
        let tool = format!("etcdutl-{version}");
        let copy = copy.to_str().unwrap();
        let status = run(&tool, &["snapshot", "status", copy, "-w", "json"]);
        assert!(status.contains(&format!("\"revision\":{revision}")), "{status}");
        let data_dir = root.path().join(format!("utl-{version}"));
        let ports = free_ports();
        let url = format!("http://127.0.0.1:{}", ports.peer);
        let cluster = format!("m1={url}");
        run(
            &tool,
            &[
                "snapshot",
                "restore",
                copy,
                "--data-dir",
                data_dir.to_str().unwrap(),
                "--name",
                "m1",
                "--initial-cluster",
                &cluster,
                "--initial-advertise-peer-urls",
                &url,
            ],
        );
        let running = Running::start(version, &data_dir, ports).await;
        assert_eq!(running.all(0).await, (keys.clone(), revision));
        assert_eq!(running.hash().await.2, hash.2);
        running.stop().await;
    }
    let _ = peer("bbolt");
}
