//! What a read does when an object goes away under it: it reads the head again and plans again.
//!
//! A snapshot's body and segments stay as long as the snapshot exists, and for the grace after it
//! was forgotten. A read that outlives both goes on with the oldest later snapshot of the same
//! lineage: of the records up to the revision that is read, it can only have fewer. Holds: nothing
//! is given twice, since what was given is skipped by (main, sub); nothing is left out unseen,
//! since counts and digest over everything that was given are compared with the snapshot that was
//! asked for; after three plans the read ends with an error that says what happened.

use super::SnapshotError;
use super::read::{SnapshotReader, VerifiedSnapshot};
use super::walk::Rev;
use crate::access::{Access, AccessError};
use crate::chain::{Chain, ChainError};
use crate::format::Record;
use crate::proto::CatalogueEntry;
use crate::store::StoreError;
use std::sync::Arc;

/// How often a read plans again.
const PLANS: u32 = 3;

/// Where a read stands.
#[derive(Debug)]
pub(super) struct Progress {
    access: Arc<Access>,
    entry: CatalogueEntry,
    /// The record given last.
    last: Option<Rev>,
    plans: u32,
    /// The snapshot that is read instead, once the one that was asked for is gone.
    instead: Option<u64>,
}

impl Progress {
    /// At the beginning of a read.
    pub(super) fn new(access: Arc<Access>, entry: CatalogueEntry) -> Progress {
        Progress { access, entry, last: None, plans: 0, instead: None }
    }

    /// Whether `record` is to be given: it was not yet, and belongs to the snapshot.
    pub(super) fn wants(&mut self, record: &Record<'_>) -> bool {
        let rev = (record.main, record.sub);
        let again = self.plans > 0 && self.last.is_some_and(|last| rev <= last);
        let beyond = self.instead.is_some() && record.main > self.entry.revision;
        if again || beyond {
            return false;
        }
        self.last = Some(rev);
        true
    }

    /// The plan to go on with after `error`.
    ///
    /// # Errors
    /// `error` itself unless it says that an object is missing; `WentAway` after three plans;
    /// `NoSnapshot` when nothing can stand in.
    pub(super) async fn replan(
        &mut self,
        mut error: SnapshotError,
    ) -> Result<SnapshotReader, SnapshotError> {
        let number = self.entry.number;
        while is_missing(&error) {
            if self.plans == PLANS {
                let detail = error.to_string();
                return Err(SnapshotError::WentAway { number, plans: PLANS, detail });
            }
            self.plans += 1;
            tracing::warn!(snapshot = number, %error, "an object went away; planning again");
            let chain = Chain::open(self.access.clone()).await?;
            let entry = self.stands_in(&chain);
            let entry = entry.ok_or(SnapshotError::NoSnapshot { number, was_there: true })?;
            self.instead = (entry.number != number).then_some(entry.number);
            match SnapshotReader::plan(&chain, entry).await {
                Ok(reader) => return Ok(reader),
                Err(again) => error = again,
            }
        }
        Err(error)
    }

    fn stands_in(&self, chain: &Chain) -> Option<CatalogueEntry> {
        let wanted = &self.entry;
        let catalogue = chain.catalogue();
        let same = catalogue.get(wanted.number).filter(|found| found.body_id == wanted.body_id);
        let later = || {
            catalogue.entries().find(|entry| {
                let newer = entry.number > wanted.number && entry.revision >= wanted.revision;
                newer && entry.lineage_id == wanted.lineage_id && !entry.contested
            })
        };
        same.or_else(later).cloned()
    }

    /// The proof's outcome, told as what it means here.
    pub(super) fn told(
        &self,
        proof: Result<VerifiedSnapshot, SnapshotError>,
    ) -> Result<VerifiedSnapshot, SnapshotError> {
        match (proof, self.instead) {
            (Err(SnapshotError::Contradiction { number, detail }), Some(instead)) => {
                let detail = format!(
                    "it was forgotten while it was read, and snapshot {instead} no longer holds all of \
                     it ({detail}); restore that one, or hold a snapshot before a long read"
                );
                Err(SnapshotError::Contradiction { number, detail })
            }
            (proof, _) => proof,
        }
    }
}

/// Whether an object that the plan needs is not there.
pub(super) fn is_missing(error: &SnapshotError) -> bool {
    use ChainError as C;
    matches!(
        error,
        SnapshotError::Chain(
            C::Store(StoreError::NotFound { .. })
                | C::Keys(AccessError::Store(StoreError::NotFound { .. }))
        )
    )
}
