//! Finding, opening and mending the wraps of seeds.
//!
//! Holds: a wrap lies twice in the store, the same bytes under two names, since everything that a
//! seed seals depends on a few hundred bytes; the second is asked where the first is missing or
//! does not open. Wraps that the head lists are asked for by name, others are found by listing.
//! That a seed has no wrap any more is said only when every copy of every wrap that the head lists
//! was not found by its name: a listing may be stale, and any other error may pass.

use super::{Access, AccessError};
use crate::format::{SeedId, WrapId, decode_wrap, hex};
use crate::keys::{Recipient, Seed, WrapError};
use crate::proto::{Wrap, WrapRef};
use crate::store::StoreError;
use bytes::Bytes;
use futures::StreamExt;
use std::collections::BTreeSet;
use std::sync::PoisonError;

/// Longest wrap that is read.
pub const WRAP_LIMIT: u64 = 1 << 20;
/// Names that a wrap lies under.
pub(super) const COPIES: u32 = 2;
/// Most wraps of one seed that a listing shows.
const LIST_LIMIT: usize = 10_000;
/// Wraps looked at together when copies are mended.
const WINDOW: usize = 8;

/// What the wraps that were tried said.
#[derive(Default)]
struct Tried {
    /// Why a wrap that is there does not open.
    errors: Vec<(String, WrapError)>,
    /// Why a copy could not be read.
    failed: Option<StoreError>,
}

impl Access {
    /// What a head lists is asked for by name from here on.
    pub(crate) fn know_wraps(&self, seeds: &[crate::proto::Seed]) {
        let ids = |seed: &crate::proto::Seed| {
            let wraps = seed.wraps.iter().chain(&seed.condemned_wraps);
            wraps.filter_map(|wrap| WrapId::from_bytes(&wrap.wrap_id).ok()).collect()
        };
        let known = seeds.iter().filter_map(|seed| {
            let id = SeedId::from_bytes(&seed.seed_id).ok()?;
            Some((id, ids(seed)))
        });
        *self.known_wraps.write().unwrap_or_else(PoisonError::into_inner) = known.collect();
    }

    /// Opens a seed by one of its wraps: those that the head lists, then those that a listing
    /// shows, as for the first look at a chain.
    pub(super) async fn open_wraps(&self, seed: SeedId) -> Result<Seed, AccessError> {
        let known: BTreeSet<WrapId> = {
            let known = self.known_wraps.read().unwrap_or_else(PoisonError::into_inner);
            known.get(&seed).cloned().unwrap_or_default()
        };
        let mut tried = Tried::default();
        for wrap in &known {
            if let Some(opened) = self.try_wrap(seed, *wrap, &mut tried).await {
                return Ok(opened);
            }
        }
        for wrap in self.list_wraps(seed).await?.difference(&known) {
            if let Some(opened) = self.try_wrap(seed, *wrap, &mut tried).await {
                return Ok(opened);
            }
        }
        Err(match tried {
            Tried { failed: Some(error), .. } => error.into(),
            Tried { errors, .. } if !errors.is_empty() => AccessError::Locked { seed, errors },
            _ if known.is_empty() => AccessError::NoWrap { seed },
            _ => AccessError::WrapsGone { seed, wraps: known.len() },
        })
    }

    async fn list_wraps(&self, seed: SeedId) -> Result<BTreeSet<WrapId>, StoreError> {
        let mut found = BTreeSet::new();
        for folder in self.names.seed(seed) {
            let listed = self.store.list_all(&folder, LIST_LIMIT).await?;
            let id = |name: &str| name.rsplit('/').next()?.parse::<WrapId>().ok();
            found.extend(listed.iter().filter_map(|item| id(&item.name)));
        }
        Ok(found)
    }

    /// Opens one wrap; the second copy when the first is not there or is other bytes.
    async fn try_wrap(&self, seed: SeedId, wrap: WrapId, tried: &mut Tried) -> Option<Seed> {
        let mut before: Option<Bytes> = None;
        for name in self.names.wrap(seed, wrap) {
            let bytes = match self.store.get(&name, WRAP_LIMIT).await {
                Ok(bytes) if before.as_ref() == Some(&bytes) => continue,
                Ok(bytes) => bytes,
                Err(StoreError::NotFound { .. }) => continue,
                Err(error) => {
                    tracing::warn!(%seed, name, %error, "a copy of a wrap cannot be read");
                    tried.failed.get_or_insert(error);
                    continue;
                }
            };
            let opened = self.providers.open_bytes(&bytes, seed, self.owner(), self.unsealed);
            match opened.await {
                Ok(opened) => {
                    self.tell_opened(&opened);
                    return Some(opened.seed);
                }
                Err(error) => tried.errors.push((name, error)),
            }
            before = Some(bytes);
        }
        None
    }

    fn tell_opened(&self, opened: &crate::keys::OpenedSeed) {
        let seed = opened.seed.id();
        if !opened.by_first {
            tracing::warn!(%seed, by = %opened.by, "opened by a key that is not the first");
        }
        let kind = match opened.seed.kind() {
            crate::proto::SeedKind::Index => "index",
            _ => "data",
        };
        let told = format!("{kind} seed {seed} by {}", opened.by);
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, told);
    }

    /// The wraps in use of these seeds, but for those that cannot be read under either name: who
    /// asks is better off without one than not going on.
    pub(crate) async fn read_wraps(&self, seeds: &[crate::proto::Seed]) -> Vec<Wrap> {
        let mut wraps = Vec::new();
        for seed in seeds {
            for wrap in &seed.wraps {
                for name in self.wrap_names(seed, wrap) {
                    match self.read_copy(&name, wrap).await {
                        Ok(None) => tracing::warn!(name, "a copy of a wrap is lost"),
                        Err(error) => tracing::warn!(%error, "a copy of a wrap cannot be read"),
                        Ok(Some(bytes)) => {
                            match decode_wrap(&bytes) {
                                Ok(found) => wraps.push(found),
                                Err(error) => tracing::warn!(name, %error, "it does not decode"),
                            }
                            break;
                        }
                    }
                }
            }
        }
        wraps
    }

    /// One copy of a wrap; `None`: it is missing, or its bytes are not those that were written.
    pub(crate) async fn read_copy(
        &self,
        name: &str,
        wrap: &WrapRef,
    ) -> Result<Option<Bytes>, StoreError> {
        match self.store.get(name, WRAP_LIMIT).await {
            Ok(bytes) if super::sha256(&bytes)[..] == wrap.sha256[..] => Ok(Some(bytes)),
            Ok(_) | Err(StoreError::NotFound { .. } | StoreError::Size { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts copies that are missing or damaged again, from the other one; gives the seeds that have
    /// no wrap any more. What cannot be read or put now is told, and left to the next time: no work
    /// depends on it.
    pub(crate) async fn mend_wraps(&self, seeds: &[crate::proto::Seed]) -> BTreeSet<Bytes> {
        let mut wraps = Vec::new();
        for seed in seeds {
            let with =
                |wrap: &WrapRef| (seed.seed_id.clone(), self.wrap_names(seed, wrap), wrap.clone());
            wraps.extend(seed.wraps.iter().map(with));
        }
        let mended: Vec<(Bytes, Result<bool, StoreError>)> = futures::stream::iter(wraps)
            .map(|(seed, names, wrap)| async move { (seed, self.mend_wrap(names, wrap).await) })
            .buffer_unordered(WINDOW)
            .collect()
            .await;
        let mut perhaps = BTreeSet::new();
        for (seed, mended) in mended {
            match mended {
                Ok(false) => continue,
                Ok(true) => {}
                Err(error) => {
                    tracing::warn!(%error, "whether a wrap has both copies cannot be told now");
                }
            }
            perhaps.insert(seed);
        }
        let mut gone = BTreeSet::new();
        for seed in seeds.iter().filter(|seed| !perhaps.contains(&seed.seed_id)) {
            if self.is_gone(seed).await {
                gone.insert(seed.seed_id.clone());
            }
        }
        gone
    }

    /// Whether one copy at least is sound, or is put again.
    async fn mend_wrap(&self, names: [String; 2], wrap: WrapRef) -> Result<bool, StoreError> {
        let [name, copy] = names;
        let first = self.read_copy(&name, &wrap).await?;
        let second = self.read_copy(&copy, &wrap).await?;
        let (to, bytes) = match (first, second) {
            (Some(_), Some(_)) => return Ok(true),
            (Some(bytes), None) => (copy, bytes),
            (None, Some(bytes)) => (name, bytes),
            (None, None) => {
                tracing::error!(name, copy, "both copies of a wrap are lost");
                return Ok(false);
            }
        };
        self.store.put(&to, bytes).await?;
        tracing::warn!(name = to, "a wrap lacked this copy; it was put again from the other");
        Ok(true)
    }

    /// Whether a seed in use has no wrap any more: every copy of every one that the head lists was
    /// asked for by its name and is not there. An error of any other kind: no.
    pub(crate) async fn is_gone(&self, seed: &crate::proto::Seed) -> bool {
        for wrap in seed.wraps.iter().chain(&seed.condemned_wraps) {
            for name in self.wrap_names(seed, wrap) {
                if !self.store.head(&name).await.is_err_and(|error| error.is_not_found()) {
                    return false;
                }
            }
        }
        !seed.wraps.is_empty()
    }

    /// The names of a wrap that a commit lists.
    pub(crate) fn wrap_names(&self, seed: &crate::proto::Seed, wrap: &WrapRef) -> [String; 2] {
        let seed = hex(&seed.seed_id);
        let wrap = hex(&wrap.wrap_id);
        self.names.keys().map(|folder| format!("{folder}/{seed}/{wrap}"))
    }
}

/// Whether a wrap is one for the recovery key; with `recipient`, for that one.
pub(crate) fn is_recovery(wrap: &WrapRef, recipient: Option<Recipient>) -> bool {
    wrap.provider_kind == crate::keys::ProviderKind::Recovery.as_str()
        && recipient.is_none_or(|recipient| recipient.key_id() == wrap.key_id)
}
