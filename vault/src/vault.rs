//! An open vault: one cluster's chain, and everything that is done with it.

use crate::access::Access;
use crate::chain::draft::Draft;
use crate::chain::{Chain, ChainError, CommitOutcome, Round, Witness};
use crate::format::{HoldId, ObjectId};
use crate::proto::action::Kind;
use crate::proto::{
    CatalogueEntry, Commit, Hold, ObjectKind, ObjectRef, Pin, Report, VaultIdentity,
};
use crate::root::fingerprint;
use crate::snapshot::{Outcome, SnapshotError, SnapshotOptions, SnapshotReader, Source, take};
use crate::store::Store;
use crate::store::doctor::probe_collision;
use crate::writer::WriterKeys;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;

/// An open vault. Its view of the chain is as old as the last call that read it; whoever writes
/// reads it anew.
#[derive(Debug)]
pub struct Vault {
    chain: Chain,
    root: VaultIdentity,
    keys: Option<WriterKeys>,
    probed: bool,
    mended: bool,
}

/// How often a small commit is tried against other writers.
const REPEATS: u32 = 16;
/// Reports that stay; older ones leave with the next.
const REPORTS: usize = 64;

impl Vault {
    pub(crate) fn over(chain: Chain, root: VaultIdentity) -> Vault {
        chain.access().adopt_recipient(chain.head());
        Vault { chain, root, keys: None, probed: false, mended: false }
    }

    /// The chain as it was read last.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Store, names and keys.
    pub fn access(&self) -> &Arc<Access> {
        self.chain.access()
    }

    /// The store.
    pub fn store(&self) -> &Store {
        self.access().store()
    }

    /// The newest commit that was read.
    pub fn head(&self) -> &Commit {
        self.chain.head()
    }

    /// The snapshots that exist, oldest first.
    pub fn snapshots(&self) -> Vec<CatalogueEntry> {
        self.chain.catalogue().entries().cloned().collect()
    }

    /// Hash of vault id and root public key, for people to compare: 64 hex digits in groups of 8.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.root)
    }

    /// Whether the vault was created without sealing; every command should say so.
    pub fn is_unsealed(&self) -> bool {
        self.root.unsealed
    }

    /// What a state file should remember of the head.
    pub fn witness(&self) -> Witness {
        self.chain.witness()
    }

    /// Reads the chain up to its head.
    pub async fn refresh(&mut self) -> Result<(), ChainError> {
        self.chain.refresh().await?;
        self.access().adopt_recipient(self.head());
        Ok(())
    }

    /// Takes a snapshot. The first call of a process probes the store with a real collision, puts
    /// copies of wraps again that are missing, and makes a data seed of its own.
    pub async fn snapshot(
        &mut self,
        source: Box<dyn Source>,
        options: &SnapshotOptions,
    ) -> Result<Outcome, SnapshotError> {
        let known = options.known.unwrap_or(self.head().number);
        let mut options = SnapshotOptions { known: Some(known), ..options.clone() };
        let began_ms = self.access().clock().boot_ms();
        self.chain.refresh().await?;
        self.prepare_to_write().await?;
        if !std::mem::replace(&mut self.mended, true) {
            let gone = self.access().mend_wraps(&self.head().seeds).await;
            // Later than a round, a rewrap elsewhere may be why they are gone.
            let in_time = Round::begin(began_ms).may_attempt(self.access().clock().boot_ms());
            self.mended = in_time;
            options.damaged.extend(sealed_under(&self.chain, &gone).filter(|_| in_time));
        }
        let usable = self.keys.as_ref().is_some_and(|keys| keys.usable(&self.chain));
        if !usable {
            self.keys = Some(WriterKeys::create(self.access()).await?);
        }
        let Some(keys) = &self.keys else { return Err(ChainError::ReadOnly.into()) };
        take(&mut self.chain, keys, source, &options).await
    }

    /// Opens snapshot `number` for reading. Call `refresh` first to see the newest.
    pub async fn reader(&mut self, number: u64) -> Result<SnapshotReader, SnapshotError> {
        SnapshotReader::open(&mut self.chain, number).await
    }

    /// Pins a snapshot: retention keeps it, for this reason, until `expires_ms` (0: for ever).
    pub async fn pin(
        &mut self,
        snapshot: u64,
        reason: &str,
        expires_ms: i64,
    ) -> Result<u64, SnapshotError> {
        let created_ms = self.access().clock().now_ms();
        let pin = Pin { snapshot, reason: reason.to_owned(), created_ms, expires_ms };
        self.about(self.round(), (snapshot, Kind::Pin, reason), move |draft, head| {
            let mut pins = head.pins.clone();
            pins.retain(|old| old.snapshot != snapshot);
            pins.push(pin.clone());
            draft.pins = Some(pins);
        })
        .await
    }

    /// Removes the pin of a snapshot.
    pub async fn unpin(&mut self, snapshot: u64) -> Result<u64, SnapshotError> {
        self.about(self.round(), (snapshot, Kind::Pin, "removed"), move |draft, head| {
            let mut pins = head.pins.clone();
            pins.retain(|old| old.snapshot != snapshot);
            draft.pins = Some(pins);
        })
        .await
    }

    /// Keeps a snapshot and all that it needs until `expires_ms`: for drills and investigations.
    pub async fn hold(
        &mut self,
        snapshot: u64,
        reason: &str,
        expires_ms: i64,
    ) -> Result<HoldId, SnapshotError> {
        let id = HoldId::random(&mut **self.access().entropy());
        let reason_text = reason.to_owned();
        self.about(self.round(), (snapshot, Kind::Hold, reason), move |draft, head| {
            let mut holds = head.holds.clone();
            let (hold_id, reason) = (id.to_bytes(), reason_text.clone());
            holds.push(Hold { hold_id, snapshot, expires_ms, reason });
            draft.holds = Some(holds);
        })
        .await?;
        Ok(id)
    }

    /// Ends a hold.
    pub async fn release(&mut self, hold: HoldId) -> Result<(), ChainError> {
        self.small_commit(move |chain| {
            let mut draft = Draft::of(Kind::Hold, 0, "released");
            let mut holds = chain.head().holds.clone();
            holds.retain(|old| old.hold_id != hold.as_bytes()[..]);
            draft.holds = Some(holds);
            Ok(Some(draft))
        })
        .await?;
        Ok(())
    }

    /// Stores a drill's report, and raises the snapshot's proven level if it passed. `level` counts
    /// as in the catalogue: the highest level shown plus 1.
    pub async fn report(&mut self, report: &Report) -> Result<u64, SnapshotError> {
        self.chain.refresh().await?;
        self.prepare_to_write().await?;
        let round = self.round();
        let object = self.access().put_message(ObjectKind::Report, report).await?;
        let (snapshot, level, when) = (report.snapshot, report.level + 1, report.finished_ms);
        let passed = report.passed;
        let reason = if passed { String::new() } else { report.failure.clone() };
        self.about(round, (snapshot, Kind::Proven, &reason), move |draft, _| {
            draft.added.push(object.clone());
            if passed {
                draft.catalogue.proven.insert(snapshot, (level, when));
            }
        })
        .await
    }

    /// A commit about one snapshot, which must exist.
    async fn about(
        &mut self,
        round: Round,
        (snapshot, kind, reason): (u64, Kind, &str),
        change: impl Fn(&mut Draft, &Commit),
    ) -> Result<u64, SnapshotError> {
        let outcome = self
            .small_commit_of(round, |chain| {
                if chain.catalogue().get(snapshot).is_none() {
                    return Ok(None);
                }
                let mut draft = Draft::of(kind, snapshot, reason);
                change(&mut draft, chain.head());
                retire_reports(&mut draft, chain);
                Ok(Some(draft))
            })
            .await?;
        outcome.ok_or(SnapshotError::NoSnapshot { number: snapshot, was_there: false })
    }

    /// A round that begins now. Whoever uploads something for a small commit begins it before: what
    /// is older than a round may be gone as an orphan.
    pub(crate) fn round(&self) -> Round {
        Round::begin(self.access().clock().boot_ms())
    }

    /// A small commit for which nothing was uploaded before.
    pub(crate) async fn small_commit(
        &mut self,
        draft: impl FnMut(&Chain) -> Result<Option<Draft>, ChainError>,
    ) -> Result<Option<u64>, ChainError> {
        self.small_commit_of(self.round(), draft).await
    }

    /// Commits what `draft` makes of the head, again and again until it wins; `None`: there was
    /// nothing to say.
    pub(crate) async fn small_commit_of(
        &mut self,
        round: Round,
        mut draft: impl FnMut(&Chain) -> Result<Option<Draft>, ChainError>,
    ) -> Result<Option<u64>, ChainError> {
        self.chain.refresh().await?;
        self.prepare_to_write().await?;
        for _ in 0..REPEATS {
            let Some(draft) = draft(&self.chain)? else { return Ok(None) };
            if let CommitOutcome::Won(number) = self.chain.commit(&draft, round, 0).await? {
                return Ok(Some(number));
            }
        }
        Err(ChainError::RoundTooOld)
    }

    /// The next snapshot makes its data seed anew.
    pub(crate) fn forget_writer(&mut self) {
        self.keys = None;
    }

    /// Whether this head may be followed; and at the first write of a process: does the store
    /// refuse a taken name?
    pub(crate) async fn prepare_to_write(&mut self) -> Result<(), ChainError> {
        self.chain.check_writable()?;
        if self.probed {
            return Ok(());
        }
        let access = self.access();
        let name = access.names().probe(access.random_object_id());
        if !probe_collision(access.store(), &name).await? {
            let address = access.store().address().to_owned();
            return Err(ChainError::UnsafeStore { address });
        }
        self.probed = true;
        Ok(())
    }
}

/// The live objects that no key opens any more, since a seed of theirs is gone.
fn sealed_under(chain: &Chain, gone: &BTreeSet<Bytes>) -> impl Iterator<Item = ObjectId> {
    let lost = |object: &ObjectRef| {
        gone.contains(&object.data_seed_id) || gone.contains(&object.index_seed_id)
    };
    chain.state().live().filter(move |(_, one)| lost(&one.object)).map(|(id, _)| *id)
}

/// Old reports leave the live set.
fn retire_reports(draft: &mut Draft, chain: &Chain) {
    let mut reports: Vec<_> = chain
        .state()
        .live()
        .filter(|(_, extant)| extant.object.kind() == ObjectKind::Report)
        .map(|(id, extant)| (extant.added, *id))
        .collect();
    reports.sort();
    let excess = reports.len().saturating_sub(REPORTS);
    for (_, id) in reports.into_iter().take(excess) {
        draft.removed.push(id);
        draft.condemned.push(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_send<T: Send>(_: &T) {}

    /// Whoever embeds the vault may spawn its work.
    #[expect(dead_code, reason = "it is enough that it compiles")]
    fn futures_can_be_spawned(
        vault: &mut Vault,
        source: Box<dyn Source>,
        options: &SnapshotOptions,
    ) {
        is_send(&vault.refresh());
        is_send(&vault.reader(1));
        is_send(&vault.rewrap());
        is_send(&vault.snapshot(source, options));
    }
}
