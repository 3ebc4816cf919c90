//! The way in: one round, or the daemon until SIGTERM.

use crate::config::Config;
use crate::cycle::{Cycle, Ending, Job};
use crate::daemon::Daemon;
use crate::drill::{Drill, SandboxDrill};
use crate::http::{self, ListenError};
use crate::jobs::{Shared, Tools, Worker};
use crate::machine;
use crate::metrics::Metrics;
use crate::round::RoundReport;
use crate::state::{AgentState, Lock, StateError};
use crate::vaults::ConnectKms;
use jiff::Timestamp;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// How long threads may take to notice that the process ends.
const SHUTDOWN: Duration = Duration::from_secs(3);

/// How the agent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// By schedule, until SIGTERM.
    Daemon,
    /// One round now, and the prune that follows it.
    Once,
}

/// What the agent does not make itself.
#[derive(Clone)]
pub struct Parts {
    /// Makes the client of a KMS plugin.
    pub connect_kms: ConnectKms,
    /// Proves snapshots.
    pub drill: Arc<dyn Drill>,
}

impl Parts {
    /// With the drill of the restore library.
    pub fn new(connect_kms: ConnectKms) -> Parts {
        Parts { connect_kms, drill: Arc::new(SandboxDrill) }
    }
}

/// How the agent ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It was told to end.
    Stopped,
    /// The one round is complete.
    Round(Box<RoundReport>),
}

/// Why the agent did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The port.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The one round, or the prune behind it, failed.
    #[error("the {job} failed: {reason}")]
    Job {
        /// Which.
        job: Job,
        /// Why.
        reason: String,
    },
    /// SIGTERM came before the one round was complete.
    #[error("ended by a signal before the {0} was complete; nothing was stored that is not whole")]
    Interrupted(Job),
    /// The system gives no threads, timers or signals.
    #[error("the runtime cannot be started: {0}")]
    Runtime(#[from] io::Error),
}

/// Runs the agent to its end.
///
/// # Errors
/// See [`AgentError`].
pub fn run(config: Config, mode: Mode, parts: Parts) -> Result<Outcome, AgentError> {
    // Few threads: each has an arena of its own in the allocator.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .thread_name("agent")
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let terminate = signals()?;
        match mode {
            Mode::Daemon => daemon(config, parts, terminate).await,
            Mode::Once => once(config, parts, terminate).await,
        }
    });
    runtime.shutdown_timeout(SHUTDOWN);
    outcome
}

/// The daemon until a message on `terminate`.
///
/// # Errors
/// See [`AgentError`].
pub async fn daemon(
    config: Config,
    parts: Parts,
    terminate: mpsc::Receiver<()>,
) -> Result<Outcome, AgentError> {
    let (metrics, registry) = Metrics::new();
    let (tools, lock, state) = prepare(config, parts, metrics)?;
    let cycle = Cycle::new(tools.config.cycle(&tools.machine), state.memory());
    let listen = tools.config.listen;
    let daemon = Daemon::new(tools, cycle, lock);
    let pages = Arc::new(daemon.pages(registry));
    let serving = match listen {
        Some(address) => {
            let listener = http::listen(address).await?;
            tracing::info!(%address, "serving /metrics, /healthz and /livez");
            Some(tokio::spawn(http::serve(listener, pages)))
        }
        None => None,
    };
    daemon.run(terminate).await;
    if let Some(serving) = serving {
        serving.abort();
    }
    Ok(Outcome::Stopped)
}

/// One round, and the prune behind it.
///
/// # Errors
/// See [`AgentError`].
pub async fn once(
    config: Config,
    parts: Parts,
    mut terminate: mpsc::Receiver<()>,
) -> Result<Outcome, AgentError> {
    let (metrics, _) = Metrics::new();
    let (tools, _lock, state) = prepare(config, parts, metrics)?;
    let mut memory = state.memory();
    let started = Timestamp::now();
    let mut worker = Worker::of_one_round(tools.clone());
    let done = tokio::select! {
        done = worker.run(Job::Round) => done,
        Some(()) = terminate.recv() => return Err(AgentError::Interrupted(Job::Round)),
    };
    memory.last_attempt = Some(Timestamp::now());
    match done.ending {
        Ending::Done | Ending::ForPaper => {
            (memory.last_round, memory.failures) = (Some(started), 0);
        }
        Ending::Failed | Ending::Abandoned => memory.failures = memory.failures.saturating_add(1),
    }
    save(&tools, &memory)?;
    let Some(report) = done.report else { return Err(failed(Job::Round, done.error)) };
    if tools.config.prune.enabled && done.ending == Ending::Done {
        let done = tokio::select! {
            done = worker.run(Job::Prune) => done,
            Some(()) = terminate.recv() => return Err(AgentError::Interrupted(Job::Prune)),
        };
        save(&tools, &memory)?;
        if done.ending != Ending::Done {
            return Err(failed(Job::Prune, done.error));
        }
    }
    Ok(Outcome::Round(Box::new(report)))
}

fn failed(job: Job, reason: Option<String>) -> AgentError {
    AgentError::Job { job, reason: reason.unwrap_or_else(|| "no reason is known".to_owned()) }
}

fn save(tools: &Tools, memory: &crate::cycle::Memory) -> Result<(), StateError> {
    let mut traces = tools.shared.lock();
    traces.state.remember(memory);
    traces.save(&tools.config.state_directory)
}

/// Locks the state directory and reads the state.
fn prepare(
    config: Config,
    parts: Parts,
    metrics: Metrics,
) -> Result<(Tools, Lock, AgentState), AgentError> {
    let lock = Lock::take(&config.state_directory)?;
    let mut state = AgentState::load(&config.state_directory)?;
    if let Some(failure) = state.drill_failure.take_if(|_| config.drill.is_none()) {
        tracing::warn!(%failure, "no drill is configured any more: the last one is forgotten");
    }
    if let Some(failure) = &state.drill_failure {
        metrics.drill_passed.set(0);
        metrics.drill_time.set(crate::metrics::seconds(failure.at_ms));
    }
    if let Some(mark) = &state.snapshot {
        metrics.recovery_point.set(crate::metrics::seconds(mark.taken_ms));
        metrics.last_success.set(crate::metrics::seconds(state.last_round_ms));
        metrics.snapshot.set(crate::metrics::gauge(mark.number));
        metrics.revision.set(mark.revision);
    }
    metrics.alarms.set(crate::metrics::gauge(state.alarms.len() as u64));
    let tools = Tools {
        config: Arc::new(config),
        machine: machine::name().into(),
        connect: parts.connect_kms,
        drill: parts.drill,
        metrics,
        shared: Arc::new(Shared::new(state.clone(), Timestamp::now())),
    };
    Ok((tools, lock, state))
}

/// SIGTERM and SIGINT as messages.
fn signals() -> io::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel(4);
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signal = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signal.recv().await.is_some() && sender.send(()).await.is_ok() {}
        });
    }
    Ok(receiver)
}
