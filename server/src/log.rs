//! Log lines as etcd's: JSON or console, with `level`, `ts`, `caller`, `msg`, then the fields.
//!
//! Must hold: every line of the JSON format is one JSON object (upstream's tests parse each); the
//! messages that tests and operators look for are constants in [`messages`]; a line that cannot be
//! written stops nothing.

mod encode;
pub mod messages;
mod output;

pub(crate) use output::Rotation;
pub use output::{OpenError, Output};

use serde_json::Value;
use std::panic::Location;
use std::sync::{Arc, Mutex};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For those who look for a fault.
    Debug,
    /// The usual.
    Info,
    /// Something to look at.
    Warn,
    /// Something failed.
    Error,
    /// As a defect in the program.
    Panic,
    /// The process ends.
    Fatal,
}

impl Level {
    /// As flags and lines name it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Panic => "panic",
            Level::Fatal => "fatal",
        }
    }

    /// The level of that name.
    pub fn parse(name: &str) -> Option<Level> {
        let all =
            [Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Panic, Level::Fatal];
        all.into_iter().find(|level| level.name() == name)
    }
}

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    Json,
    /// Columns, then the fields as JSON.
    Console,
}

/// A field of a line.
pub type Field<'a> = (&'a str, Value);

/// Writes lines. Cheap to clone; clones write to the same outputs.
#[derive(Debug, Clone)]
pub struct Logger {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    level: Level,
    format: Format,
    outputs: Mutex<Vec<Output>>,
}

impl Logger {
    /// A logger of lines from `level` on.
    pub fn new(level: Level, format: Format, outputs: Vec<Output>) -> Logger {
        Logger { inner: Arc::new(Inner { level, format, outputs: Mutex::new(outputs) }) }
    }

    /// JSON lines from info on, to standard error: before the configuration is known.
    pub fn before_configuration() -> Logger {
        Logger::new(Level::Info, Format::Json, vec![Output::stderr()])
    }

    /// Whether lines of that level are written.
    pub fn enabled(&self, level: Level) -> bool {
        level >= self.inner.level
    }

    /// Writes a line.
    #[track_caller]
    pub fn log(&self, level: Level, message: &str, fields: &[Field<'_>]) {
        if !self.enabled(level) {
            return;
        }
        let caller = Location::caller();
        let line = encode::Line { level, message, fields, caller, at: jiff::Zoned::now() };
        let text = match self.inner.format {
            Format::Json => line.json(),
            Format::Console => line.console(),
        };
        let mut outputs = self.inner.outputs.lock().unwrap_or_else(|lock| lock.into_inner());
        for output in outputs.iter_mut() {
            output.write(level, &text);
        }
    }

    /// A line for those who look for a fault.
    #[track_caller]
    pub fn debug(&self, message: &str, fields: &[Field<'_>]) {
        self.log(Level::Debug, message, fields);
    }

    /// A usual line.
    #[track_caller]
    pub fn info(&self, message: &str, fields: &[Field<'_>]) {
        self.log(Level::Info, message, fields);
    }

    /// A line about something to look at.
    #[track_caller]
    pub fn warn(&self, message: &str, fields: &[Field<'_>]) {
        self.log(Level::Warn, message, fields);
    }

    /// A line about something that failed.
    #[track_caller]
    pub fn error(&self, message: &str, fields: &[Field<'_>]) {
        self.log(Level::Error, message, fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines_of(format: Format) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let output = Output::file(&path, None).unwrap();
        let logger = Logger::new(Level::Info, format, vec![output]);
        logger.debug("not written", &[]);
        logger.info("quoted \"text\"\n", &[("name", json!("a")), ("urls", json!(["x", "y"]))]);
        logger.warn("bare", &[]);
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn json_lines_parse_and_have_upstreams_keys() {
        let text = lines_of(Format::Json);
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["level"], "info");
        assert_eq!(lines[0]["msg"], "quoted \"text\"\n");
        assert_eq!(lines[0]["urls"], json!(["x", "y"]));
        assert!(lines[0]["caller"].as_str().unwrap().starts_with("src/log.rs:"), "{text}");
        let ts = lines[0]["ts"].as_str().unwrap();
        assert!(ts.len() > 20 && ts.contains('T') && ts.contains('.'), "{ts}");
        assert!(text.starts_with("{\"level\":\"info\",\"ts\":\""), "the order is zap's: {text}");
    }

    #[test]
    fn console_lines_have_columns() {
        let text = lines_of(Format::Console);
        let columns: Vec<&str> = text.lines().next_back().unwrap().split('\t').collect();
        assert_eq!((columns[1], columns[3]), ("warn", "bare"));
        assert!(text.contains("\t{\"name\": \"a\", \"urls\": [\"x\", \"y\"]}\n"), "{text}");
    }

    #[test]
    fn levels_have_names() {
        assert_eq!(Level::parse("panic"), Some(Level::Panic));
        assert_eq!(Level::parse("loud"), None);
        assert!(Level::Debug < Level::Fatal);
    }
}
