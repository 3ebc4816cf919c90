//! When a .snap file is due, and what is done for it.
//!
//! A .snap file tells how far the database has what the log says, so that the log before it can go.
//! What must hold: it is written after the database holds all entries up to its index, and noted in
//! the WAL after it is durable itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, RwLock};

use holdfast_core::disk::FileSystem;
use holdfast_core::membership::Cluster;
use holdfast_core::raftpb::{RaftSnapshot, SnapshotMetadata};
use holdfast_core::snap::SnapFiles;
use holdfast_core::v2store;
use holdfast_core::wal::SnapshotRecord;

use super::chores::Chores;
use super::commit_thread::Then;
use super::locks::read;
use super::raft_thread::Input;

/// Decides and prepares.
pub(crate) struct Snapshots {
    /// Entries between two: `--snapshot-count`.
    every: u64,
    /// Index of the last one.
    last: u64,
    /// Index of the last one whose file is durable.
    saved: Arc<AtomicU64>,
    forced: bool,
    dir: std::path::PathBuf,
    chores: Chores,
    raft: Sender<Input>,
    then: Vec<Then>,
}

impl Snapshots {
    /// After a start at the snapshot with that index.
    pub(crate) fn new(
        every: u64,
        last: u64,
        dir: std::path::PathBuf,
        chores: Chores,
        raft: Sender<Input>,
    ) -> Snapshots {
        let saved = Arc::new(AtomicU64::new(last));
        Snapshots { every, last, saved, forced: false, dir, chores, raft, then: Vec::new() }
    }

    /// The next one is due at once, if `now`.
    pub(crate) fn force(&mut self, now: bool) {
        self.forced |= now;
    }

    /// Whether one is due when the entry at `index` is applied.
    pub(crate) fn is_due(&self, index: u64) -> bool {
        let since = index.saturating_sub(self.last);
        since > 0 && (self.forced || since > self.every)
    }

    /// Index of the last one whose file is durable.
    pub(crate) fn saved(&self) -> u64 {
        self.saved.load(Ordering::Acquire)
    }

    /// Something to be done after the next commit.
    pub(crate) fn after_commit(&mut self, act: impl FnOnce() + Send + 'static) {
        self.then.push(Box::new(act));
    }

    /// What follows the commit that holds all entries up to (index, term).
    pub(crate) fn due(
        &mut self,
        (index, term): (u64, u64),
        cluster: &RwLock<Cluster>,
    ) -> Vec<Then> {
        let mut then = std::mem::take(&mut self.then);
        let (raft, members) = (self.raft.clone(), read(cluster).conf_state());
        then.push(Box::new(move || {
            // The raft thread is gone only when the member ends.
            let _ = raft.send(Input::Stored(index, members));
        }));
        if self.is_due(index) {
            (self.last, self.forced) = (index, false);
            then.push(self.save(index, term, cluster));
        }
        then
    }

    fn save(&self, index: u64, term: u64, cluster: &RwLock<Cluster>) -> Then {
        let (conf_state, v2) = {
            let cluster = read(cluster);
            (cluster.conf_state(), cluster.to_v2())
        };
        let saved = Arc::clone(&self.saved);
        let (chores, raft, dir) = (self.chores.clone(), self.raft.clone(), self.dir.clone());
        Box::new(move || {
            let tell = chores.clone();
            chores.give(move || {
                let data = v2store::encode_membership(&v2);
                let metadata = SnapshotMetadata { conf_state: conf_state.clone(), index, term };
                let files = SnapFiles::new(FileSystem, &dir);
                let done = files.save(&RaftSnapshot { data: &data, metadata });
                tell.tell_saved(index, done.as_ref().err());
                if done.is_ok() {
                    let noted = Some(conf_state.clone());
                    let record = SnapshotRecord { index, term, conf_state: noted };
                    let _ = raft.send(Input::SnapshotSaved(record, conf_state));
                    saved.fetch_max(index, Ordering::AcqRel);
                }
            });
        })
    }
}
