//! The process: from the command line to a member that serves, and to its end by a signal.
//!
//! Must hold: `ready to serve client requests` is logged when clients are served and not before;
//! after SIGTERM or SIGINT the process ends by that signal, as upstream's does, so that whoever
//! started it sees why; there are no child processes.

mod advice;
mod announce;

use crate::config::{self, Config, ConfigError, LogConfig, Notice, Wanted};
use crate::grpc::{Gate, GateConfig, RpcMetrics, Services};
use crate::http::{Access, Pages, PagesConfig, PeerPages};
use crate::listen::{Answers, Listeners, Running, answering, make_certificates};
use crate::log::{Level, Logger, messages};
use crate::member::Member;
use crate::metrics::{Metrics, Runtime};
use crate::version;
use futures::future::BoxFuture;
use serde_json::json;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Time that calls have to end after a signal.
const PATIENCE: Duration = Duration::from_millis(500);

/// A member that was started.
pub struct Started {
    /// What pages and checks ask.
    pub member: Arc<dyn Member>,
    /// The services.
    pub services: Services,
    /// Resolves when the member has joined its cluster and may serve clients.
    pub ready: BoxFuture<'static, Result<(), String>>,
    /// Resolves when the member ends by itself, with a reason if that is a failure.
    pub ended: BoxFuture<'static, Result<(), String>>,
    /// Ends the member: hands the leadership over, closes the log and the database.
    pub stop: Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>,
}

/// What starts a member.
#[async_trait::async_trait]
pub trait Boot: Send {
    /// Starts it. Listeners are bound already and serve nobody yet.
    ///
    /// # Errors
    /// What is wrong, for the log.
    async fn boot(
        self: Box<Self>,
        config: Arc<Config>,
        logger: Logger,
        metrics: Metrics,
    ) -> Result<Started, String>;
}

/// Runs the server with these arguments, the program's name first.
pub fn run(
    arguments: &[String],
    environment: &[(String, String)],
    boot: Box<dyn Boot>,
) -> ExitCode {
    let reading = config::read(arguments.get(1..).unwrap_or_default(), environment);
    let config = match reading.wanted {
        Ok(Wanted::Help(text)) => {
            eprint!("{}", config::USAGE);
            println!("{text}");
            return ExitCode::SUCCESS;
        }
        Ok(Wanted::Version) => {
            print!("{}", version::lines());
            return ExitCode::SUCCESS;
        }
        Err(ConfigError::CommandLine(why)) => {
            eprintln!("{why}");
            eprint!("{}", config::USAGE);
            return ExitCode::from(2);
        }
        Err(error @ ConfigError::Url { .. }) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
        Err(error) => {
            let logger = open_log(reading.log.as_ref());
            refuse(&logger, arguments, &reading.notices, &error);
            return ExitCode::FAILURE;
        }
        Ok(Wanted::Member(config)) => *config,
    };
    let logger = open_log(reading.log.as_ref());
    log_notices(&logger, &reading.notices);
    logger.info("Running: ", &[("args", json!(arguments))]);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            logger.log(Level::Fatal, "no runtime", &[("error", json!(error.to_string()))]);
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(serve(config, arguments, &logger, boot));
    runtime.shutdown_timeout(PATIENCE);
    match outcome {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(number)) => {
            // Ends the process; what follows is for a system where it does not.
            let _ = signal_hook::low_level::emulate_default_handler(number);
            ExitCode::from(128_u8.saturating_add(u8::try_from(number).unwrap_or(0)))
        }
        Err(end) => {
            end.tell(&logger);
            ExitCode::FAILURE
        }
    }
}

/// The logger as configured; the one for the time before, with a complaint, if that cannot be.
fn open_log(config: Option<&LogConfig>) -> Logger {
    let Some(config) = config else { return Logger::before_configuration() };
    match config.open() {
        Ok(outputs) => {
            let logger = Logger::new(config.level, config.format, outputs);
            if config.wants_compression() {
                let text = "old log files are not compressed here";
                logger.warn(text, &[("flag", json!("--log-rotation-config-json"))]);
            }
            logger
        }
        Err(error) => {
            let logger = Logger::before_configuration();
            let fields = [("error", json!(error.to_string()))];
            logger.error("a log output cannot be opened; logging to standard error", &fields);
            logger
        }
    }
}

fn log_notices(logger: &Logger, notices: &[Notice]) {
    for notice in notices {
        let fields: Vec<(&str, serde_json::Value)> =
            notice.fields.iter().map(|(name, value)| (*name, value.clone())).collect();
        logger.log(notice.level, &notice.message, &fields);
    }
}

fn refuse(logger: &Logger, arguments: &[String], notices: &[Notice], error: &ConfigError) {
    log_notices(logger, notices);
    if let ConfigError::Shadowed { variable } = error {
        let fields = [("environment-variable", json!(variable))];
        logger.log(Level::Fatal, &error.to_string(), &fields);
        return;
    }
    logger.info("Running: ", &[("args", json!(arguments))]);
    let why = [("error", json!(error.to_string()))];
    logger.warn(messages::BAD_FLAGS, &why);
    if *error == ConfigError::NoAdvertisedClientUrls {
        logger.warn("advertise client URLs are not set", &why);
    }
}

/// Why the process ends by itself.
enum End {
    /// The member cannot start.
    Start(String),
    /// It ran and cannot go on.
    Running(String),
}

impl End {
    /// The last line of the log: what happened, and what to do.
    fn tell(&self, logger: &Logger) {
        let (message, why) = match self {
            End::Start(why) => ("discovery failed", why),
            End::Running(why) => ("the member cannot go on", why),
        };
        let mut fields = vec![("error", json!(why))];
        fields.extend(advice::on(why).map(|advice| ("advice", json!(advice))));
        logger.log(Level::Fatal, message, &fields);
    }
}

/// Serves until a signal or the member's end. The signal's number.
async fn serve(
    mut config: Config,
    arguments: &[String],
    logger: &Logger,
    boot: Box<dyn Boot>,
) -> Result<Option<i32>, End> {
    // From the first moment: a signal during the start ends it too.
    let mut signals = Signals::new().map_err(|error| End::Start(format!("signals: {error}")))?;
    announce::prepare(&mut config, logger);
    make_certificates(&mut config, logger).map_err(|error| End::Start(error.to_string()))?;
    let listeners = Listeners::bind(&config, logger).await;
    let listeners = listeners.map_err(|error| End::Start(error.to_string()))?;
    announce::starting(&config, logger);
    let metrics = Metrics::new();
    announce::measure(&config, &metrics);
    let config = Arc::new(config);
    let booting = boot.boot(config.clone(), logger.clone(), metrics.clone());
    let started = tokio::select! {
        started = booting => started.map_err(End::Start)?,
        number = signals.next(logger) => return Ok(Some(number)),
    };
    let answers = answers(&config, &started, logger, &metrics, arguments);
    let mut running = listeners.serve(&config, answers, logger);
    let ready = tokio::select! {
        ready = started.ready => ready,
        number = signals.next(logger) => {
            end(running, started.stop).await;
            return Ok(Some(number));
        }
    };
    if let Err(why) = ready {
        end(running, started.stop).await;
        return Err(End::Start(why));
    }
    announce::serving(&config, &*started.member, logger);
    running.serve_clients();
    // Only systemd would miss it, and it has a deadline of its own.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let outcome = tokio::select! {
        number = signals.next(logger) => Ok(Some(number)),
        ended = started.ended => ended.map(|()| None).map_err(End::Running),
    };
    end(running, started.stop).await;
    outcome
}

async fn end(running: Running, stop: Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>) {
    running.stop(PATIENCE).await;
    stop().await;
}

fn answers(
    config: &Config,
    started: &Started,
    logger: &Logger,
    metrics: &Metrics,
    arguments: &[String],
) -> Answers {
    let rpcs = RpcMetrics::new(metrics, config.extensive_metrics);
    let gate_config = GateConfig {
        election: config.election,
        slow: config.warning_unary_request,
        max_receive_bytes: config.max_receive_bytes(),
    };
    let member = || started.member.clone();
    let gate =
        Gate::new(member(), gate_config, metrics, rpcs, logger.clone(), started.services.clone());
    let pages_config = PagesConfig {
        access: Access::new(config.cors.clone(), config.host_whitelist.clone()),
        gateway: config.enable_grpc_gateway,
        client_cert_auth: config.client_tls.client_cert_auth,
        timeout: config.request_timeout(),
        max_receive_bytes: config.max_receive_bytes(),
        command_line: arguments.to_vec(),
    };
    let handle = tokio::runtime::Handle::current();
    metrics.watch_process(move || {
        let figures = handle.metrics();
        Runtime { tasks: figures.num_alive_tasks(), workers: figures.num_workers() }
    });
    let pages = Pages::new(pages_config, member(), metrics.clone(), logger.clone(), gate.clone());
    let of_metrics = pages.clone();
    let peers = PeerPages::new(member());
    Answers {
        grpc: answering(move |request| {
            let gate = gate.clone();
            async move { gate.call(request).await }
        }),
        pages: answering(move |request| {
            let pages = pages.clone();
            async move { pages.answer(request).await }
        }),
        metrics: answering(move |request| {
            let pages = of_metrics.clone();
            async move { pages.answer_metrics(request).await }
        }),
        peers: answering(move |request| {
            let response = peers.answer(&request);
            async move { response }
        }),
    }
}

/// The signals that end the process.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Signals { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next one's number.
    async fn next(&mut self, logger: &Logger) -> i32 {
        let (kind, name) = tokio::select! {
            _ = self.terminate.recv() => (SignalKind::terminate(), "terminated"),
            _ = self.interrupt.recv() => (SignalKind::interrupt(), "interrupt"),
        };
        logger.info(messages::SIGNAL, &[("signal", json!(name))]);
        kind.as_raw_value()
    }
}
