//! Compactions, step by step: a chore looks a step through, this thread takes it away.
//!
//! What must hold: one step at a time; who waits for a compaction's end is answered when the disk
//! has it.

use std::time::Instant;

use holdfast_core::mvcc::{CompactionBatch, CompactionProgress, MvccError};
use serde_json::json;

use super::{ApplyEnd, ApplyThread, Desk, Work};
use crate::engine::machine::Answer;

impl ApplyThread {
    /// Lets the next step of a compaction be looked through, if there is one.
    pub(super) fn compact_on(&self, desk: &mut Desk) {
        if desk.compacting {
            return;
        }
        let Some(scan) = self.machine.store.compaction_scan() else { return };
        let (own, batch) = (self.own.clone(), self.compaction_batch);
        desk.compacting = self.chores.give(move || {
            let _ = own.send(Work::Compaction(scan.run(batch)));
        });
    }

    pub(super) fn compacted(
        &mut self,
        batch: Result<CompactionBatch, MvccError>,
        desk: &mut Desk,
    ) -> Result<(), ApplyEnd> {
        desk.compacting = false;
        let batch = batch.map_err(ApplyEnd::Compaction)?;
        let progress = self.machine.store.apply_compaction(batch);
        desk.due.get_or_insert_with(|| Instant::now() + self.commit_interval);
        if let CompactionProgress::Finished { revision, .. } = progress {
            self.tell_compaction(revision);
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
        }
        self.compact_on(desk);
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
