//! Deleting: what was condemned for the grace, both copies of wraps, commits below the floor, and
//! orphans.
//!
//! Holds: nothing goes but what a commit condemned longer ago than the grace, or what no commit
//! ever named and is older than 7 days by the store's own clock, and then only after a commit was
//! made; commits go ascending and none is left out.

use super::PruneOptions;
use super::facts::our_kind;
use crate::chain::draft::Draft;
use crate::chain::rules::ORPHAN_AGE_MS;
use crate::chain::{Chain, ChainError};
use crate::format::ObjectId;
use crate::proto::action::Kind;
use crate::proto::{self, SeedKind};
use crate::store::{ObjectInfo, StoreError};
use crate::vault::Vault;
use bytes::Bytes;
use holdfast_policies::prune::{CommitFact, PrunePlan, Target};
use std::collections::BTreeSet;

#[derive(Default)]
pub(super) struct Sweeper {
    pub(super) versioned: bool,
    pub(super) ids: BTreeSet<ObjectId>,
    pub(super) wrap_ids: BTreeSet<Bytes>,
    pub(super) swept: usize,
    pub(super) orphans: usize,
    pub(super) freed_bytes: u64,
    pub(super) hidden_bytes: u64,
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

    pub(super) async fn objects(
        &mut self,
        vault: &Vault,
        due: &PrunePlan,
    ) -> Result<(), ChainError> {
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
    pub(super) async fn wraps(
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
    pub(super) async fn commits(
        &mut self,
        vault: &Vault,
        listed: &[CommitFact],
    ) -> Result<(), ChainError> {
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
    pub(super) async fn sweep_orphans(
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
