//! The store that everything is measured on: Kubernetes-shaped objects in a file as a cluster has
//! it that compacts regularly.
//!
//! Made through a running etcd 3.6, once: all keys, then rounds of updates, each followed by a
//! compaction that leaves the last [`WINDOW`] rounds as history. So 30 % of the records are
//! history, and the pages that compactions freed lie all over the file. Must hold: a finished store
//! is never touched again; a half-made one has no name.

use crate::cluster::{self, SEED};
use crate::figures::{Result, mebibytes};
use holdfast_tests::contents;
use holdfast_tests::etcd::{Etcd, Options};
use holdfast_tests::objects::{Chance, Object, object};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Changes when the way a store is made changes: cached ones are then made anew.
const RECIPE: u32 = 1;
/// Records in a database of a megabyte, about: 240,000 in a gigabyte.
const RECORDS_PER_MB: u64 = 240;
/// Of all records, those that are history, in percent.
const HISTORY_PERCENT: u64 = 30;
/// Rounds of updates that stay as history.
const WINDOW: usize = 4;
/// Rounds of updates in all.
const ROUNDS: usize = 10;
/// Puts in a transaction.
const PER_TXN: usize = 64;

/// What a store is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoreSpec {
    /// Keys alive.
    pub(crate) keys: u64,
    /// Records that newer ones supersede.
    pub(crate) history: u64,
}

impl StoreSpec {
    /// For a database of about this size.
    pub(crate) fn of_size(size_mb: u64) -> StoreSpec {
        let records = (size_mb * RECORDS_PER_MB).max(1_000);
        let history = records * HISTORY_PERCENT / 100;
        StoreSpec { keys: records - history, history }
    }

    fn file_name(self) -> String {
        format!("store-v{RECIPE}-{}-{}-{SEED}.db", self.keys, self.history)
    }

    /// Random distinct keys for one round: every `1 / share`-th, from a random start.
    fn round(self, round: usize) -> impl Iterator<Item = Object> {
        let number = round as u64;
        let count = self.history / WINDOW as u64;
        let mut chance = Chance::new(SEED ^ number.wrapping_mul(0x9e37_79b9));
        let order = shuffled_prefix(self.keys, count, &mut chance);
        order.into_iter().map(move |index| object(SEED, index, number + 2))
    }
}

/// `count` distinct numbers below `bound`, in random order.
pub(crate) fn shuffled_prefix(bound: u64, count: u64, chance: &mut Chance) -> Vec<u64> {
    let mut all: Vec<u64> = (0..bound).collect();
    let count = usize::try_from(count.min(bound)).unwrap_or(all.len());
    for place in 0..count {
        let other = chance.below((all.len() - place) as u64);
        all.swap(place, place + usize::try_from(other).unwrap_or(0));
    }
    all.truncate(count);
    all
}

/// The snapshot file of the store: from the cache, or made now.
pub(crate) async fn obtain(spec: &StoreSpec, cache: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(cache)?;
    let path = cache.join(spec.file_name());
    if !path.exists() {
        println!("making a store of {} keys and {} records of history …", spec.keys, spec.history);
        let started = Instant::now();
        let folder = tempfile::Builder::new().prefix("making-").tempdir_in(cache)?;
        make(spec, folder.path(), &path).await?;
        println!("  made in {:.0} s", started.elapsed().as_secs_f64());
    }
    let size = std::fs::metadata(&path)?.len();
    println!(
        "store: {} keys, {} records of history, a file of {}",
        spec.keys,
        spec.history,
        mebibytes(size)
    );
    Ok(path)
}

async fn make(spec: &StoreSpec, folder: &Path, path: &Path) -> Result<()> {
    let options =
        Options::new("3.6").with_flags(&cluster::FLAGS).with_data_dir(&folder.join("data"));
    let mut etcd = Etcd::start_with(options).await;
    let client = cluster::patient_client(&etcd)?;
    contents::put(&client, (0..spec.keys).map(|index| object(SEED, index, 1)), PER_TXN).await?;
    let mut ends = Vec::new();
    for round in 0..ROUNDS {
        contents::put(&client, spec.round(round), PER_TXN).await?;
        ends.push(contents::revision(&client).await?);
        if let Some(place) = round.checked_sub(WINDOW) {
            cluster::compact(&etcd, ends[place]);
        }
    }
    let unfinished = folder.join("snapshot.db");
    cluster::save(&etcd, &unfinished);
    etcd.stop().await;
    std::fs::rename(&unfinished, path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_round_updates_different_keys() {
        let spec = StoreSpec::of_size(10);
        let keys: BTreeSet<String> = spec.round(3).map(|object| object.key).collect();
        assert_eq!(keys.len() as u64, spec.history / WINDOW as u64);
        assert_ne!(spec.round(3).next(), spec.round(4).next());
    }

    #[test]
    fn thirty_percent_are_history() {
        assert_eq!(StoreSpec::of_size(1_000), StoreSpec { keys: 168_000, history: 72_000 });
    }
}
