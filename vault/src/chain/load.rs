//! Finding the head: cold (LIST, then probe) and warm (probe upward from a commit that still
//! exists).

use super::gap;
use super::rules::PROBE_LIMIT_MS;
use super::state::StateError;
use super::{Catalogue, Chain, ChainError, Digest, Names, State, StoredCommit};
use crate::access::{Access, AccessError, sha256};
use crate::format::{ClusterId, MAX_COMMIT_BYTES, ObjectId};
use crate::proto::{Commit, ObjectRef};
use crate::store::{Store, StoreError};
use futures::{StreamExt, TryStreamExt};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most commits that are expected in a listing.
const LIST_LIMIT: usize = 4_000_000;
/// Commits read at once while folding.
const WINDOW: usize = 16;
/// How many digests of recent commits are remembered.
const RECENT: usize = 1024;

/// Digests of recent commits, by number.
pub(super) type Recent = BTreeMap<u64, Digest>;

impl Chain {
    /// Reads the chain from nothing: a listing gives the newest name, then it probes on, since a
    /// listing may be stale.
    ///
    /// # Errors
    /// Also when any object of the chain is lost: what is written must follow all of it.
    pub async fn load(access: Arc<Access>) -> Result<Chain, ChainError> {
        let read_boot_ms = access.clock().boot_ms();
        let (era, number) = newest(&access).await?;
        let mut head = read(&access, era, number).await?;
        while let Some(next) = read_if_there(&access, era, head.commit.number + 1).await? {
            head = next;
        }
        access.know_wraps(&head.commit.seeds);
        let bare = |(_, error): (String, ChainError)| error;
        let (state, recent) = fold_up_to(&access, &head).await.map_err(bare)?;
        let catalogue = load_catalogue(&access, &Catalogue::default(), state.head()).await;
        let catalogue = catalogue.map_err(bare)?;
        check_kept(&state, &catalogue)?;
        access.seal_under_newest(&state.head().seeds).await;
        let (write_guard, gaps) = (head.write_guard, Vec::new());
        Ok(Chain { access, state, catalogue, read_boot_ms, recent, write_guard, gaps })
    }

    /// The same for whoever may only want to read: where an object of the chain is lost, what its
    /// head tells by itself (see [`gap`]).
    pub async fn open(access: Arc<Access>) -> Result<Chain, ChainError> {
        match Chain::load(access.clone()).await {
            Err(error) if error.is_loss() => gap::open(access).await?.ok_or(error),
            loaded => loaded,
        }
    }

    /// Follows the chain to its head now. On an error the chain is as before.
    pub async fn refresh(&mut self) -> Result<(), ChainError> {
        let read_boot_ms = self.access.clock().boot_ms();
        let age_ms = read_boot_ms - self.read_boot_ms;
        if !(0..PROBE_LIMIT_MS).contains(&age_ms) || !self.gaps.is_empty() {
            return self.reload().await;
        }
        let era = self.head().era;
        // Copied only when something is new: a large vault's state is large, and most looks find
        // nothing.
        let mut newer: Option<(State, BTreeMap<u64, Digest>)> = None;
        let mut write_guard = self.write_guard;
        loop {
            let state = newer.as_ref().map_or(&self.state, |(state, _)| state);
            let next = read_if_there(&self.access, era, state.number() + 1).await?;
            let Some(next) = next else { break };
            let (state, recent) =
                newer.get_or_insert_with(|| (self.state.clone(), self.recent.clone()));
            let digest = next.sha256;
            write_guard = next.write_guard;
            state.apply(next.commit, digest)?;
            remember(recent, state.number(), digest);
        }
        let state = newer.as_ref().map_or(&self.state, |(state, _)| state);
        // What followed the known head is younger than this view of it, so none of it was deleted
        // yet; and the commit below the gap still exists, since numbers are deleted from
        // the bottom. It is read, not only looked for: another may lie there.
        let known = self.access.names().commit(era, state.number());
        match self.access.store().get(&known, MAX_COMMIT_BYTES).await {
            Ok(bytes) if sha256(&bytes) == *state.sha256() => {}
            Ok(_) | Err(StoreError::NotFound { .. } | StoreError::Size { .. }) => {
                return self.reload().await;
            }
            Err(error) => return Err(error.into()),
        }
        let Some((state, recent)) = newer else {
            self.read_boot_ms = read_boot_ms;
            self.access.know_wraps(&self.head().seeds);
            return Ok(());
        };
        let catalogue = load_catalogue(&self.access, &self.catalogue, state.head()).await;
        let catalogue = catalogue.map_err(|(_, error)| error)?;
        check_kept(&state, &catalogue)?;
        self.access.know_wraps(&state.head().seeds);
        self.access.seal_under_newest(&state.head().seeds).await;
        let access = self.access.clone();
        let gaps = Vec::new();
        *self = Chain { access, state, catalogue, read_boot_ms, recent, write_guard, gaps };
        Ok(())
    }

    /// Reads everything anew; a head below the known one is an error.
    pub(super) async fn reload(&mut self) -> Result<(), ChainError> {
        let known = self.witness();
        let access = self.access.clone();
        let fresh = match self.gaps.is_empty() {
            true => Chain::load(access).await?,
            false => Chain::open(access).await?,
        };
        fresh.check_witness(&known).await?;
        *self = fresh;
        Ok(())
    }
}

pub(super) fn remember(recent: &mut BTreeMap<u64, Digest>, number: u64, digest: Digest) {
    recent.insert(number, digest);
    while recent.len() > RECENT {
        recent.pop_first();
    }
}

/// Era and number of a cluster's newest commit, as far as a listing shows it. Opens nothing.
pub async fn newest_listed(
    store: &Store,
    cluster: ClusterId,
) -> Result<Option<(u64, u64)>, StoreError> {
    let names = Names::new(cluster);
    let listed = store.list_all(&names.commits(), LIST_LIMIT).await?;
    Ok(listed.iter().filter_map(|item| names.parse_commit(&item.name)).max())
}

/// The same, where there must be one.
pub(super) async fn newest(access: &Access) -> Result<(u64, u64), ChainError> {
    let newest = newest_listed(access.store(), access.cluster()).await?;
    newest.ok_or_else(|| ChainError::Empty { folder: access.names().folder() })
}

pub(super) async fn read(
    access: &Access,
    era: u64,
    number: u64,
) -> Result<StoredCommit, ChainError> {
    let name = access.names().commit(era, number);
    let bytes = access.store().get(&name, MAX_COMMIT_BYTES).await?;
    let opened = access.open_commit((era, number), &bytes).await.map_err(|error| match error {
        AccessError::Format(error) if error.is_damage() => {
            ChainError::Damaged { name, detail: error.to_string() }
        }
        // The header's seed id stands in clear: without any wrap it is more likely damaged than
        // lost.
        error @ AccessError::NoWrap { .. } => {
            ChainError::Damaged { name, detail: error.to_string() }
        }
        other => other.into(),
    })?;
    let write_guard = opened.object.header.write_guard();
    Ok(StoredCommit { commit: opened.commit, sha256: opened.sha256, write_guard })
}

pub(super) async fn read_if_there(
    access: &Access,
    era: u64,
    number: u64,
) -> Result<Option<StoredCommit>, ChainError> {
    match read(access, era, number).await {
        Ok(stored) => Ok(Some(stored)),
        Err(ChainError::Store(StoreError::NotFound { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The state at `head`: from its ledger if it names one, else from the first commit. An error comes
/// with the name of the object that it is about.
pub(super) async fn fold_up_to(
    access: &Access,
    head: &StoredCommit,
) -> Result<(State, Recent), (String, ChainError)> {
    let (era, last) = (head.commit.era, head.commit.number);
    let named = |number| access.names().commit(era, number);
    let commit = async |number| read(access, era, number).await.map_err(|e| (named(number), e));
    let rule = |error: StateError| (named(error.number), ChainError::from(error));
    let (mut state, start) = match &head.commit.ledger {
        Some(reference) => {
            let ledger = access.read_ledger(reference).await.map_err(|error| {
                (named_object(access, reference.object.as_ref()), ChainError::from(error))
            })?;
            let base = commit(reference.number).await?;
            let digest = base.sha256;
            let state = State::from_ledger(&ledger, base.commit, digest).map_err(rule)?;
            (state, reference.number)
        }
        None => {
            let first = commit(1).await?;
            let digest = first.sha256;
            (State::genesis(first.commit, digest).map_err(rule)?, 1)
        }
    };
    let mut recent = BTreeMap::from([(start, *state.sha256())]);
    let mut commits = futures::stream::iter(start + 1..last)
        .map(|number| async move {
            let read = read(access, era, number).await;
            read.map_err(|error| (access.names().commit(era, number), error))
        })
        .buffered(WINDOW);
    while let Some(stored) = commits.try_next().await? {
        let digest = stored.sha256;
        state.apply(stored.commit, digest).map_err(rule)?;
        remember(&mut recent, state.number(), digest);
    }
    if last > start {
        let digest = head.sha256;
        state.apply(head.commit.clone(), digest).map_err(rule)?;
        remember(&mut recent, last, digest);
    }
    Ok((state, recent))
}

async fn load_catalogue(
    access: &Access,
    known: &Catalogue,
    head: &Commit,
) -> Result<Catalogue, (String, ChainError)> {
    let pages = Chain::pages(access, known, &head.pages).await?;
    Catalogue::new(&head.pages, pages, head.catalogue.clone()).map_err(|detail| {
        let name = access.names().commit(head.era, head.number);
        (name.clone(), ChainError::Damaged { name, detail })
    })
}

/// The name of an object of the chain, as far as its reference has an id.
pub(super) fn named_object(access: &Access, reference: Option<&ObjectRef>) -> String {
    let reference = reference.cloned().unwrap_or_default();
    match ObjectId::from_bytes(&reference.object_id) {
        Ok(id) => access.names().object(reference.kind(), id),
        Err(_) => access.names().folder(),
    }
}

fn check_kept(state: &State, catalogue: &Catalogue) -> Result<(), ChainError> {
    state
        .check_kept(&catalogue.numbers())
        .map_err(|reason| super::state::StateError { number: state.number(), reason }.into())
}
