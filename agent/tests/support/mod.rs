//! What the agent's suites share: upstream's etcd, a fake member, a local vault, configurations.
#![allow(dead_code, reason = "each suite uses a part")]

pub mod fake;
mod sealed;

use holdfast_agent::config::Config;
use holdfast_agent::run::Parts;
use holdfast_api::client::{Client, ClientConfig};
use holdfast_api::etcdserverpb::{CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest};
use holdfast_restore::server::{Ports, Server, ServerSpec};
use holdfast_vault::init::VaultOptions;
use holdfast_vault::keys::{KmsConfig, Providers, Sealing, parse_encryption_config};
use holdfast_vault::vault::Vault;
use holdfast_vault::{Store, StoreOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub use holdfast_peers::peer;

/// A provider list with one local key.
pub const KEYS: &str = "apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: ['*.*']
    providers:
      - aesgcm: {keys: [{name: test, secret: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=}]}
";

/// A folder with keys, an empty vault and room for state.
pub struct Site {
    pub folder: TempDir,
}

impl Site {
    pub async fn new() -> Site {
        let site = Site { folder: tempfile::tempdir().unwrap() };
        std::fs::write(site.path("keys.yaml"), KEYS).unwrap();
        let options = StoreOptions { create: true, ..StoreOptions::default() };
        let store = Store::open(&site.url(), options).unwrap();
        Vault::init(store, VaultOptions::new(providers())).await.unwrap();
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn url(&self) -> String {
        format!("file://{}", self.path("vault").display())
    }

    pub async fn open(&self) -> Vault {
        let store = Store::open(&self.url(), StoreOptions::default()).unwrap();
        Vault::open(store, VaultOptions::new(providers())).await.unwrap()
    }

    /// A configuration for these endpoints; `more` is appended to the file. A round is due at the
    /// start and after a failure; the schedule adds none, whenever the test runs.
    pub fn config(&self, endpoint: &str, more: &str) -> Config {
        let text = format!(
            "etcd:\n  endpoints: ['{endpoint}']\nvault:\n  url: {}\n  \
             encryptionConfig: keys.yaml\nstateDirectory: state\n{more}",
            self.url()
        );
        let mut config = Config::parse(&text, &self.path("agent.yaml")).unwrap();
        config.schedule.rounds = "@yearly".to_owned().try_into().unwrap();
        config
    }
}

pub fn providers() -> Providers {
    let parsed = parse_encryption_config(KEYS).unwrap();
    Providers::from_config(&parsed, Sealing::Required, &mut |_| panic!("no plugin is configured"))
}

pub fn parts() -> Parts {
    Parts::new(Arc::new(|kms: &KmsConfig| panic!("no plugin is configured: {kms:?}")))
}

/// An upstream member on loopback; killed when dropped.
pub struct Etcd {
    server: Server,
    _folder: TempDir,
    pub endpoint: String,
}

impl Etcd {
    pub async fn start(version: &str) -> Etcd {
        let folder = tempfile::tempdir().unwrap();
        let ports = Ports::from(holdfast_peers::free_ports());
        let spec = ServerSpec {
            program: peer(&format!("etcd-{version}")).into(),
            data_dir: folder.path().join("data"),
            name: "one".to_owned(),
            listens: ports.into(),
            initial_cluster: String::new(),
            joins: false,
            token: "agent-tests".to_owned(),
            log: folder.path().join("log"),
            extra: vec!["--unsafe-no-fsync".to_owned()],
            tls: false,
        };
        let endpoint = spec.client_url();
        let mut server = Server::start(spec).unwrap();
        let client = Client::lazy(ClientConfig::new([endpoint.clone()])).unwrap();
        let probe = || async {
            let request = RangeRequest { key: b"a".to_vec(), ..RangeRequest::default() };
            client.check("Range", client.kv().range(request).await).map(|_| ())
        };
        server.wait_ready(Duration::from_secs(60), probe).await.unwrap();
        Etcd { server, _folder: folder, endpoint }
    }

    pub fn client(&self) -> Client {
        Client::lazy(ClientConfig::new([self.endpoint.clone()])).unwrap()
    }

    pub async fn put(&self, key: &str, value: &[u8]) -> i64 {
        let (client, request) = (
            self.client(),
            PutRequest {
                key: key.as_bytes().to_vec(),
                value: value.to_vec(),
                ..PutRequest::default()
            },
        );
        let answer = client.check("Put", client.kv().put(request).await).unwrap();
        answer.header.unwrap().revision
    }

    pub async fn delete(&self, key: &str) {
        let client = self.client();
        let request =
            DeleteRangeRequest { key: key.as_bytes().to_vec(), ..DeleteRangeRequest::default() };
        client.check("DeleteRange", client.kv().delete_range(request).await).unwrap();
    }

    pub async fn compact(&self, revision: i64) {
        let client = self.client();
        let request = CompactionRequest { revision, physical: true };
        client.check("Compact", client.kv().compact(request).await).unwrap();
    }
}

/// Waits until `ready` says so, at most a minute and a half.
pub async fn eventually(what: &str, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(90);
    while !ready() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Files below a folder, by name.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// A database with a control plane's objects.
pub fn database() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/k8s/k8s.db.zst");
    let mut bytes = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
    bytes.truncate(bytes.len() / 512 * 512);
    bytes
}

/// Where an agent may serve its pages.
pub fn free_port() -> SocketAddr {
    let [port, _] = holdfast_peers::free_ports();
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A page with its head; empty: nobody listens.
pub async fn page(address: SocketAddr, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(address).await else { return String::new() };
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
