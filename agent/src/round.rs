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

mod changes;
mod error;
mod facts;
mod findings;
mod take;

pub use error::{RoundError, chain_kind};
pub use take::Taken;

use crate::config::Config;
use crate::contested::{self, Verdict};
use crate::metrics::Metrics;
use crate::stop::Stop;
use crate::verify;
use changes::Way;
use findings::{MOST_FINDINGS, judge, look_at, lost};
use holdfast_vault::format::{ObjectId, SegmentSettings};
use holdfast_vault::proto::CatalogueEntry;
use holdfast_vault::snapshot::{Outcome, SnapshotError, SnapshotOptions, Summary};
use holdfast_vault::vault::Vault;
use std::collections::{BTreeMap, BTreeSet};
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
    /// Read all of the member's database, whatever it offers: docs/adr/0005 says when.
    pub whole: bool,
    /// The first commit that a former round stored and did not read back.
    pub unverified: Option<u64>,
}

/// How a round ended.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundReport {
    /// The catalogue's entry of the snapshot that protects the cluster now.
    pub entry: CatalogueEntry,
    /// True: ours. False: another writer's, which is as new as ours would have been.
    pub stored: bool,
    /// All of the member's database was read.
    pub whole: bool,
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
        let asking = self.choose().await?;
        let mut taken = match self.whole {
            true => self.take_whole(asking).await?,
            false => match self.take_changes(vault, asking).await? {
                Way::Changes(taken) => *taken,
                Way::Whole(asking) => self.take_whole(*asking).await?,
            },
        };
        let stored = match self.store(vault, &taken, Some(known)).await {
            // Another writer was faster, or an object is lost by now: what was told is of no use.
            Err(RoundError::Snapshot(error @ SnapshotError::Unfit { .. })) => {
                tracing::info!(%error, "reading everything");
                let known = vault.head().number;
                taken = self.take().await?;
                self.store(vault, &taken, Some(known)).await?
            }
            stored => stored?,
        };
        // The spool is not needed any more: give its disk and cache back before the reading back.
        let _guard = taken.guard;
        drop(taken.content);
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
            whole: taken.is_whole(),
            stream_bytes: taken.stream_bytes(),
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
            let Some(record) = taken.content.record(revision) else { continue };
            let (source, newest) = (&taken.choice.endpoint, taken.revision());
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
        let own = stored.summary.as_ref().map(|summary| summary.number);
        if let Some(from) = self.unverified.or(own) {
            let read = self.timed("verify", verify::verify(vault, from, &stored.stop)).await?;
            tracing::info!(from_commit = from, read_bytes = read, "read back and equal");
        }
        Ok(stored.report)
    }

    /// Gives it to the vault; another history becomes a new lineage, if the quorum vouches for it.
    async fn hand_over(
        &self,
        vault: &mut Vault,
        taken: &Taken,
        known: Option<u64>,
        alarms: &mut Vec<String>,
    ) -> Result<Outcome, RoundError> {
        let source = || taken.content.source();
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
