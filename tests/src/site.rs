//! A vault with its keys and the agent's configuration, worked on through our own binary as an
//! operator does.
//!
//! What must hold: everything that the binary says, on both streams and at the finest log level, is
//! remembered, so that a suite can show at its end that no secret was among it.

use crate::etcd::Etcd;
use crate::holdfast;
use crate::pki::Pki;
use crate::s3::S3;
use base64::Engine;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Mutex;
use tempfile::TempDir;

/// A vault, its keys, the agent's configuration.
pub struct Site {
    folder: TempDir,
    url: String,
    environment: Vec<(&'static str, String)>,
    transcript: Mutex<String>,
}

/// What a run of the binary said.
#[derive(Debug)]
pub struct Said {
    /// Standard output.
    pub out: String,
    /// Standard error: messages and logs.
    pub err: String,
    /// Whether the exit code was 0.
    pub succeeded: bool,
}

/// A provider of an EncryptionConfiguration.
#[derive(Debug, Clone)]
pub enum Provider {
    /// Kind (`aesgcm`, `aescbc`, `secretbox`), and its keys: name, byte that fills the 32 bytes.
    Local(&'static str, Vec<(&'static str, u8)>),
    /// Name and endpoint of a KMS v2 plugin.
    Kms(&'static str, String),
    /// No key at all.
    Identity,
}

/// Who may read a cluster's snapshot.
#[derive(Clone, Copy, Default)]
pub struct Login<'a> {
    /// User and password.
    pub user: Option<(&'a str, &'a str)>,
    /// Certificates.
    pub pki: Option<&'a Pki>,
}

impl Site {
    /// A vault in a folder of this machine that goes away with the value.
    ///
    /// # Panics
    /// No folder can be made.
    pub fn on_disk() -> Site {
        let folder = TempDir::new().expect("a folder for a vault");
        let url = format!("file://{}", folder.path().join("vault").display());
        Site::at(folder, url, Vec::new())
    }

    /// A vault in a bucket.
    ///
    /// # Panics
    /// No folder can be made.
    pub fn on_s3(s3: &S3, place: &str) -> Site {
        let folder = TempDir::new().expect("a folder for a configuration");
        Site::at(folder, format!("s3://{place}"), s3.environment().to_vec())
    }

    fn at(folder: TempDir, url: String, environment: Vec<(&'static str, String)>) -> Site {
        let site = Site { folder, url, environment, transcript: Mutex::new(String::new()) };
        site.provide(&[Provider::aesgcm()]);
        site
    }

    /// The vault's address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A path in the site's own folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The key file.
    pub fn keys(&self) -> PathBuf {
        self.path("keys.yaml")
    }

    /// Replaces the key file.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn provide(&self, providers: &[Provider]) {
        let text = encryption_config(providers);
        std::fs::write(self.keys(), text).expect("the folder is ours");
    }

    /// Writes the agent's configuration for a cluster.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn watch(&self, etcd: &Etcd, login: Login<'_>) {
        let mut text = format!("etcd:\n  endpoints: [\"{}\"]\n", etcd.endpoint());
        if let Some((user, password)) = login.user {
            std::fs::write(self.path("password"), password).expect("the folder is ours");
            let _ = write!(text, "  user: {user}\n  passwordFile: password\n");
        }
        if let Some(pki) = login.pki {
            let (ca, pair) = (pki.ca(), pki.client("root"));
            let files = [("caFile", ca), ("certFile", pair.cert), ("keyFile", pair.key)];
            for (field, path) in files {
                let _ = writeln!(text, "  {field}: {}", path.display());
            }
        }
        let _ = write!(
            text,
            "vault:\n  url: {}\n  encryptionConfig: keys.yaml\nstateDirectory: state\n\
             retention:\n  last: 100\nlog:\n  level: trace\n",
            self.url
        );
        std::fs::create_dir_all(self.path("state")).expect("the folder is ours");
        std::fs::write(self.path("agent.yaml"), text).expect("the folder is ours");
    }

    /// Makes the vault; what that printed.
    ///
    /// # Panics
    /// The binary refuses.
    pub async fn init(&self) -> String {
        self.succeed(&["vault", "init", &self.url, "--keys", &text(&self.keys())]).await.out
    }

    /// One round of the agent.
    ///
    /// # Panics
    /// The binary refuses.
    pub async fn back_up(&self) -> Said {
        self.succeed(&["agent", "--once", "--config", &text(&self.path("agent.yaml"))]).await
    }

    /// The vault's snapshots, oldest first.
    ///
    /// # Panics
    /// The binary refuses, or prints something else.
    pub async fn snapshots(&self) -> Vec<Value> {
        let said = self.succeed(&self.on_vault(&["snapshots", "-o", "json"])).await;
        let list: Value = serde_json::from_str(&said.out).expect("JSON");
        let mut list = list.as_array().expect("a list").clone();
        list.sort_by_key(|entry| entry["number"].as_u64());
        list
    }

    /// Restores the latest snapshot for a version of etcd into a new data directory of the member
    /// `default`. `more`: further arguments.
    ///
    /// # Panics
    /// The binary refuses.
    pub async fn restore(&self, name: &str, target: &str, more: &[&str]) -> PathBuf {
        let data_dir = self.path(name);
        let to = text(&data_dir);
        let fixed = ["restore", "--name", "default", "--data-dir", &to, "--target", target];
        let url = ["--peer-url", "http://127.0.0.1:2380"];
        let own = if more.contains(&"--peer-url") { &[][..] } else { &url[..] };
        self.succeed(&self.on_vault(&[&fixed[..], own, more].concat())).await;
        data_dir
    }

    /// Writes the latest snapshot as a plain file.
    ///
    /// # Panics
    /// The binary refuses.
    pub async fn export(&self, name: &str) -> PathBuf {
        let file = self.path(name);
        self.succeed(&self.on_vault(&["vault", "export", "--to", &text(&file)])).await;
        file
    }

    /// A command line with the vault's address and keys.
    pub fn on_vault(&self, args: &[&str]) -> Vec<String> {
        let mut line: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        line.extend(["--from".to_owned(), self.url.clone()]);
        line.extend(["--keys".to_owned(), text(&self.keys())]);
        line
    }

    /// The binary with the store's credentials in its environment, logging all it can.
    pub fn command(&self, args: &[impl AsRef<str>]) -> std::process::Command {
        let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
        let mut command = holdfast::command(&args);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("HOLDFAST_LOG", "trace");
        command
    }

    /// Runs the binary.
    ///
    /// # Panics
    /// It crashes.
    pub async fn run(&self, args: &[impl AsRef<str>]) -> Said {
        let command = self.command(args);
        let line = format!("{command:?}");
        let output = tokio::process::Command::from(command).output().await;
        let Output { status, stdout, stderr } = output.unwrap_or_else(|e| panic!("{line}: {e}"));
        let out = String::from_utf8_lossy(&stdout).into_owned();
        let err = String::from_utf8_lossy(&stderr).into_owned();
        self.remember(&format!("{out}\n{err}\n"));
        let crashed = status.code().is_none() || err.contains("panicked at");
        assert!(!crashed, "{line}: {status}\n{out}{}", tail(&err));
        let coloured = out.contains('\u{1b}') || err.contains('\u{1b}');
        assert!(!coloured, "{line}: terminal colours in a pipe\n{out}{}", tail(&err));
        Said { out, err, succeeded: status.success() }
    }

    /// Runs the binary; it must succeed.
    ///
    /// # Panics
    /// It fails; with what it says.
    pub async fn succeed(&self, args: &[impl AsRef<str>]) -> Said {
        let said = self.run(args).await;
        let line: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
        assert!(said.succeeded, "holdfast {}:\n{}{}", line.join(" "), said.out, tail(&said.err));
        said
    }

    /// Runs the binary; it must fail. Its message: the line on standard error that is no log line.
    ///
    /// # Panics
    /// It succeeds, or says nothing.
    pub async fn refuse(&self, args: &[impl AsRef<str>]) -> String {
        let said = self.run(args).await;
        let line: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
        assert!(!said.succeeded, "holdfast {} succeeded:\n{}", line.join(" "), said.out);
        let lines: Vec<&str> = said.err.lines().collect();
        let found = lines.iter().rposition(|line| line.starts_with("holdfast: "));
        let at = found.unwrap_or_else(|| panic!("no message:\n{}{}", said.out, tail(&said.err)));
        lines[at..].join("\n")
    }

    /// Adds to what the site remembers, for what a suite runs by itself.
    pub fn remember(&self, said: &str) {
        self.transcript.lock().expect("no panic while it is held").push_str(said);
    }

    /// Shows that nothing the binary ever said holds one of these secrets, also not as hex or
    /// base64.
    ///
    /// # Panics
    /// It does; or nothing was said at all, not even at the finest log level.
    pub fn assert_kept(&self, secrets: &[&[u8]]) {
        let transcript = self.transcript.lock().expect("no panic while it is held");
        for mark in ["TRACE", "DEBUG"] {
            assert!(transcript.contains(mark), "no {mark} line was logged: nothing was shown");
        }
        for secret in secrets {
            for form in forms(secret) {
                let Some(at) = transcript.find(&form) else { continue };
                let start = transcript[..at].rfind('\n').map_or(0, |end| end + 1);
                let line = transcript[start..].lines().next().unwrap_or_default();
                panic!("a secret of {} bytes was said: {line}", secret.len());
            }
        }
    }
}

impl Provider {
    /// One AES-GCM key, the usual one.
    pub fn aesgcm() -> Provider {
        Provider::Local("aesgcm", vec![("first", 0x11)])
    }

    /// The bytes of a key.
    pub fn secret(fill: u8) -> [u8; 32] {
        // Not all the same, so that no other text looks like it.
        std::array::from_fn(|at| {
            fill.wrapping_mul(31).wrapping_add(u8::try_from(at).unwrap_or(0) * 7)
        })
    }
}

/// Shows that no file of a store's folder holds these bytes in clear.
///
/// # Panics
/// One does; or there are hardly any files, so that nothing was shown.
pub fn assert_sealed(folder: &Path, secret: &[u8]) {
    let (mut open, mut files) = (vec![folder.to_owned()], 0);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of the store") {
            let path = entry.expect("a folder of the store").path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).expect("a file of the store");
            let found = bytes.windows(secret.len()).any(|part| part == secret);
            assert!(!found, "{} holds it in clear", path.display());
            files += 1;
        }
    }
    assert!(files > 3, "{files} files were looked at");
}

/// An EncryptionConfiguration, as text.
pub fn encryption_config(providers: &[Provider]) -> String {
    let mut text = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n\
resources:\n- resources: [\"*.*\"]\n  providers:\n"
        .to_owned();
    for provider in providers {
        match provider {
            Provider::Identity => text.push_str("  - identity: {}\n"),
            Provider::Kms(name, endpoint) => {
                let _ = write!(
                    text,
                    "  - kms:\n      apiVersion: v2\n      name: {name}\n      \
                     endpoint: {endpoint}\n      timeout: 3s\n"
                );
            }
            Provider::Local(kind, keys) => {
                let _ = write!(text, "  - {kind}:\n      keys:\n");
                for (name, fill) in keys {
                    let secret = encoded(&Provider::secret(*fill));
                    let _ = write!(text, "      - name: {name}\n        secret: {secret}\n");
                }
            }
        }
    }
    text
}

fn forms(secret: &[u8]) -> Vec<String> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let listed = format!("{secret:?}");
    let mut forms = vec![encoded(secret), hex, listed.trim_matches(['[', ']']).to_owned()];
    forms.extend(std::str::from_utf8(secret).ok().map(str::to_owned));
    forms
}

fn encoded(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The end of a log: its lines are many.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
