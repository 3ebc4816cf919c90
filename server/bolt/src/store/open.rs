//! Opening a store: a new file, or one that exists and the pages that are free in it.

use std::collections::BTreeMap;

use super::freelist::{Freelist, Run};
use super::read::Published;
use super::writer::{Writer, WriterParts};
use super::{StoreDisk, StoreError, StoreOptions};
use crate::builder;
use crate::db::Db;
use crate::disk::Disk;
use crate::error::ReadError;
use crate::layout::{
    BucketHeader, FLAG_FREELIST, FLAG_LEAF, MAX_PAGE_SIZE, MIN_PAGE_SIZE, Meta, PageHeader,
    page_size_is_valid,
};
use crate::pageset::PageSet;
use crate::reach;
use crate::source::PageSource;

/// Pages of a new file: two metas, an empty freelist, the empty root bucket.
const NEW_PAGES: u64 = 4;

pub(super) fn open<D: StoreDisk>(
    mut disk: D,
    options: StoreOptions,
) -> Result<(Writer<D>, Published<D::Pages>), StoreError> {
    if !page_size_is_valid(options.page_size) {
        return Err(StoreError::Options(format!(
            "page size {}: a power of two from {MIN_PAGE_SIZE} to {MAX_PAGE_SIZE} is needed",
            options.page_size
        )));
    }
    let size = disk.size_bytes()?;
    if size == 0 || was_never_finished(&disk, size, options.page_size)? {
        create(&mut disk, &options)?;
    }
    let file_bytes = disk.size_bytes()?;
    let pages = disk.pages(file_bytes, options.initial_map_bytes)?;
    let db = Db::open(pages)?;
    let meta = *db.meta();
    let mut used = reach::used(&db)?;
    let stored_list = stored_list(&db, &mut used)?;
    let freelist = Freelist::new(used, meta.high_water);
    let newest = newest_index(db.source(), &meta)?;
    let pages = db.into_source();
    let parts = WriterParts { options, freelist, meta, newest, file_bytes, stored_list };
    let writer = Writer::new(disk, parts);
    let stats = writer.stats();
    Ok((writer, Published { meta, pages, readers: BTreeMap::new(), stats }))
}

/// Writes an empty database. The metas come last, so that a file whose creation was cut off has
/// none.
fn create<D: Disk>(disk: &mut D, options: &StoreOptions) -> Result<(), StoreError> {
    let page_size = options.page_size as usize;
    let header = |id, flags| PageHeader { id, flags, count: 0, overflow: 0 }.encode();
    let page = |bytes: &[u8]| {
        let mut page = bytes.to_vec();
        page.resize(page_size, 0);
        page
    };
    let content = [page(&header(2, FLAG_FREELIST)), page(&header(3, FLAG_LEAF))].concat();
    disk.write_at(2 * page_size as u64, &content)?;
    if !options.no_sync {
        disk.sync_all()?;
    }
    let meta = |txid| Meta {
        page_size: options.page_size,
        root: BucketHeader { root: 3, sequence: 0 },
        freelist: 2,
        high_water: NEW_PAGES,
        txid,
    };
    let metas = [page(&meta(0).encode_page(0)), page(&meta(1).encode_page(1))].concat();
    disk.write_at(0, &metas)?;
    if !options.no_sync {
        disk.sync_all()?;
    }
    Ok(())
}

/// Whether a file is what a crash left of a creation: no larger than a new one, and nothing where
/// the metas belong.
fn was_never_finished<D: Disk>(disk: &D, size: u64, page_size: u32) -> Result<bool, StoreError> {
    let page_size = u64::from(page_size);
    if size > NEW_PAGES * page_size {
        return Ok(false);
    }
    let len = usize::try_from(size.min(2 * page_size)).unwrap_or(0);
    let mut head = vec![0; len];
    disk.read_at(0, &mut head)?;
    Ok(head.iter().all(|byte| *byte == 0))
}

/// The pages of the stored freelist, which the next commit frees. It is not needed: what is free is
/// known from the walk. Its pages stay as they are until then, since bbolt would need them after a
/// crash.
fn stored_list<P: PageSource>(db: &Db<P>, used: &mut PageSet) -> Result<Option<Run>, ReadError> {
    let run = match db.freelist() {
        Ok(Some(list)) => Run { page: list.page(), pages: list.pages() },
        Ok(None) | Err(ReadError::Damaged { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut pages = run.page..run.page + run.pages;
    if pages.clone().any(|page| used.contains(page)) {
        return Ok(None);
    }
    let marked = pages.all(|page| used.insert(page));
    assert!(marked, "none of them was in the set");
    Ok(Some(run))
}

/// In which of the two meta pages the newest one stands.
fn newest_index<P: PageSource>(pages: &P, meta: &Meta) -> Result<u64, ReadError> {
    let len = crate::layout::PAGE_HEADER_BYTES + crate::layout::META_BYTES;
    let first = crate::db::read(pages, 0, len)?;
    Ok(u64::from(Meta::parse(&first) != Ok(*meta)))
}

/// Whether commits store the freelist.
pub(super) fn is_stored(options: &StoreOptions) -> bool {
    options.freelist == builder::Freelist::Stored
}
