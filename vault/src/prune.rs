//! Forgetting, condemning, sweeping; orphans.
//!
//! Holds: what goes is decided by pure rules (`holdfast_policies`), printed as a plan first;
//! nothing is deleted but what a commit condemned longer ago than the grace, checked again beside
//! the head just read, and orphans older than 7 days by the store's own clock; the order is
//! segments, spills, bodies, pages, ledgers, reports, wraps, and commits last and ascending, so a
//! crash leaves garbage and never a reference to nothing; a seed is retired by a commit first and
//! its wraps go a grace later, when no writer can use it any more.

mod facts;
mod record;
mod sweep;

use crate::chain::ChainError;
use crate::store::ObjectInfo;
use crate::vault::Vault;
use bytes::Bytes;
use facts::{Facts, verdicts};
use holdfast_policies::clocks::Clocks;
use holdfast_policies::prune::{CommitFact, Grace, PinnedBytes, PrunePlan, pinned_bytes, plan};
use holdfast_policies::retention::{RetentionPolicy, Verdict};
use holdfast_policies::zone::Zone;
use record::record;
use std::collections::BTreeSet;
use sweep::Sweeper;

/// How to prune.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// What to keep.
    pub policy: RetentionPolicy,
    /// Whose days and weeks.
    pub zone: Zone,
    /// How long condemned objects stay.
    pub grace: Grace,
    /// Look for orphans too: lists everything; at most weekly.
    pub orphans: bool,
    /// Snapshots that a check found not to be restorable: they fill no place of a rule.
    pub broken: BTreeSet<u64>,
}

impl PruneOptions {
    /// With the default grace, UTC, without an orphan search.
    pub fn new(policy: RetentionPolicy) -> PruneOptions {
        let (zone, grace) = (Zone::utc(), Grace::default());
        PruneOptions { policy, zone, grace, orphans: false, broken: BTreeSet::new() }
    }
}

/// What a prune would do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// A verdict with reasons for every snapshot.
    pub verdicts: Vec<Verdict>,
    /// The bytes behind every snapshot that exists.
    pub pinned: Vec<PinnedBytes>,
    /// What is condemned and swept once the verdicts stand.
    pub objects: PrunePlan,
    /// Both clocks.
    pub clocks: Clocks,
}

/// What a prune did.
#[derive(Debug, Clone, Default)]
pub struct PruneReport {
    /// Snapshots that exist no more.
    pub forgotten: Vec<u64>,
    /// Objects condemned.
    pub condemned: usize,
    /// Objects, wraps and commits deleted.
    pub swept: usize,
    /// Bytes that the deletes freed.
    pub freed_bytes: u64,
    /// Bytes whose names were hidden only: the bucket keeps versions.
    pub hidden_bytes: u64,
    /// Orphans deleted, among `swept`, and files that crashed puts left in a local directory.
    pub orphans: usize,
    /// The commit that recorded it; `None`: there was nothing to record.
    pub number: Option<u64>,
    /// Why nothing was decided.
    pub stopped: Option<String>,
}

impl Vault {
    /// What a prune would do now. Writes the hint object, to learn the store's clock.
    pub async fn plan_prune(&mut self, options: &PruneOptions) -> Result<Plan, ChainError> {
        let (clocks, _) = self.clocks().await?;
        self.refresh().await?;
        let commits = self.list_commits().await?;
        let verdicts = verdicts(self.chain(), options, clocks);
        let kept: Vec<u64> =
            verdicts.iter().filter(|verdict| verdict.is_kept()).map(|v| v.number).collect();
        let facts = Facts::of(self.chain());
        let all: Vec<u64> = self.chain().catalogue().numbers().into_iter().collect();
        let pinned = pinned_bytes(&all, &facts.objects);
        let objects = plan(facts.chain(self.chain(), &kept, &commits), options.grace, clocks);
        Ok(Plan { verdicts, pinned, objects, clocks })
    }

    /// Sweeps what is due, then forgets and condemns in one commit.
    pub async fn prune(&mut self, options: &PruneOptions) -> Result<PruneReport, ChainError> {
        let (clocks, versioned) = self.clocks().await?;
        self.refresh().await?;
        let mut report = PruneReport::default();
        let mut sweeper = Sweeper { versioned, ..Sweeper::default() };
        let commits = self.list_commits().await?;
        let kept: Vec<u64> = self.chain().catalogue().numbers().into_iter().collect();
        let facts = Facts::of(self.chain());
        let due = plan(facts.chain(self.chain(), &kept, &commits), options.grace, clocks);
        if let Some(skew) = due.stopped {
            report.stopped = Some(skew.to_string());
            return Ok(report);
        }
        self.prepare_to_write().await?;
        sweeper.objects(self, &due).await?;
        self.access().mend_wraps(&self.head().seeds).await;
        sweeper.wraps(self, options, clocks.now_ms()).await?;
        if options.orphans {
            self.sweep_orphans(&mut sweeper, clocks.store_ms.unwrap_or(i64::MIN)).await?;
        }
        sweeper.commits(self, &commits).await?;
        let swept = sweeper.ids.clone();
        let wraps = sweeper.wrap_ids.clone();
        let mut done = (Vec::new(), 0);
        report.number = self
            .small_commit(|chain| {
                let draft = record(chain, options, clocks, (&swept, &wraps, &commits));
                let forgotten = draft.catalogue.forget.iter().copied().collect();
                done = (forgotten, draft.condemned.len());
                Ok(Some(draft).filter(|draft| !draft.actions.is_empty()))
            })
            .await?;
        (report.forgotten, report.condemned) = done;
        report.swept = sweeper.swept;
        report.orphans = sweeper.orphans;
        (report.freed_bytes, report.hidden_bytes) = (sweeper.freed_bytes, sweeper.hidden_bytes);
        Ok(report)
    }

    /// Both clocks, and whether the bucket keeps versions. The store's is what it stamps on a fresh
    /// object.
    async fn clocks(&self) -> Result<(Clocks, bool), ChainError> {
        let access = self.access();
        let name = access.names().hint();
        let head = self.head().number.to_string();
        access.store().put(&name, Bytes::from(head)).await?;
        let own_ms = access.clock().now_ms();
        let info = access.store().head(&name).await?;
        let versioned = info.version.as_deref().is_some_and(|version| version != "null");
        Ok((Clocks { own_ms, store_ms: Some(info.modified_ms) }, versioned))
    }

    async fn list_commits(&self) -> Result<Vec<CommitFact>, ChainError> {
        let names = self.access().names();
        let listed = self.store().list_all(&names.commits(), 4_000_000).await?;
        let era = self.head().era;
        let fact = |item: &ObjectInfo| {
            let (found, number) = names.parse_commit(&item.name)?;
            (found == era).then_some(CommitFact {
                number,
                time_ms: item.modified_ms,
                sealed_bytes: item.size_bytes,
                index_seed: [0; 16],
            })
        };
        Ok(listed.iter().filter_map(fact).collect())
    }
}
