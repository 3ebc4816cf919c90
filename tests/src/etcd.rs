//! Upstream's etcd on loopback ports: any version, one member or several, plain or over TLS with
//! client certificates.
//!
//! What must hold: every wait is for a condition, with a deadline; a member that is dropped is
//! killed by its id; the data directory stays until the value is dropped, so that a killed member
//! can start again.

mod clients;
mod cluster;
mod options;

use crate::pki::Pki;
pub use clients::client_config;
use clients::linearizable_read;
pub use cluster::Cluster;
pub use holdfast_peers::run;
use holdfast_restore::server::{Ports, Server, ServerError, ServerSpec};
use options::program;
pub use options::{BUNDLED, Options, tls_flags};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a member may take until it serves: generous, for machines that do much at once.
const READY: Duration = Duration::from_secs(60);
/// How long a member may take to end on SIGTERM.
const GRACE: Duration = Duration::from_secs(30);

/// A member. Killed when dropped.
pub struct Etcd {
    server: Option<Server>,
    spec: ServerSpec,
    version: String,
    pki: Option<Arc<Pki>>,
    _folder: TempDir,
}

impl Etcd {
    /// Starts a plain, empty member of `version` and waits until it serves.
    pub async fn start(version: &str) -> Etcd {
        Etcd::start_with(Options::new(version)).await
    }

    /// Starts a cluster of one and waits until it serves.
    ///
    /// # Panics
    /// It does not serve; with the end of its log.
    pub async fn start_with(options: Options) -> Etcd {
        let mut etcd = Etcd::prepare(&options, free_ports(), "");
        etcd.boot().await;
        etcd
    }

    fn prepare(options: &Options, ports: Ports, initial_cluster: &str) -> Etcd {
        let folder = TempDir::new().expect("a folder for a member");
        let mut extra = options.extra.clone();
        if let Some(pki) = &options.pki {
            extra.extend(tls_flags(pki));
        }
        let spec = ServerSpec {
            program: program(&options.version),
            data_dir: options.data_dir.clone().unwrap_or_else(|| folder.path().join("data")),
            name: options.name.clone(),
            listens: ports.into(),
            initial_cluster: initial_cluster.to_owned(),
            joins: false,
            token: options.token.clone(),
            log: folder.path().join("log"),
            extra,
            tls: options.pki.is_some(),
        };
        let (version, pki) = (options.version.clone(), options.pki.clone());
        Etcd { server: None, spec, version, pki, _folder: folder }
    }

    fn spawn(&mut self) {
        assert!(self.server.is_none(), "the member runs already");
        let server = Server::start(self.spec.clone());
        self.server = Some(server.unwrap_or_else(|error| panic!("{error}")));
    }

    async fn wait_ready(&mut self) {
        let client = self.client();
        let server = self.server.as_mut().expect("the member was started");
        let ready = server.wait_ready(READY, || linearizable_read(&client)).await;
        ready.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Starts it again on its data directory, and waits until it serves.
    ///
    /// # Panics
    /// It runs already, or does not serve.
    pub async fn boot(&mut self) {
        self.spawn();
        self.wait_ready().await;
    }

    /// Starts it again; what its log says if it ends before it serves.
    ///
    /// # Errors
    /// It ends; with its exit status and the end of its log.
    ///
    /// # Panics
    /// It runs already, or neither ends nor serves.
    pub async fn try_boot(&mut self) -> Result<(), String> {
        self.spawn();
        let client = self.client();
        let server = self.server.as_mut().expect("the member was started");
        match server.wait_ready(READY, || linearizable_read(&client)).await {
            Ok(_) => Ok(()),
            Err(ended @ ServerError::Ended { .. }) => {
                self.server = None;
                Err(ended.to_string())
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until it has ended by itself; its exit status and the end of its log.
    ///
    /// # Panics
    /// It does not run, or does not end in time.
    pub async fn ended(&mut self) -> String {
        let mut server = self.server.take().expect("the member runs");
        let end = Instant::now() + READY;
        loop {
            if let Err(ended) = server.check_running() {
                return ended.to_string();
            }
            assert!(Instant::now() < end, "it goes on:\n{}", server.log_tail());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts another version on its data directory, and waits until it serves.
    ///
    /// # Panics
    /// It runs already, or does not serve.
    pub async fn boot_as(&mut self, version: &str) {
        self.spec.program = program(version);
        version.clone_into(&mut self.version);
        self.boot().await;
    }

    /// Starts it again and kills it after so long, whatever it is at then.
    ///
    /// # Panics
    /// It runs already.
    pub async fn boot_for(&mut self, life: Duration) {
        self.spawn();
        tokio::time::sleep(life).await;
        self.kill().await;
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Panics
    /// It does not run, or does not end in time.
    pub async fn stop(&mut self) {
        let server = self.server.take().expect("the member runs");
        assert!(server.stop(GRACE).await, "etcd {} does not end on SIGTERM", self.version);
    }

    /// SIGKILL, and waits for its end.
    pub async fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill().await;
        }
    }

    /// `3.5`, `3.6` or `3.7`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Where clients reach it.
    pub fn endpoint(&self) -> String {
        self.spec.client_url()
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.spec.data_dir
    }

    /// Its database; give tools a copy, and only when it does not run.
    pub fn database(&self) -> PathBuf {
        self.spec.data_dir.join("member/snap/db")
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        self.server.as_ref().map(Server::log_tail).unwrap_or_default()
    }

    /// All of its log.
    ///
    /// # Panics
    /// It cannot be read.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.spec.log).expect("a member's log")
    }

    /// Its process.
    ///
    /// # Panics
    /// It does not run.
    pub fn process(&self) -> u32 {
        self.server.as_ref().expect("the member runs").id()
    }
}

/// Ports for a member.
pub fn free_ports() -> Ports {
    holdfast_peers::free_ports().into()
}
