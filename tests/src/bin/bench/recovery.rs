//! Restore and boot: our rebuild from a vault, verified, against upstream's copy of a plain file.
//!
//! Programs take turns, and each round begins with another one; a first round that warms the page
//! cache is not counted. What a run left is synced before the next, so that nobody pays for
//! another's writes.

use crate::Ground;
use crate::backup::First;
use crate::cluster::{self, MEMBER, upstream_restore};
use crate::figures::{self, Result, against, mebibytes, median, median_of, seconds};
use crate::process::{Run, measure};
use holdfast_api::client::{Client, ClientConfig};
use holdfast_restore::server::{Server, ServerSpec};
use holdfast_tests::contents;
use holdfast_tests::etcd::free_ports;
use holdfast_tests::etcd::run;
use holdfast_tests::peers::peer;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Our rebuild over upstream's restore.
const BOUND: f64 = 1.05;
/// For a boot.
const READY: Duration = Duration::from_secs(300);

/// Who restores.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Upstream,
    Ours,
    OursWithHash,
}

const WAYS: [Way; 3] = [Way::Upstream, Way::Ours, Way::OursWithHash];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Upstream => "etcdutl snapshot restore of the plain file",
            Way::Ours => "holdfast restore, verified to L2",
            Way::OursWithHash => "holdfast restore, HashKV proven too (default)",
        }
    }
}

/// All runs of one way.
#[derive(Default)]
struct Series {
    restores: Vec<Run>,
    totals: Vec<Duration>,
    file_bytes: u64,
}

/// Restores `runs` times each way, alternating, boots each, and prints.
pub(crate) async fn compare(ground: &Ground, first: &First, runs: usize) -> Result<()> {
    let mut series = WAYS.map(|_| Series::default());
    for round in 0..=runs {
        for turn in 0..WAYS.len() {
            let place = (round + turn) % WAYS.len();
            let (way, series) = (WAYS[place], &mut series[place]);
            let data_dir = ground.dir.join("restored");
            run(&mut Command::new("sync"));
            let restore = match way {
                Way::Upstream => measure(
                    &mut upstream_restore(&first.plain, &data_dir),
                    &ground.dir.join("etcdutl.log"),
                )?,
                Way::Ours => first.vault.restore(&data_dir, false)?,
                Way::OursWithHash => first.vault.restore(&data_dir, true)?,
            };
            series.file_bytes = std::fs::metadata(cluster::database(&data_dir))?.len();
            let boot = boot(ground, &data_dir, first.revision).await?;
            std::fs::remove_dir_all(&data_dir)?;
            if round > 0 {
                series.restores.push(restore);
                series.totals.push(restore.took + boot);
            }
        }
    }
    show(&series);
    Ok(())
}

/// Boots the member as it ships, with fsync; the time until its first linearizable read.
async fn boot(ground: &Ground, data_dir: &Path, revision: i64) -> Result<Duration> {
    let spec = ServerSpec {
        program: peer("etcd-3.6").into(),
        data_dir: data_dir.to_owned(),
        name: MEMBER.to_owned(),
        listens: free_ports().into(),
        initial_cluster: String::new(),
        joins: false,
        token: "bench".to_owned(),
        log: ground.dir.join("restored.log"),
        extra: cluster::FLAGS.map(str::to_owned).to_vec(),
        tls: false,
    };
    let client = Client::lazy(ClientConfig::new([spec.client_url()]))?;
    let mut server = Server::start(spec)?;
    let ready = server
        .wait_ready(READY, || async { contents::revision(&client).await.map(|_| ()) })
        .await?;
    let serves = contents::revision(&client).await?;
    server.stop(READY).await;
    if serves != revision {
        return Err(format!("the restored member serves revision {serves}, not {revision}").into());
    }
    Ok(ready)
}

fn show(series: &[Series; 3]) {
    let took =
        |series: &Series| -> Vec<Duration> { series.restores.iter().map(|run| run.took).collect() };
    let theirs = &series[0];
    let mut rows = Vec::new();
    for (way, own) in WAYS.into_iter().zip(series) {
        let times = took(own);
        let (least, most) = (times.iter().min().copied(), times.iter().max().copied());
        let processor: Vec<Duration> = own.restores.iter().map(|run| run.processor).collect();
        let peak = own.restores.iter().map(|run| run.peak_anonymous).max().unwrap_or(0);
        let bound = (way == Way::Ours).then_some(BOUND);
        rows.push([
            way.name().to_owned(),
            seconds(median(&times)),
            format!(
                "{} - {}",
                seconds(least.unwrap_or_default()),
                seconds(most.unwrap_or_default())
            ),
            against(median_ratio(&times, &took(theirs)), bound),
            seconds(median(&processor)),
            mebibytes(peak),
            mebibytes(own.file_bytes),
            seconds(median(&own.totals)),
            against(median_ratio(&own.totals, &theirs.totals), None),
        ]);
    }
    let header = [
        "",
        "restore",
        "least - most",
        "of etcdutl's",
        "processor",
        "peak RssAnon",
        "db file",
        "and boot",
        "of etcdutl's",
    ];
    figures::print("Restore, and boot to the first linearizable read", header, &rows);
}

/// The median of the ratios of runs that stood side by side.
fn median_ratio(ours: &[Duration], theirs: &[Duration]) -> f64 {
    let ratios: Vec<f64> = ours
        .iter()
        .zip(theirs)
        .map(|(our, their)| our.as_secs_f64() / their.as_secs_f64())
        .collect();
    median_of(&ratios)
}
