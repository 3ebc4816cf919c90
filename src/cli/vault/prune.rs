//! `holdfast vault prune`: the plan with a reason for each snapshot, then the deed.

use crate::cli::access::VaultArguments;
use crate::cli::text;
use clap::Args;
use comfy_table::Cell;
use holdfast_agent::{damage, reports};
use holdfast_policies::retention::{Fate, RetentionPolicy, Verdict};
use holdfast_vault::prune::{Plan, PruneOptions, PruneReport};
use holdfast_vault::vault::Vault;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

/// Arguments of `holdfast vault prune`.
#[derive(Args)]
pub(crate) struct PruneArguments {
    #[command(flatten)]
    vault: VaultArguments,
    #[command(flatten)]
    keep: KeepArguments,
    /// Print the plan, and stop
    #[arg(long, visible_alias = "plan")]
    plan_only: bool,
    /// Also delete what was uploaded and never committed; lists the whole store, so at most weekly
    #[arg(long)]
    orphans: bool,
}

/// What to keep; left out: the configuration's policy, else 24 hourly, 7 daily, 5 weekly, 12
/// monthly.
#[derive(Args)]
pub(crate) struct KeepArguments {
    /// Keep the newest N
    #[arg(long, value_name = "N")]
    keep_last: Option<u32>,
    /// Keep the newest of each of N hours
    #[arg(long, value_name = "N")]
    keep_hourly: Option<u32>,
    /// Keep the newest of each of N days
    #[arg(long, value_name = "N")]
    keep_daily: Option<u32>,
    /// Keep the newest of each of N weeks
    #[arg(long, value_name = "N")]
    keep_weekly: Option<u32>,
    /// Keep the newest of each of N months
    #[arg(long, value_name = "N")]
    keep_monthly: Option<u32>,
    /// Keep the newest of each of N years
    #[arg(long, value_name = "N")]
    keep_yearly: Option<u32>,
}

impl KeepArguments {
    /// The flags' policy if there is any, else `configured`.
    fn policy(&self, configured: Option<RetentionPolicy>) -> RetentionPolicy {
        let flags = [
            self.keep_last,
            self.keep_hourly,
            self.keep_daily,
            self.keep_weekly,
            self.keep_monthly,
            self.keep_yearly,
        ];
        if flags.iter().all(Option::is_none) {
            return configured.unwrap_or_default();
        }
        let [last, hourly, daily, weekly, monthly, yearly] = flags.map(Option::unwrap_or_default);
        let configured = configured.unwrap_or_default();
        let counts = RetentionPolicy { last, hourly, daily, weekly, monthly, yearly, ..configured };
        RetentionPolicy { within: None, ..counts }
    }
}

pub(crate) async fn prune(arguments: &PruneArguments) -> anyhow::Result<ExitCode> {
    let place = arguments.vault.resolve()?;
    let config = place.config.clone();
    let mut options = PruneOptions::new(
        arguments.keep.policy(config.as_ref().map(|config| config.retention.clone())),
    );
    let state = config.as_ref().map(|config| config.state_directory.clone());
    if let Some(config) = config {
        options.zone = config.schedule.time_zone;
        options.grace.configured = config.prune.grace;
    }
    options.orphans = arguments.orphans;
    let mut vault = place.open().await?;
    options.broken = broken(&mut vault, state.as_deref()).await?;
    let plan = vault.plan_prune(&options).await?;
    print_plan(&vault, &plan);
    if arguments.plan_only {
        return Ok(ExitCode::SUCCESS);
    }
    print_report(&vault.prune(&options).await?);
    Ok(ExitCode::SUCCESS)
}

/// Snapshots that drills, checks and the agent of this machine found not to be restorable: they
/// fill no place of a rule, so that none pushes a good one out.
async fn broken(vault: &mut Vault, state: Option<&Path>) -> anyhow::Result<BTreeSet<u64>> {
    let mut broken = reports::broken(vault).await?;
    if let Some(directory) = state.filter(|directory| directory.is_dir()) {
        let (confirmed, _) = damage::confirm(vault, &damage::noted(directory)?).await;
        broken.extend(damage::broken(&confirmed, vault.chain()));
    }
    if !broken.is_empty() {
        let numbers: Vec<String> = broken.iter().map(u64::to_string).collect();
        println!("known to be broken, so that they fill no place: snapshot {}", numbers.join(", "));
    }
    Ok(broken)
}

fn print_plan(vault: &Vault, plan: &Plan) {
    let mut table = text::table(&["snapshot", "taken", "verdict", "why", "needs", "only it"]);
    for verdict in &plan.verdicts {
        let entry = vault.chain().catalogue().get(verdict.number);
        let pinned = plan.pinned.iter().find(|bytes| bytes.number == verdict.number);
        let (needed, only) = pinned.map_or((0, 0), |bytes| (bytes.needed_bytes, bytes.only_bytes));
        let (word, why) = words(verdict);
        table.add_row(
            [
                verdict.number.to_string(),
                text::minute(entry.map_or(0, |entry| entry.time_ms)),
                word.to_owned(),
                why,
                text::bytes(needed),
                text::bytes(only),
            ]
            .map(Cell::new),
        );
    }
    println!("{table}");
    let objects = &plan.objects;
    if let Some(skew) = &objects.stopped {
        println!("nothing will be decided: {skew}");
    }
    let sum = |bytes: u64| text::bytes(bytes);
    println!(
        "{} objects ({}) will be condemned; {} will be deleted; {} wait for their grace",
        objects.condemn.len(),
        sum(objects.condemn.iter().map(|object| object.sealed_bytes).sum()),
        objects.sweep.len(),
        objects.waiting.len(),
    );
}

fn words(verdict: &Verdict) -> (&'static str, String) {
    let join = |reasons: Vec<String>| reasons.join("; ");
    match &verdict.fate {
        Fate::Keep(reasons) => ("keep", join(reasons.iter().map(ToString::to_string).collect())),
        Fate::Forget(reasons) => {
            ("forget", join(reasons.iter().map(ToString::to_string).collect()))
        }
    }
}

fn print_report(report: &PruneReport) {
    if let Some(why) = &report.stopped {
        println!("nothing was done: {why}");
        return;
    }
    println!(
        "forgot {} snapshots, condemned {} objects, deleted {} ({} of them orphans), freed {}",
        report.forgotten.len(),
        report.condemned,
        report.swept,
        report.orphans,
        text::bytes(report.freed_bytes),
    );
    if report.hidden_bytes > 0 {
        println!(
            "the bucket keeps versions: {} were hidden, not freed",
            text::bytes(report.hidden_bytes)
        );
    }
}
