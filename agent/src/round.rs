//! One round: from a member's stream to a verified snapshot in the vault.
//!
//! ```text
//! reach the store → pick a member → stream into the spool → first pass (what is alive)
//!   → ask HashKV(R) of the same member → second pass into the vault, HashKV computed beside it
//!   → commit → read back
//! ```
//!
//! What must hold: etcd is not bothered while the store cannot be reached; nothing is committed
//! from a stream that is not whole; a hash that differs, a record that vanished or changed, and
//! another history are alarms, recorded in the snapshot's facts and told, and the snapshot is kept
//! all the same: it may be the last one; dropping the future at any moment leaves no snapshot
//! behind but one that is whole.

mod error;
mod facts;

pub use error::{RoundError, chain_kind};

use crate::config::Config;
use crate::contested::{self, Verdict};
use crate::hash::{self, Answered};
use crate::member::{self, Choice, Survey};
use crate::metrics::Metrics;
use crate::reader::{Scan, SpoolReader, Spooled};
use crate::source::{self, Deadlines, Received};
use crate::spool::{Spool, SpoolWriter};
use crate::stop::{Stop, StopOnDrop};
use crate::{survey, verify};
use facts::Stream;
use holdfast_api::client::Client;
use holdfast_api::etcdserverpb::SnapshotRequest;
use holdfast_bolt::Db;
use holdfast_vault::format::{ObjectId, SegmentSettings};
use holdfast_vault::proto::{CatalogueEntry, HashKv};
use holdfast_vault::snapshot::{Finding, Outcome, SnapshotOptions, Summary};
use holdfast_vault::vault::Vault;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// What a round works with.
#[derive(Debug, Clone, Copy)]
pub struct Round<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Told of each step.
    pub metrics: &'a Metrics,
    /// Milliseconds since 1970 at its start.
    pub now_ms: i64,
    /// What is decided of contested records.
    pub verdicts: &'a BTreeMap<(i64, i64), String>,
    /// Objects that are known to be lost or rotten: what they hold is stored again.
    pub damaged: &'a BTreeSet<ObjectId>,
}

/// How a round ended.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundReport {
    /// The catalogue's entry of the snapshot that protects the cluster now.
    pub entry: CatalogueEntry,
    /// True: ours. False: another writer's, which is as new as ours would have been.
    pub stored: bool,
    /// Bytes of the member's stream.
    pub stream_bytes: u64,
    /// Which member gave it.
    pub endpoint: String,
    /// Whether HashKV was compared and equal; `None`: nobody gave a usable hash.
    pub hash_equal: Option<bool>,
    /// What somebody must look at.
    pub alarms: Vec<String>,
    /// What the members said of contested records.
    pub verdicts: Vec<((i64, i64), Verdict)>,
    /// Objects that were found lost while it was stored; what they held was stored again.
    pub lost: Vec<ObjectId>,
}

/// What arrived, ready to be stored; lies encrypted in the spool until it is dropped.
pub struct Taken {
    client: Client,
    spooled: Arc<Spooled<Spool>>,
    choice: Choice,
    linearizable: bool,
    /// It has all that was committed when the quorum was read.
    reached: bool,
    stream_bytes: u64,
    revision: i64,
    taken_ms: i64,
    stop: Stop,
    _guard: StopOnDrop,
}

impl Taken {
    /// The member's revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// When its stream began, milliseconds since 1970.
    pub fn taken_ms(&self) -> i64 {
        self.taken_ms
    }

    /// Length of the stream.
    pub fn stream_bytes(&self) -> u64 {
        self.stream_bytes
    }
}

/// What stands in the vault, not yet read back.
struct Stored {
    report: RoundReport,
    summary: Option<Summary>,
    stop: Stop,
}

impl Round<'_> {
    /// Runs it.
    ///
    /// # Errors
    /// See [`RoundError`].
    pub async fn run(&self, vault: &mut Vault) -> Result<RoundReport, RoundError> {
        self.timed("store", vault.refresh()).await?;
        self.metrics.store_reachable.set(1);
        let known = vault.head().number;
        let taken = self.take().await?;
        let stored = self.store(vault, &taken, Some(known)).await?;
        // The spool is not needed any more: give its disk and cache back before the reading back.
        let _guard = taken._guard;
        drop(taken.spooled);
        self.read_back(vault, stored).await
    }

    /// Stores what was taken before.
    ///
    /// # Errors
    /// See [`RoundError`].
    pub async fn run_with(
        &self,
        vault: &mut Vault,
        taken: &Taken,
    ) -> Result<RoundReport, RoundError> {
        let stored = self.store(vault, taken, None).await?;
        self.read_back(vault, stored).await
    }

    /// `known`: the newest commit that was known before etcd was asked.
    async fn store(
        &self,
        vault: &mut Vault,
        taken: &Taken,
        known: Option<u64>,
    ) -> Result<Stored, RoundError> {
        let mut alarms = Vec::new();
        let handing = self.hand_over(vault, taken, known, &mut alarms);
        let outcome = self.timed("write", handing).await?;
        let (entry, summary) = judge(vault, &taken.choice, outcome)?;
        let (mut hash_equal, mut verdicts) = (None, Vec::new());
        if let Some(summary) = &summary {
            hash_equal = look_at(&taken.client, taken, summary, &mut alarms).await;
            verdicts = self.settle(vault, taken, summary).await;
        }
        for (revision, verdict) in &verdicts {
            let (main, sub) = revision;
            let text = format!("record {main}.{sub} is contested: {}", verdict.text);
            tracing::error!(alarm = text, "somebody must look at this");
            alarms.push(text);
        }
        let report = RoundReport {
            entry,
            stored: summary.is_some(),
            stream_bytes: taken.stream_bytes,
            endpoint: taken.choice.endpoint.clone(),
            hash_equal,
            alarms,
            verdicts,
            lost: summary.as_ref().map(lost).unwrap_or_default(),
        };
        Ok(Stored { report, summary, stop: taken.stop.clone() })
    }

    /// Asks the other members about contested records that nothing is decided of yet.
    async fn settle(
        &self,
        vault: &Vault,
        taken: &Taken,
        summary: &Summary,
    ) -> Vec<((i64, i64), Verdict)> {
        if !summary.entry.contested {
            return Vec::new();
        }
        let stored = match vault.contested(summary.number, MOST_FINDINGS).await {
            Ok(stored) => stored,
            Err(error) => {
                tracing::warn!(%error, "the contested records cannot be compared");
                return Vec::new();
            }
        };
        let mut verdicts = Vec::new();
        for versions in stored {
            let revision = versions.revision;
            if self.verdicts.contains_key(&revision) {
                continue;
            }
            let Some(record) = taken.spooled.record(revision) else { continue };
            let (source, newest) = (&taken.choice.endpoint, taken.revision);
            let verdict =
                contested::settle(&taken.client, source, &record, &versions, newest).await;
            self.metrics.contested(verdict.side.word());
            verdicts.push((revision, verdict));
        }
        verdicts
    }

    async fn read_back(
        &self,
        vault: &mut Vault,
        stored: Stored,
    ) -> Result<RoundReport, RoundError> {
        if let Some(summary) = &stored.summary {
            let read = self.timed("verify", verify::verify(vault, summary, &stored.stop)).await?;
            tracing::info!(snapshot = summary.number, read_bytes = read, "read back and equal");
        }
        Ok(stored.report)
    }

    /// Everything that is asked of etcd before the vault has its turn.
    ///
    /// # Errors
    /// See [`RoundError`].
    pub async fn take(&self) -> Result<Taken, RoundError> {
        let stop = Stop::default();
        let guard = StopOnDrop(stop.clone());
        let client = survey::connect(&self.config.etcd)?;
        let survey = self.timed("member", survey::survey(&client)).await;
        let choice = member::choose(&survey)?;
        tell(&survey, &choice);
        let received = self.timed("stream", self.stream(&client, &choice)).await?;
        let stream = Stream::of(&received, self.now_ms);
        let (db, scan) = self.timed("scan", scan(received.spool, stop.clone())).await?;
        let revision = scan.facts.revision;
        let asked = self.timed("hash", ask_hash(&client, &choice, &scan)).await;
        let facts = facts::facts(&choice, &scan, &stream);
        let reached = survey.is_reached(&choice, facts.revision, facts.raft_index);
        tracing::info!(
            revision,
            stream_bytes = stream.bytes,
            records = scan.liveness.records(),
            "the stream is whole"
        );
        let prefixes = self.config.vault.sensitive_prefixes.iter();
        let spooled = Spooled {
            db,
            scan,
            facts,
            asked,
            sensitive_prefixes: prefixes.map(|prefix| prefix.clone().into_bytes()).collect(),
            stop: stop.clone(),
            computed: OnceLock::new(),
        };
        Ok(Taken {
            client,
            spooled: Arc::new(spooled),
            choice,
            linearizable: survey.quorum_revision.is_some(),
            reached,
            stream_bytes: stream.bytes,
            revision,
            taken_ms: self.now_ms,
            stop,
            _guard: guard,
        })
    }

    async fn stream(&self, client: &Client, choice: &Choice) -> Result<Received, RoundError> {
        let directory = self.config.spool_directory();
        let spool = SpoolWriter::create(directory, self.config.spool.size_limit.bytes());
        let spool = spool.map_err(source::SourceError::from)?;
        let member = client.member(&choice.endpoint)?;
        let answer = member.maintenance().snapshot(SnapshotRequest {}).await;
        let stream = member.check("Snapshot", answer)?;
        let etcd = &self.config.etcd;
        let deadlines = Deadlines { stall: etcd.stall_timeout, whole: etcd.snapshot_timeout };
        Ok(source::receive(stream, spool, deadlines).await?)
    }

    /// Gives it to the vault; another history becomes a new lineage, if the quorum vouches for it.
    async fn hand_over(
        &self,
        vault: &mut Vault,
        taken: &Taken,
        known: Option<u64>,
        alarms: &mut Vec<String>,
    ) -> Result<Outcome, RoundError> {
        let source = || Box::new(SpoolReader::new(taken.spooled.clone()));
        let mut options = SnapshotOptions {
            segment: SegmentSettings {
                zstd_level: self.config.vault.compression_level,
                ..SegmentSettings::default()
            },
            linearizable: taken.reached,
            known: Some(known.unwrap_or(0)),
            damaged: self.damaged.clone(),
            verdicts: self.verdicts.clone(),
            ..SnapshotOptions::default()
        };
        let outcome = vault.snapshot(source(), &options).await?;
        let Outcome::Diverged { fork, reason } = &outcome else { return Ok(outcome) };
        if !taken.linearizable {
            let reason =
                format!("{reason}; the quorum cannot be read, so this is not believed yet");
            return Ok(Outcome::Late { reason });
        }
        tracing::error!(fork, reason, "another history: a new lineage begins");
        alarms.push(format!("another history since revision {fork}: {reason}"));
        options.new_lineage = Some(reason.clone());
        Ok(vault.snapshot(source(), &options).await?)
    }

    async fn timed<T>(&self, step: &'static str, work: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let done = work.await;
        let took = started.elapsed();
        self.metrics.step(step, took);
        tracing::debug!(step, milliseconds = took.as_millis(), "done");
        done
    }
}

fn lost(summary: &Summary) -> Vec<ObjectId> {
    let lost = |finding: &Finding| match finding {
        Finding::Lost(id) => Some(*id),
        _ => None,
    };
    summary.findings.iter().filter_map(lost).collect()
}

/// Findings that are told one by one.
const MOST_FINDINGS: usize = 10;

/// What the walk and the hash found, as alarms. Gives whether the hash was equal.
async fn look_at(
    client: &Client,
    taken: &Taken,
    summary: &Summary,
    alarms: &mut Vec<String>,
) -> Option<bool> {
    let number = summary.number;
    let told = summary.findings.iter().take(MOST_FINDINGS);
    alarms.extend(told.map(|finding| format!("snapshot {number}: {finding}")));
    let more = summary.findings.len().saturating_sub(MOST_FINDINGS);
    if more > 0 {
        alarms.push(format!("snapshot {number}: {more} more findings"));
    }
    let equal = match (taken.spooled.asked, taken.spooled.computed.get()) {
        (Some(asked), Some(computed)) if *computed != asked.hash => {
            let endpoint = &taken.choice.endpoint;
            let others = hash::second_opinions(client, endpoint, &asked).await.join("; ");
            let (revision, said) = (asked.revision, asked.hash);
            alarms.push(format!(
                "snapshot {number}: HashKV at revision {revision} is {computed:08x} in what \
                 {endpoint} \
                 sent, but it answers {said:08x}; {others}; run `etcdctl endpoint hashkv --cluster \
                 --rev {revision}`"
            ));
            Some(false)
        }
        (Some(_), Some(_)) => Some(true),
        _ => None,
    };
    for alarm in alarms.iter() {
        tracing::error!(alarm, "somebody must look at this");
    }
    equal
}

/// The snapshot that protects the cluster now, and what we stored if it is ours.
fn judge(
    vault: &Vault,
    choice: &Choice,
    outcome: Outcome,
) -> Result<(CatalogueEntry, Option<Summary>), RoundError> {
    match outcome {
        Outcome::Committed(summary) => Ok((summary.entry.clone(), Some(*summary))),
        Outcome::Covered { number } => {
            tracing::info!(snapshot = number, "another agent's snapshot is as new: nothing to add");
            Ok((vault.chain().catalogue().get(number).cloned().unwrap_or_default(), None))
        }
        Outcome::Late { reason } => {
            Err(RoundError::Late { endpoint: choice.endpoint.clone(), reason })
        }
        Outcome::Unrelated { reason } => Err(RoundError::Unrelated { reason }),
        Outcome::Diverged { fork, reason } => Err(RoundError::Unrelated {
            reason: format!("{reason} (shared up to {fork}), also as a new lineage"),
        }),
    }
}

fn tell(survey: &Survey, choice: &Choice) {
    for other in &choice.others {
        tracing::debug!(endpoint = other.endpoint, reason = other.reason, "not asked");
    }
    let (endpoint, reason) = (&choice.endpoint, &choice.reason);
    if survey.quorum_revision.is_none() {
        tracing::warn!(endpoint, reason, "the quorum cannot be read: taking what this member has");
    } else {
        tracing::info!(endpoint, reason, "asking this member");
    }
}

/// Opens the database and makes the first pass, on a thread that may block.
async fn scan(spool: Spool, stop: Stop) -> Result<(Db<Spool>, Scan), RoundError> {
    let work = move || {
        let db = Db::open(spool)?;
        let scan = Scan::read(&db, &stop)?;
        Ok((db, scan))
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| RoundError::Thread(error.to_string()))?.map_err(RoundError::Database)
}

/// The hash of the member that gave the stream; of another only if that one has no usable answer.
async fn ask_hash(client: &Client, choice: &Choice, scan: &Scan) -> Option<HashKv> {
    let mut endpoints = vec![choice.endpoint.clone()];
    endpoints.extend(choice.others.iter().filter(|one| one.usable).map(|one| one.endpoint.clone()));
    match hash::ask(client, &endpoints, scan.facts.revision, scan.compact_revision()).await {
        Answered::Hash { hash, endpoint } => {
            tracing::debug!(endpoint, revision = hash.revision, "HashKV answered");
            Some(hash)
        }
        Answered::Nobody(reason) => {
            tracing::warn!(reason, "HashKV cannot be compared this time");
            None
        }
    }
}
