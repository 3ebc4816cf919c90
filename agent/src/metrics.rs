//! What Prometheus reads. Names begin with `holdfast_`; times are seconds since 1970, 0 where there
//! is none.
//!
//! What must hold: no label holds a key, a value, or anything else that grows without limit: steps,
//! jobs and kinds of failure are fixed words.

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info};
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

type Seconds = Gauge<f64, AtomicU64>;

/// A step of a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StepLabel {
    /// `member`, `stream`, `scan`, `hash`, `write`, `verify`; of a drill its own.
    pub step: String,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct JobLabel {
    /// `round`, `prune`, `drill`, `wraps`.
    pub job: &'static str,
}

/// A failure.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FailureLabel {
    /// `round`, `prune`, `drill`, `wraps`.
    pub job: &'static str,
    /// See `RoundError::kind`.
    pub kind: &'static str,
}

/// A verdict over a contested record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct VerdictLabel {
    /// `older`, `streamed`, `undecided`: which version is right.
    pub right: &'static str,
}

/// All metrics of the agent. Cheap to clone; clones are the same metrics.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// When the last completed round began.
    pub last_success: Seconds,
    /// When the newest snapshot's stream began.
    pub recovery_point: Seconds,
    /// How long ago that is; set when it is read.
    pub recovery_point_age: Seconds,
    /// When the next round is due.
    pub next_run: Seconds,
    /// Number of the newest snapshot.
    pub snapshot: Gauge,
    /// Its revision.
    pub revision: Gauge,
    /// Its records alive.
    pub records: Gauge,
    /// Its bytes alive.
    pub live_bytes: Gauge,
    /// Bytes of the last stream.
    pub stream_bytes: Gauge,
    /// Bytes that the last snapshot added to the store.
    pub uploaded_bytes: Gauge,
    /// Bytes that all snapshots of this process added.
    pub uploaded_bytes_total: Counter,
    /// Seconds of each step of the last round.
    pub step_seconds: Family<StepLabel, Seconds>,
    /// Completed jobs.
    pub completed: Family<JobLabel, Counter>,
    /// Failed jobs.
    pub failures: Family<FailureLabel, Counter>,
    /// Attempts that failed since the last completed round.
    pub failures_in_a_row: Gauge,
    /// 1: the store answered last time it was asked.
    pub store_reachable: Gauge,
    /// 1: the key service answered last time it was needed.
    pub key_service: Gauge,
    /// Seeds that only the recovery key on paper opens.
    pub recovery_only: Gauge,
    /// Relief chains of former processes that only the recovery key on paper opens.
    pub recovery_only_chains: Gauge,
    /// When the snapshot that waits in the spool was taken; 0: none waits.
    pub waiting: Seconds,
    /// Records that members disagreed about, by verdict.
    pub contested: Family<VerdictLabel, Counter>,
    /// 1: a job of this kind runs.
    pub running: Family<JobLabel, Gauge>,
    /// What somebody must look at.
    pub alarms: Gauge,
    /// Objects that the newest snapshot needs and that are lost or rotten.
    pub damaged: Gauge,
    /// Snapshots that need a lost or rotten object.
    pub broken: Gauge,
    /// Highest level L0..L7 that any drill of this agent proved; -1: none yet.
    pub proven_level: Gauge,
    /// When.
    pub proven_time: Seconds,
    /// 1: the last drill passed; 0: it failed; -1: none yet.
    pub drill_passed: Gauge,
    /// When the last drill ended.
    pub drill_time: Seconds,
    /// From nothing to the first linearizable read, as the last drill measured it.
    pub drill_recovery: Seconds,
    /// Seconds of each step of the last drill.
    pub drill_step_seconds: Family<StepLabel, Seconds>,
    /// Snapshots in the vault.
    pub snapshots: Gauge,
    /// Snapshots that prunes of this process forgot.
    pub forgotten: Counter,
    /// Objects that prunes of this process deleted.
    pub swept: Counter,
    /// Anonymous memory of the process; set when it is read.
    pub rss_anon: Gauge,
}

impl Metrics {
    /// Fresh metrics, and the registry that shows them.
    pub fn new() -> (Metrics, Registry) {
        let metrics = Metrics::default();
        metrics.proven_level.set(-1);
        metrics.drill_passed.set(-1);
        metrics.key_service.set(1);
        let mut registry = Registry::with_prefix("holdfast");
        metrics.register_state(&mut registry);
        metrics.register_jobs(&mut registry);
        metrics.register_drill(&mut registry);
        (metrics, registry)
    }

    fn register_state(&self, registry: &mut Registry) {
        let info = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("agent", "The running agent", info);
        let seconds = |registry: &mut Registry, name: &str, help: &str, gauge: &Seconds| {
            registry.register_with_unit(name, help, Unit::Seconds, gauge.clone());
        };
        let times = [
            ("last_success_timestamp", "When the last completed round began", &self.last_success),
            (
                "recovery_point_timestamp",
                "When the newest snapshot was taken",
                &self.recovery_point,
            ),
            ("recovery_point_age", "Age of the newest snapshot", &self.recovery_point_age),
            ("next_run_timestamp", "When the next round is due", &self.next_run),
            ("spool_waiting_timestamp", "When what waits in the spool was taken", &self.waiting),
        ];
        for (name, help, gauge) in times {
            seconds(registry, name, help, gauge);
        }
        let gauges = [
            ("snapshot_number", "Number of the newest snapshot", &self.snapshot),
            ("snapshot_revision", "Its revision", &self.revision),
            ("snapshot_records", "Its records alive", &self.records),
            ("snapshots", "Snapshots in the vault", &self.snapshots),
            (
                "failures_in_a_row",
                "Rounds that failed since the last completed one",
                &self.failures_in_a_row,
            ),
            (
                "store_reachable",
                "1: the store answered when it was asked last",
                &self.store_reachable,
            ),
            (
                "key_service_reachable",
                "1: the key service answered when it was needed last",
                &self.key_service,
            ),
            (
                "recovery_only_seeds",
                "Seeds that only the recovery key on paper opens",
                &self.recovery_only,
            ),
            (
                "recovery_only_chains",
                "Relief chains that only the recovery key on paper opens",
                &self.recovery_only_chains,
            ),
            ("alarms", "Findings that somebody must look at", &self.alarms),
            (
                "damaged_objects",
                "Lost or rotten objects that the newest snapshot needs",
                &self.damaged,
            ),
            ("broken_snapshots", "Snapshots that need a lost or rotten object", &self.broken),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        let sizes = [
            ("snapshot_live", "Its bytes alive", &self.live_bytes),
            ("stream", "Length of the last snapshot stream", &self.stream_bytes),
            ("uploaded", "What the last snapshot added to the store", &self.uploaded_bytes),
            ("process_rss_anon", "Anonymous memory of this process", &self.rss_anon),
        ];
        for (name, help, gauge) in sizes {
            registry.register_with_unit(name, help, Unit::Bytes, gauge.clone());
        }
    }

    fn register_jobs(&self, registry: &mut Registry) {
        let uploaded = self.uploaded_bytes_total.clone();
        registry.register("stored_bytes", "What this process added to the store", uploaded);
        let help = "Seconds of each step of the last round";
        registry.register_with_unit("round_step", help, Unit::Seconds, self.step_seconds.clone());
        registry.register("jobs_completed", "Jobs that were completed", self.completed.clone());
        registry.register("jobs_failed", "Jobs that failed, by kind", self.failures.clone());
        let contested = "Records whose bytes changed, by the version that most members have";
        registry.register("contested_records", contested, self.contested.clone());
        registry.register("job_running", "1: it runs now", self.running.clone());
        registry.register("forgotten", "Snapshots that were forgotten", self.forgotten.clone());
        registry.register("swept", "Objects that were deleted", self.swept.clone());
    }

    fn register_drill(&self, registry: &mut Registry) {
        let level = "Highest level that the last passed drill proved; -1: none yet";
        registry.register("proven_level", level, self.proven_level.clone());
        let passed = "1: the last drill passed; 0: it failed; -1: none yet";
        registry.register("drill_passed", passed, self.drill_passed.clone());
        let times = [
            ("proven_timestamp", "When the last drill passed", &self.proven_time),
            ("drill_timestamp", "When the last drill ended", &self.drill_time),
            ("drill_recovery", "Measured time to recover", &self.drill_recovery),
        ];
        for (name, help, gauge) in times {
            registry.register_with_unit(name, help, Unit::Seconds, gauge.clone());
        }
        let steps = self.drill_step_seconds.clone();
        registry.register_with_unit("drill_step", "Seconds of each step", Unit::Seconds, steps);
    }

    /// A step of a round took this long.
    pub fn step(&self, step: &str, took: Duration) {
        let label = StepLabel { step: step.to_owned() };
        self.step_seconds.get_or_create(&label).set(took.as_secs_f64());
    }

    /// A job failed.
    pub fn failed(&self, job: &'static str, kind: &'static str) {
        self.failures.get_or_create(&FailureLabel { job, kind }).inc();
    }

    /// A contested record was asked about.
    pub fn contested(&self, right: &'static str) {
        self.contested.get_or_create(&VerdictLabel { right }).inc();
    }

    /// A job was completed.
    pub fn done(&self, job: &'static str) {
        self.completed.get_or_create(&JobLabel { job }).inc();
    }

    /// The page, with what is measured at this moment. `now_ms`: milliseconds since 1970.
    pub fn page(&self, registry: &Registry, now_ms: i64) -> Result<String, std::fmt::Error> {
        let taken = self.recovery_point.get();
        let age = if taken > 0.0 { (seconds(now_ms) - taken).max(0.0) } else { 0.0 };
        self.recovery_point_age.set(age);
        if let Some(bytes) = rss_anon_bytes() {
            self.rss_anon.set(bytes);
        }
        let mut page = String::new();
        encode(&mut page, registry)?;
        Ok(page)
    }
}

/// Milliseconds since 1970 as seconds.
#[expect(clippy::cast_precision_loss, reason = "exact to the millisecond for 200,000 years")]
pub fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// A count for a gauge.
pub fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The process's anonymous memory (`RssAnon`), in bytes; `None` where the kernel does not say.
pub fn rss_anon_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_what_was_set() {
        let (metrics, registry) = Metrics::new();
        metrics.recovery_point.set(1_000.0);
        metrics.step("stream", Duration::from_millis(1_500));
        metrics.failed("round", "store");
        metrics.done("round");
        metrics.uploaded_bytes_total.inc_by(42);
        let page = metrics.page(&registry, 1_060_000).unwrap();
        for line in [
            "holdfast_recovery_point_age_seconds 60.0",
            "holdfast_round_step_seconds{step=\"stream\"} 1.5",
            "holdfast_jobs_failed_total{job=\"round\",kind=\"store\"} 1",
            "holdfast_jobs_completed_total{job=\"round\"} 1",
            "holdfast_stored_bytes_total 42",
            "holdfast_proven_level -1",
            "holdfast_store_reachable 0",
        ] {
            assert!(page.lines().any(|have| have == line), "{line} in\n{page}");
        }
        assert!(metrics.rss_anon.get() > 100_000, "the process has some memory");
        assert!(page.ends_with("# EOF\n"));
    }
}
