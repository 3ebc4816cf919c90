//! Rounds while the key service is away, and what follows when it is back.
//!
//! What must hold: nothing is stored unsealed, and rounds are not paused. With a recovery key,
//! snapshots go into a relief chain (or, where the vault is open, under a data seed) that only the
//! paper opens, until the wraps follow; without one, the newest stream waits in the encrypted
//! spool, is replaced at each tick, and goes into the vault if etcd is gone by then (a process of
//! one round has nothing to wait in: it says so, and ends). Either is an alarm while it lasts.

use super::reliefs::{Former, Wait};
use super::{Done, Worker};
use crate::cycle::{Ending, Job};
use crate::round::{Round, RoundError, RoundReport, Taken};
use crate::vaults;
use holdfast_vault::clock::{Clock, SystemClock};
use holdfast_vault::vault::Vault;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What exists only because the key service was away.
#[derive(Default)]
pub(super) struct Keyless {
    pub(super) relief: Option<Vault>,
    held: Option<Taken>,
    /// As they were told.
    alarms: Vec<String>,
    /// Another relief chain may not begin yet.
    pub(super) wait: Option<Wait>,
    /// Relief chains of former processes, and the alarm about them as it was told.
    pub(super) former: Former,
    former_alarm: Option<String>,
}

impl Keyless {
    /// Whether only the paper opens something that stands in the vault.
    pub(super) fn is_for_paper(&self) -> bool {
        !self.alarms.is_empty()
    }
}

impl Worker {
    /// A round into the cluster's own chain, and what was left to do there.
    pub(super) async fn round_with_keys(&mut self, now_ms: i64) -> Result<RoundReport, RoundError> {
        self.opened().await?;
        let (verdicts, damaged) = (&self.verdicts(), &self.damaged());
        let whole = self.reads_all(now_ms);
        let unverified = self.expect_reading_back();
        let Worker { tools, vault, keyless, .. } = self;
        let vault = vault.as_mut().expect("it was opened above");
        let (config, metrics) = (&tools.config, &tools.metrics);
        let round = Round { config, metrics, now_ms, verdicts, damaged, whole, unverified };
        let mut report = run_or_held(&round, vault, keyless.held.as_ref()).await?;
        keyless.held = None;
        tools.metrics.waiting.set(0.0);
        self.all_read_back();
        let alarms = self.wraps_follow().await;
        report.alarms.extend(alarms.iter().cloned());
        self.keyless.alarms = alarms;
        let former = self.former_reliefs(now_ms).await;
        report.alarms.extend(former.clone());
        self.keyless.former_alarm = former;
        Ok(report)
    }

    /// Tries again what could not be done while the key service was away.
    pub(super) async fn wraps(&mut self) -> Done {
        let error = match self.opened().await {
            // Where it is still away, the alarm that stands says so.
            Err(error) => Some(error.to_string()),
            Ok(_) => {
                let alarms = self.wraps_follow().await;
                let former = self.former_reliefs(SystemClock.now_ms()).await;
                let mut old = std::mem::replace(&mut self.keyless.alarms, alarms.clone());
                old.extend(std::mem::replace(&mut self.keyless.former_alarm, former.clone()));
                let mut traces = self.tools.shared.lock();
                let mut left = traces.state.alarms.clone();
                left.retain(|alarm| !old.contains(alarm));
                left.extend(alarms.iter().cloned().chain(former));
                self.tools.metrics.alarms.set(crate::metrics::gauge(left.len() as u64));
                traces.health.alarms.clone_from(&left);
                traces.state.alarms = left;
                alarms.first().cloned()
            }
        };
        match &error {
            None => self.tools.metrics.done("wraps"),
            Some(error) => {
                self.tools.metrics.failed("wraps", "keys");
                tracing::warn!(error, "wraps are still missing");
            }
        }
        let ending = if error.is_none() { Ending::Done } else { Ending::Failed };
        Done { job: Job::Wraps, ending, report: None, error }
    }

    /// Adds the wraps that could not be made while the key service was away; gives what is still
    /// to be looked at.
    async fn wraps_follow(&mut self) -> Vec<String> {
        let (mut alarms, mut waiting, mut away) = (Vec::new(), 0, false);
        let Worker { vault, keyless, .. } = self;
        for vault in [vault.as_mut(), keyless.relief.as_mut()].into_iter().flatten() {
            if vault.recovery_only_seeds() == 0 {
                continue;
            }
            let cluster = vault.access().cluster();
            match vault.rewrap().await {
                Ok(report) => {
                    tracing::info!(%cluster, seeds = report.rewrapped, "the wraps have followed");
                }
                Err(error) => {
                    tracing::warn!(%cluster, %error, "the wraps cannot follow yet");
                    away = true;
                }
            }
            let left = vault.recovery_only_seeds();
            waiting += left;
            if left > 0 {
                alarms.push(format!(
                    "{left} seeds of cluster {cluster} are wrapped for the recovery key alone: \
                     some snapshots need the paper. {}",
                    if away {
                        "The other wraps follow when the key service is back".to_owned()
                    } else {
                        format!(
                            "Run `holdfast vault rewrap --cluster {cluster} --recovery-key-file \
                             FILE --config FILE`"
                        )
                    }
                ));
            }
        }
        if waiting == 0 && self.keyless.relief.take().is_some() {
            tracing::info!("the relief chain can be opened like any other");
        }
        let metrics = &self.tools.metrics;
        metrics.key_service.set(i64::from(!away));
        metrics.recovery_only.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        alarms
    }

    /// A round for which the cluster's own chain cannot be opened or written.
    pub(super) async fn round_without_keys(
        &mut self,
        away: &str,
        now_ms: i64,
    ) -> Result<RoundReport, RoundError> {
        self.tools.metrics.key_service.set(0);
        if self.tools.config.vault.recovery_recipient.is_some() {
            return self.round_for_paper(away, now_ms).await;
        }
        if self.once {
            return Err(RoundError::NothingStored { away: away.to_owned() });
        }
        let waiting = self.hold(now_ms).await?;
        Err(RoundError::Waiting { away: away.to_owned(), waiting })
    }

    /// Into the relief chain, which is begun if there is none yet.
    async fn round_for_paper(
        &mut self,
        away: &str,
        now_ms: i64,
    ) -> Result<RoundReport, RoundError> {
        let tools = self.tools.clone();
        let begins = self.keyless.relief.is_none();
        if begins {
            self.begin_relief(away, now_ms).await?;
        }
        let (verdicts, damaged) = (&BTreeMap::new(), &BTreeSet::new());
        let Keyless { relief, held, alarms, former_alarm, .. } = &mut self.keyless;
        let relief = relief.as_mut().expect("it was begun above");
        let (config, metrics) = (&tools.config, &tools.metrics);
        let round =
            Round { config, metrics, now_ms, verdicts, damaged, whole: true, unverified: None };
        let mut report = match held.as_ref() {
            Some(held) if begins => round.run_with(relief, held).await?,
            held => run_or_held(&round, relief, held).await?,
        };
        *held = None;
        tools.metrics.waiting.set(0.0);
        let waiting = relief.recovery_only_seeds();
        alarms.clear();
        tools.metrics.recovery_only.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        if waiting > 0 {
            let (number, cluster) = (report.entry.number, relief.access().cluster());
            alarms.push(format!(
                "the key service is away ({away}): snapshot {number} lies in the relief chain \
                 {cluster}, which the recovery key on paper opens and nothing else, until the key \
                 service is back"
            ));
        }
        report.alarms.extend(alarms.iter().chain(&*former_alarm).cloned());
        Ok(report)
    }

    /// Begins a relief chain, once there is a stream for it, and unless one was begun just now.
    async fn begin_relief(&mut self, away: &str, now_ms: i64) -> Result<(), RoundError> {
        if let Some(wait) = self.relief_waits(now_ms).await? {
            let waiting = match self.once {
                true => "Nothing was stored and nothing waits: run this again then".to_owned(),
                false => self.hold(now_ms).await?,
            };
            let (away, relief) = (away.to_owned(), wait.why);
            return Err(RoundError::ReliefWaits { away, relief, waiting });
        }
        // A chain that no stream follows would be a chain for nothing.
        self.hold(now_ms).await?;
        let state = self.tools.shared.lock().state.clone();
        let (config, connect) = (&self.tools.config, &self.tools.connect);
        let begun = vaults::begin_relief(config, connect, &state).await?;
        let cluster = begun.access().cluster();
        tracing::warn!(%cluster, away, "the key service is away: a relief chain begins");
        self.keyless.relief = Some(begun);
        Ok(())
    }

    /// Sees to it that a stream of this tick waits in the spool; says which, where, how long.
    async fn hold(&mut self, now_ms: i64) -> Result<String, RoundError> {
        let tools = self.tools.clone();
        let rounds = tools.config.rounds(&tools.machine);
        let next = |held: &Taken| {
            let taken = Timestamp::from_millisecond(held.taken_ms()).ok();
            taken.and_then(|taken| rounds.next_after(taken))
        };
        let fresh = self.keyless.held.as_ref().and_then(next);
        if fresh.is_none_or(|next| next.as_millisecond() <= now_ms) {
            let (verdicts, damaged) = (&BTreeMap::new(), &BTreeSet::new());
            let (config, metrics) = (&tools.config, &tools.metrics);
            let round =
                Round { config, metrics, now_ms, verdicts, damaged, whole: true, unverified: None };
            match (round.take().await, &self.keyless.held) {
                (Ok(taken), _) => self.keyless.held = Some(taken),
                (Err(error), None) => return Err(error),
                (Err(error), Some(_)) => {
                    tracing::warn!(%error, "what waits in the spool stays the newest");
                }
            }
        }
        let held = self.keyless.held.as_ref().expect("one was there or was taken");
        tools.metrics.waiting.set(crate::metrics::seconds(held.taken_ms()));
        let directory = tools.config.spool_directory();
        let until = match next(held) {
            Some(next) => format!("or the next tick, {next:.0}, brings a newer one"),
            None => "or is started anew".to_owned(),
        };
        Ok(format!(
            "Revision {} waits in the spool in {} ({} MiB) and can for as long as this agent runs, \
             {until}",
            held.revision(),
            directory.display(),
            held.stream_bytes().div_ceil(1 << 20),
        ))
    }
}

/// A round; where etcd gives nothing, what waited in the spool is stored.
async fn run_or_held(
    round: &Round<'_>,
    vault: &mut Vault,
    held: Option<&Taken>,
) -> Result<RoundReport, RoundError> {
    match (round.run(vault).await, held) {
        (Err(error), Some(held)) if error.is_etcd() => {
            tracing::warn!(%error, "storing what waited in the spool");
            round.run_with(vault, held).await
        }
        (done, _) => done,
    }
}
