//! The client against a real plugin on Kubernetes' own library: rotation, lost keys, faults,
//! restarts.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use holdfast_kms::Plugin;
use holdfast_vault::keys::{Encrypted, KeyService, KmsConfig, ServiceError};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Long enough for a plugin to start on a busy machine.
const PATIENT: Duration = Duration::from_secs(30);
/// For calls that are expected to run into it.
const SHORT: Duration = Duration::from_millis(400);

/// The plugin that `make peers` built.
fn program() -> PathBuf {
    let folder = std::env::var_os("HOLDFAST_PEERS").map(PathBuf::from).unwrap_or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
        cache.unwrap_or_else(home).join("holdfast/peers")
    });
    let path = folder.join("kms-plugin-ref");
    assert!(path.is_file(), "{} is missing: run `make peers`", path.display());
    path
}

/// A running plugin; killed when dropped.
struct Running {
    child: Child,
    folder: TempDir,
    endpoint: String,
}

impl Running {
    fn start() -> Running {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("kms.sock").display().to_string();
        let child = spawn(&socket, folder.path());
        Running { child, endpoint: format!("unix://{socket}"), folder }
    }

    fn client(&self, timeout: Duration) -> Plugin {
        client(&self.endpoint, timeout)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.folder.path().join(name)).unwrap();
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(socket: &str, folder: &Path) -> Child {
    Command::new(program())
        .args(["-socket", socket, "-dir"])
        .arg(folder)
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

fn client(endpoint: &str, timeout: Duration) -> Plugin {
    let config = KmsConfig { name: "test".to_owned(), endpoint: endpoint.to_owned(), timeout };
    Plugin::new(&config)
}

#[tokio::test]
async fn encrypts_rotates_and_still_opens_what_was_before() {
    let plugin = Running::start();
    let client = plugin.client(PATIENT);
    let status = client.status().await.unwrap();
    assert_eq!((&*status.version, &*status.healthz, &*status.key_id), ("v2", "ok", "kek-1"));
    let first = client.encrypt("u-1", b"first seed").await.unwrap();
    assert_eq!(first.key_id, "kek-1");
    assert!(!first.annotations.is_empty(), "the plugin gives annotations to hand back");

    plugin.write("current", "kek-2");
    assert_eq!(client.status().await.unwrap().key_id, "kek-2");
    let second = client.encrypt("u-2", b"second seed").await.unwrap();
    assert_eq!(second.key_id, "kek-2");
    assert_eq!(&*client.decrypt("u-3", &first).await.unwrap(), b"first seed");
    assert_eq!(&*client.decrypt("u-4", &second).await.unwrap(), b"second seed");

    plugin.remove("kek-1.key");
    let error = client.decrypt("u-5", &first).await.unwrap_err();
    assert!(matches!(error, ServiceError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("kek-1"), "{error}");
    assert_eq!(&*client.decrypt("u-6", &second).await.unwrap(), b"second seed");
}

#[tokio::test]
async fn what_was_changed_or_stripped_does_not_open() {
    let plugin = Running::start();
    let client = plugin.client(PATIENT);
    let good = client.encrypt("u", b"seed").await.unwrap();
    let mut flipped = good.clone();
    flipped.ciphertext[20] ^= 1;
    let stripped = Encrypted { annotations: Default::default(), ..good.clone() };
    plugin.write("current", "kek-2");
    let other = client.encrypt("u", b"seed").await.unwrap();
    let swapped = Encrypted { key_id: other.key_id, ..good };
    for wrong in [flipped, stripped, swapped] {
        let error = client.decrypt("u", &wrong).await.unwrap_err();
        assert!(matches!(error, ServiceError::Refused { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_refusal_carries_the_plugins_own_words_about_its_health() {
    let plugin = Running::start();
    let client = plugin.client(PATIENT);
    let good = client.encrypt("u", b"seed").await.unwrap();
    plugin.write("fail", "the HSM is sealed");
    assert!(client.status().await.unwrap().healthz.contains("the HSM is sealed"));
    for error in [
        client.encrypt("u", b"seed").await.unwrap_err(),
        client.decrypt("u", &good).await.unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(matches!(error, ServiceError::Refused { .. }), "{text}");
        assert!(text.contains("its health: ") && text.contains("the HSM is sealed"), "{text}");
        assert!(text.contains("\"test\""), "{text}");
    }
    plugin.remove("fail");
    assert_eq!(&*client.decrypt("u", &good).await.unwrap(), b"seed");
}

#[tokio::test]
async fn answers_beyond_the_limits_are_breaches() {
    let plugin = Running::start();
    let client = plugin.client(PATIENT);
    for (fault, word) in [
        ("big-key-id", "1025"),
        ("empty-key-id", "key id has 0"),
        ("big-ciphertext", "1025"),
        ("empty-ciphertext", "ciphertext has 0"),
        ("big-annotation", "annotations"),
    ] {
        plugin.write("fault", fault);
        let error = client.encrypt("u", b"seed").await.unwrap_err();
        assert!(matches!(error, ServiceError::Protocol { .. }), "{fault}: {error}");
        assert!(error.to_string().contains(word), "{fault}: {error}");
    }
    plugin.write("fault", "old-version");
    let error = client.status().await.unwrap_err();
    assert!(error.to_string().contains("v1beta1"), "{error}");
    plugin.write("fault", "stale-status");
    let (status, made) = (client.status().await.unwrap(), client.encrypt("u", b"s").await.unwrap());
    assert_ne!(status.key_id, made.key_id, "the caller sees both and judges");
}

#[tokio::test]
async fn a_plugin_that_stalls_or_is_not_there_costs_the_timeout_and_no_more() {
    let plugin = Running::start();
    plugin.client(PATIENT).status().await.unwrap();
    plugin.write("stall", "");
    let folder = TempDir::new().unwrap();
    let nowhere = format!("unix://{}/none.sock", folder.path().display());
    for client in [plugin.client(SHORT), client(&nowhere, SHORT)] {
        let begun = Instant::now();
        let error = client.encrypt("u", b"seed").await.unwrap_err();
        assert!(matches!(error, ServiceError::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains("within 400 ms"), "{error}");
        let took = begun.elapsed();
        assert!(took >= SHORT / 2 && took < PATIENT, "{took:?}");
    }
}

#[tokio::test]
async fn a_plugin_that_comes_late_or_restarts_is_waited_for() {
    let mut plugin = Running::start();
    let client = plugin.client(PATIENT);
    // Not waited for: the socket may not be there yet.
    let made = client.encrypt("u", b"seed").await.unwrap();
    plugin.kill();
    let socket = plugin.endpoint.trim_start_matches("unix://").to_owned();
    let (late, again) = tokio::join!(client.decrypt("u", &made), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        spawn(&socket, plugin.folder.path())
    });
    plugin.child = again;
    assert_eq!(&*late.unwrap(), b"seed");
}

#[tokio::test]
async fn abstract_sockets_work() {
    let folder = TempDir::new().unwrap();
    let name = format!("holdfast-kms-test-{}", std::process::id());
    let child = spawn(&format!("@{name}"), folder.path());
    let endpoint = format!("unix:///@{name}");
    let running = Running { child, folder, endpoint };
    let client = running.client(PATIENT);
    let made = client.encrypt("u", b"seed").await.unwrap();
    assert_eq!(&*client.decrypt("u", &made).await.unwrap(), b"seed");
}
