//! A chain of which an object is lost or rotten: what can still be told, and that nothing is
//! written any more.
//!
//! Holds: the head alone names every snapshot with its body's digest, and a body names all else, so
//! what can be restored does not hang on older commits, ledgers or pages; what is derived from a
//! gap (which object lies in which interval) decides no deletion and no commit.
//!
//! A commit that a late answer created under a number that was long deleted stands alone: all below
//! it was deleted before it. It is no head of a chain with a gap: below such a head all numbers are
//! there but one.

use super::load::{self, Recent};
use super::{Catalogue, Chain, ChainError, State, StoredCommit};
use crate::access::{Access, AccessError};
use crate::format::{HEADER_BYTES, Header, ObjectName};
use crate::proto::{CatalogueEntry, Commit, ObjectKind, ObjectRef, SeedKind};
use futures::StreamExt;
use std::sync::Arc;

/// Commits below a newest one that cannot be read, in which a head is looked for: as many as are
/// always kept.
const LOOK_BACK: u64 = 256;
/// Numbers below a head that are looked at.
const ROW: u64 = 8;
/// Headers read at once.
const WINDOW: usize = 16;

/// An object of the chain that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Its name in the store.
    pub name: String,
    /// What is wrong with it.
    pub detail: String,
}

impl Gap {
    /// The gap that `error` tells of while `name` was read; another kind of error is given back.
    pub(super) fn of(name: String, error: ChainError) -> Result<Gap, ChainError> {
        if !error.is_loss() {
            return Err(error);
        }
        let of_store = match &error {
            ChainError::Store(error) | ChainError::Keys(AccessError::Store(error)) => error.loss(),
            _ => None,
        };
        let detail = match error {
            ChainError::Damaged { detail, .. } => detail,
            other => of_store.unwrap_or_else(|| other.to_string()),
        };
        Ok(Gap { name, detail })
    }

    /// What a writer says.
    pub(super) fn refusal(&self) -> ChainError {
        ChainError::Incomplete { name: self.name.clone(), detail: self.detail.clone() }
    }
}

/// The chain as its head tells it; `None`: what is there looks like no chain with a gap.
///
/// # Errors
/// The store or a key service does not answer.
pub(super) async fn open(access: Arc<Access>) -> Result<Option<Chain>, ChainError> {
    let read_boot_ms = access.clock().boot_ms();
    let mut gaps = Vec::new();
    let Some(head) = find_head(&access, &mut gaps).await? else { return Ok(None) };
    if !stands_in_a_row(&access, &head.commit).await? {
        return Ok(None);
    }
    access.know_wraps(&head.commit.seeds);
    access.seal_under_newest(&head.commit.seeds).await;
    let write_guard = head.write_guard;
    if let Err((name, error)) = load::fold_up_to(&access, &head).await {
        note(&mut gaps, Gap::of(name, error)?);
    }
    let (state, recent, catalogue) = told_by_head(&access, head, &mut gaps).await?;
    // What was missed at first is there after all: that is for a whole look to say.
    let whole = gaps.is_empty();
    let chain = Chain { access, state, catalogue, read_boot_ms, recent, write_guard, gaps };
    Ok((!whole).then_some(chain))
}

/// The newest commit that can be read; rotten ones above it are noted. `None`: one that was listed
/// is not there, so the listing is old.
async fn find_head(
    access: &Access,
    gaps: &mut Vec<Gap>,
) -> Result<Option<StoredCommit>, ChainError> {
    let (era, newest) = load::newest(access).await?;
    let mut head = None;
    let mut number = newest;
    while head.is_none() && number > newest.saturating_sub(LOOK_BACK) {
        match load::read_if_there(access, era, number).await {
            Ok(Some(found)) => head = Some(found),
            Ok(None) => return Ok(None),
            Err(error) => note(gaps, Gap::of(access.names().commit(era, number), error)?),
        }
        number -= 1;
    }
    let mut next = newest + 1;
    loop {
        match load::read_if_there(access, era, next).await {
            Ok(Some(found)) => head = Some(found),
            Ok(None) => return Ok(head),
            Err(error) => note(gaps, Gap::of(access.names().commit(era, next), error)?),
        }
        next += 1;
    }
}

/// Whether the numbers right below a head are there: two at least, and all but one.
async fn stands_in_a_row(access: &Access, head: &Commit) -> Result<bool, ChainError> {
    let lowest = head.number.saturating_sub(ROW).max(head.floor).max(1);
    let (mut there, mut lost) = (0, 0);
    for number in lowest..head.number {
        match load::read(access, head.era, number).await {
            Ok(_) => there += 1,
            Err(error) if error.is_loss() => lost += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(there >= 2 && lost <= 1)
}

fn note(gaps: &mut Vec<Gap>, gap: Gap) {
    if !gaps.contains(&gap) {
        gaps.push(gap);
    }
}

/// What `head` tells by itself, and the pages of its catalogue that can be read.
async fn told_by_head(
    access: &Access,
    head: StoredCommit,
    gaps: &mut Vec<Gap>,
) -> Result<(State, Recent, Catalogue), ChainError> {
    let (mut references, mut pages) = (Vec::new(), Vec::new());
    for reference in &head.commit.pages {
        match access.read_page(reference).await {
            Ok(entries) => {
                references.push(reference.clone());
                pages.push(entries);
            }
            Err(error) => {
                let name = load::named_object(access, reference.object.as_ref());
                note(gaps, Gap::of(name, error.into())?);
            }
        }
    }
    let catalogue = Catalogue::new(&references, pages, head.commit.catalogue.clone());
    let catalogue = catalogue.map_err(|detail| {
        let name = access.names().commit(head.commit.era, head.commit.number);
        ChainError::Damaged { name, detail }
    })?;
    let entries: Vec<CatalogueEntry> = catalogue.entries().cloned().collect();
    let bodies = bodies(access, &head.commit, entries).await;
    let recent = Recent::from([(head.commit.number, head.sha256)]);
    Ok((State::told_by_head(head.commit, head.sha256, bodies), recent, catalogue))
}

/// References of the bodies of `entries`: the catalogue knows their digests, their own headers the
/// seeds. A body whose header cannot be read gets the newest index seed; opening it will tell.
async fn bodies(
    access: &Access,
    head: &Commit,
    entries: Vec<CatalogueEntry>,
) -> Vec<(u64, ObjectRef)> {
    let newest = head.seeds.iter().filter(|seed| seed.kind() == SeedKind::Index);
    let newest = newest.max_by_key(|seed| seed.created_ms).map(|seed| seed.seed_id.clone());
    let newest = &newest.unwrap_or_default();
    let body = |entry: CatalogueEntry| async move {
        let header = header(access, &entry).await;
        let seeds = header.map(|header| {
            let data = header.data_seed.map(|seed| seed.to_bytes());
            (data.unwrap_or_default(), header.index_seed.to_bytes())
        });
        let (data_seed_id, index_seed_id) =
            seeds.unwrap_or_else(|| (bytes::Bytes::new(), newest.clone()));
        let reference = ObjectRef {
            kind: ObjectKind::Body.into(),
            object_id: entry.body_id,
            size_bytes: entry.body_size_bytes,
            sha256: entry.body_sha256,
            data_seed_id,
            index_seed_id,
        };
        (entry.number, reference)
    };
    futures::stream::iter(entries.into_iter().map(body)).buffered(WINDOW).collect().await
}

async fn header(access: &Access, entry: &CatalogueEntry) -> Option<Header> {
    let name = crate::snapshot::body_name(access, entry).ok()?;
    let front = access.store().get_range(&name, 0..HEADER_BYTES as u64).await.ok()?;
    Header::parse(&front, ObjectName { kind: ObjectKind::Body, id: None }).ok()
}
