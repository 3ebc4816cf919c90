//! The first backup: seconds and memory, beside what upstream takes to save a file.

use crate::Ground;
use crate::cluster::{Cluster, upstream_save};
use crate::figures::{self, Result, mebibytes, seconds};
use crate::process::{Run, measure};
use crate::vault::Vault;
use std::path::PathBuf;

/// A vault with one snapshot, and the plain snapshot file of the same revision.
pub(crate) struct First {
    pub(crate) vault: Vault,
    pub(crate) plain: PathBuf,
    /// The revision of both.
    pub(crate) revision: i64,
}

/// Takes both.
pub(crate) async fn first(ground: &Ground, cluster: &Cluster, huge: bool) -> Result<First> {
    let bound_mib: u64 = if huge { 256 } else { 128 };
    let (vault, plain) =
        (Vault::create(ground, "vault", cluster)?, ground.dir.join("plain/snapshot.db"));
    std::fs::create_dir_all(ground.dir.join("plain"))?;
    let theirs = measure(&mut upstream_save(cluster.etcd(), &plain), &ground.dir.join("save.log"))?;
    let first = vault.backup()?;
    let again = vault.backup()?;
    let within = first.run.peak_anonymous.max(again.run.peak_anonymous) <= bound_mib << 20;
    let verdict = if within { "within" } else { "ABOVE" };
    let row = |what: &str, run: Run, stored: u64| {
        let (took, processor) = (seconds(run.took), seconds(run.processor));
        [what.to_owned(), took, processor, mebibytes(run.peak_anonymous), mebibytes(stored)]
    };
    let rows = [
        row("etcdctl snapshot save", theirs, std::fs::metadata(&plain)?.len()),
        row("holdfast agent --once, first", first.run, first.added.bytes),
        row("holdfast agent --once, nothing new", again.run, again.added.bytes),
    ];
    let title = format!("Backup; the agent's peak memory is {verdict} {bound_mib} MiB");
    figures::print(&title, ["", "took", "processor", "peak RssAnon", "stored"], &rows);
    Ok(First { vault, plain, revision: cluster.revision().await? })
}
