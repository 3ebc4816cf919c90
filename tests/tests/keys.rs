//! Keys through the command line: wrong, missing, in another order, rotated, dropped; a real KMS
//! v2 plugin that fails and rotates. Each refusal names the key id that is needed, and no output
//! holds a secret.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use holdfast_tests::contents::{self, Contents};
use holdfast_tests::etcd::{Etcd, Options};
use holdfast_tests::kms::KeyPlugin;
use holdfast_tests::objects::{Object, object};
use holdfast_tests::site::{Login, Provider, Site, assert_sealed};
use std::time::{Duration, Instant};

/// A value that must be seen nowhere but in etcd.
const SECRET_VALUE: &str = "the-password-in-a-kubernetes-secret";
/// Bytes that fill the keys.
const FIRST: u8 = 0x11;
const SECOND: u8 = 0x22;
const OTHER: u8 = 0x33;
const WRONG: u8 = 0x44;

/// A small cluster with a secret in it, and a vault of it.
async fn vault_of(providers: &[Provider]) -> (Etcd, Site) {
    let etcd = Etcd::start("3.6").await;
    let secret = Object {
        key: "/registry/secrets/team/password".to_owned(),
        value: SECRET_VALUE.as_bytes().to_vec(),
    };
    let objects = (0..40).map(|index| object(31, index, 1)).chain([secret]);
    contents::put(&etcd.client(), objects, 1).await.unwrap();
    let site = Site::on_disk();
    site.watch(&etcd, Login::default());
    site.provide(providers);
    site.init().await;
    site.back_up().await;
    (etcd, site)
}

/// What `holdfast vault keys` says of one provider: its key id, and the whole row. A long remark
/// goes on in lines that begin with blanks.
async fn key_line(site: &Site, kind: &str, name: &str) -> Option<(String, String)> {
    let said = site.succeed(&site.on_vault(&["vault", "keys"])).await;
    let mut lines = said.out.lines().skip_while(|line| {
        let mut words = line.split_whitespace();
        (words.next(), words.next()) != (Some(kind), Some(name))
    });
    let mut row: Vec<&str> = lines.next()?.split_whitespace().collect();
    let more = lines.take_while(|line| line.starts_with("   "));
    row.extend(more.flat_map(str::split_whitespace));
    Some(((*row.get(2)?).to_owned(), row.join(" ")))
}

/// Every verb that needs the keys refuses, naming the key id.
async fn all_refuse(site: &Site, key_id: &str, why: &str) {
    let target = site.path("never").display().to_string();
    let restore = ["restore", "--name", "n", "--data-dir", &target, "--peer-url", "http://h:1"];
    let config = site.path("agent.yaml").display().to_string();
    let lines = [
        site.on_vault(&["snapshots"]),
        site.on_vault(&restore),
        site.on_vault(&["vault", "check"]),
        site.on_vault(&["vault", "rewrap"]),
        ["agent", "--once", "--config", &config].map(str::to_owned).to_vec(),
    ];
    for line in lines {
        let message = site.refuse(&line).await;
        assert!(message.contains(key_id), "{}: {key_id} is not named: {message}", line[0]);
        assert!(message.contains(why), "{}: `{why}` is not said: {message}", line[0]);
    }
    assert!(!site.path("never").exists(), "nothing was made");
}

/// What stands in the vault restores to what the cluster holds.
async fn restores(site: &Site, name: &str, expected: &Contents) {
    site.succeed(&site.on_vault(&["vault", "check", "--level", "2"])).await;
    let data_dir = site.restore(name, "3.6", &["--bump", "none"]).await;
    let etcd = Etcd::start_with(Options::new("3.6").with_data_dir(&data_dir)).await;
    let found = contents::read(&etcd.client()).await.unwrap();
    assert_eq!(expected.differences(&found), Vec::<String>::new());
    assert_eq!(expected.revision, found.revision);
}

#[tokio::test]
async fn a_local_key_is_rotated_and_the_old_one_dropped() {
    let aesgcm = |keys: &[(&'static str, u8)]| Provider::Local("aesgcm", keys.to_vec());
    let first = aesgcm(&[("first", FIRST)]);
    let other = Provider::Local("secretbox", vec![("other", OTHER)]);
    let (etcd, site) = vault_of(std::slice::from_ref(&first)).await;
    let expected = contents::read(&etcd.client()).await.unwrap();
    let (key_id, remark) = key_line(&site, "aesgcm", "first").await.expect("it seals");
    assert!(remark.contains("seals now"), "{remark}");

    // Another key of that name; a provider of another kind; no key at all.
    site.provide(&[aesgcm(&[("first", WRONG)])]);
    all_refuse(&site, &key_id, "another one").await;
    site.provide(std::slice::from_ref(&other));
    all_refuse(&site, &key_id, "Add that key").await;
    site.provide(&[Provider::Identity]);
    all_refuse(&site, &key_id, "Add that key").await;

    // Two keys of one name; and the order changed: the old ones still open, whatever stands first.
    site.provide(&[aesgcm(&[("first", WRONG), ("first", FIRST)])]);
    site.snapshots().await;
    site.provide(&[other.clone(), aesgcm(&[("second", SECOND), ("first", FIRST)])]);
    site.back_up().await;
    let (_, remark) = key_line(&site, "aesgcm", "first").await.expect("it is needed");
    assert!(remark.contains("rewrap before it is dropped"), "{remark}");

    // Dropped too early.
    site.provide(std::slice::from_ref(&other));
    all_refuse(&site, &key_id, "Add that key").await;

    // Rewrapped, then dropped.
    site.provide(&[other.clone(), first.clone()]);
    site.succeed(&site.on_vault(&["vault", "rewrap"])).await;
    let (_, remark) = key_line(&site, "secretbox", "other").await.expect("it seals");
    assert!(remark.contains("seals now"), "{remark}");
    if let Some((_, remark)) = key_line(&site, "aesgcm", "first").await {
        assert!(remark.contains("not needed"), "{remark}");
    }
    let again = site.succeed(&site.on_vault(&["vault", "rewrap"])).await;
    assert!(again.out.contains("already"), "{}", again.out);
    site.provide(&[other]);
    restores(&site, "after-the-rewrap", &expected).await;
    site.back_up().await;
    assert_eq!(site.snapshots().await.len(), 3);
    let keys = [FIRST, SECOND, OTHER, WRONG].map(Provider::secret);
    site.assert_kept(&[&keys[0], &keys[1], &keys[2], &keys[3], SECRET_VALUE.as_bytes()]);
    assert_sealed(&site.path("vault"), SECRET_VALUE.as_bytes());
}

#[tokio::test]
async fn a_file_of_keys_that_is_wrong_is_named_with_its_place() {
    let (_etcd, site) = vault_of(&[Provider::aesgcm()]).await;
    let good = std::fs::read_to_string(site.keys()).unwrap();
    let wrong = [
        good.replace("secret: ", "secret: AAAA #"),
        good.replace("name: first", "nom: first"),
        good.replace("EncryptionConfiguration", "Encryption"),
        "providers".to_owned(),
    ];
    for text in wrong {
        assert_ne!(text, good);
        std::fs::write(site.keys(), &text).unwrap();
        let message = site.refuse(&site.on_vault(&["snapshots"])).await;
        assert!(message.contains("keys.yaml"), "{message}");
        let place = message.split(':').filter(|part| part.trim().parse::<u32>().is_ok()).count();
        assert!(place >= 2 || message.contains("line"), "no line and column: {message}");
    }
    std::fs::remove_file(site.keys()).unwrap();
    let message = site.refuse(&site.on_vault(&["snapshots"])).await;
    assert!(message.contains("keys.yaml"), "{message}");
    site.assert_kept(&[&Provider::secret(FIRST)]);
}

#[tokio::test]
async fn a_key_service_fails_comes_back_and_rotates() {
    let mut plugin = KeyPlugin::start();
    let service = Provider::Kms("hsm", plugin.endpoint());
    let (etcd, site) = vault_of(std::slice::from_ref(&service)).await;
    let expected = contents::read(&etcd.client()).await.unwrap();
    let (key_id, _) = key_line(&site, "kms", "hsm").await.expect("it seals");
    assert_eq!(key_id, "kek-1");

    plugin.fail(Some("the hardware module is being serviced"));
    all_refuse(&site, "kek-1", "being serviced").await;
    plugin.fail(None);
    plugin.stall(true);
    let begun = Instant::now();
    let message = site.refuse(&site.on_vault(&["snapshots"])).await;
    assert!(message.contains("kek-1") && message.contains("3000 ms"), "{message}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    plugin.stall(false);
    plugin.kill();
    let message = site.refuse(&site.on_vault(&["snapshots"])).await;
    assert!(message.contains("kek-1"), "{message}");
    plugin.restart();
    site.back_up().await;

    // Rotated: the old key opens until a rewrap, then it may be lost.
    plugin.rotate("kek-2");
    site.back_up().await;
    for fault in ["big-key-id", "empty-key-id", "big-ciphertext", "empty-ciphertext", "old-version"]
    {
        plugin.fault(Some(fault));
        site.refuse(&site.on_vault(&["vault", "rewrap"])).await;
        plugin.fault(None);
        site.snapshots().await;
    }
    site.succeed(&site.on_vault(&["vault", "rewrap"])).await;
    plugin.lose("kek-1");
    restores(&site, "after-the-rotation", &expected).await;
    site.back_up().await;
    assert_eq!(site.snapshots().await.len(), 4);

    // Away from the service, and it is needed no more.
    site.provide(&[Provider::aesgcm(), service.clone()]);
    site.succeed(&site.on_vault(&["vault", "rewrap"])).await;
    site.provide(&[Provider::aesgcm()]);
    plugin.kill();
    restores(&site, "after-the-migration", &expected).await;
    site.assert_kept(&[SECRET_VALUE.as_bytes(), &Provider::secret(FIRST)]);
}

#[tokio::test]
async fn a_key_that_the_service_lost_is_named() {
    let plugin = KeyPlugin::start();
    let service = Provider::Kms("hsm", plugin.endpoint());
    let (_etcd, site) = vault_of(std::slice::from_ref(&service)).await;
    plugin.rotate("kek-2");
    plugin.lose("kek-1");
    all_refuse(&site, "kek-1", "refused").await;
    site.assert_kept(&[SECRET_VALUE.as_bytes()]);
}

#[tokio::test]
async fn identity_needs_to_be_asked_for_and_never_opens_a_sealed_vault() {
    let (_etcd, site) = vault_of(&[Provider::aesgcm()]).await;
    let (key_id, _) = key_line(&site, "aesgcm", "first").await.expect("it seals");
    site.provide(&[Provider::Identity]);
    let mut line = site.on_vault(&["snapshots"]);
    line.push("--unsealed".to_owned());
    let message = site.refuse(&line).await;
    assert!(message.contains(&key_id), "{message}");

    let open = Site::on_disk();
    open.provide(&[Provider::Identity]);
    let keys = open.keys().display().to_string();
    open.refuse(&["vault", "init", open.url(), "--keys", &keys]).await;
    let made = open.succeed(&["vault", "init", open.url(), "--keys", &keys, "--unsealed"]).await;
    assert!(made.out.contains("NOT SEALED"), "{}", made.out);
}
