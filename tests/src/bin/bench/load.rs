//! What upstream's load client does to a member, and what it says of it.

use crate::figures::Result;
use crate::member::Measured;
use holdfast_tests::peers::peer;
use std::process::Command;

/// The key that ranges ask for.
pub(crate) const KEY: &str = "bench-key";
/// Watchers of the key in [`Load::WATCH`].
const WATCHERS: u64 = 100;

/// One kind of load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) name: &'static str,
    connections: u32,
    clients: u32,
    arguments: &'static [&'static str],
    /// The flag that says how many, and how many at full size.
    count: (&'static str, u64),
    /// Operations that the client counts for each of these.
    each: u64,
    /// Our rate over upstream's that is asked for.
    pub(crate) least_rate: f64,
    /// Our processor time per operation over upstream's that is asked for.
    pub(crate) most_processor: Option<f64>,
}

const PUT: &[&str] =
    &["put", "--key-size=8", "--val-size=256", "--sequential-keys", "--key-space-size=100000"];
const TXN: &[&str] = &["txn-put", "--key-size=8", "--val-size=256", "--key-space-size=100000"];
const LINEARIZABLE: &[&str] = &["range", KEY, "--consistency=l"];
const SERIALIZABLE: &[&str] = &["range", KEY, "--consistency=s"];
const WATCH: &[&str] = &["watch", "--streams=10", "--watch-per-stream=10", "--sequential-keys"];

const fn load(
    name: &'static str,
    (connections, clients): (u32, u32),
    arguments: &'static [&'static str],
    count: u64,
    (least_rate, most_processor): (f64, Option<f64>),
) -> Load {
    let count = ("--total", count);
    Load { name, connections, clients, arguments, count, each: 1, least_rate, most_processor }
}

/// All of them, in the order in which they run.
pub(crate) const LOADS: [Load; 8] = [
    load("put, 1 client", (1, 1), PUT, 3_000, (1.0, None)),
    load("put, 100 clients", (100, 100), PUT, 50_000, (1.2, Some(0.6))),
    load("put, 1,000 clients", (100, 1_000), PUT, 100_000, (1.2, Some(0.6))),
    load("range, 1,000 clients", (100, 1_000), LINEARIZABLE, 200_000, (1.3, Some(0.5))),
    load("range, serializable", (100, 1_000), SERIALIZABLE, 200_000, (1.3, Some(0.5))),
    load("range, 1 client", (1, 1), LINEARIZABLE, 10_000, (1.0, None)),
    load("txn with a put, 100 clients", (100, 100), TXN, 50_000, (1.2, Some(0.6))),
    Load {
        count: ("--put-total", 5_000),
        each: WATCHERS,
        ..load("events to 100 watchers", (10, 10), WATCH, 0, (1.0, None))
    },
];

/// What a load gave.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Given {
    /// Operations per second, as the client counted.
    pub(crate) rate: f64,
    /// Processor time of the server per operation, in microseconds.
    pub(crate) processor_us: f64,
    /// Its RssAnon afterwards, in bytes.
    pub(crate) memory: u64,
}

impl Load {
    /// Runs it with `share` of the operations, in percent.
    pub(crate) fn run(&self, member: &Measured, share: u64) -> Result<Given> {
        let (flag, full) = self.count;
        let count = (full * share / 100).max(100);
        let mut command = Command::new(peer("benchmark"));
        command.arg(format!("--endpoints={}", member.url().trim_start_matches("http://")));
        command.arg(format!("--conns={}", self.connections));
        command.arg(format!("--clients={}", self.clients));
        command.args(self.arguments).arg(format!("{flag}={count}"));
        let before = member.processor()?;
        let said = command.output().map_err(|error| format!("{command:?}: {error}"))?;
        let spent = member.processor()?.saturating_sub(before);
        let text = String::from_utf8_lossy(&said.stdout);
        let errors = text.contains("Error distribution");
        let Some(rate) = rate(&text).filter(|_| said.status.success() && !errors) else {
            let complaint = String::from_utf8_lossy(&said.stderr);
            return Err(format!("{command:?}: {}\n{text}\n{complaint}", said.status).into());
        };
        let operations = u32::try_from(count * self.each)?;
        let processor_us = spent.as_secs_f64() * 1e6 / f64::from(operations);
        Ok(Given { rate, processor_us, memory: member.memory()? })
    }
}

/// The last rate of a report: a watch's is that of its events.
fn rate(report: &str) -> Option<f64> {
    let line = report.lines().rev().find_map(|line| line.trim().strip_prefix("Requests/sec:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rate_of_a_report_counts() {
        let report = "Summary:\n  Requests/sec:\t12.5\n\nEvents:\n  Requests/sec:\t3.25\n";
        assert_eq!(rate(report), Some(3.25));
        assert_eq!(rate("Summary:\n"), None);
    }
}
