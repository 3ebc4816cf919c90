//! Keys: which key opens how much, new wraps under the first provider, new seeds.
//!
//! Holds: a rewrap touches no data; every seed has a wrap under the first provider and one for the
//! recovery key, if there is one; new wraps are stored, read back and opened before one commit
//! names them and condemns the old ones, which stay for the grace: at any crash either opens. A
//! rewrap does not revoke: old wraps live on in versions, locks and copies; after a stolen key, new
//! seeds and a full copy forward are needed.

use crate::access::{Access, AccessError, is_recovery};
use crate::chain::ChainError;
use crate::chain::draft::Draft;
use crate::format::SeedId;
use crate::keys::IndexSeed;
use crate::proto::action::Kind;
use crate::proto::{Seed, SeedKind, WrapRef};
use crate::vault::Vault;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// One key, and what it opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// `aesgcm`, `kms` and so on.
    pub provider_kind: String,
    /// Its name.
    pub provider_name: String,
    /// Its key id.
    pub key_id: String,
    /// Seeds that it opens.
    pub seeds: usize,
    /// Seeds that only it opens.
    pub only_seeds: usize,
    /// Objects sealed under those seeds.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Wraps of it that are condemned and not gone yet.
    pub condemned_wraps: usize,
    /// The first provider would wrap under it now.
    pub current: bool,
}

/// What a rewrap did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RewrapReport {
    /// Seeds with a new wrap.
    pub rewrapped: usize,
    /// Seeds whose wraps were current.
    pub current: usize,
    /// Seeds that only the recovery key opens, which is not at hand.
    pub locked: usize,
    /// Seeds whose wraps are all gone: nothing opens them any more.
    pub lost: usize,
    /// The commit; `None`: nothing to do.
    pub number: Option<u64>,
}

/// What a seed's wraps lack, and then what it was given.
#[derive(Default)]
struct Renewal {
    /// Wraps that go. One that another rewrap adds meanwhile is not among them and stays.
    superseded: BTreeSet<Bytes>,
    first: bool,
    recovery: bool,
    new: Vec<WrapRef>,
}

impl Renewal {
    /// `None`: it is wrapped under the first provider, and for the recovery key if there is one.
    async fn plan(access: &Access, seed: &Seed) -> Result<Option<Renewal>, AccessError> {
        let recipient = access.recipient();
        let mut plan = Renewal { first: true, recovery: recipient.is_some(), ..Renewal::default() };
        let mut others = Vec::new();
        for wrap in &seed.wraps {
            let current = access.is_current(wrap).await?;
            plan.first &= !current;
            if is_recovery(wrap, recipient) {
                plan.recovery = false;
            } else if !current {
                others.push(wrap);
            }
        }
        // Under the first provider already: only the paper changes.
        others.retain(|wrap| plan.first || is_recovery(wrap, None));
        plan.superseded = others.into_iter().map(|wrap| wrap.wrap_id.clone()).collect();
        Ok((plan.first || plan.recovery).then_some(plan))
    }

    /// Opens the seed and stores the wraps that it lacks.
    async fn carry_out(mut self, access: &Access, seed: &Seed) -> Result<Renewal, AccessError> {
        let id = SeedId::from_bytes(&seed.seed_id).map_err(|_| AccessError::BadSeedId)?;
        access.ensure_seed(id).await?;
        let keyring = access.keyring();
        let open = match seed.kind() {
            SeedKind::Data => keyring.data(&id).map(|seed| seed.seed().clone()),
            _ => keyring.index(&id).map(|seed| seed.seed().clone()),
        };
        let open = open.ok_or(AccessError::NoWrap { seed: id })?;
        if self.first {
            self.new.push(access.store_wrap(&open).await?);
        }
        if let (true, Some(recipient)) = (self.recovery, access.recipient()) {
            self.new.push(access.store_recovery_wrap(&open, recipient).await?);
        }
        Ok(self)
    }

    /// The seed as the next commit lists it.
    fn applied(&self, seed: &Seed, now_ms: i64) -> Seed {
        let mut changed = seed.clone();
        let old = std::mem::replace(&mut changed.wraps, self.new.clone());
        for wrap in old {
            if self.superseded.contains(&wrap.wrap_id) {
                changed.condemned_wraps.push(WrapRef { condemned_ms: now_ms, ..wrap });
            } else {
                changed.wraps.push(wrap);
            }
        }
        changed
    }
}

impl Vault {
    /// Which key id still opens how much. Call `refresh` first.
    pub async fn key_uses(&self) -> Result<Vec<KeyUse>, ChainError> {
        let mut sealed: BTreeMap<&Bytes, (usize, u64)> = BTreeMap::new();
        for extant in self.chain().state().objects().values() {
            for seed in [&extant.object.data_seed_id, &extant.object.index_seed_id] {
                let entry = sealed.entry(seed).or_default();
                entry.0 += 1;
                entry.1 += extant.object.size_bytes;
            }
        }
        let mut uses: BTreeMap<(String, String, String), KeyUse> = BTreeMap::new();
        for seed in &self.head().seeds {
            let (objects, bytes) = sealed.get(&seed.seed_id).copied().unwrap_or_default();
            for (wrap, condemned) in seed
                .wraps
                .iter()
                .map(|wrap| (wrap, false))
                .chain(seed.condemned_wraps.iter().map(|wrap| (wrap, true)))
            {
                let (kind, name, id) = (&wrap.provider_kind, &wrap.provider_name, &wrap.key_id);
                let key = (kind.clone(), name.clone(), id.clone());
                let current =
                    !condemned && self.access().providers().is_current(wrap).await.unwrap_or(false);
                let line = uses.entry(key).or_insert_with(|| KeyUse {
                    provider_kind: kind.clone(),
                    provider_name: name.clone(),
                    key_id: id.clone(),
                    seeds: 0,
                    only_seeds: 0,
                    objects: 0,
                    bytes: 0,
                    condemned_wraps: 0,
                    current: false,
                });
                line.current |= current;
                if condemned {
                    line.condemned_wraps += 1;
                    continue;
                }
                line.seeds += 1;
                line.only_seeds += usize::from(seed.wraps.len() == 1);
                line.objects += objects;
                line.bytes += bytes;
            }
        }
        Ok(uses.into_values().collect())
    }

    /// Wraps every seed under the first provider where that is not so yet.
    pub async fn rewrap(&mut self) -> Result<RewrapReport, ChainError> {
        let (providers, unsealed) = (self.access().providers(), self.is_unsealed());
        providers.check_wraps(unsealed).map_err(AccessError::from)?;
        self.refresh().await?;
        self.prepare_to_write().await?;
        self.access().mend_wraps(&self.head().seeds).await;
        let access = self.access().clone();
        let round = self.round();
        let mut report = RewrapReport::default();
        let mut fresh: BTreeMap<Bytes, Renewal> = BTreeMap::new();
        for seed in &self.head().seeds {
            if seed.wraps.is_empty() {
                continue;
            }
            let Some(renewal) = Renewal::plan(&access, seed).await? else {
                report.current += 1;
                continue;
            };
            let renewed = match renewal.carry_out(&access, seed).await {
                Ok(renewed) => renewed,
                Err(error) if seed.wraps.iter().all(|wrap| is_recovery(wrap, None)) => {
                    tracing::warn!(%error, "this seed waits for the recovery key");
                    report.locked += 1;
                    continue;
                }
                Err(error @ AccessError::WrapsGone { .. }) => {
                    tracing::error!(%error, "this seed is left out");
                    report.lost += 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            fresh.insert(seed.seed_id.clone(), renewed);
            report.rewrapped += 1;
        }
        let public = access.recipient().map(|key| Bytes::copy_from_slice(key.as_bytes()));
        let recovery_public = public.filter(|public| *public != self.head().recovery_public);
        if fresh.is_empty() && recovery_public.is_none() {
            return Ok(report);
        }
        let now_ms = access.clock().now_ms();
        report.number = self
            .small_commit_of(round, |chain| {
                let mut draft = Draft::of(Kind::Seed, 0, "rewrap");
                draft.recovery_public.clone_from(&recovery_public);
                for seed in &chain.head().seeds {
                    // A seed that was retired meanwhile stays so.
                    let renewal = fresh.get(&seed.seed_id).filter(|_| !seed.wraps.is_empty());
                    draft.seeds.extend(renewal.map(|renewal| renewal.applied(seed, now_ms)));
                }
                Ok(Some(draft))
            })
            .await?;
        Ok(report)
    }

    /// Makes a new index seed; commits, bodies and indexes are sealed under it from here on.
    /// Objects sealed under the old one stay readable by it.
    pub async fn rotate_index_seed(&mut self) -> Result<u64, ChainError> {
        self.refresh().await?;
        self.prepare_to_write().await?;
        let access = self.access().clone();
        let round = self.round();
        let index = IndexSeed::random(&mut **access.entropy());
        let mut seed = access.store_seed(index.seed()).await?;
        // The newest is the one that seals, whatever our clock says.
        let newest = self.head().seeds.iter().map(|seed| seed.created_ms).max().unwrap_or(0);
        seed.created_ms = seed.created_ms.max(newest + 1);
        let before = access.sealing_seed();
        // The commit that names it is sealed under it already: its header says so in clear.
        access.add_seed(index.seed().clone());
        let number = self
            .small_commit_of(round, |_| {
                let mut draft = Draft::of(Kind::Seed, 0, "a new index seed");
                draft.seeds.push(seed.clone());
                Ok(Some(draft))
            })
            .await;
        // Nothing is sealed under a seed that no commit names: its wraps would go as orphans.
        if let (Err(_), Some(before)) = (&number, before) {
            access.add_seed(before.seed().clone());
        }
        self.forget_writer();
        number?.ok_or(ChainError::ReadOnly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrap(id: &'static [u8]) -> WrapRef {
        WrapRef { wrap_id: Bytes::from_static(id), ..WrapRef::default() }
    }

    /// Two rewraps at once, with different keys first: neither throws away what the other made.
    #[test]
    fn what_another_rewrap_added_meanwhile_stays() {
        let planned = Renewal {
            superseded: [Bytes::from_static(b"old")].into(),
            new: vec![wrap(b"ours")],
            ..Renewal::default()
        };
        let seed = Seed { wraps: vec![wrap(b"theirs"), wrap(b"old")], ..Seed::default() };
        let changed = planned.applied(&seed, 7);
        assert_eq!(changed.wraps, [wrap(b"ours"), wrap(b"theirs")]);
        assert_eq!(changed.condemned_wraps, [WrapRef { condemned_ms: 7, ..wrap(b"old") }]);
    }
}
