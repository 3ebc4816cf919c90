//! The configuration of a member: flags, `ETCD_*` variables or a YAML file, checked as etcd 3.6
//! checks it.
//!
//! [`read`] decides and touches nothing but the file it is told to read; what is to be logged
//! comes back as [`Notice`]s, since the logger is part of what is being read.

mod check;
mod command_line;
mod file;
mod flags;
mod gates;
mod initial_cluster;
mod member_url;
mod settings;
mod values;

pub use gates::Gates;
pub use member_url::{MemberUrl, parse_cluster};
pub use settings::{Compaction, Config, KeepAlive, LogConfig, TlsConfig, TlsVersion};

use crate::log::Level;
use flags::Treatment;
use serde_json::Value;
use values::Values;

/// Why there is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The command line cannot be read: exit code 2, with how to use it.
    #[error("{0}")]
    CommandLine(String),
    /// What it says cannot be: exit code 1.
    #[error("{0}")]
    Invalid(String),
    /// `--advertise-client-urls` is missing: exit code 1 and a hint.
    #[error("--advertise-client-urls is required when --listen-client-urls is set explicitly")]
    NoAdvertisedClientUrls,
    /// A URL in the file cannot be read: exit code 1, told on standard error.
    #[error("unexpected error setting up {key}: {why}")]
    Url {
        /// The key in the file.
        key: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A variable and a flag say the same thing: exit code 1.
    #[error(
        "conflicting environment variable is shadowed by corresponding command-line flag (either unset environment variable or disable flag))"
    )]
    Shadowed {
        /// The variable.
        variable: String,
    },
}

/// A line to be logged once there is a logger.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// How bad it is.
    pub level: Level,
    /// The message.
    pub message: String,
    /// The fields.
    pub fields: Vec<(&'static str, Value)>,
}

impl Notice {
    pub(crate) fn new(level: Level, message: &str) -> Notice {
        Notice { level, message: message.to_owned(), fields: Vec::new() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Notice {
        self.fields.push((name, value.into()));
        self
    }
}

/// What is asked for.
#[derive(Debug)]
pub enum Wanted {
    /// The text of `--help`.
    Help(String),
    /// The version.
    Version,
    /// A running member.
    Member(Box<Config>),
}

/// What reading came to.
#[derive(Debug)]
pub struct Reading {
    /// What is asked for, or why not.
    pub wanted: Result<Wanted, ConfigError>,
    /// How to log: as configured if that could be read.
    pub log: Option<LogConfig>,
    /// What to log before anything else.
    pub notices: Vec<Notice>,
}

/// How to use it, in a few lines, for the end of a complaint.
pub const USAGE: &str = "Usage:

  etcd [flags]
    Runs a member.
  etcd --config-file FILE
    Runs a member as the file says; flags and variables are then ignored.
  etcd --version
  etcd --help
";

/// Reads the arguments (the program's name left out) and the environment.
pub fn read(arguments: &[String], environment: &[(String, String)]) -> Reading {
    let mut reading = Reading { wanted: Ok(Wanted::Version), log: None, notices: Vec::new() };
    reading.wanted = read_into(arguments, environment, &mut reading.log, &mut reading.notices);
    reading
}

fn read_into(
    arguments: &[String],
    environment: &[(String, String)],
    log: &mut Option<LogConfig>,
    notices: &mut Vec<Notice>,
) -> Result<Wanted, ConfigError> {
    let parsed = command_line::parse(arguments)?;
    if parsed.help {
        return Ok(Wanted::Help(flags::help()));
    }
    if let Some(stray) = parsed.stray {
        return Err(ConfigError::Invalid(format!("{stray:?} is not a valid flag")));
    }
    let mut values = parsed.values;
    if values.is_on("version") {
        return Ok(Wanted::Version);
    }
    let named = environment.iter().find(|(name, _)| name == "ETCD_CONFIG_FILE");
    let path = match values.text("config-file") {
        path if path.is_empty() => named.map(|(_, path)| path.clone()).unwrap_or_default(),
        path => path,
    };
    if path.is_empty() {
        command_line::apply_environment(&mut values, environment, notices)?;
        check::raise_raft_timeouts(&mut values, notices);
    } else {
        values = file::read(&path)?;
    }
    let checked = finish(&mut values, !path.is_empty(), log, notices);
    if log.is_some() && !path.is_empty() {
        let line = Notice::new(Level::Info, crate::log::messages::CONFIG_FILE);
        notices.push(line.with("path", &path));
    }
    notices.extend(deprecations(&values));
    let config = checked?;
    Ok(Wanted::Member(Box::new(config)))
}

/// Gates, checks, older names, treatments; the order is upstream's, since the first fault found is
/// the one that is told.
fn finish(
    values: &mut Values,
    from_file: bool,
    log: &mut Option<LogConfig>,
    notices: &mut Vec<Notice>,
) -> Result<Config, ConfigError> {
    check::adjust_defaults(values, from_file);
    check::gates_of_older_flags(values)?;
    if !from_file && values.text("discovery-fallback") == "proxy" {
        let text =
            "v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"";
        return Err(ConfigError::Invalid(text.to_owned()));
    }
    check::no_name_twice(values)?;
    *log = Some(check::logging(values)?);
    let outcome = check::check(values, notices);
    let unary = check::unary_warning(values);
    outcome?;
    let unary = unary?;
    take_older_names(values);
    for flag in flags::all().iter().filter(|flag| values.is_set(flag.name)) {
        match flag.treatment {
            Treatment::Honoured => {}
            Treatment::Accepted(why) => notices.push(
                Notice::new(Level::Warn, "the flag changes nothing here")
                    .with("flag", &format!("--{}", flag.name))
                    .with("reason", why),
            ),
            // Set to nothing, as in upstream's sample of a configuration file.
            Treatment::Refused(_)
                if flag.kind == flags::Kind::Text && values.text(flag.name).is_empty() => {}
            Treatment::Refused(why) => {
                return Err(ConfigError::Invalid(format!("--{} is refused: {why}", flag.name)));
            }
        }
    }
    let auto_compaction = settings::compaction(values)?;
    Ok(Config { auto_compaction, ..settings::config(values, unary) })
}

/// An older name's value goes to the newer name.
fn take_older_names(values: &mut Values) {
    for flag in flags::all() {
        if let Some(newer) = flag.alias_of.filter(|_| values.is_set(flag.name)) {
            let value = values.get(flag.name);
            values.put(newer, value);
        }
    }
}

fn deprecations(values: &Values) -> Vec<Notice> {
    let set = flags::all().iter().filter(|flag| values.is_set(flag.name));
    set.filter_map(|flag| flag.deprecated).map(|text| Notice::new(Level::Warn, text)).collect()
}
