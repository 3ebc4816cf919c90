//! Programs as measured processes.
//!
//! What the kernel counted is read from /proc (proc(5)): anonymous memory every few milliseconds,
//! processor time and bytes read when the process has ended and was not yet reaped. Must hold: a
//! program that fails is an error with what it said.

use crate::figures::Result;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Between two looks at a process; also how inexact its duration is.
const LOOK: Duration = Duration::from_millis(2);
/// How much of what a program said stands in an error.
const TAIL_CHARS: usize = 2_000;
/// Units of the times in /proc/<pid>/stat per second: USER_HZ, 100 on every Linux.
const TICKS: u32 = 100;

/// What a run took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Run {
    /// By the clock.
    pub(crate) took: Duration,
    /// Of all processors, user and system.
    pub(crate) processor: Duration,
    /// Highest anonymous memory seen, in bytes.
    pub(crate) peak_anonymous: u64,
    /// Bytes given by read calls; memory maps do not count.
    pub(crate) read_bytes: u64,
}

/// What a program that runs on took while another ran.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Beside {
    /// Of all processors, user and system.
    pub(crate) processor: Duration,
    /// Highest anonymous memory seen, in bytes.
    pub(crate) peak_anonymous: u64,
}

/// Runs a program to its end; its output goes to `log`.
pub(crate) fn measure(command: &mut Command, log: &Path) -> Result<Run> {
    measured(command, log, || Ok(()))
}

/// The same, and what the process `other` takes meanwhile.
pub(crate) fn measure_beside(
    command: &mut Command,
    log: &Path,
    other: u32,
) -> Result<(Run, Beside)> {
    let before = processor_time_of(other)?;
    let (mut beside, status) = (Beside::default(), format!("/proc/{other}/status"));
    let run = measured(command, log, || {
        let anonymous = anonymous(&std::fs::read_to_string(&status)?);
        beside.peak_anonymous = beside.peak_anonymous.max(anonymous);
        Ok(())
    })?;
    beside.processor = processor_time_of(other)?.saturating_sub(before);
    Ok((run, beside))
}

fn measured(
    command: &mut Command,
    log: &Path,
    mut look: impl FnMut() -> Result<()>,
) -> Result<Run> {
    let output = File::create(log)?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let started = Instant::now();
    let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    let folder = format!("/proc/{}", child.id());
    let mut run = Run::default();
    loop {
        let status = std::fs::read_to_string(format!("{folder}/status"))?;
        if field(&status, "State:").is_some_and(|state| state.starts_with('Z')) {
            break;
        }
        run.peak_anonymous = run.peak_anonymous.max(anonymous(&status));
        look()?;
        std::thread::sleep(LOOK);
    }
    run.took = started.elapsed();
    let counted = std::fs::read_to_string(format!("{folder}/io"))?;
    run.read_bytes = field(&counted, "rchar:").and_then(number).unwrap_or(0);
    run.processor = processor_time(&std::fs::read_to_string(format!("{folder}/stat"))?);
    let status = child.wait()?;
    if !status.success() {
        let said = std::fs::read_to_string(log).unwrap_or_default();
        let tail: Vec<char> = said.chars().rev().take(TAIL_CHARS).collect();
        let tail: String = tail.into_iter().rev().collect();
        return Err(format!("{command:?}: {status}\n{tail}").into());
    }
    Ok(run)
}

/// Processor time of a process so far, user and system.
pub(crate) fn processor_time_of(process: u32) -> Result<Duration> {
    Ok(processor_time(&std::fs::read_to_string(format!("/proc/{process}/stat"))?))
}

/// RssAnon in bytes.
fn anonymous(status: &str) -> u64 {
    field(status, "RssAnon:").and_then(number).unwrap_or(0) * 1024
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15; the second field, the name, may hold anything but ends at the last
/// parenthesis.
fn processor_time(stat: &str) -> Duration {
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u32 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u32>().ok())
        .sum();
    Duration::from_secs(u64::from(ticks)) / TICKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_measured_and_a_failure_tells_what_it_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        std::fs::write(folder.path().join("data"), vec![0; 1 << 20]).expect("a file");
        let script = "x=0; while [ $x -lt 20000 ]; do x=$((x+1)); done; exec cat data >/dev/null";
        let run = measure(Command::new("sh").args(["-c", script]).current_dir(folder.path()), &log)
            .expect("it works");
        assert!((1 << 20..2 << 20).contains(&run.read_bytes), "{run:?}");
        assert!(run.peak_anonymous > 0 && run.took > Duration::ZERO, "{run:?}");
        let error = measure(Command::new("sh").args(["-c", "echo no luck; exit 3"]), &log)
            .expect_err("it fails");
        assert!(error.to_string().contains("no luck"), "{error}");
    }

    #[test]
    fn what_runs_on_beside_it_is_measured_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let busy = "x=0; while :; do x=$((x+1)); done";
        let mut other = Command::new("sh").args(["-c", busy]).spawn().expect("it starts");
        let mut waiting = Command::new("sleep");
        let outcome = measure_beside(waiting.arg("0.5"), &folder.path().join("log"), other.id());
        other.kill().expect("it runs");
        other.wait().expect("it ends");
        let (run, beside) = outcome.expect("it works");
        assert!(beside.processor > Duration::ZERO && beside.peak_anonymous > 0, "{beside:?}");
        assert!(beside.processor > run.processor, "{beside:?}, {run:?}");
    }

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a) b) S 1 1 1 0 -1 0 0 0 0 0 250 50 0 0 20";
        assert_eq!(processor_time(stat), Duration::from_secs(3));
    }
}
