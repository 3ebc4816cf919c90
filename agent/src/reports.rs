//! What drills left in the vault: snapshots that did not restore, whoever drilled them.
//!
//! What must hold: the newest report on a snapshot counts; a drill that failed where rotten or
//! missing bytes make it fail is believed only after another look, since the store may have been
//! away or the object brought back; one that failed behind that (what was read does not build a
//! sound member) fails again each time.

use holdfast_restore::drill::Level;
use holdfast_vault::chain::ChainError;
use holdfast_vault::check::{self, CheckOptions};
use holdfast_vault::proto::{ObjectKind, Report};
use holdfast_vault::vault::Vault;
use std::collections::{BTreeMap, BTreeSet};

/// What a failed drill says of its snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// Objects are missing or not what was stored: look again.
    Damaged,
    /// It opens, and builds no sound member.
    Unsound,
}

/// Snapshots that do not restore, as the reports in the vault say and another look confirms.
///
/// # Errors
/// The store cannot be read.
pub async fn broken(vault: &mut Vault) -> Result<BTreeSet<u64>, ChainError> {
    let said = failed(&read(vault).await, &vault.chain().catalogue().numbers());
    let all = |which: Said| said.iter().filter(move |one| *one.1 == which).map(|one| *one.0);
    let mut broken: BTreeSet<u64> = all(Said::Unsound).collect();
    let snapshots: BTreeSet<u64> = all(Said::Damaged).collect();
    if !snapshots.is_empty() {
        let options = CheckOptions { level: check::Level::L2, snapshots: snapshots.clone() };
        let sound: BTreeSet<u64> = vault.check(&options).await?.sound.into_iter().collect();
        broken.extend(snapshots.difference(&sound));
    }
    Ok(broken)
}

/// All reports; the vault keeps a few dozen. One that cannot be read says nothing.
async fn read(vault: &Vault) -> Vec<Report> {
    let mut reports = Vec::new();
    for (id, extant) in vault.chain().state().live() {
        if extant.object.kind() != ObjectKind::Report {
            continue;
        }
        match vault.access().read_message::<Report>(&extant.object).await {
            Ok((report, _)) => reports.push(report),
            Err(error) => tracing::warn!(%id, %error, "a drill's report cannot be read"),
        }
    }
    reports
}

fn failed(reports: &[Report], extant: &BTreeSet<u64>) -> BTreeMap<u64, Said> {
    let mut newest: BTreeMap<u64, &Report> = BTreeMap::new();
    for report in reports.iter().filter(|report| extant.contains(&report.snapshot)) {
        let known = newest.entry(report.snapshot).or_insert(report);
        if known.finished_ms < report.finished_ms {
            *known = report;
        }
    }
    newest.into_iter().filter_map(|(number, report)| Some((number, said(report)?))).collect()
}

/// A report holds the highest level that was reached, so the one behind it failed. A failure
/// further up may be the server's or the machine's.
fn said(report: &Report) -> Option<Said> {
    match report.level {
        _ if report.passed => None,
        level if level < Level::L2.number() => Some(Said::Damaged),
        level if level == Level::L2.number() => Some(Said::Unsound),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(snapshot: u64, finished_ms: i64, level: u32, passed: bool) -> Report {
        Report { snapshot, finished_ms, level, passed, ..Report::default() }
    }

    #[test]
    fn the_newest_report_on_a_snapshot_counts() {
        let extant: BTreeSet<u64> = (1..=6).collect();
        let reports = [
            report(1, 20, 6, true),
            report(1, 10, 0, false),
            report(2, 10, 6, true),
            report(2, 20, 1, false),
            report(3, 10, 2, false),
            report(4, 10, 3, false),
            report(5, 10, 5, false),
            report(7, 10, 0, false),
        ];
        let expected = BTreeMap::from([(2, Said::Damaged), (3, Said::Unsound)]);
        assert_eq!(failed(&reports, &extant), expected);
        let mut backwards = reports.to_vec();
        backwards.reverse();
        assert_eq!(failed(&backwards, &extant), expected);
    }
}
