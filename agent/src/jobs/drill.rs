//! A drill of the newest snapshot, and what it leaves in metrics, logs, health and state.
//!
//! What must hold: a drill that failed is remembered until one passes, also over restarts.

use super::{Done, Worker};
use crate::config::DrillConfig;
use crate::cycle::{Ending, Job};
use crate::damage;
use crate::drill::Drill;
use crate::metrics::{StepLabel, seconds};
use crate::state::DrillFailure;
use holdfast_restore::drill::{DrillReport, Level};
use holdfast_vault::clock::{Clock, SystemClock};
use holdfast_vault::vault::Vault;

impl Worker {
    pub(super) async fn drill(&mut self) -> Done {
        let tools = self.tools.clone();
        // Opened anew: that the providers open the seeds is part of what is to be proven.
        let report = match (&tools.config.drill, self.open_anew().await) {
            (Some(config), Ok(mut vault)) => {
                let report = newest(&mut vault, &*tools.drill, config).await;
                if let Some(number) = report.as_ref().ok().and_then(perhaps_damaged) {
                    let found = damage::search(&mut vault, number).await;
                    self.note_search(number, found);
                }
                report
            }
            (None, _) => Err("no drill is configured".to_owned()),
            (_, Err(error)) => Err(error.to_string()),
        };
        let now_ms = SystemClock.now_ms();
        tools.metrics.drill_time.set(seconds(now_ms));
        if let Ok(report) = &report {
            self.drill_told(report);
        }
        let failure = failure(&report, now_ms);
        tools.metrics.drill_passed.set(i64::from(failure.is_none()));
        let text = failure.as_ref().map(ToString::to_string);
        let mut traces = tools.shared.lock();
        traces.health.drill_failure.clone_from(&text);
        traces.state.drill_failure = failure;
        drop(traces);
        match text {
            None => {
                tools.metrics.done("drill");
                Done { job: Job::Drill, ending: Ending::Done, report: None, error: None }
            }
            Some(error) => {
                let kind = if report.is_ok() { "level" } else { "undone" };
                tools.metrics.failed("drill", kind);
                tracing::error!(error, "the drill FAILED");
                Done { job: Job::Drill, ending: Ending::Failed, report: None, error: Some(error) }
            }
        }
    }

    fn drill_told(&self, report: &DrillReport) {
        let metrics = &self.tools.metrics;
        for step in &report.steps {
            let label = StepLabel { step: step.name.clone() };
            let took = seconds(i64::try_from(step.milliseconds).unwrap_or(i64::MAX));
            metrics.drill_step_seconds.get_or_create(&label).set(took);
        }
        let recovery_ms = report.recovery_ms.and_then(|ms| i64::try_from(ms).ok());
        if let Some(recovery_ms) = recovery_ms {
            metrics.drill_recovery.set(seconds(recovery_ms));
            let mut traces = self.tools.shared.lock();
            // The grace of a prune is at least twice the longest restore.
            let longest = traces.state.longest_restore_ms.max(recovery_ms);
            traces.state.longest_restore_ms = longest;
        }
        if let (true, Some(level)) = (report.passed(), report.level) {
            metrics.proven_level.set(i64::from(level.number()));
            metrics.proven_time.set(seconds(report.finished_ms));
            tracing::info!(snapshot = report.snapshot, ?level, ?recovery_ms, "the drill passed");
        }
    }
}

/// What is remembered of a drill that did not pass.
fn failure(report: &Result<DrillReport, String>, at_ms: i64) -> Option<DrillFailure> {
    match report {
        Ok(report) => report.failure.as_ref().map(|failure| DrillFailure {
            snapshot: report.snapshot,
            level: format!("{:?}", failure.level),
            reason: failure.reason.clone(),
            at_ms,
        }),
        Err(error) => {
            Some(DrillFailure { reason: error.clone(), at_ms, ..DrillFailure::default() })
        }
    }
}

/// The snapshot, if it failed where rotten bytes make it fail.
fn perhaps_damaged(report: &DrillReport) -> Option<u64> {
    let failure = report.failure.as_ref()?;
    (failure.level <= Level::L3).then_some(report.snapshot)
}

/// A drill of the newest snapshot.
async fn newest(
    vault: &mut Vault,
    drill: &dyn Drill,
    config: &DrillConfig,
) -> Result<DrillReport, String> {
    vault.refresh().await.map_err(|error| error.to_string())?;
    let latest = vault.chain().catalogue().latest().map(|latest| latest.number);
    let number = latest.ok_or("the vault holds no snapshot yet")?;
    drill.prove(vault, number, config).await
}
