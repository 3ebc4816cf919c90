//! Proves a snapshot by restoring it: in a private directory, without a network, with a measured
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
//! report, not an error: an error means that the drill itself could not be done; the server
//! is reached by our user alone, through sockets in the sandbox: its authentication is off. The
//! sandbox is plain text on this machine's disk while the drill runs.

mod booted;
mod offline;
mod report;
mod sandbox;
mod served;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holdfast_core::disk::free_bytes;
use holdfast_vault::format::ReportId;
use holdfast_vault::snapshot::{ReadOptions, SnapshotReader};
use holdfast_vault::vault::Vault;

pub use report::{DrillReport, DrillStep, Failure, Level, Recorded};
use sandbox::Sandbox;

use crate::server::{ServerError, ServerProgram, ServerVersion, version_of};

/// The member's name in the sandbox.
const NAME: &str = "drill";

/// How a drill is done.
#[derive(Debug, Clone)]
pub struct DrillRequest {
    /// The snapshot's number.
    pub snapshot: u64,
    /// The etcd to boot.
    pub server: ServerProgram,
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
    pub fn new(snapshot: u64, server: impl Into<ServerProgram>, parent: &Path) -> DrillRequest {
        DrillRequest {
            snapshot,
            server: server.into(),
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
        let built = self.rebuild(reader).await?;
        let rebuilt_ms = self.elapsed_ms();
        self.check(&built).await?;
        let offline = self.hash(&built).await?;
        let boot_began = Instant::now();
        let server = self.boot().await?;
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

    fn check_room(&self, reader: &SnapshotReader) -> Result<(), DrillError> {
        let need = crate::plan::need_bytes(&reader.facts());
        match free_bytes(&self.request.parent) {
            Some(free) if free < need => Err(DrillError::Space {
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
