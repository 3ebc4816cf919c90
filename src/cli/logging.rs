//! Logs on standard error: text for people, JSON for collectors.
//!
//! Must hold: a flag wins over the agent's configuration; a one-off command is silent but for
//! warnings unless asked.

use clap::{Args, ValueEnum};
use holdfast_agent::config::{LogConfig, LogFormat};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// How much is logged, and in which form.
#[derive(Args)]
#[command(next_help_heading = "Logging")]
pub(crate) struct LogArguments {
    /// Form of the log lines; left out: the agent's configuration, else text
    #[arg(long, global = true, value_enum, env = "HOLDFAST_LOG_FORMAT")]
    log_format: Option<Format>,
    /// Level (error, warn, info, debug, trace) or a filter such as `holdfast_vault=debug`
    #[arg(long, global = true, value_name = "FILTER", env = "HOLDFAST_LOG")]
    log_level: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Starts logging; a filter that cannot be read falls back to the default and says so.
/// `configured`: the agent's configuration.
pub(crate) fn start(arguments: &LogArguments, configured: Option<&LogConfig>) {
    let default = configured.map_or("warn", |config| &config.level);
    let wanted = arguments.log_level.as_deref().unwrap_or(default);
    let (filter, complaint) = match EnvFilter::try_new(wanted) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error.to_string())),
    };
    let format = arguments.log_format.unwrap_or(match configured.map(|config| config.format) {
        Some(LogFormat::Json) => Format::Json,
        Some(LogFormat::Text) | None => Format::Text,
    });
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Colours are for people: a file or a collector would find them between a name and its value.
    let lines = lines.with_ansi(std::io::stderr().is_terminal());
    match format {
        Format::Text => lines.with_target(false).init(),
        Format::Json => lines.json().flatten_event(true).init(),
    }
    if let Some(complaint) = complaint {
        tracing::warn!(filter = wanted, %complaint, "the log filter cannot be read; using `info`");
    }
}
