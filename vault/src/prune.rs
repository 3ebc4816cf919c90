//! Forgetting, condemning, sweeping; orphans.
//!
//! Holds: what goes is decided by pure rules (`holdfast_policies`), printed as a plan first;
//! nothing is deleted but what a commit condemned longer ago than the grace, checked again beside
//! the head just read, and orphans older than 7 days by the store's own clock; the order is
//! segments, spills, bodies, pages, ledgers, reports, wraps, and commits last and ascending, so a
//! crash leaves garbage and never a reference to nothing; a seed is retired by a commit first and
//! its wraps go a grace later, when no writer can use it any more.

use crate::chain::draft::Draft;
use crate::chain::rules::ORPHAN_AGE_MS;
use crate::chain::{Chain, ChainError};
use crate::format::ObjectId;
use crate::proto::action::Kind;
use crate::proto::{self, ObjectKind, ObjectRef, SeedKind};
use crate::store::{ObjectInfo, StoreError};
use crate::vault::Vault;
use bytes::Bytes;
use holdfast_policies::clocks::Clocks;
use holdfast_policies::prune::{
    ChainFacts, CommitFact, Grace, Hold, KEPT_SEEDS_MS, ObjectFact, ObjectKind as PolicyKind,
    PinnedBytes, PrunePlan, Target, pinned_bytes, plan,
};
use holdfast_policies::retention::{Pin, RetentionPolicy, SnapshotFact, Verdict, judge};
use holdfast_policies::zone::Zone;
use std::collections::BTreeSet;

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

/// What the pure rules want to know.
struct Facts {
    objects: Vec<ObjectFact>,
    holds: Vec<Hold>,
}

impl Facts {
    fn of(chain: &Chain) -> Facts {
        let seeds = |object: &ObjectRef| {
            let ids = [&object.data_seed_id, &object.index_seed_id];
            ids.into_iter().filter_map(|id| id[..].try_into().ok()).collect()
        };
        let objects = chain.state().objects().iter().filter_map(|(id, extant)| {
            Some(ObjectFact {
                id: *id.as_bytes(),
                kind: policy_kind(extant.object.kind())?,
                sealed_bytes: extant.object.size_bytes,
                added: extant.added,
                removed: extant.removed,
                condemned_ms: extant.condemned.map(|condemned| condemned.time_ms),
                locked_until_ms: None,
                seeds: seeds(&extant.object),
            })
        });
        let hold =
            |hold: &proto::Hold| Hold { snapshot: hold.snapshot, expires_ms: hold.expires_ms };
        Facts { objects: objects.collect(), holds: chain.head().holds.iter().map(hold).collect() }
    }

    fn chain<'a>(
        &'a self,
        chain: &Chain,
        kept: &'a [u64],
        commits: &'a [CommitFact],
    ) -> ChainFacts<'a> {
        let head = chain.head();
        ChainFacts {
            kept,
            holds: &self.holds,
            objects: &self.objects,
            // Seeds are retired and dropped by their own rule, in two commits.
            seeds: &[],
            commits,
            floor: head.floor,
            ledger: head.ledger.as_ref().map(|ledger| ledger.number),
            kept_commits: chain.access().limits().kept_commits,
        }
    }
}

fn policy_kind(kind: ObjectKind) -> Option<PolicyKind> {
    Some(match kind {
        ObjectKind::Segment => PolicyKind::Segment,
        ObjectKind::Spill => PolicyKind::Spill,
        ObjectKind::Body => PolicyKind::Body,
        ObjectKind::Page => PolicyKind::Page,
        ObjectKind::Ledger => PolicyKind::Ledger,
        ObjectKind::Report => PolicyKind::Report,
        ObjectKind::Log => PolicyKind::Log,
        ObjectKind::Unspecified | ObjectKind::Commit | ObjectKind::Status => return None,
    })
}

fn our_kind(kind: PolicyKind) -> Option<ObjectKind> {
    Some(match kind {
        PolicyKind::Segment => ObjectKind::Segment,
        PolicyKind::Spill => ObjectKind::Spill,
        PolicyKind::Body => ObjectKind::Body,
        PolicyKind::Page => ObjectKind::Page,
        PolicyKind::Ledger => ObjectKind::Ledger,
        PolicyKind::Report => ObjectKind::Report,
        PolicyKind::Log => return None,
    })
}

/// The verdicts over all snapshots; what is held counts as pinned.
fn verdicts(chain: &Chain, options: &PruneOptions, clocks: Clocks) -> Vec<Verdict> {
    let head = chain.head();
    let facts: Vec<SnapshotFact> = chain
        .catalogue()
        .entries()
        .map(|entry| {
            let number = entry.number;
            let pin = head.pins.iter().find(|pin| pin.snapshot == number);
            let hold = head.holds.iter().filter(|hold| hold.snapshot == number);
            let hold = hold.max_by_key(|hold| hold.expires_ms);
            let pinned = pin.map(|pin| Pin {
                reason: pin.reason.clone(),
                expires_ms: (pin.expires_ms != 0).then_some(pin.expires_ms),
            });
            let held = hold.map(|hold| Pin {
                reason: format!("held: {}", hold.reason),
                expires_ms: Some(hold.expires_ms),
            });
            let forever = pinned.as_ref().is_some_and(|pin| pin.expires_ms.is_none());
            let later = |pin: &Pin| pin.expires_ms.unwrap_or(i64::MAX);
            let longest = [pinned.clone(), held].into_iter().flatten().max_by_key(later);
            let level = entry.proven_level.checked_sub(1);
            SnapshotFact {
                number,
                time_ms: entry.time_ms,
                revision: entry.revision,
                proven_level: level.and_then(|level| u8::try_from(level).ok()),
                lineage: entry.lineage_id.to_vec(),
                restorable: !options.broken.contains(&number),
                pin: if forever { pinned } else { longest },
            }
        })
        .collect();
    judge(&facts, &options.policy, clocks, &options.zone)
}

type Done<'a> = (&'a BTreeSet<ObjectId>, &'a BTreeSet<Bytes>, &'a [CommitFact]);

/// The commit that forgets, condemns and records what was swept; without actions: there is nothing
/// to say.
fn record(chain: &Chain, options: &PruneOptions, clocks: Clocks, done: Done<'_>) -> Draft {
    let (swept, wraps, commits) = done;
    let mut draft = Draft::default();
    let verdicts = verdicts(chain, options, clocks);
    let newest = chain.catalogue().latest().map(|entry| entry.number);
    for verdict in verdicts.iter().filter(|verdict| !verdict.is_kept()) {
        assert!(Some(verdict.number) != newest, "the newest snapshot is never forgotten");
        draft.catalogue.forget.insert(verdict.number);
        act(&mut draft, Kind::Forget, verdict.number, "retention");
    }
    let kept: Vec<u64> =
        verdicts.iter().filter(|verdict| verdict.is_kept()).map(|v| v.number).collect();
    let facts = Facts::of(chain);
    let plan = plan(facts.chain(chain, &kept, commits), options.grace, clocks);
    for condemned in &plan.condemn {
        draft.condemned.extend(ObjectId::from_bytes(&condemned.id));
    }
    if !draft.condemned.is_empty() {
        let reason = format!("{} objects", draft.condemned.len());
        act(&mut draft, Kind::Condemn, 0, &reason);
    }
    let known = |id: &&ObjectId| chain.state().objects().contains_key(id);
    draft.swept = swept.iter().filter(known).copied().collect();
    if !draft.swept.is_empty() {
        let reason = format!("{} objects", draft.swept.len());
        act(&mut draft, Kind::Sweep, 0, &reason);
    }
    if plan.floor > chain.head().floor {
        draft.floor = plan.floor;
        act(&mut draft, Kind::Floor, 0, "");
    }
    seeds(&mut draft, chain, wraps, clocks.now_ms());
    let live = |snapshot: u64| kept.contains(&snapshot);
    let head = chain.head();
    if head.pins.iter().any(|pin| !live(pin.snapshot)) {
        draft.pins = Some(head.pins.iter().filter(|pin| live(pin.snapshot)).cloned().collect());
    }
    let now_ms = clocks.now_ms();
    if head.holds.iter().any(|hold| hold.expires_ms <= now_ms) {
        let running = head.holds.iter().filter(|hold| hold.expires_ms > now_ms);
        draft.holds = Some(running.cloned().collect());
        act(&mut draft, Kind::Hold, 0, "expired");
    }
    draft
}

fn act(draft: &mut Draft, kind: Kind, snapshot: u64, reason: &str) {
    draft.actions.push(proto::Action { kind: kind.into(), snapshot, reason: reason.to_owned() });
}

/// Data seeds that nothing names: first retired, and dropped when their wraps are gone.
fn seeds(draft: &mut Draft, chain: &Chain, gone: &BTreeSet<Bytes>, now_ms: i64) {
    let named: BTreeSet<&Bytes> =
        chain.state().objects().values().map(|extant| &extant.object.data_seed_id).collect();
    for seed in &chain.head().seeds {
        let mut changed = seed.clone();
        changed.condemned_wraps.retain(|wrap| !gone.contains(&wrap.wrap_id));
        let old = now_ms.saturating_sub(seed.created_ms) >= KEPT_SEEDS_MS;
        let unnamed = seed.kind() == SeedKind::Data && !named.contains(&seed.seed_id);
        if unnamed && old && !seed.wraps.is_empty() {
            for mut wrap in std::mem::take(&mut changed.wraps) {
                wrap.condemned_ms = now_ms;
                changed.condemned_wraps.push(wrap);
            }
        }
        if changed.wraps.is_empty() && changed.condemned_wraps.is_empty() {
            draft.dropped_seeds.push(seed.seed_id.clone());
            act(draft, Kind::Seed, 0, "a seed that nothing names was dropped");
        } else if changed != *seed {
            draft.seeds.push(changed);
            act(draft, Kind::Seed, 0, "wraps were retired or removed");
        }
    }
}

#[derive(Default)]
struct Sweeper {
    versioned: bool,
    ids: BTreeSet<ObjectId>,
    wrap_ids: BTreeSet<Bytes>,
    swept: usize,
    orphans: usize,
    freed_bytes: u64,
    hidden_bytes: u64,
}

impl Sweeper {
    async fn delete(&mut self, vault: &Vault, name: &str, bytes: u64) -> Result<(), ChainError> {
        vault.store().delete(name).await?;
        self.swept += 1;
        if self.versioned {
            self.hidden_bytes += bytes;
        } else {
            self.freed_bytes += bytes;
        }
        Ok(())
    }

    async fn objects(&mut self, vault: &Vault, due: &PrunePlan) -> Result<(), ChainError> {
        for swept in &due.sweep {
            let Target::Object(kind, id) = swept.target else { continue };
            let (Some(kind), Ok(id)) = (our_kind(kind), ObjectId::from_bytes(&id)) else {
                continue;
            };
            let extant = vault.chain().state().objects().get(&id);
            assert!(
                extant.is_some_and(|extant| extant.condemned.is_some()),
                "only what was condemned is swept"
            );
            let name = vault.access().names().object(kind, id);
            self.delete(vault, &name, swept.sealed_bytes).await?;
            self.ids.insert(id);
        }
        Ok(())
    }

    /// Wraps that were condemned longer ago than the grace. The seed's other wraps open it, or
    /// nothing names it and no writer uses it.
    async fn wraps(
        &mut self,
        vault: &Vault,
        options: &PruneOptions,
        now_ms: i64,
    ) -> Result<(), ChainError> {
        let grace_ms = i64::try_from(options.grace.length().as_millis()).unwrap_or(i64::MAX);
        let named: BTreeSet<Bytes> = vault
            .chain()
            .state()
            .objects()
            .values()
            .map(|extant| extant.object.data_seed_id.clone())
            .collect();
        for seed in vault.head().seeds.clone() {
            let needed = named.contains(&seed.seed_id) || seed.kind() != SeedKind::Data;
            if needed && seed.wraps.is_empty() {
                continue;
            }
            for wrap in &seed.condemned_wraps {
                if now_ms.saturating_sub(wrap.condemned_ms) < grace_ms {
                    continue;
                }
                for name in vault.access().wrap_names(&seed, wrap) {
                    self.delete(vault, &name, 0).await?;
                }
                self.wrap_ids.insert(wrap.wrap_id.clone());
            }
        }
        Ok(())
    }

    /// Commits below the floor that the head declares, ascending, one after the other and none left
    /// out: a gap must never lie above an extant commit, whatever a stale listing shows.
    async fn commits(&mut self, vault: &Vault, listed: &[CommitFact]) -> Result<(), ChainError> {
        let head = vault.head();
        let below = |number: &u64| *number < head.floor;
        let Some(mut lowest) = listed.iter().map(|commit| commit.number).filter(below).min() else {
            return Ok(());
        };
        let name = |number: u64| vault.access().names().commit(head.era, number);
        while lowest > 1 && is_there(vault, &name(lowest - 1)).await?.is_some() {
            lowest -= 1;
        }
        for number in lowest..head.floor {
            if let Some(bytes) = is_there(vault, &name(number)).await? {
                self.delete(vault, &name(number), bytes).await?;
            }
        }
        Ok(())
    }
}

/// The size of an object that is there.
async fn is_there(vault: &Vault, name: &str) -> Result<Option<u64>, ChainError> {
    match vault.store().head(name).await {
        Ok(info) => Ok(Some(info.size_bytes)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Vault {
    /// Deletes what no commit ever named and is older than 7 days by the store's own clock.
    ///
    /// A commit comes first: whoever sleeps between its last check and its put builds on an older
    /// head, and so can no longer win a number for objects that go here.
    async fn sweep_orphans(
        &mut self,
        sweeper: &mut Sweeper,
        store_ms: i64,
    ) -> Result<(), ChainError> {
        let folder = self.access().names().folder();
        let before_ms = store_ms.saturating_sub(ORPHAN_AGE_MS);
        let (files, bytes) = self.store().sweep_leftovers(&folder, before_ms).await?;
        sweeper.swept += files;
        sweeper.orphans += files;
        sweeper.freed_bytes += bytes;
        let listed = self.store().list_all(&folder, 8_000_000).await?;
        let mut orphans = listed;
        orphans.retain(|item| store_ms.saturating_sub(item.modified_ms) >= ORPHAN_AGE_MS);
        orphans.retain(unnamed(self.chain()));
        if orphans.is_empty() {
            return Ok(());
        }
        let reason = format!("{} orphans", orphans.len());
        self.small_commit(|_| Ok(Some(Draft::of(Kind::Sweep, 0, &reason)))).await?;
        orphans.retain(unnamed(self.chain()));
        for item in orphans {
            sweeper.delete(self, &item.name, item.size_bytes).await?;
            sweeper.orphans += 1;
        }
        Ok(())
    }
}

/// Whether the head's chain names no such object, wrap or probe.
fn unnamed(chain: &Chain) -> impl Fn(&ObjectInfo) -> bool + use<'_> {
    let access = chain.access();
    let all = |seed: &proto::Seed| {
        let wraps = seed.wraps.iter().chain(&seed.condemned_wraps);
        wraps.flat_map(|wrap| access.wrap_names(seed, wrap)).collect::<Vec<_>>()
    };
    let wraps: BTreeSet<String> = chain.head().seeds.iter().flat_map(all).collect();
    let probes = format!("{}/probe/", access.names().folder());
    move |item| match access.names().parse_object(&item.name) {
        Some((_, id)) => !chain.state().objects().contains_key(&id),
        None if access.names().is_wrap(&item.name) => !wraps.contains(&item.name),
        None => item.name.starts_with(&probes),
    }
}
