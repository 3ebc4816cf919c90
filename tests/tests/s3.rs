//! Stores as a vault meets them: a real S3 server and a folder. No credential of the store is
//! ever said.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use holdfast_tests::contents;
use holdfast_tests::etcd::{Etcd, Options};
use holdfast_tests::objects::{Object, object};
use holdfast_tests::peers::peer;
use holdfast_tests::s3::S3;
use holdfast_tests::site::{Login, Provider, Site};
use serde_json::Value;
use std::path::Path;

const SECRET_VALUE: &str = "the-password-in-a-kubernetes-secret";

#[tokio::test]
async fn the_main_job_over_s3() {
    let s3 = S3::start(&["backups"]);
    let etcd = Etcd::start("3.6").await;
    let client = etcd.client();
    let secret = Object {
        key: "/registry/secrets/team/password".to_owned(),
        value: SECRET_VALUE.as_bytes().to_vec(),
    };
    let objects = (0..500).map(|index| object(41, index, 1)).chain([secret]);
    contents::put(&client, objects, 1).await.unwrap();
    let site = Site::on_s3(&s3, "backups/production/etcd");
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
    let (files, found) = search(&s3.bucket_dir("backups"), SECRET_VALUE.as_bytes());
    assert!(files > 3 && !found, "{files} objects, the secret is in clear: {found}");
}

#[tokio::test]
async fn wrong_credentials_and_a_store_that_is_away_are_said_without_secrets() {
    let mut s3 = S3::start(&["backups"]);
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
async fn the_doctor_finds_a_folder_and_an_s3_server_fit() {
    let s3 = S3::start(&["backups"]);
    let over_s3 = Site::on_s3(&s3, "backups/examined");
    let on_disk = Site::on_disk();
    for site in [&on_disk, &over_s3] {
        let said = site.succeed(&["store", "doctor", site.url(), "-o", "json"]).await;
        let report: Value = serde_json::from_str(&said.out).unwrap();
        let outcomes = report["outcomes"].as_array().expect("outcomes");
        assert!(outcomes.len() >= 8, "{report}");
        for outcome in outcomes {
            let verdict = outcome["verdict"].as_str().unwrap_or_default().to_lowercase();
            assert!(["pass", "warn"].contains(&&*verdict), "{outcome}");
        }
        let table = site.succeed(&["store", "doctor", site.url()]).await;
        assert!(table.out.contains("a vault may have its authority here"), "{}", table.out);
        assert!(!table.out.contains("FAIL"), "{}", table.out);
    }
    // It cleans up after itself.
    let (left, _) = search(&s3.bucket_dir("backups"), b"doctor");
    assert_eq!(left, 0, "objects are left in the bucket");
    over_s3.assert_kept(&[s3.access_key.as_bytes(), s3.secret_key.as_bytes()]);
}

/// How many files lie under a folder, and whether one holds the bytes.
fn search(folder: &Path, bytes: &[u8]) -> (usize, bool) {
    let (mut open, mut files, mut found) = (vec![folder.to_owned()], 0, false);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            files += 1;
            found |= std::fs::read(&path).unwrap().windows(bytes.len()).any(|part| part == bytes);
        }
    }
    (files, found)
}
