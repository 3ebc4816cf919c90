//! A day of hourly backups: what the vault holds, and what a restore reads of it.
//!
//! Each simulated hour updates a hundredth of the keys, half of them among those that change often,
//! and compacts. Nothing is pruned: 24 hourly snapshots are what the default retention keeps.

use crate::Ground;
use crate::cluster::Cluster;
use crate::figures::{self, Result, against, mebibytes, ratio, seconds};
use crate::vault::Vault;

/// Keys updated in an hour: one of so many.
const ONE_OF: u64 = 100;
/// Of the updates, those among the keys that change often, in percent.
const HOT_PERCENT: u64 = 50;
/// Hours between restores.
const RESTORE_EVERY: u64 = 6;

pub(crate) async fn simulate(ground: &Ground, cluster: &mut Cluster, hours: u64) -> Result<()> {
    let vault = Vault::create(ground, "day", cluster)?;
    let updates = (cluster.keys() / ONE_OF).max(10);
    let mut rows = Vec::new();
    let mut first_bytes = 0;
    for hour in 0..=hours {
        if hour > 0 {
            cluster.update(updates, HOT_PERCENT).await?;
            cluster.compact().await?;
        }
        let backup = vault.backup()?;
        let stored = vault.stored()?;
        if hour == 0 {
            first_bytes = stored.bytes;
        }
        let mut row = [
            hour.to_string(),
            seconds(backup.run.took),
            mebibytes(backup.added.bytes),
            mebibytes(stored.bytes),
            stored.files.to_string(),
            String::new(),
            String::new(),
        ];
        if hour.is_multiple_of(RESTORE_EVERY) || hour == hours {
            let data_dir = ground.dir.join("restored");
            let restore = vault.restore(&data_dir, false)?;
            std::fs::remove_dir_all(&data_dir)?;
            row[5] = mebibytes(restore.read_bytes);
            row[6] = against(ratio(restore.read_bytes, first_bytes), None);
        }
        rows.push(row);
    }
    let title = format!("{hours} hours of {updates} updates, a compaction and a backup each");
    let header =
        ["hour", "took", "added", "stored", "objects", "a restore reads", "of the first backup"];
    figures::print(&title, header, &rows);
    Ok(())
}
