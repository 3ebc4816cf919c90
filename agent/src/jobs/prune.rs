//! Forgets, condemns and sweeps by the configured policy.
//!
//! What must hold: the policy decides, here nothing does; orphans are looked for at most weekly,
//! since that lists everything; a snapshot that is known to be broken fills no place of a rule;
//! clocks that are too far apart stop the prune, and it is told.

use super::{Done, Worker};
use crate::cycle::{Ending, Job};
use crate::damage::{self, DamagedObject};
use crate::metrics::gauge;
use crate::round::{RoundError, chain_kind};
use holdfast_policies::prune::Grace;
use holdfast_vault::clock::{Clock, SystemClock};
use holdfast_vault::prune::{PruneOptions, PruneReport};
use holdfast_vault::vault::Vault;
use std::collections::BTreeSet;
use std::time::Duration;

/// Pause between two searches for orphans.
const ORPHANS_EVERY_MS: i64 = 7 * 86_400_000;

/// Snapshots that are broken for sure, and the ids of objects that are whole after all.
async fn broken(vault: &Vault, known: &[DamagedObject]) -> (BTreeSet<u64>, Vec<String>) {
    let (confirmed, whole) = damage::confirm(vault, known).await;
    (damage::broken(&confirmed, vault.chain()), whole)
}

impl Worker {
    pub(super) async fn prune(&mut self) -> Done {
        let now_ms = SystemClock.now_ms();
        let mut options = self.prune_options(now_ms);
        let shared = self.tools.shared.clone();
        let known = shared.lock().state.damaged.clone();
        let pruned = match self.opened().await {
            Ok(vault) => {
                let whole;
                (options.broken, whole) = broken(vault, &known).await;
                shared.lock().state.damaged.retain(|one| !whole.contains(&one.id));
                vault.prune(&options).await.map_err(RoundError::from)
            }
            Err(error) => Err(error),
        };
        let metrics = &self.tools.metrics;
        let (kind, text) = match pruned {
            Ok(report) => match report.stopped.clone() {
                None => {
                    self.pruned(&report, options.orphans.then_some(now_ms));
                    return Done {
                        job: Job::Prune,
                        ending: Ending::Done,
                        report: None,
                        error: None,
                    };
                }
                Some(reason) => ("clocks", format!("nothing was deleted: {reason}")),
            },
            Err(RoundError::Chain(error)) => (chain_kind(&error), error.to_string()),
            Err(error) => (error.kind(), error.to_string()),
        };
        metrics.failed("prune", kind);
        tracing::error!(kind, error = text, "the prune failed");
        Done { job: Job::Prune, ending: Ending::Failed, report: None, error: Some(text) }
    }

    fn prune_options(&self, now_ms: i64) -> PruneOptions {
        let config = &self.tools.config;
        let traces = self.tools.shared.lock();
        let longest_ms = u64::try_from(traces.state.longest_restore_ms).unwrap_or(0);
        let since_ms = now_ms.saturating_sub(traces.state.last_orphans_ms);
        PruneOptions {
            zone: config.schedule.time_zone.clone(),
            grace: Grace {
                configured: config.prune.grace,
                longest_restore: (longest_ms > 0).then(|| Duration::from_millis(longest_ms)),
            },
            orphans: !(0..ORPHANS_EVERY_MS).contains(&since_ms),
            ..PruneOptions::new(config.retention.clone())
        }
    }

    fn pruned(&self, report: &PruneReport, orphans_ms: Option<i64>) {
        let metrics = &self.tools.metrics;
        metrics.done("prune");
        metrics.forgotten.inc_by(report.forgotten.len() as u64);
        metrics.swept.inc_by(report.swept as u64);
        if let Some(vault) = &self.vault {
            metrics.snapshots.set(gauge(vault.chain().catalogue().entries().count() as u64));
        }
        if let Some(now_ms) = orphans_ms {
            self.tools.shared.lock().state.last_orphans_ms = now_ms;
        }
        tracing::info!(
            forgotten = ?report.forgotten,
            condemned = report.condemned,
            swept = report.swept,
            freed_bytes = report.freed_bytes,
            hidden_bytes = report.hidden_bytes,
            "the prune is complete"
        );
    }
}
