//! Proves a snapshot by restoring it: in a private directory, on loopback ports, with a measured
//! report.
//!
//! | step | level | shown |
//! |---|---|---|
//! | open | L0 | every object that the restore needs exists and has its size |
//! | rebuild | L1, L2 | frames have their digests, open, decompress; the whole is the source's |
//! | check | L3 | bolt structure, etcd's schema, WAL and .snap |
//! | hash | L5 | HashKV of the rebuild equals the source's |
//! | boot | L6 | a server starts on it and answers a linearizable read |
//! | compare | L5 | the server's HashKV, key count, and a sample of records read through its API |
//! | serve | L6 | a write and its read |
//!
//! L4 is about the log, which this format only reserves; L7 needs an API server. Frames that no
//! live record lies in are not read: `vault check` reads those. Holds: needs neither the source
//! nor its machines; nothing but the report goes back into the vault; a failed level is in the
//! report, not an error: an error means that the drill itself could not be done. The sandbox is
//! plain text on this machine's disk while the drill runs.

mod report;
mod sandbox;
mod served;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holdfast_api::client::{Client, ClientConfig};
use holdfast_core::check::check_member;
use holdfast_core::hashkv::HashScope;
use holdfast_core::membership::Founding;
use holdfast_vault::format::ReportId;
use holdfast_vault::snapshot::{ReadOptions, SnapshotReader};
use holdfast_vault::vault::Vault;

pub use report::{DrillReport, DrillStep, Failure, Level, Recorded};
use sandbox::Sandbox;
use served::Expected;

use crate::check::{faults_line, hashkv_of, open_database};
use crate::fetch::blocking;
use crate::rebuild::RebuildSpec;
use crate::restore::{BuiltMember, RestoreError, build_member, source_hash};
use crate::server::{Ports, Server, ServerError, ServerSpec, ServerVersion, version_of};

/// Tries to find ports that nobody takes meanwhile.
const PORT_TRIES: u32 = 5;
/// The member's name in the sandbox.
const NAME: &str = "drill";

/// How a drill is done.
#[derive(Debug, Clone)]
pub struct DrillRequest {
    /// The snapshot's number.
    pub snapshot: u64,
    /// The etcd binary to boot.
    pub server: PathBuf,
    /// Where the sandbox is made; needs room for the whole database in clear.
    pub parent: PathBuf,
    /// How many records are compared one by one.
    pub sample: usize,
    /// Seed of the sample.
    pub sample_seed: u64,
    /// How long the server may take to its first linearizable read.
    pub boot_deadline: Duration,
    /// How the vault is read.
    pub read: ReadOptions,
    /// Whether the report and the proven level are written into the vault.
    pub record: bool,
}

impl DrillRequest {
    /// A drill of a snapshot with the usual settings: 500 records compared, five minutes to boot,
    /// recorded.
    pub fn new(snapshot: u64, server: &Path, parent: &Path) -> DrillRequest {
        DrillRequest {
            snapshot,
            server: server.to_owned(),
            parent: parent.to_owned(),
            sample: 500,
            sample_seed: snapshot,
            boot_deadline: Duration::from_secs(300),
            read: ReadOptions::default(),
            record: true,
        }
    }
}

/// A drill that could not be done: nothing is known about the snapshot.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// The server binary is not one.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The sandbox.
    #[error("no sandbox can be made in {parent}: {source}")]
    Sandbox {
        /// Where.
        parent: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not enough room for the sandbox.
    #[error("{parent} has {free} free, the sandbox needs about {need}: name another directory")]
    Space {
        /// Where.
        parent: PathBuf,
        /// Free, printable.
        free: String,
        /// Needed, printable.
        need: String,
    },
    /// There is no such snapshot.
    #[error("there is no snapshot {0}; `holdfast snapshots` lists those that there are")]
    NoSnapshot(u64),
    /// The server's version is none that we write for.
    #[error(transparent)]
    Version(#[from] holdfast_core::versions::VersionError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Entropy(String),
}

/// Restores a snapshot into a sandbox, boots it, compares, and reports.
///
/// # Errors
/// See [`DrillError`]. A snapshot that fails is not an error: see [`DrillReport::failure`].
pub async fn drill(vault: &mut Vault, request: &DrillRequest) -> Result<DrillReport, DrillError> {
    if vault.chain().catalogue().get(request.snapshot).is_none() {
        return Err(DrillError::NoSnapshot(request.snapshot));
    }
    let version = version_of(&request.server).await?;
    version.version.check_target()?;
    let sandbox = Sandbox::create(&request.parent)
        .map_err(|source| DrillError::Sandbox { parent: request.parent.clone(), source })?;
    let id = ReportId::random(&mut **vault.access().entropy());
    let mut work = Work {
        request,
        version: &version,
        sandbox: &sandbox,
        began: Instant::now(),
        report: empty_report(id, request, vault.access().clock().now_ms(), &version),
    };
    if let Err(failure) = work.run(vault).await? {
        tracing::error!(snapshot = request.snapshot, %failure, "the drill failed");
        work.report.failure = Some(failure);
    }
    let mut report = work.report;
    if let Err(error) = sandbox.remove() {
        report.notes.push(format!("the sandbox could not be removed: {error}"));
    }
    report.opened_by = vault.access().opened_by();
    report.finished_ms = vault.access().clock().now_ms();
    if request.record {
        report.recorded = match vault.report(&report.to_proto(id)).await {
            Ok(number) => Recorded::InCommit(number),
            Err(error) => Recorded::Failed(error.to_string()),
        };
    }
    Ok(report)
}

struct Work<'a> {
    request: &'a DrillRequest,
    version: &'a ServerVersion,
    sandbox: &'a Sandbox,
    began: Instant,
    report: DrillReport,
}

type Verdict<T = ()> = Result<T, Failure>;

impl Work<'_> {
    /// All levels in turn; the inner error is the level that failed.
    async fn run(&mut self, vault: &mut Vault) -> Result<Verdict, DrillError> {
        let reader = match self.open(vault).await {
            Ok(reader) => reader,
            Err(failure) => return Ok(Err(failure)),
        };
        self.check_room(&reader)?;
        Ok(self.prove(&reader).await)
    }

    async fn prove(&mut self, reader: &SnapshotReader) -> Verdict {
        let ports = Ports::free().map_err(|error| fail(Level::L6, error))?;
        let built = self.rebuild(reader, ports).await?;
        let rebuilt_ms = self.elapsed_ms();
        self.check(&built).await?;
        let offline = self.hash(&built).await?;
        let boot_began = Instant::now();
        let server = self.boot(ports).await?;
        let boot_ms = millis(boot_began.elapsed());
        self.report.recovery_ms = Some(rebuilt_ms.saturating_add(boot_ms));
        let verdict = self.compare(reader, &built, &server, offline).await;
        let log = server.log_tail();
        self.began = Instant::now();
        let graceful = server.stop(Duration::from_secs(20)).await;
        self.step("stop", if graceful { "ended when asked" } else { "had to be killed" });
        if verdict.is_err() && !log.is_empty() {
            self.report.notes.push(format!("the server's log ends: {log}"));
        }
        verdict
    }

    /// L0: everything that a restore needs is there.
    async fn open(&mut self, vault: &mut Vault) -> Verdict<SnapshotReader> {
        let opened = vault.reader(self.request.snapshot).await;
        let reader = opened.map_err(|error| fail(served::level_of(&error), error))?;
        let objects = served::objects_exist(vault, &reader).await;
        let objects = objects.map_err(|reason| fail(Level::L0, reason))?;
        self.reached(Level::L0);
        self.step("open", &format!("{objects} objects are there"));
        Ok(reader)
    }

    /// L1 and L2, and the member for the later ones.
    async fn rebuild(&mut self, reader: &SnapshotReader, ports: Ports) -> Verdict<BuiltMember> {
        let url = format!("http://127.0.0.1:{}", ports.peer);
        let token = format!("drill-{}", self.report.id);
        let founding = Founding::single(NAME, &[url], &token);
        let founding = founding.map_err(|error| fail(Level::L3, error))?;
        let spec = RebuildSpec {
            sample: self.request.sample,
            sample_seed: self.request.sample_seed,
            authentication_off: true,
            ..RebuildSpec::new(founding, self.version.version)
        };
        let built = build_member(reader, &self.sandbox.data_dir(), spec, self.request.read).await;
        let built = built.map_err(|error| match &error {
            RestoreError::Fetch(crate::fetch::FetchError::Snapshot(cause)) => {
                fail(served::level_of(cause), &error)
            }
            _ => fail(Level::L3, error),
        })?;
        let rebuilt = &built.rebuilt;
        self.report.records = rebuilt.counts.records;
        self.report.size_bytes = rebuilt.summary.size_bytes;
        self.reached(Level::L2);
        if !built.verified.digest_compared {
            self.note("the source's digest could not be compared: members disagreed about records");
        }
        if !rebuilt.made_up_leases.is_empty() {
            let count = rebuilt.made_up_leases.len();
            self.note(&format!("{count} leases were made up for live keys"));
        }
        if built.verified.facts.auth_enabled {
            self.note(
                "authentication was switched off in the sandbox; users and roles are all there",
            );
        }
        self.step("rebuild", &format!("{} records", rebuilt.counts.records));
        Ok(built)
    }

    /// L3: structure, schema, WAL and .snap.
    async fn check(&mut self, built: &BuiltMember) -> Verdict {
        self.began = Instant::now();
        let data_dir = self.sandbox.data_dir();
        let findings = blocking(move || Ok::<_, RestoreError>(check_member(&data_dir))).await;
        let findings = findings.map_err(|error| fail(Level::L3, error))?;
        if let Some(faults) = faults_line(&findings) {
            return Err(fail(Level::L3, faults));
        }
        let facts = &built.verified.facts;
        let small = (facts.lease_count, facts.user_count, facts.role_count);
        let found =
            served::small_counts(&built.database).map_err(|error| fail(Level::L3, error))?;
        let made_up = built.rebuilt.made_up_leases.len() as u64;
        if found != (small.0 + made_up, small.1, small.2) {
            return Err(fail(
                Level::L3,
                format!(
                    "leases, users and roles: {found:?} were rebuilt, {small:?} were backed up \
                     and {made_up} leases made up"
                ),
            ));
        }
        self.reached(Level::L3);
        self.step("check structure", "bolt, schema, WAL and .snap are sound");
        Ok(())
    }

    /// L5, offline: HashKV of what was rebuilt. Returns it for the scope that the server will
    /// answer for.
    async fn hash(&mut self, built: &BuiltMember) -> Verdict<u32> {
        self.began = Instant::now();
        let (revision, compact_revision) = (built.rebuilt.revision, built.rebuilt.compact_revision);
        let scope = HashScope { revision, compact_revision };
        let expected = source_hash(&built.verified.facts);
        let database = built.database.clone();
        let hashed = blocking(move || {
            let db = open_database(&database)?;
            let of = |revision, compact_revision| {
                hashkv_of(&db, HashScope { revision, compact_revision })
            };
            let theirs = expected.map(|one| of(one.revision, one.compact_revision)).transpose()?;
            let ours = match expected {
                Some(one)
                    if (one.revision, one.compact_revision)
                        == (scope.revision, scope.compact_revision) =>
                {
                    theirs
                }
                _ => None,
            };
            Ok::<_, RestoreError>((
                theirs,
                ours.map_or_else(|| of(scope.revision, scope.compact_revision), Ok)?,
            ))
        })
        .await;
        let (theirs, ours) = hashed.map_err(|error| fail(Level::L5, error))?;
        match (expected, theirs) {
            (Some(expected), Some(found)) if expected.hash != found => {
                return Err(fail(
                    Level::L5,
                    format!(
                        "HashKV at revision {} is {found:08x} in the rebuild, {:08x} in the \
                         source",
                        expected.revision, expected.hash
                    ),
                ));
            }
            (Some(expected), _) => {
                let detail = format!(
                    "{:08x} at revision {}, as the source's",
                    expected.hash, expected.revision
                );
                self.step("compare HashKV", &detail);
            }
            (None, _) => {
                self.note("the source gave no HashKV: equality with it (L5) cannot be proven");
            }
        }
        Ok(ours)
    }

    /// L6, first half: a server starts and answers a linearizable read.
    async fn boot(&mut self, ports: Ports) -> Verdict<Server> {
        self.began = Instant::now();
        let mut ports = ports;
        for attempt in 1.. {
            let spec = self.server_spec(ports);
            let client = Client::lazy(ClientConfig::new([spec.client_url()]));
            let client = client.map_err(|error| fail(Level::L6, error))?;
            let mut server = Server::start(spec).map_err(|error| fail(Level::L6, error))?;
            self.sandbox.note_server(server.id()).map_err(|error| fail(Level::L6, error))?;
            let probe = || served::linearizable_read(&client);
            match server.wait_ready(self.request.boot_deadline, probe).await {
                Ok(_) => {
                    self.step(
                        "boot",
                        &format!("etcd {} answers a linearizable read", self.version.text),
                    );
                    return Ok(server);
                }
                Err(error) if error.is_port_taken() && attempt < PORT_TRIES => {
                    ports = Ports::free().map_err(|error| fail(Level::L6, error))?;
                }
                Err(error) => return Err(fail(Level::L6, error)),
            }
        }
        unreachable!("the loop ends by returning")
    }

    fn server_spec(&self, ports: Ports) -> ServerSpec {
        // Twice the database, so that a write in a large sandbox raises no alarm.
        let quota = self.report.size_bytes.saturating_mul(2).max(8 << 30);
        ServerSpec {
            program: self.request.server.clone(),
            data_dir: self.sandbox.data_dir(),
            name: NAME.to_owned(),
            ports,
            initial_cluster: String::new(),
            joins: false,
            token: format!("drill-{}", self.report.id),
            log: self.sandbox.log(),
            extra: vec!["--quota-backend-bytes".to_owned(), quota.to_string()],
            tls: false,
        }
    }

    /// L5 on what is served, then L6's second half.
    async fn compare(
        &mut self,
        reader: &SnapshotReader,
        built: &BuiltMember,
        server: &Server,
        offline: u32,
    ) -> Verdict {
        self.began = Instant::now();
        let client = Client::lazy(ClientConfig::new([server.spec().client_url()]));
        let client = client.map_err(|error| fail(Level::L6, error))?;
        let facts = reader.facts();
        let expected = Expected {
            revision: built.rebuilt.revision,
            compact_revision: built.rebuilt.compact_revision,
            hash: offline,
            key_count: facts
                .key_count
                .saturating_sub(u64::from(built.rebuilt.counts.bump_records > 0)),
        };
        served::same_hash(&client, &expected).await.map_err(|reason| fail(Level::L5, reason))?;
        served::same_count(&client, &expected).await.map_err(|reason| fail(Level::L5, reason))?;
        let sample = &built.rebuilt.sample;
        served::same_records(&client, sample).await.map_err(|reason| fail(Level::L5, reason))?;
        self.report.sampled = sample.len() as u64;
        let proven = source_hash(&facts).is_some();
        if proven {
            self.reached(Level::L5);
        }
        self.step(
            "compare what is served",
            &format!(
                "HashKV {offline:08x}, {} keys, {} records one by one",
                expected.key_count,
                sample.len()
            ),
        );
        let revision =
            served::write_and_read(&client).await.map_err(|reason| fail(Level::L6, reason))?;
        if proven {
            self.reached(Level::L6);
        }
        self.step("write", &format!("taken at revision {revision}, read back, deleted"));
        Ok(())
    }

    fn check_room(&self, reader: &SnapshotReader) -> Result<(), DrillError> {
        let need = crate::plan::need_bytes(&reader.facts());
        let free = rustix::fs::statvfs(&self.request.parent);
        match free.map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize)) {
            Ok(free) if free < need => Err(DrillError::Space {
                parent: self.request.parent.clone(),
                free: crate::text::bytes(free),
                need: crate::text::bytes(need),
            }),
            _ => Ok(()),
        }
    }

    fn reached(&mut self, level: Level) {
        assert!(self.report.level <= Some(level), "levels only rise");
        self.report.level = Some(level);
    }

    fn elapsed_ms(&self) -> u64 {
        self.report.steps.iter().map(|step| step.milliseconds).sum()
    }

    fn note(&mut self, text: &str) {
        self.report.notes.push(text.to_owned());
    }

    /// Ends a step that began with the one before.
    fn step(&mut self, name: &str, detail: &str) {
        let now = Instant::now();
        let milliseconds = millis(now.duration_since(std::mem::replace(&mut self.began, now)));
        let (name, detail) = (name.to_owned(), detail.to_owned());
        self.report.steps.push(DrillStep { name, milliseconds, detail });
    }
}

fn empty_report(
    id: ReportId,
    request: &DrillRequest,
    started_ms: i64,
    version: &ServerVersion,
) -> DrillReport {
    let host = rustix::system::uname();
    DrillReport {
        id: id.to_string(),
        snapshot: request.snapshot,
        started_ms,
        finished_ms: started_ms,
        level: None,
        failure: None,
        steps: Vec::new(),
        recovery_ms: None,
        server: format!("etcd {}", version.text),
        records: 0,
        size_bytes: 0,
        sampled: 0,
        host: host.nodename().to_string_lossy().into_owned(),
        opened_by: Vec::new(),
        notes: vec!["L4 is not shown: this vault has no log".to_owned()],
        recorded: Recorded::No,
    }
}

fn fail(level: Level, reason: impl std::fmt::Display) -> Failure {
    Failure { level, reason: reason.to_string() }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
