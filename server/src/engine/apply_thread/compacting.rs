//! Compactions, step by step: a chore looks a step through, this thread takes it away.
//!
//! What must hold: one step at a time, and a pause behind each but the last, in which readers,
//! writers and the disk have their turn, as upstream does it; no step is added to what the disk is
//! behind with already; one that cannot begin now begins later; who waits for a compaction's end is
//! answered when the disk has it.

use std::time::{Duration, Instant};

use holdfast_core::mvcc::{CompactionBatch, CompactionProgress, MvccError};
use serde_json::json;

use super::{ApplyEnd, ApplyThread, Desk, PENDING_BYTES, Work};
use crate::engine::machine::Answer;

/// How compactions go on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CompactionPace {
    /// Records that one step looks at: `--compaction-batch-limit`.
    pub(crate) batch: usize,
    /// Time between two steps: `--compaction-sleep-interval`.
    pub(crate) pause: Duration,
}

/// No step begins while so many changes wait for the disk.
const MOST_PENDING: usize = 10_000;
/// After so long a step that could not begin is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// Where the steps are.
#[derive(Debug, Default, Clone, Copy)]
pub(super) enum Step {
    /// Nothing is to be compacted.
    #[default]
    Idle,
    /// One is being looked through.
    UnderWay,
    /// The next one begins then.
    Due(Instant),
}

impl ApplyThread {
    /// Begins with what is to be compacted, unless that goes on already.
    pub(super) fn compact_on(&self, desk: &mut Desk) {
        if matches!(desk.step, Step::Idle) {
            self.next_step(desk);
        }
    }

    /// Lets the next step be looked through, if there is one.
    pub(super) fn next_step(&self, desk: &mut Desk) {
        let Some(scan) = self.machine.store.compaction_scan() else {
            desk.step = Step::Idle;
            return;
        };
        let (own, batch) = (self.own.clone(), self.compaction.batch);
        let look = move || {
            let _ = own.send(Work::Compaction(scan.run(batch)));
        };
        // What is deleted waits for the disk as well, and nobody waits for it at a limit.
        let backend = self.machine.store.backend();
        let has_room =
            backend.pending_changes() < MOST_PENDING && backend.pending_bytes() < PENDING_BYTES;
        let begins = has_room && self.chores.give(look);
        desk.step = if begins { Step::UnderWay } else { Step::Due(Instant::now() + TRY_AGAIN) };
    }

    pub(super) fn compacted(
        &mut self,
        batch: Result<CompactionBatch, MvccError>,
        desk: &mut Desk,
    ) -> Result<(), ApplyEnd> {
        let batch = batch.map_err(ApplyEnd::Compaction)?;
        let progress = self.machine.store.apply_compaction(batch);
        desk.due.get_or_insert_with(|| Instant::now() + self.commit_interval);
        if let CompactionProgress::Finished { revision, .. } = progress {
            self.tell_compaction(revision);
            self.next_step(desk);
            let done: Vec<u64> =
                desk.physical.extract_if(.., |(at, _)| *at <= revision).map(|(_, id)| id).collect();
            let (waits, now) = (self.waits.clone(), self.machine.store.revision());
            if !done.is_empty() {
                // They wait for the disk too.
                self.snapshots.after_commit(move || {
                    done.iter().for_each(|id| waits.answer(*id, (Ok(Answer::Compaction), now)));
                });
                self.freeze(desk)?;
            }
        } else {
            desk.step = Step::Due(Instant::now() + self.compaction.pause);
        }
        Ok(())
    }

    fn tell_compaction(&self, revision: i64) {
        let at = ("compact-revision", json!(revision));
        self.logger.info("finished scheduled compaction", &[at]);
        let hashes = self.machine.store.handle().compaction_hashes();
        if let Some(hash) = hashes.iter().find(|hash| hash.revision == revision) {
            self.logger.info(
                "storing new hash",
                &[
                    ("hash", json!(hash.hash)),
                    ("revision", json!(hash.revision)),
                    ("compact-revision", json!(hash.compact_revision)),
                ],
            );
        }
    }
}
