//! Stores as a vault meets them: two real S3 servers and a folder. No credential of the store is
//! ever said.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use futures::TryStreamExt;
use holdfast_tests::contents;
use holdfast_tests::etcd::{Etcd, Options};
use holdfast_tests::objects::{Object, object};
use holdfast_tests::peers::peer;
use holdfast_tests::s3::{KINDS, Kind, S3};
use holdfast_tests::site::{Login, Provider, Site, assert_sealed};
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use serde_json::Value;

const SECRET_VALUE: &str = "the-password-in-a-kubernetes-secret";

#[tokio::test]
async fn the_main_job_over_versitygw() {
    the_main_job(Kind::Versitygw).await;
}

#[tokio::test]
async fn the_main_job_over_minio() {
    the_main_job(Kind::Minio).await;
}

/// Backup, a second backup, check, drill, prune, restore: everything that touches a store.
async fn the_main_job(kind: Kind) {
    let s3 = S3::start(kind, &["backups"]).await;
    let etcd = Etcd::start("3.6").await;
    let client = etcd.client();
    let secret = Object {
        key: "/registry/secrets/team/password".to_owned(),
        value: SECRET_VALUE.as_bytes().to_vec(),
    };
    let objects = (0..500).map(|index| object(41, index, 1)).chain([secret]);
    contents::put(&client, objects, 1).await.unwrap();
    // A space in the prefix: names are signed, listed and written as they are.
    let site = Site::on_s3(&s3, "backups/production site/etcd");
    site.watch(&etcd, Login::default());
    let fingerprint = site.init().await;
    site.back_up().await;
    contents::put(&client, (0..20).map(|index| object(41, index, 2)), 1).await.unwrap();
    site.back_up().await;

    let snapshots = site.snapshots().await;
    assert_eq!(snapshots.len(), 2, "{snapshots:?}");
    let added: Vec<u64> =
        snapshots.iter().map(|one| one["uploaded_bytes"].as_u64().unwrap()).collect();
    assert!(added[0] > 4 * added[1], "the second adds only what is new: {added:?}");
    let checked = site.succeed(&site.on_vault(&["vault", "check", "--level", "3"])).await;
    assert!(checked.out.contains("2 snapshots are sound"), "{}", checked.out);
    assert!(!checked.out.contains("DAMAGED"), "{}", checked.out);

    let server = peer("etcd-3.6").display().to_string();
    let drill = site.on_vault(&["drill", "--server", &server, "-o", "json"]);
    let report: Value = serde_json::from_str(&site.succeed(&drill).await.out).unwrap();
    assert!(report.is_object(), "{report}");
    let proven = &site.snapshots().await[1]["proven_level"];
    assert!(proven.as_u64() >= Some(6), "booted and served: {proven}");

    // The first snapshot goes, with what only it needed; the second stays whole.
    let prune = site.on_vault(&["vault", "prune", "--keep-last", "1"]);
    let pruned = site.succeed(&prune).await;
    assert!(pruned.out.contains("forget"), "{}", pruned.out);
    assert_eq!(site.snapshots().await.len(), 1);
    let checked = site.succeed(&site.on_vault(&["vault", "check", "--level", "2"])).await;
    assert!(!checked.out.contains("DAMAGED"), "{}", checked.out);

    let line = fingerprint.lines().find_map(|line| line.trim().strip_prefix("fingerprint"));
    let fingerprint = line.expect("a fingerprint is printed").trim();
    let more = ["--bump", "none", "--fingerprint", fingerprint];
    let data_dir = site.restore("restored", "3.6", &more).await;
    let restored = Etcd::start_with(Options::new("3.6").with_data_dir(&data_dir)).await;
    let (old, new) =
        (contents::read(&client).await.unwrap(), contents::read(&restored.client()).await.unwrap());
    assert_eq!(old.differences(&new), Vec::<String>::new());
    assert_eq!(old.revision, new.revision);

    site.assert_kept(&[
        s3.access_key.as_bytes(),
        s3.secret_key.as_bytes(),
        SECRET_VALUE.as_bytes(),
        &Provider::secret(0x11),
    ]);
    assert!(s3.bucket_dir("backups").join("production site/etcd").is_dir());
    assert_sealed(&s3.bucket_dir("backups"), SECRET_VALUE.as_bytes());
}

#[tokio::test]
async fn wrong_credentials_and_a_store_that_is_away_are_said_without_secrets() {
    futures::future::join_all(KINDS.map(denied_then_away)).await;
}

async fn denied_then_away(kind: Kind) {
    let mut s3 = S3::start(kind, &["backups"]).await;
    let etcd = Etcd::start("3.6").await;
    contents::put(&etcd.client(), std::iter::once(object(42, 1, 1)), 1).await.unwrap();
    let site = Site::on_s3(&s3, "backups/production");
    site.watch(&etcd, Login::default());
    site.init().await;
    site.back_up().await;

    let right = std::mem::replace(&mut s3.secret_key, "wrong-secret-of-the-operator".to_owned());
    let stranger = Site::on_s3(&s3, "backups/production");
    let message = stranger.refuse(&stranger.on_vault(&["snapshots"])).await;
    assert!(message.contains("backups/production"), "{message}");
    assert!(message.contains("check the credentials"), "{message}");
    let message = stranger.refuse(&["store", "doctor", "s3://key:secret@backups/x"]).await;
    assert!(!message.contains("key:secret"), "{message}");
    stranger.assert_kept(&[b"wrong-secret-of-the-operator", right.as_bytes()]);

    let missing = Site::on_s3(&s3, "no-such-bucket/production");
    missing.refuse(&missing.on_vault(&["snapshots"])).await;

    s3.kill();
    let config = site.path("agent.yaml").display().to_string();
    let message = site.refuse(&["agent", "--once", "--config", &config]).await;
    assert!(message.contains("backups/production"), "{message}");
    assert!(message.contains("cannot be reached"), "{message}");
    site.assert_kept(&[s3.access_key.as_bytes(), right.as_bytes()]);
    // etcd was left alone.
    contents::put(&etcd.client(), std::iter::once(object(42, 2, 1)), 1).await.unwrap();
}

#[tokio::test]
async fn the_doctor_finds_a_folder_and_s3_servers_fit() {
    the_doctor_finds_it_fit(&Site::on_disk()).await;
    for kind in KINDS {
        let s3 = S3::start(kind, &["backups"]).await;
        let site = Site::on_s3(&s3, "backups/examined");
        the_doctor_finds_it_fit(&site).await;
        // It cleans up after itself.
        let left: Vec<_> = s3.client("backups").list(None).try_collect().await.unwrap();
        assert!(left.is_empty(), "objects are left in the bucket: {left:?}");
        site.assert_kept(&[s3.access_key.as_bytes(), s3.secret_key.as_bytes()]);
    }
}

async fn the_doctor_finds_it_fit(site: &Site) {
    for outcome in examine(site).await {
        let verdict = outcome["verdict"].as_str().unwrap_or_default();
        assert!(["pass", "warn"].contains(&verdict), "{}: {outcome}", site.url());
    }
    let table = site.succeed(&["store", "doctor", site.url()]).await;
    assert!(table.out.contains("a vault may have its authority here"), "{}", table.out);
    assert!(!table.out.contains("FAIL"), "{}", table.out);
}

/// What the doctor says, check by check, whatever its exit code.
async fn examine(site: &Site) -> Vec<Value> {
    let said = site.run(&["store", "doctor", site.url(), "-o", "json"]).await;
    let report: Value = serde_json::from_str(&said.out).expect("a report");
    let outcomes = report["outcomes"].as_array().expect("outcomes");
    assert!(outcomes.len() >= 8, "{report}");
    outcomes.clone()
}

/// A bucket that keeps versions: a create succeeds over a delete marker, so whoever may delete may
/// put another commit in a commit's place. A listing shows nothing of it; the doctor does.
#[tokio::test]
async fn the_doctor_names_a_masked_commit_in_a_versioned_bucket() {
    for kind in KINDS {
        let s3 = S3::start(kind, &["backups"]).await;
        s3.keep_versions("backups").await;
        let etcd = Etcd::start("3.6").await;
        contents::put(&etcd.client(), std::iter::once(object(43, 1, 1)), 1).await.unwrap();
        let site = Site::on_s3(&s3, "backups/versioned");
        site.watch(&etcd, Login::default());
        site.init().await;
        site.back_up().await;
        let hidden = |outcomes: Vec<Value>| {
            let found = outcomes.into_iter().find(|one| one["check"] == "commit versions");
            found.unwrap_or_else(|| panic!("{kind:?}: no such check"))
        };
        let before = hidden(examine(&site).await);
        assert_eq!(before["verdict"], "pass", "{kind:?}: {before}");
        assert!(!before["detail"].to_string().starts_with("\"0 commits"), "{before}");

        let bucket = s3.client("backups");
        let names: Vec<_> = bucket.list(None).try_collect().await.unwrap();
        let commits = names.iter().map(|one| &one.location);
        let newest = commits.filter(|name| name.as_ref().contains("/commit/")).max().unwrap();
        let original = bucket.get(newest).await.unwrap();
        let version = original.meta.version.clone().expect("the bucket gives versions");
        let bytes = original.bytes().await.unwrap();
        let bytes = bytes.into();
        match kind {
            // As S3 does: a marker is no object.
            Kind::Minio => {
                bucket.delete(newest).await.unwrap();
                drop(bucket.put_opts(newest, bytes, PutMode::Create.into()).await.unwrap());
            }
            // It takes a marker for an object; whoever may write can replace a commit all the same.
            Kind::Versitygw => drop(bucket.put(newest, bytes).await.unwrap()),
        }

        let after = hidden(examine(&site).await);
        assert_eq!(after["verdict"], "fail", "{kind:?}: {after}");
        let detail = after["detail"].as_str().unwrap();
        let number = newest.filename().unwrap();
        assert!(detail.contains(number) && detail.contains(&version), "{kind:?}: {detail}");
        site.assert_kept(&[s3.access_key.as_bytes(), s3.secret_key.as_bytes()]);
    }
}
