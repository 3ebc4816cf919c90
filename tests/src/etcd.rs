//! Upstream's etcd on loopback ports: any version, one member or several, plain or over TLS with
//! client certificates.
//!
//! What must hold: every wait is for a condition, with a deadline; a member that is dropped is
//! killed by its id; the data directory stays until the value is dropped, so that a killed member
//! can start again.

use crate::peers::{holdfast, peer};
use crate::pki::Pki;
use holdfast_api::client::{Client, ClientConfig, ClientError, Tls};
use holdfast_api::etcdserverpb::{RangeRequest, SnapshotRequest};
use holdfast_restore::server::{Ports, Server, ServerError, ServerProgram, ServerSpec};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub use holdfast_peers::run;

/// How long a member may take until it serves: generous, for machines that do much at once.
const READY: Duration = Duration::from_secs(60);
/// How long a member may take to end on SIGTERM.
const GRACE: Duration = Duration::from_secs(30);

/// Our own server in place of a version of upstream's; upstream's tools of 3.6 speak to it.
pub const BUNDLED: &str = "bundled";

/// What to start.
#[derive(Clone)]
pub struct Options {
    /// `3.5`, `3.6`, `3.7`, or [`BUNDLED`].
    pub version: String,
    /// TLS for clients and peers, with client certificates asked for.
    pub pki: Option<Arc<Pki>>,
    /// An existing data directory; else an empty one in the member's own folder.
    pub data_dir: Option<PathBuf>,
    /// The member's name.
    pub name: String,
    /// The cluster's token.
    pub token: String,
    /// More flags.
    pub extra: Vec<String>,
}

impl Options {
    /// A plain, empty member.
    pub fn new(version: &str) -> Options {
        Options {
            version: version.to_owned(),
            pki: None,
            data_dir: None,
            name: "default".to_owned(),
            token: "holdfast-tests".to_owned(),
            // Process death does not lose what the kernel has: fsync would only slow the tests.
            extra: vec!["--unsafe-no-fsync".to_owned()],
        }
    }

    /// With TLS.
    #[must_use]
    pub fn with_tls(mut self, pki: &Arc<Pki>) -> Options {
        self.pki = Some(Arc::clone(pki));
        self
    }

    /// With more flags.
    #[must_use]
    pub fn with_flags(mut self, flags: &[&str]) -> Options {
        self.extra.extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// On an existing data directory.
    #[must_use]
    pub fn with_data_dir(mut self, path: &Path) -> Options {
        self.data_dir = Some(path.to_owned());
        self
    }
}

/// A member. Killed when dropped.
pub struct Etcd {
    server: Option<Server>,
    spec: ServerSpec,
    version: String,
    pki: Option<Arc<Pki>>,
    _folder: TempDir,
}

/// The server of a version.
fn program(version: &str) -> ServerProgram {
    if version == BUNDLED {
        ServerProgram::in_holdfast(holdfast())
    } else {
        peer(&format!("etcd-{version}")).into()
    }
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

    /// How to reach it.
    pub fn client_config(&self) -> ClientConfig {
        client_config([self.endpoint()], self.pki.as_deref())
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        lazy(self.client_config())
    }

    /// A client of it that logs in.
    pub fn client_as(&self, user: &str, password: &str) -> Client {
        lazy(self.client_config().with_credentials(user, password))
    }

    /// What upstream's etcdctl of the same version prints.
    ///
    /// # Panics
    /// It fails; with what it says.
    pub fn ctl(&self, args: &[&str]) -> String {
        run(self.etcdctl().args(args))
    }

    /// What etcdctl says that must not succeed; both streams.
    ///
    /// # Panics
    /// It succeeds, or does not end.
    pub async fn ctl_refused(&self, args: &[&str]) -> String {
        let mut command = self.etcdctl();
        command.args(args);
        let mut command = tokio::process::Command::from(command);
        let output = tokio::time::timeout(GRACE, command.kill_on_drop(true).output()).await;
        let output = output.unwrap_or_else(|_| panic!("{command:?} does not end"));
        let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!output.status.success(), "{command:?} succeeds: {said}");
        said
    }

    fn etcdctl(&self) -> Command {
        let tools = if self.version == BUNDLED { "3.6" } else { &self.version };
        let mut command = Command::new(peer(&format!("etcdctl-{tools}")));
        command.arg("--endpoints").arg(self.endpoint());
        if let Some(pki) = &self.pki {
            let pair = pki.client("root");
            command.arg("--cacert").arg(pki.ca());
            command.arg("--cert").arg(pair.cert).arg("--key").arg(pair.key);
        }
        command
    }

    /// Streams its database to a file, as upstream's snapshots are: with the SHA-256 at the end.
    ///
    /// # Errors
    /// The member refuses or the stream ends early.
    ///
    /// # Panics
    /// The file cannot be written.
    pub async fn save_snapshot(&self, client: &Client, to: &Path) -> Result<(), ClientError> {
        let stream = client.maintenance().snapshot(SnapshotRequest {}).await;
        let mut stream = client.check("Snapshot", stream)?;
        let mut file = std::fs::File::create(to).expect("the snapshot's file");
        loop {
            let piece = stream.message().await;
            match piece.map_err(|status| ClientError::call(&self.endpoint(), "Snapshot", status))? {
                Some(piece) => file.write_all(&piece.blob).expect("the snapshot's file"),
                None => return Ok(()),
            }
        }
    }
}

/// Ports for a member.
pub fn free_ports() -> Ports {
    holdfast_peers::free_ports().into()
}

/// Several members of one cluster.
pub struct Cluster {
    /// They, in the order of their names.
    pub members: Vec<Etcd>,
}

impl Cluster {
    /// Starts `count` members and waits until each serves.
    ///
    /// # Panics
    /// One does not serve; with the end of its log.
    pub async fn start(options: Options, count: usize) -> Cluster {
        let scheme = if options.pki.is_some() { "https" } else { "http" };
        let ports: Vec<Ports> = (0..count).map(|_| free_ports()).collect();
        let names = (1..).map(|number| format!("m{number}"));
        let founders: Vec<String> = names
            .clone()
            .zip(&ports)
            .map(|(name, ports)| format!("{name}={scheme}://127.0.0.1:{}", ports.peer))
            .collect();
        let founders = founders.join(",");
        let mut members: Vec<Etcd> = names
            .zip(ports)
            .map(|(name, ports)| {
                Etcd::prepare(&Options { name, ..options.clone() }, ports, &founders)
            })
            .collect();
        members.iter_mut().for_each(Etcd::spawn);
        for member in &mut members {
            member.wait_ready().await;
        }
        Cluster { members }
    }

    /// A client of all members.
    ///
    /// # Panics
    /// The cluster has no members.
    pub fn client(&self) -> Client {
        let endpoints = self.members.iter().map(Etcd::endpoint);
        let pki = self.members.first().expect("a cluster has members").pki.as_deref();
        lazy(client_config(endpoints, pki))
    }
}

fn lazy(config: ClientConfig) -> Client {
    Client::lazy(config).unwrap_or_else(|error| panic!("{error}"))
}

fn client_config(endpoints: impl IntoIterator<Item = String>, pki: Option<&Pki>) -> ClientConfig {
    let config =
        ClientConfig { request_timeout: Duration::from_secs(30), ..ClientConfig::new(endpoints) };
    match pki {
        None => config,
        Some(pki) => {
            let pair = pki.client("root");
            config.with_tls(Tls::from_files(pki.ca(), pair.cert, pair.key))
        }
    }
}

/// Succeeds also where only logged-in users may read: then the member serves as well.
async fn linearizable_read(client: &Client) -> Result<(), ClientError> {
    let request = RangeRequest { key: b"ready?".to_vec(), ..RangeRequest::default() };
    match client.check("Range", client.kv().range(request).await) {
        Err(error) if error.is_temporary() => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn tls_flags(pki: &Pki) -> Vec<String> {
    let (server, ca) = (pki.server(), pki.ca());
    let mut flags = vec!["--client-cert-auth".to_owned(), "--peer-client-cert-auth".to_owned()];
    for (flag, path) in [
        ("--cert-file", &server.cert),
        ("--key-file", &server.key),
        ("--trusted-ca-file", &ca),
        ("--peer-cert-file", &server.cert),
        ("--peer-key-file", &server.key),
        ("--peer-trusted-ca-file", &ca),
    ] {
        flags.push(flag.to_owned());
        flags.push(path.display().to_string());
    }
    flags
}
