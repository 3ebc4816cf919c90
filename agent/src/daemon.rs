//! The edges: the loop that carries out what the cycle decides, signals, systemd, the pages.
//!
//! What must hold: the loop never waits for a job, so signals, the watchdog and the pages are
//! served while one runs; a job runs as a task and is left by dropping it; the state is on disk
//! after every job; the watchdog is fed by the loop itself and by nothing else.

use crate::cycle::{Action, Cycle, Ending, Event, Job};
use crate::http::Pages;
use crate::jobs::{Done, Shared, Tools, Worker};
use crate::metrics::Metrics;
use crate::state::Lock;
use holdfast_policies::schedule::Schedule;
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use sd_notify::NotifyState;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// The loop looks at the clock at least this often: a clock that jumps is noticed.
const LOOK: Duration = Duration::from_secs(10);
/// A loop that did not turn for this long stands still.
const STILL_MS: i64 = 60_000;

/// The daemon's loop.
pub struct Daemon {
    tools: Tools,
    cycle: Cycle,
    state_directory: PathBuf,
    _lock: Lock,
    turned: Arc<AtomicI64>,
    running: Option<Running>,
    worker: Option<Worker>,
    until: Option<Timestamp>,
}

/// A job on a thread of its own.
struct Running {
    job: Job,
    ended: oneshot::Receiver<Ended>,
    abandon: Option<oneshot::Sender<()>>,
}

/// What its thread gives back.
enum Ended {
    Done(Box<(Worker, Done)>),
    Abandoned,
}

/// What woke the loop.
enum Woken {
    Time,
    /// `None`: the thread panicked.
    Job(Option<Ended>),
    Signal,
}

impl Daemon {
    /// A daemon that has its state directory.
    pub fn new(tools: Tools, cycle: Cycle, lock: Lock) -> Daemon {
        let state_directory = tools.config.state_directory.clone();
        let worker = Some(Worker::new(tools.clone()));
        let turned = Arc::new(AtomicI64::new(Timestamp::now().as_millisecond()));
        Daemon {
            tools,
            cycle,
            state_directory,
            _lock: lock,
            turned,
            running: None,
            worker,
            until: None,
        }
    }

    /// What the pages show.
    pub fn pages(&self, registry: Registry) -> AgentPages {
        AgentPages {
            metrics: self.tools.metrics.clone(),
            registry,
            shared: self.tools.shared.clone(),
            rounds: self.tools.config.rounds(&self.tools.machine),
            turned: self.turned.clone(),
        }
    }

    /// Runs until the cycle says to end. Each message on `terminate` is a SIGTERM.
    pub async fn run(mut self, mut terminate: mpsc::Receiver<()>) {
        notify(&[NotifyState::Ready]);
        let watchdog = sd_notify::watchdog_enabled().map(|limit| limit / 3);
        let mut event = Event::Wake;
        loop {
            let now = Timestamp::now();
            self.turned.store(now.as_millisecond(), Ordering::Relaxed);
            if event == Event::Terminate {
                tracing::info!(running = ?self.cycle.running(), "asked to end");
                notify(&[NotifyState::Stopping]);
            }
            let actions = self.cycle.step(event, now);
            if self.carry_out(&actions) {
                break;
            }
            self.tell(now);
            event = self.next_event(&mut terminate, watchdog).await;
        }
        self.remember();
        tracing::info!("the agent ends");
    }

    /// True: the process ends.
    fn carry_out(&mut self, actions: &[Action]) -> bool {
        self.until = None;
        for action in actions {
            match action {
                Action::Start(job, cause) => {
                    tracing::info!(%job, why = %cause, "starting");
                    // A worker that panicked is gone: a new one opens the vault anew.
                    let worker = self.worker.take();
                    let worker = worker.unwrap_or_else(|| Worker::new(self.tools.clone()));
                    self.running = Some(start(*job, worker));
                }
                Action::Abandon(job) => {
                    tracing::warn!(%job, "leaving it: what no commit names does not exist");
                    if let Some(running) = &mut self.running {
                        // The thread listens, or it has ended meanwhile: both are well.
                        let _ = running.abandon.take().map(|abandon| abandon.send(()));
                    }
                }
                Action::WaitUntil(moment) => self.until = Some(*moment),
                Action::Exit => return true,
            }
        }
        false
    }

    async fn next_event(
        &mut self,
        terminate: &mut mpsc::Receiver<()>,
        watchdog: Option<Duration>,
    ) -> Event {
        if watchdog.is_some() {
            notify(&[NotifyState::Watchdog]);
        }
        let pause = self.pause().min(watchdog.unwrap_or(LOOK));
        let woken = match &mut self.running {
            Some(running) => tokio::select! {
                ended = &mut running.ended => Woken::Job(ended.ok()),
                Some(()) = terminate.recv() => Woken::Signal,
                () = tokio::time::sleep(pause) => Woken::Time,
            },
            None => tokio::select! {
                Some(()) = terminate.recv() => Woken::Signal,
                () = tokio::time::sleep(pause) => Woken::Time,
            },
        };
        match woken {
            Woken::Time => Event::Wake,
            Woken::Signal => Event::Terminate,
            Woken::Job(ended) => self.finished(ended),
        }
    }

    /// Until the moment that the cycle named, but not long.
    fn pause(&self) -> Duration {
        let until = self.until.map(|until| until.duration_since(Timestamp::now()));
        let until = until.map_or(LOOK, |wait| Duration::try_from(wait).unwrap_or(Duration::ZERO));
        until.clamp(Duration::from_millis(5), LOOK)
    }

    fn finished(&mut self, ended: Option<Ended>) -> Event {
        let job = self.running.take().expect("only a running job ends").job;
        let ending = match ended {
            Some(Ended::Done(both)) => {
                let (worker, done) = *both;
                self.worker = Some(worker);
                assert_eq!(done.job, job, "the job that ran is the one that ended");
                done.ending
            }
            Some(Ended::Abandoned) => Ending::Abandoned,
            None => {
                tracing::error!(%job, "a job panicked: please report this");
                self.tools.metrics.failed("internal", "panic");
                Ending::Failed
            }
        };
        Event::Finished(job, ending)
    }

    /// Brings state file, metrics and systemd up to date.
    fn tell(&mut self, now: Timestamp) {
        if self.running.is_none() {
            self.remember();
        }
        let next = self.cycle.next_round(now);
        #[expect(clippy::cast_precision_loss, reason = "a time in seconds")]
        self.tools
            .metrics
            .next_run
            .set(next.map_or(0.0, |next| next.as_millisecond() as f64 / 1e3));
        let status = match (self.cycle.running(), next) {
            (Some((job, since)), _) => format!("{job} since {since:.0}"),
            (None, Some(next)) => format!("next round at {next:.0}"),
            (None, None) => "no round lies ahead".to_owned(),
        };
        notify(&[NotifyState::Status(&status)]);
    }

    /// Writes the state file, if something changed.
    fn remember(&mut self) {
        let memory = self.cycle.memory();
        let mut traces = self.tools.shared.lock();
        traces.health.last_round = memory.last_round;
        traces.health.failures = memory.failures;
        traces.state.remember(&memory);
        if let Err(error) = traces.save(&self.state_directory) {
            tracing::error!(%error, "the state file cannot be written");
        }
    }
}

/// Starts a job on a thread of its own: it is left by dropping its future there.
fn start(job: Job, mut worker: Worker) -> Running {
    let (tell, ended) = oneshot::channel();
    let (abandon, left) = oneshot::channel();
    let runtime = Handle::current();
    let work = move || {
        let outcome = runtime.block_on(async {
            tokio::select! {
                done = worker.run(job) => Some(done),
                Ok(()) = left => None,
            }
        });
        // The loop ended meanwhile: nobody asks any more.
        let _ = tell.send(match outcome {
            Some(done) => Ended::Done(Box::new((worker, done))),
            None => Ended::Abandoned,
        });
    };
    let thread = std::thread::Builder::new().name(job.to_string()).spawn(work);
    if let Err(error) = thread {
        // `tell` went with the closure, so this shows as a job that panicked.
        tracing::error!(%job, %error, "no thread for it");
    }
    Running { job, ended, abandon: Some(abandon) }
}

/// What the HTTP port shows of a running daemon.
pub struct AgentPages {
    metrics: Metrics,
    registry: Registry,
    shared: Arc<Shared>,
    rounds: Schedule,
    turned: Arc<AtomicI64>,
}

impl Pages for AgentPages {
    fn metrics(&self) -> Result<String, String> {
        let now_ms = Timestamp::now().as_millisecond();
        self.metrics.page(&self.registry, now_ms).map_err(|error| error.to_string())
    }

    fn health(&self) -> (bool, String) {
        let verdict = self.shared.lock().health.judge(&self.rounds, Timestamp::now());
        (verdict.ok, verdict.reason)
    }

    fn alive(&self) -> bool {
        let age = Timestamp::now().as_millisecond() - self.turned.load(Ordering::Relaxed);
        age < STILL_MS
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}
