//! What a configuration must hold, in upstream's order and words: the first fault found is told,
//! and tests and operators know these texts.

use super::flags;
use super::gates::Gates;
use super::member_url::MemberUrl;
use super::settings::LogConfig;
use super::values::{Value, Values};
use super::{ConfigError, Notice};
use crate::log::{Format, Level, messages};
use holdfast_core::duration::GoDuration;

/// Longest election timeout, in milliseconds.
const LONGEST_ELECTION_MS: u64 = 50_000;
/// Shortest timeout of a connection between peers.
const RAFT_TIMEOUT: GoDuration = GoDuration(5_000_000_000);
/// The name nobody chose.
pub(super) const DEFAULT_NAME: &str = "default";
/// Where lines go when nobody said.
const DEFAULT_OUTPUT: &str = "default";

pub(super) fn invalid<T>(why: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::Invalid(why.into()))
}

/// Timeouts between peers are never shorter than 5 s.
pub(super) fn raise_raft_timeouts(values: &mut Values, notices: &mut Vec<Notice>) {
    for name in ["raft-read-timeout", "raft-write-timeout"] {
        if values.duration(name) < RAFT_TIMEOUT {
            values.put(name, Value::Duration(RAFT_TIMEOUT));
            let text = format!("{name} increased to minimum value: {RAFT_TIMEOUT}");
            notices.push(Notice::new(Level::Info, &text));
        }
    }
}

/// Defaults that hang on what else is given.
pub(super) fn adjust_defaults(values: &mut Values, from_file: bool) {
    if !from_file && values.is_set("listen-client-urls") && !values.is_set("advertise-client-urls")
    {
        values.put("advertise-client-urls", Value::Urls(Vec::new()));
    }
    let discovers = ["discovery", "discovery-srv"].iter().any(|name| !values.text(name).is_empty())
        || !from_file && !values.text("discovery-srv-name").is_empty()
        || !values.texts("discovery-endpoints").is_empty();
    if discovers && !values.is_set("initial-cluster") {
        values.put("initial-cluster", Value::Text(String::new()));
    }
}

/// Features by their older flags; not both at once.
pub(super) fn gates_of_older_flags(values: &mut Values) -> Result<(), ConfigError> {
    let mut gates: Gates = values.gates();
    for flag in flags::all().iter().filter(|flag| values.is_set(flag.name)) {
        let Some(feature) = flag.gate else { continue };
        let wanted = values.is_on(flag.name);
        let named = values.is_set("feature-gates") && values.gates().to_string().contains(feature);
        if named {
            let now = values.gates().enabled(feature);
            return invalid(format!(
                "cannot specify both flags: --{}={wanted} and --feature-gates={feature}={now} at the same time, \
                 please just use --feature-gates={feature}={now}",
                flag.name
            ));
        }
        gates.switch(feature, wanted).map_err(ConfigError::Invalid)?;
    }
    values.put("feature-gates", Value::Gates(gates));
    Ok(())
}

/// A flag by its older and its newer name.
pub(super) fn no_name_twice(values: &Values) -> Result<(), ConfigError> {
    for flag in flags::all().iter().filter(|flag| values.is_set(flag.name)) {
        if let Some(newer) = flag.alias_of.filter(|newer| values.is_set(newer)) {
            let old = flag.name;
            return invalid(format!(
                "cannot set --{old} and --{newer} at the same time, please use --{newer} only"
            ));
        }
    }
    Ok(())
}

/// How to log.
pub(super) fn logging(values: &Values) -> Result<LogConfig, ConfigError> {
    match values.text("logger").as_str() {
        "zap" => {}
        "capnslog" => return invalid("--logger=capnslog is removed in v3.5"),
        other => return invalid(format!("unknown logger option {other:?}")),
    }
    let mut outputs = values.texts("log-outputs");
    if outputs.is_empty() {
        outputs.push(DEFAULT_OUTPUT.to_owned());
    }
    if outputs.len() > 1 && outputs.iter().any(|output| output == DEFAULT_OUTPUT) {
        return invalid(format!("multi logoutput for {DEFAULT_OUTPUT:?} is not supported yet"));
    }
    let rotation = if values.is_on("enable-log-rotation") {
        let is_file =
            |output: &&String| !matches!(output.as_str(), "default" | "stderr" | "stdout");
        let files = outputs.iter().filter(is_file).count();
        if files > 1 || outputs.len() == 1 && files == 0 {
            return invalid(
                "--log-outputs requires a single file path when --log-rotate-config-json is defined",
            );
        }
        let text = values.text("log-rotation-config-json");
        Some(serde_json::from_str(&text).map_err(|error| {
            let how = if error.is_data() { "invalid" } else { "improperly formatted" };
            ConfigError::Invalid(format!("{how} log rotation config: {error}"))
        })?)
    } else {
        None
    };
    if outputs.len() > 1 && outputs.iter().any(|output| output == "systemd/journal") {
        return invalid(format!(
            "running with systemd/journal but other '--log-outputs' values ({outputs:?}) are configured \
             with 'default'; override 'default' value with something else"
        ));
    }
    let level = values.text("log-level");
    let Some(level) = Level::parse(&level) else {
        return invalid(format!("unrecognized level: {level:?}"));
    };
    let format = match values.text("log-format").as_str() {
        "json" => Format::Json,
        "console" => Format::Console,
        other => {
            return invalid(format!("unknown log format: {other}, supported values json, console"));
        }
    };
    Ok(LogConfig { level, format, outputs, rotation })
}

/// Everything else.
pub(super) fn check(values: &Values, notices: &mut Vec<Notice>) -> Result<(), ConfigError> {
    urls(values, notices)?;
    bootstrap(values)?;
    times(values)?;
    if !values.urls("listen-client-urls").is_empty()
        && values.urls("advertise-client-urls").is_empty()
    {
        return Err(ConfigError::NoAdvertisedClientUrls);
    }
    match values.text("auto-compaction-mode").as_str() {
        "revision" | "periodic" => {}
        "" => return invalid("undefined auto-compaction-mode"),
        other => return invalid(format!("unknown auto-compaction-mode {other:?}")),
    }
    let gates = values.gates();
    let (checkpoint, persist) =
        (gates.enabled("LeaseCheckpoint"), gates.enabled("LeaseCheckpointPersist"));
    if checkpoint && !persist {
        notices.push(Notice::new(
            Level::Warn,
            "Detected that checkpointing is enabled without persistence. Consider enabling feature gate LeaseCheckpointPersist",
        ));
    }
    if persist && !checkpoint {
        return invalid(
            "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint",
        );
    }
    for name in ["experimental-compact-hash-check-time", "compact-hash-check-time"] {
        let time = values.duration(name);
        if time <= GoDuration(0) {
            return invalid(format!("--{name} must be >0 (set to {time})"));
        }
    }
    let name = values.text("name");
    if name == DEFAULT_NAME {
        notices.push(Notice::new(Level::Warn, messages::DEFAULT_NAME).with("name", &name));
    }
    versions(values)
}

fn urls(values: &Values, notices: &mut Vec<Notice>) -> Result<(), ConfigError> {
    for name in
        ["listen-peer-urls", "listen-client-urls", "listen-client-http-urls", "listen-metrics-urls"]
    {
        if name == "listen-metrics-urls" && values.urls("listen-client-http-urls").is_empty() {
            notices.push(Notice::new(Level::Warn, messages::ONE_PORT));
        }
        for url in values.urls(name) {
            url.check_bind().map_err(ConfigError::Invalid)?;
        }
    }
    for name in ["initial-advertise-peer-urls", "advertise-client-urls"] {
        let urls = values.urls(name);
        let fault = urls.iter().find_map(|url| url.check_advertised().err());
        if let Some(fault) = fault {
            let all = joined(&urls);
            return invalid(format!("--{name} {all:?} must be \"host:port\" ({fault})"));
        }
    }
    Ok(())
}

fn bootstrap(values: &Values) -> Result<(), ConfigError> {
    let text = |name: &str| !values.text(name).is_empty();
    let endpoints = values.texts("discovery-endpoints");
    let ways =
        [text("discovery"), text("initial-cluster"), text("discovery-srv"), !endpoints.is_empty()];
    let state = values.text("initial-cluster-state");
    if !matches!(state.as_str(), "new" | "existing") {
        return invalid(format!("unexpected clusterState {state:?}"));
    }
    if ways.iter().filter(|way| **way).count() > 1 {
        return invalid(
            "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \"discovery\", \"discovery-endpoints\" or \"discovery-srv\"",
        );
    }
    let of_v3 = ["token", "cert", "key", "cacert", "user", "password"];
    let v3 = !endpoints.is_empty() || of_v3.iter().any(|name| text(&format!("discovery-{name}")));
    if text("discovery-proxy") && v3 {
        return invalid(
            "both v2 discovery settings (discovery, discovery-proxy) and v3 discovery settings \
             (discovery-token, discovery-endpoints, discovery-cert, discovery-key, \
             discovery-cacert, discovery-user, discovery-password) are set",
        );
    }
    if text("discovery-token") == endpoints.is_empty() {
        return invalid("both --discovery-token and --discovery-endpoints must be set");
    }
    if endpoints.iter().any(|endpoint| endpoint.trim().is_empty()) {
        return invalid("--discovery-endpoints must not contain empty endpoints");
    }
    Ok(())
}

fn times(values: &Values) -> Result<(), ConfigError> {
    let heartbeat = values.number("heartbeat-interval", u64::MAX);
    let election = values.number("election-timeout", u64::MAX);
    if heartbeat == 0 {
        return invalid("--heartbeat-interval must be >0 (set to 0ms)");
    }
    if election == 0 {
        return invalid("--election-timeout must be >0 (set to 0ms)");
    }
    if heartbeat.saturating_mul(5) > election {
        return invalid(format!(
            "--election-timeout[{election}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat}ms]"
        ));
    }
    if election > LONGEST_ELECTION_MS {
        return invalid(format!(
            "--election-timeout[{election}ms] is too long, and should be set less than {LONGEST_ELECTION_MS}ms"
        ));
    }
    Ok(())
}

fn versions(values: &Values) -> Result<(), ConfigError> {
    let (least, most) = (values.text("tls-min-version"), values.text("tls-max-version"));
    for version in [&least, &most] {
        if !matches!(version.as_str(), "" | "TLS1.2" | "TLS1.3") {
            return invalid(format!(
                "unexpected TLS version {version:?} (must be one of: TLS1.2, TLS1.3)"
            ));
        }
    }
    if !most.is_empty() && least > most {
        return invalid(format!("min version ({least}) is greater than max version ({most})"));
    }
    if least == "TLS1.3" && !values.texts("cipher-suites").is_empty() {
        return invalid("cipher suites cannot be configured when only TLS1.3 is enabled");
    }
    Ok(())
}

/// From which duration on a request is logged.
pub(super) fn unary_warning(values: &Values) -> Result<GoDuration, ConfigError> {
    const OLDER: &str = "experimental-warning-unary-request-duration";
    const NEWER: &str = "warning-unary-request-duration";
    let given = |name: &str| values.is_set(name) && values.duration(name) != GoDuration(0);
    if given(OLDER) && given(NEWER) {
        return invalid(format!("both --{OLDER} and --{NEWER} flags are set. Use only --{NEWER}"));
    }
    Ok(if given(OLDER) {
        values.duration(OLDER)
    } else if given(NEWER) {
        values.duration(NEWER)
    } else {
        GoDuration(300_000_000)
    })
}

pub(super) fn joined(urls: &[MemberUrl]) -> String {
    let texts: Vec<String> = urls.iter().map(ToString::to_string).collect();
    texts.join(",")
}
