//! Does what `cycle.rs` decides: rounds, prunes and drills, with their traces in metrics, logs and
//! state.
//!
//! What must hold: the vault stays open between jobs (one data seed per run, no LIST in steady
//! state) and is opened anew after a failure to open it; the witness only ever moves forward; a
//! failed job is told with its kind, never only logged.

mod drill;
mod keyless;
mod prune;
mod reliefs;
mod unverified;

use crate::config::Config;
use crate::contested::Side;
use crate::cycle::{Ending, Job};
use crate::damage::{self, DamagedObject};
use crate::drill::Drill;
use crate::health::Health;
use crate::metrics::{JobLabel, Metrics, gauge, seconds};
use crate::round::{RoundError, RoundReport};
use crate::state::{AgentState, RecordVerdict, SnapshotMark, StateError};
use crate::vaults::{self, ConnectKms};
use holdfast_vault::chain::ChainError;
use holdfast_vault::clock::{Clock, SystemClock};
use holdfast_vault::format::ObjectId;
use holdfast_vault::vault::Vault;
use keyless::Keyless;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A data seed is used for 30 days at most; a vault that is opened anew makes another one.
const SEED_AGE_MS: i64 = 30 * 86_400_000;

/// What jobs, the loop and the pages share.
#[derive(Debug, Default)]
pub struct Shared(Mutex<Traces>);

/// What the jobs leave behind.
#[derive(Debug, Default)]
pub struct Traces {
    /// For the state file.
    pub state: AgentState,
    /// The state as it stands on the disk; `None`: not written yet.
    pub saved: Option<AgentState>,
    /// For `/healthz`.
    pub health: Health,
}

impl Traces {
    /// Writes the state to its directory, unless it stands there as it is.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn save(&mut self, directory: &Path) -> Result<(), StateError> {
        if self.saved.as_ref() != Some(&self.state) {
            self.state.save(directory)?;
            self.saved = Some(self.state.clone());
        }
        Ok(())
    }
}

impl Shared {
    /// With a state that was read from the disk.
    pub fn new(state: AgentState, started: jiff::Timestamp) -> Shared {
        let health = Health {
            started,
            last_round: state.memory().last_round,
            failures: state.failures,
            last_error: state.last_error.clone(),
            alarms: state.alarms.clone(),
            damaged: damage::unrepaired(&state.damaged),
            drill_failure: state.drill_failure.as_ref().map(ToString::to_string),
        };
        let saved = None;
        Shared(Mutex::new(Traces { state, saved, health }))
    }

    /// Locks.
    pub fn lock(&self) -> MutexGuard<'_, Traces> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all jobs need. Cheap to clone.
#[derive(Clone)]
pub struct Tools {
    /// The configuration.
    pub config: Arc<Config>,
    /// This machine's name; it shifts the ticks.
    pub machine: Arc<str>,
    /// Makes clients of KMS plugins.
    pub connect: ConnectKms,
    /// Proves snapshots.
    pub drill: Arc<dyn Drill>,
    /// The metrics.
    pub metrics: Metrics,
    /// Traces.
    pub shared: Arc<Shared>,
}

/// Does jobs, one after the other.
pub struct Worker {
    tools: Tools,
    vault: Option<Vault>,
    opened_boot_ms: i64,
    keyless: Keyless,
    /// The process ends after its one round: nothing can wait in it.
    once: bool,
}

/// How a job ended.
#[derive(Debug)]
pub struct Done {
    /// Which.
    pub job: Job,
    /// How.
    pub ending: Ending,
    /// Of a round that was completed.
    pub report: Option<RoundReport>,
    /// Of a job that failed.
    pub error: Option<String>,
}

impl Worker {
    /// Nothing is opened yet.
    pub fn new(tools: Tools) -> Worker {
        let keyless = Keyless::default();
        Worker { tools, vault: None, opened_boot_ms: 0, keyless, once: false }
    }

    /// For a process that ends after one round: a stream that waited in its spool would be gone.
    pub fn of_one_round(tools: Tools) -> Worker {
        Worker { once: true, ..Worker::new(tools) }
    }

    /// Does a job.
    pub async fn run(&mut self, job: Job) -> Done {
        let label = JobLabel { job: word(job) };
        let directory = &self.tools.config.state_directory;
        damage::take_notes(directory, |found| self.remember_damage(found));
        self.tools.metrics.running.get_or_create(&label).set(1);
        let done = match job {
            Job::Round => self.round().await,
            Job::Prune => self.prune().await,
            Job::Drill => self.drill().await,
            Job::Wraps => self.wraps().await,
        };
        self.tools.metrics.running.get_or_create(&label).set(0);
        self.tell_damage();
        if let Some(vault) = &self.vault {
            let witness = vault.witness();
            let mut traces = self.tools.shared.lock();
            let known = traces.state.witness.as_ref();
            if known.is_none_or(|known| (known.era, known.number) <= (witness.era, witness.number))
            {
                traces.state.witness = Some(witness);
            }
        }
        done
    }

    async fn opened(&mut self) -> Result<&mut Vault, RoundError> {
        let now_boot_ms = SystemClock.boot_ms();
        if self.vault.is_none() || now_boot_ms - self.opened_boot_ms > SEED_AGE_MS {
            let opened = match self.open_anew().await {
                Ok(opened) => opened,
                // What is open goes on: its seeds are older than they should be, but here.
                Err(error) if error.key_service().is_some() && self.vault.is_some() => {
                    tracing::warn!(%error, "the vault is not opened anew");
                    return Ok(self.vault.as_mut().expect("it was just seen"));
                }
                Err(error) => {
                    self.vault = None;
                    return Err(error.into());
                }
            };
            if opened.is_unsealed() {
                tracing::warn!(
                    "this vault is not sealed: whoever reads the store reads the cluster"
                );
            }
            self.vault = Some(opened);
            self.opened_boot_ms = now_boot_ms;
        }
        Ok(self.vault.as_mut().expect("it was opened above"))
    }

    /// What is decided of contested records.
    fn verdicts(&self) -> BTreeMap<(i64, i64), String> {
        let traces = self.tools.shared.lock();
        let known = traces.state.verdicts.iter();
        known.map(|known| ((known.main, known.sub), known.text.clone())).collect()
    }

    /// The vault as a stranger with our keys would open it.
    async fn open_anew(&self) -> Result<Vault, vaults::OpenError> {
        let state = self.tools.shared.lock().state.clone();
        vaults::open(&self.tools.config, &self.tools.connect, &state).await
    }

    async fn round(&mut self) -> Done {
        let now_ms = SystemClock.now_ms();
        let report = match self.round_with_keys(now_ms).await {
            Err(error) => match error.key_service() {
                Some(away) => self.round_without_keys(&away, now_ms).await,
                None => Err(error),
            },
            done => done,
        };
        match report {
            Ok(report) => {
                let why = "it was lost when a round read it";
                let lost = report.lost.iter().map(|id| DamagedObject::new(*id, why));
                self.note_damage(lost);
                self.round_done(report, now_ms)
            }
            Err(error) => {
                if let RoundError::Verify(error) = &error
                    && let Some(number) = error.damaged_snapshot()
                    && let Some(vault) = &mut self.vault
                {
                    let found = damage::search(vault, number).await;
                    let is_known = found.is_ok();
                    self.note_search(number, found);
                    if is_known {
                        self.searched(number);
                    }
                }
                self.round_failed(&error)
            }
        }
    }

    /// Whether this round reads all of a member's database: after one that failed, and when the
    /// last one that did is too long ago, or lies in the future.
    fn reads_all(&self, now_ms: i64) -> bool {
        let every = self.tools.config.etcd.whole_reading.as_millis();
        let traces = self.tools.shared.lock();
        let since =
            now_ms.checked_sub(traces.state.last_whole_ms).and_then(|ms| u128::try_from(ms).ok());
        !traces.state.last_error.is_empty() || since.is_none_or(|since| since >= every)
    }

    /// Objects that are known to be lost or rotten.
    fn damaged(&self) -> BTreeSet<ObjectId> {
        damage::ids(&self.tools.shared.lock().state.damaged)
    }

    /// On the disk, too, before the job goes on: whoever told of it need not tell again.
    fn remember_damage(
        &self,
        found: impl IntoIterator<Item = DamagedObject>,
    ) -> Result<(), StateError> {
        let mut traces = self.tools.shared.lock();
        damage::add(&mut traces.state.damaged, found);
        let on_disk = traces.saved.as_ref().map_or(&[][..], |saved| &saved.damaged);
        if on_disk != traces.state.damaged {
            traces.save(&self.tools.config.state_directory)?;
        }
        Ok(())
    }

    /// The same for what we found ourselves: a later save may do what this one could not.
    fn note_damage(&self, found: impl IntoIterator<Item = DamagedObject>) {
        if let Err(error) = self.remember_damage(found) {
            tracing::error!(%error, "the damage that was found is not on the disk yet");
        }
    }

    /// What a search for the reason of a failure brought.
    fn note_search(&self, snapshot: u64, found: Result<Vec<DamagedObject>, ChainError>) {
        match found {
            Ok(found) => {
                tracing::error!(snapshot, damaged = ?found, "looked for damage");
                self.note_damage(found);
            }
            Err(error) => tracing::warn!(snapshot, %error, "damage cannot be looked for"),
        }
    }

    /// Brings what is damaged up to date: as long as the newest snapshot needs it, all is not well.
    fn tell_damage(&self) {
        let Some(vault) = &self.vault else { return };
        let (chain, mut traces) = (vault.chain(), self.tools.shared.lock());
        damage::settle(&mut traces.state.damaged, chain);
        let unrepaired = damage::unrepaired(&traces.state.damaged);
        let broken = damage::broken(&traces.state.damaged, chain);
        self.tools.metrics.damaged.set(gauge(unrepaired.len() as u64));
        self.tools.metrics.broken.set(gauge(broken.len() as u64));
        traces.health.damaged = unrepaired;
    }

    fn round_done(&mut self, report: RoundReport, now_ms: i64) -> Done {
        let metrics = &self.tools.metrics;
        let entry = &report.entry;
        metrics.last_success.set(seconds(now_ms));
        metrics.recovery_point.set(seconds(entry.taken_ms));
        metrics.snapshot.set(gauge(entry.number));
        metrics.revision.set(entry.revision);
        metrics.records.set(gauge(entry.record_count));
        metrics.live_bytes.set(gauge(entry.live_bytes));
        metrics.stream_bytes.set(gauge(report.stream_bytes));
        metrics.failures_in_a_row.set(0);
        metrics.alarms.set(gauge(report.alarms.len() as u64));
        if let Some(vault) = &self.vault {
            metrics.snapshots.set(gauge(vault.chain().catalogue().entries().count() as u64));
        }
        if report.stored {
            metrics.uploaded_bytes.set(gauge(entry.uploaded_bytes));
            metrics.uploaded_bytes_total.inc_by(entry.uploaded_bytes);
        }
        tracing::info!(
            snapshot = entry.number,
            revision = entry.revision,
            records = entry.record_count,
            uploaded_bytes = if report.stored { entry.uploaded_bytes } else { 0 },
            received_bytes = report.stream_bytes,
            whole = report.whole,
            hash_equal = ?report.hash_equal,
            alarms = report.alarms.len(),
            "the round is complete"
        );
        let mut traces = self.tools.shared.lock();
        traces.state.snapshot = Some(SnapshotMark {
            number: entry.number,
            revision: entry.revision,
            taken_ms: entry.taken_ms,
        });
        let decided = report.verdicts.iter().filter(|(_, verdict)| verdict.side != Side::Undecided);
        traces.state.decide(decided.map(|((main, sub), verdict)| RecordVerdict {
            main: *main,
            sub: *sub,
            text: verdict.text.clone(),
        }));
        if report.whole && report.stored {
            traces.state.last_whole_ms = now_ms;
        }
        traces.state.last_error.clear();
        traces.state.alarms.clone_from(&report.alarms);
        traces.health.alarms.clone_from(&report.alarms);
        traces.health.last_error.clear();
        drop(traces);
        // Last: whoever waited for it finds all the rest.
        metrics.done("round");
        let ending = if self.keyless.is_for_paper() { Ending::ForPaper } else { Ending::Done };
        Done { job: Job::Round, ending, report: Some(report), error: None }
    }

    fn round_failed(&mut self, error: &RoundError) -> Done {
        let metrics = &self.tools.metrics;
        let text = error.to_string();
        metrics.failures_in_a_row.inc();
        if error.is_store() {
            metrics.store_reachable.set(0);
        }
        tracing::error!(kind = error.kind(), error = text, "the round failed");
        let without_keys = matches!(
            error,
            RoundError::Waiting { .. }
                | RoundError::NothingStored { .. }
                | RoundError::ReliefWaits { .. }
        );
        if without_keys || error.key_service().is_some() {
            metrics.key_service.set(0);
        }
        let mut traces = self.tools.shared.lock();
        traces.state.last_error.clone_from(&text);
        traces.health.last_error.clone_from(&text);
        if error.is_alarm() {
            traces.state.alarms = vec![text.clone()];
            traces.health.alarms = vec![text.clone()];
        }
        metrics.alarms.set(gauge(traces.state.alarms.len() as u64));
        drop(traces);
        // Last: whoever waited for it finds all the rest.
        metrics.failed("round", error.kind());
        Done { job: Job::Round, ending: Ending::Failed, report: None, error: Some(text) }
    }
}

fn word(job: Job) -> &'static str {
    match job {
        Job::Round => "round",
        Job::Prune => "prune",
        Job::Drill => "drill",
        Job::Wraps => "wraps",
    }
}
