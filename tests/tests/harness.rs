//! The harness itself: what the suites build on does what it says, for every version of etcd.

use holdfast_bolt::{Db, MappedFile};
use holdfast_tests::accounts::Accounts;
use holdfast_tests::etcd::{Cluster, Etcd, Options};
use holdfast_tests::kms::KeyPlugin;
use holdfast_tests::peers::VERSIONS;
use holdfast_tests::pki::Pki;
use holdfast_tests::s3::{KINDS, S3};
use holdfast_tests::{contents, seed};
use std::sync::Arc;
use tempfile::TempDir;

#[tokio::test]
async fn hard_cases_are_the_same_each_time_and_survive_a_kill() {
    for version in VERSIONS {
        let (mut one, two) = tokio::join!(Etcd::start(version), Etcd::start(version));
        let mut ends = Vec::new();
        for etcd in [&one, &two] {
            let client = etcd.client();
            ends.push(seed::records(&client).await.unwrap());
            seed::authentication(&client).await.unwrap();
            seed::nospace(&etcd.client_as(seed::ROOT.0, seed::ROOT.1)).await.unwrap();
        }
        assert_eq!(ends[0], ends[1]);
        one.kill().await;
        one.boot().await;
        let (a, b) =
            (one.client_as(seed::ROOT.0, seed::ROOT.1), two.client_as(seed::ROOT.0, seed::ROOT.1));
        let (first, second) =
            (contents::read(&a).await.unwrap(), contents::read(&b).await.unwrap());
        assert_eq!(first.differences(&second), Vec::<String>::new());
        assert_eq!(first, second);
        let (first, second) =
            (Accounts::read(&a).await.unwrap(), Accounts::read(&b).await.unwrap());
        assert_eq!(first, second);
        assert_eq!(first.leases.len(), seed::LEASES.len());
        assert_eq!(first.leases[&seed::LEASES[0]].keys.len(), 5);
        assert!(first.leases[&seed::LEASES[1]].keys.is_empty());
        assert_eq!(first.leases[&seed::LEASES[2]].keys.len(), 1);
        assert!(first.auth_enabled && first.users["reader"] == ["binary", "viewer"]);
        let hashes =
            [contents::hashes(&a, 0).await.unwrap(), contents::hashes(&b, 0).await.unwrap()];
        assert_eq!(hashes[0][0].1, hashes[1][0].1, "{version}: compact revisions");
        assert_eq!(hashes[0][0].2, hashes[1][0].2, "{version}: HashKV");
        let refused = one.client_as(seed::ROOT.0, seed::ROOT.1);
        let objects = std::iter::once(holdfast_tests::objects::object(1, 1, 1));
        let error = contents::put(&refused, objects, 1).await.unwrap_err();
        assert!(error.to_string().contains("disarm the NOSPACE alarm"), "{error}");
    }
}

#[tokio::test]
async fn a_difference_is_seen() {
    let etcd = Etcd::start("3.6").await;
    let client = etcd.client();
    contents::put(&client, (0..5).map(|n| holdfast_tests::objects::object(1, n, 1)), 1)
        .await
        .unwrap();
    let before = contents::read(&client).await.unwrap();
    contents::put(&client, (0..1).map(|n| holdfast_tests::objects::object(1, n, 2)), 1)
        .await
        .unwrap();
    let after = contents::read(&client).await.unwrap();
    assert_eq!(before.differences(&after).len(), 1);
    assert!(after.differences(&after).is_empty());
}

#[tokio::test]
async fn a_compaction_caught_half_way_is_half_done() {
    for version in VERSIONS {
        let mut etcd = seed::half_compacted(version).await.unwrap();
        let file = MappedFile::open(&etcd.database()).unwrap();
        let db = Db::open(file).unwrap();
        let marks = [&b"scheduledCompactRev"[..], b"finishedCompactRev"]
            .map(|name| db.bucket(b"meta").unwrap().unwrap().get(name).unwrap().map(Vec::from));
        assert!(marks[0].is_some(), "{version}: the mark is set");
        assert_ne!(marks[0], marks[1], "{version}: the compaction is not finished");
        drop(db);
        etcd.boot().await;
    }
}

#[tokio::test]
async fn upstreams_bumped_restore_boots_with_its_odd_record() {
    let source = Etcd::start("3.6").await;
    let client = source.client();
    let end = seed::records(&client).await.unwrap();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("snapshot.db");
    source.save_snapshot(&client, &file).await.unwrap();
    let bumped = seed::bumped_by_upstream("3.6", &file, folder.path(), "http://127.0.0.1:2380");
    let options = Options::new("3.6").with_data_dir(&bumped).with_flags(&["--force-new-cluster"]);
    let etcd = Etcd::start_with(options).await;
    let (old, new) =
        (contents::read(&client).await.unwrap(), contents::read(&etcd.client()).await.unwrap());
    assert!(new.revision >= end + 1_000_000, "{}", new.revision);
    assert_eq!(old.differences(&new), Vec::<String>::new());
}

#[tokio::test]
async fn three_members_over_tls_hold_the_same() {
    let pki = Arc::new(Pki::new());
    let cluster = Cluster::start(Options::new("3.6").with_tls(&pki), 3).await;
    let client = cluster.client();
    let end = seed::records(&client).await.unwrap();
    let hashes = contents::hashes(&client, end).await.unwrap();
    assert_eq!(hashes.len(), 3);
    assert!(hashes.iter().all(|(_, _, hash)| *hash == hashes[0].2), "{hashes:?}");
}

/// The checksums that we send are of use: a server that gets other bytes than we sent says so.
#[tokio::test]
async fn the_s3_servers_refuse_bytes_that_do_not_fit_their_checksum() {
    // Of "holdfast".
    let sha256 = "0VgNLffyS29eKoYeuikYdVw6cka3BogX40nYrcZqhWY=";
    for kind in KINDS {
        let s3 = S3::start(kind, &["backups"]).await;
        assert_eq!(s3.put_claiming("backups/right", "holdfast", sha256).await, 200, "{kind:?}");
        assert_eq!(s3.put_claiming("backups/wrong", "holdfasT", sha256).await, 400, "{kind:?}");
    }
}

#[tokio::test]
async fn the_s3_servers_and_the_key_plugin_start_and_end() {
    for kind in KINDS {
        let mut s3 = S3::start(kind, &["backups"]).await;
        assert!(s3.bucket_dir("backups").is_dir(), "{kind:?}");
        s3.kill();
    }
    let mut plugin = KeyPlugin::start();
    plugin.rotate("kek-2");
    plugin.restart();
    assert!(plugin.endpoint().starts_with("unix:///"));
}
