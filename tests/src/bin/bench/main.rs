//! `make bench`: what Holdfast costs, beside etcd, etcdutl and restic, on this machine, in one run.
//!
//! One store is made once (cached by its parameters) and played through: first backup, restore
//! against etcdutl's, growth of the vault against the bare new records and against restic, a day of
//! hourly backups. The bundled server is put under load beside etcd 3.6, and backed up by what
//! changed beside whole streams. Must hold: prints figures
//! and the bounds they stand beside, and never fails because of a time; fails when anything did not
//! work. Programs are compared in one run, alternating, by medians; every process is ended before
//! it exits.

mod backup;
mod changes;
mod cluster;
mod day;
mod figures;
mod growth;
mod idle;
mod load;
mod member;
mod process;
mod recovery;
mod reference;
mod restic;
mod server;
mod store;
mod vault;

use clap::{Parser, ValueEnum};
use cluster::Cluster;
use figures::Result;
use server::Extent;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use store::StoreSpec;

/// What Holdfast costs, beside etcd, etcdutl and restic.
#[derive(Parser)]
struct Arguments {
    /// The binary to measure
    #[arg(long, value_name = "FILE")]
    holdfast: PathBuf,
    /// Size of the store's database, about, in MB
    #[arg(long, value_name = "MB", default_value_t = 1000)]
    size_mb: u64,
    /// Eight times that, and only the first backup: its seconds and its memory
    #[arg(long)]
    huge: bool,
    /// What to measure beside the first backup; left out: everything
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Alternating restores, rounds of each load, and rounds of backups of what changed
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Updates before a backup; each number is one step, once more after a defragmentation; left
    /// out: 1,000 and 10,000 for the store of 1,000 MB, in proportion for others
    #[arg(long, value_delimiter = ',')]
    updates: Vec<u64>,
    /// Simulated hours
    #[arg(long, default_value_t = 24)]
    hours: u64,
    /// Operations of each load on the servers, in percent of the full count
    #[arg(long, value_name = "PERCENT", default_value_t = 100)]
    share: u64,
    /// Where everything happens; made anew, removed at the end
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    dir: PathBuf,
    /// Where made stores are kept; left out: holdfast/bench below the user's cache folder
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Nothing more than the first backup.
    Backup,
    /// Restore and boot, against etcdutl.
    Recovery,
    /// Bytes of a second backup, against the bare records and restic.
    Growth,
    /// Hourly backups.
    Day,
    /// The bundled server, against etcd 3.6.
    Server,
    /// Rounds beside the bundled server, which tells what changed, against whole streams.
    Changes,
}

/// Where the bench plays and with what.
struct Ground {
    dir: PathBuf,
    holdfast: PathBuf,
}

impl Ground {
    /// An empty folder. A folder that no bench made is refused.
    fn new(dir: &Path, holdfast: &Path) -> Result<Ground> {
        let mark = dir.join(".holdfast-bench");
        if dir.exists() {
            if !mark.exists() {
                let dir = dir.display();
                return Err(format!(
                    "{dir} exists and was not made by a bench; name another with --dir"
                )
                .into());
            }
            std::fs::remove_dir_all(dir)?;
        }
        std::fs::create_dir_all(dir)?;
        std::fs::write(&mark, "")?;
        let holdfast =
            holdfast.canonicalize().map_err(|error| format!("{}: {error}", holdfast.display()))?;
        Ok(Ground { dir: dir.canonicalize()?, holdfast })
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    match runtime.block_on(bench(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nbench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(arguments: &Arguments) -> Result<()> {
    let wanted = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    let ground = Ground::new(&arguments.dir, &arguments.holdfast)?;
    machine();
    let size_mb = if arguments.huge { 8 * arguments.size_mb } else { arguments.size_mb };
    let spec = StoreSpec::of_size(size_mb);
    let plain = store::obtain(&spec, &cache(arguments)?).await?;
    if !arguments.huge && wanted(Part::Server) {
        let extent = Extent { runs: arguments.runs, share: arguments.share };
        server::compare(&ground, &plain, extent).await?;
    }
    if !arguments.huge && wanted(Part::Changes) {
        let updates = updates(arguments).into_iter().max().unwrap_or(0);
        changes::compare(&ground, &plain, &spec, (updates, arguments.runs)).await?;
    }
    let alone = |part: &Part| matches!(part, Part::Server | Part::Changes);
    if !arguments.only.is_empty() && arguments.only.iter().all(alone) {
        return Ok(std::fs::remove_dir_all(&ground.dir)?);
    }
    let mut cluster = Cluster::boot(&ground, &plain, &spec).await?;
    let first = backup::first(&ground, &cluster, arguments.huge).await?;
    if !arguments.huge && wanted(Part::Recovery) {
        cluster.stop().await;
        recovery::compare(&ground, &first, arguments.runs).await?;
        cluster.start().await;
    }
    if !arguments.huge && wanted(Part::Growth) {
        growth::compare(&ground, &mut cluster, &first, &updates(arguments)).await?;
    }
    if !arguments.huge && wanted(Part::Day) {
        day::simulate(&ground, &mut cluster, arguments.hours).await?;
    }
    cluster.stop().await;
    Ok(std::fs::remove_dir_all(&ground.dir)?)
}

/// Updates of each step.
fn updates(arguments: &Arguments) -> Vec<u64> {
    match arguments.updates[..] {
        [] => vec![arguments.size_mb.max(10), 10 * arguments.size_mb.max(10)],
        ref given => given.to_vec(),
    }
}

fn cache(arguments: &Arguments) -> Result<PathBuf> {
    if let Some(folder) = &arguments.cache {
        return Ok(folder.clone());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = cache
        .or_else(home)
        .ok_or("neither HOME nor XDG_CACHE_HOME is set; name a folder with --cache")?;
    Ok(cache.join("holdfast/bench"))
}

/// What the figures were measured on.
fn machine() {
    let processors = std::thread::available_parallelism().map_or(0, |count| count.get());
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("unknown").to_owned();
    println!("{processors} processors, load {load} at the start");
}
