//! A chain of which an object is lost or rotten: what can still be told, and that nothing is
//! written any more.
//!
//! Holds: the head alone names every snapshot with its body's digest, and a body names all else, so
//! what can be restored does not hang on older commits, ledgers or pages; what is derived from a
//! gap (which object lies in which interval) decides no deletion and no commit.

use super::load::{self, Recent};
use super::{Catalogue, ChainError, State, StoredCommit};
use crate::access::{Access, AccessError};
use crate::format::{HEADER_BYTES, Header, ObjectName};
use crate::proto::{CatalogueEntry, Commit, ObjectKind, ObjectRef, SeedKind};
use crate::store::StoreError;
use futures::StreamExt;

/// Commits below a newest one that cannot be read, in which a head is looked for: as many as are
/// always kept.
const LOOK_BACK: u64 = 256;
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
        if !is_lost(&error) {
            return Err(error);
        }
        let detail = match error {
            ChainError::Damaged { detail, .. } => detail,
            ChainError::Store(StoreError::NotFound { .. })
            | ChainError::Keys(AccessError::Store(StoreError::NotFound { .. })) => {
                "it is missing".to_owned()
            }
            other => other.to_string(),
        };
        Ok(Gap { name, detail })
    }

    /// What a writer says.
    pub(super) fn refusal(&self) -> ChainError {
        ChainError::Incomplete { name: self.name.clone(), detail: self.detail.clone() }
    }
}

/// Whether what was asked for is gone or not what was written: asking again changes nothing.
fn is_lost(error: &ChainError) -> bool {
    let of_store = |error: &StoreError| error.is_loss();
    match error {
        ChainError::Damaged { .. } => true,
        ChainError::Store(error) | ChainError::Keys(AccessError::Store(error)) => of_store(error),
        ChainError::Keys(AccessError::Format(error)) => error.is_damage(),
        _ => false,
    }
}

/// The newest commit at or below `number` that can be read.
///
/// # Errors
/// None can be; or the store or a key service does not answer.
pub(super) async fn newest_readable(
    access: &Access,
    (era, number): (u64, u64),
    gaps: &mut Vec<Gap>,
) -> Result<StoredCommit, ChainError> {
    let lowest = number.saturating_sub(LOOK_BACK).max(1);
    for candidate in (lowest..=number).rev() {
        let error = match load::read(access, era, candidate).await {
            Ok(stored) => return Ok(stored),
            Err(error) => error,
        };
        gaps.push(Gap::of(access.names().commit(era, candidate), error)?);
    }
    let first = gaps.first().map(|gap| (gap.name.clone(), gap.detail.clone()));
    let (name, detail) = first.unwrap_or_default();
    Err(ChainError::Damaged { name, detail })
}

/// What `head` tells by itself, and the pages of its catalogue that can be read.
pub(super) async fn told_by_head(
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
                let gap = Gap::of(name, error.into())?;
                if !gaps.contains(&gap) {
                    gaps.push(gap);
                }
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
