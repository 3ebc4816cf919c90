//! What a second backup adds: against the bare new records, and against restic on the same snapshot
//! files.

use crate::Ground;
use crate::backup::First;
use crate::cluster::{Cluster, save};
use crate::figures::{self, Result, against, mebibytes, ratio, seconds};
use crate::reference::{self, Reference};
use crate::restic::Restic;

/// Where one key in so many was updated, the stricter bound stands: 10,000 of 168,000 keys.
const MANY_IS_ONE_IN: u64 = 20;

/// For each number of updates: updates, a compaction, a backup; then all once more, with a
/// defragmentation before the backup.
pub(crate) async fn compare(
    ground: &Ground,
    cluster: &mut Cluster,
    first: &First,
    updates: &[u64],
) -> Result<()> {
    let restic = Restic::create(ground)?;
    let plain = &first.plain;
    let (run, added) = restic.backup(plain)?;
    let stored = first.vault.stored()?;
    println!(
        "\nfirst backups: {} in the vault, {} in restic's ({})",
        mebibytes(stored.bytes),
        mebibytes(added.bytes),
        seconds(run.took)
    );
    let mut rows = Vec::new();
    let mut revision = first.revision;
    for defragment in [false, true] {
        for &count in updates {
            let count = count.min(cluster.keys());
            cluster.update(count, 0).await?;
            cluster.compact().await?;
            if defragment {
                cluster.defragment();
            }
            save(cluster.etcd(), plain);
            let reference = reference::of_new_records(plain, revision)?;
            let ours = first.vault.backup()?;
            let (theirs, theirs_added) = restic.backup(plain)?;
            revision = cluster.revision().await?;
            let is_many = count * MANY_IS_ONE_IN >= cluster.keys();
            let bound = if is_many { 1.15 } else { 1.5 };
            let ratio = ratio(ours.added.bytes, reference.sealed_bytes);
            rows.push([
                title(count, defragment),
                what(&reference),
                mebibytes(reference.sealed_bytes),
                format!("{} in {} files", mebibytes(ours.added.bytes), ours.added.files),
                against(ratio, Some(bound)),
                mebibytes(theirs_added.bytes),
                seconds(ours.run.took),
                seconds(theirs.took),
            ]);
        }
    }
    let header = [
        "after",
        "new records",
        "reference",
        "uploaded",
        "ratio",
        "restic adds",
        "took",
        "restic took",
    ];
    figures::print("A second backup", header, &rows);
    Ok(())
}

fn title(count: u64, defragment: bool) -> String {
    let end = if defragment { "a compaction, a defragmentation" } else { "a compaction" };
    format!("{count} updates, {end}")
}

fn what(reference: &Reference) -> String {
    format!("{}, {}", reference.records, mebibytes(reference.plain_bytes))
}
