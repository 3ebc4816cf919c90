//! The one writer of a store: commits.
//!
//! What must hold: the order of what is written (see `store.rs`); the meta page that the committed
//! state stands in is never written to; a commit that fails before its meta was written leaves all
//! as it was, in memory, too.

use super::arena::Arena;
use super::bucket::BucketState;
use super::freelist::{Freelist, Run};
use super::open::is_stored;
use super::output::Output;
use super::spill::Spill;
use super::write::Context;
use super::{StoreDisk, StoreError, StoreOptions, StoreStats};
use crate::disk::DiskError;
use crate::layout::{
    BucketHeader, FLAG_FREELIST, FREELIST_NOT_STORED, Meta, PAGE_HEADER_BYTES, PageHeader,
};

/// A count in the header of a freelist that says that the true one is the first word.
const COUNT_IN_BODY: u64 = 0xFFFF;
/// bbolt's map doubles from here on ...
const SMALLEST_MAP_BYTES: u64 = 32 << 10;
/// ... to here, and grows by as much afterwards.
const MAP_STEP_BYTES: u64 = 1 << 30;

/// What a writer begins with.
pub(super) struct WriterParts {
    pub(super) options: StoreOptions,
    pub(super) freelist: Freelist,
    pub(super) meta: Meta,
    /// The meta page that `meta` stands in.
    pub(super) newest: u64,
    pub(super) file_bytes: u64,
    /// The pages of the freelist in the file.
    pub(super) stored_list: Option<Run>,
}

/// What is needed to commit.
#[derive(Debug)]
pub(super) struct Writer<D> {
    pub(super) disk: D,
    pub(super) freelist: Freelist,
    /// Memory for the next transaction.
    pub(super) arena: Arena,
    output: Output,
    options: StoreOptions,
    meta: Meta,
    newest: u64,
    stored_list: Option<Run>,
    file_bytes: u64,
    /// How large bbolt's map would be; it says by how much small files grow.
    map_bytes: u64,
    poisoned: bool,
}

impl<D: StoreDisk> Writer<D> {
    pub(super) fn new(disk: D, parts: WriterParts) -> Writer<D> {
        let WriterParts { options, freelist, meta, newest, file_bytes, stored_list } = parts;
        Writer {
            disk,
            freelist,
            arena: Arena::default(),
            output: Output::default(),
            options,
            meta,
            newest,
            stored_list,
            file_bytes,
            map_bytes: map_bytes(file_bytes.max(options.initial_map_bytes)),
            poisoned: false,
        }
    }

    /// Whether a transaction may begin.
    pub(super) fn begin(&self) -> Result<(), StoreError> {
        if self.poisoned { Err(StoreError::Poisoned) } else { Ok(()) }
    }

    pub(super) fn stats(&self) -> StoreStats {
        StoreStats {
            size_bytes: self.meta.high_water * u64::from(self.meta.page_size),
            file_bytes: self.file_bytes,
            free_pages: self.freelist.available_pages(),
            pending_pages: self.freelist.waiting_pages(),
            page_size: self.meta.page_size,
        }
    }

    /// The next transaction's id. bbolt writes meta t into page t mod 2; in a snapshot the newest
    /// one may stand in the other page, and then one id is left out, so that it is not overwritten.
    pub(super) fn next_txid(&self) -> u64 {
        let next = self.meta.txid.wrapping_add(1);
        if next % 2 == self.newest { next.wrapping_add(1) } else { next }
    }

    /// Writes a transaction; the state that it makes.
    pub(super) fn commit(
        &mut self,
        root: &mut BucketState,
        context: &mut Context<D::Pages>,
    ) -> Result<(Meta, D::Pages), StoreError> {
        let high_water = self.meta.high_water;
        let written = self.prepare(root, context).and_then(|(meta, list)| {
            let pages = self.write(&meta)?;
            Ok((meta, list, pages))
        });
        self.output.clear();
        match written {
            Ok((meta, list, pages)) => {
                self.freelist.commit();
                self.stored_list = list;
                self.newest = meta.txid % 2;
                self.meta = meta;
                Ok((meta, pages))
            }
            Err(error) => {
                self.freelist.roll_back(high_water);
                Err(error)
            }
        }
    }

    /// Encodes all pages; the meta to be, and where its freelist is.
    fn prepare(
        &mut self,
        root: &mut BucketState,
        context: &mut Context<D::Pages>,
    ) -> Result<(Meta, Option<Run>), StoreError> {
        let txid = self.next_txid();
        let mut spill = Spill {
            freelist: &mut self.freelist,
            output: &mut self.output,
            txid,
            high_water: self.meta.high_water,
            page_size: self.meta.page_size as usize,
        };
        let page = spill.root_bucket(root, context)?;
        let mut high_water = spill.high_water;
        for run in context.freed.drain(..).chain(self.stored_list) {
            self.freelist.free(run, txid)?;
        }
        let list = if is_stored(&self.options) {
            Some(self.encode_freelist(txid, &mut high_water))
        } else {
            None
        };
        let meta = Meta {
            page_size: self.meta.page_size,
            root: BucketHeader { root: page, sequence: self.meta.root.sequence },
            freelist: list.map_or(FREELIST_NOT_STORED, |run| run.page),
            high_water,
            txid,
        };
        Ok((meta, list))
    }

    /// Encodes the list of all pages that are not in use, into pages of its own.
    fn encode_freelist(&mut self, txid: u64, high_water: &mut u64) -> Run {
        let page_size = self.meta.page_size as usize;
        // The list's own pages may come from those it was to name: at most so many are left.
        let most = self.freelist.unused_pages(*high_water);
        let bytes = PAGE_HEADER_BYTES as u64 + 8 * (most + 1);
        let pages = bytes.div_ceil(page_size as u64);
        let page = self.freelist.allocate(pages, txid, high_water);
        let count = self.freelist.unused_pages(*high_water);
        let short = count.min(COUNT_IN_BODY);
        let header = PageHeader {
            id: page,
            flags: FLAG_FREELIST,
            count: u16::try_from(short).unwrap_or(u16::MAX),
            overflow: u32::try_from(pages - 1).unwrap_or(u32::MAX),
        };
        let out = self.output.begin(&header, page_size);
        if short == COUNT_IN_BODY {
            out.extend_from_slice(&count.to_le_bytes());
        }
        for free in self.freelist.unused(*high_water) {
            out.extend_from_slice(&free.to_le_bytes());
        }
        self.output.end();
        Run { page, pages }
    }

    /// Makes a state durable: pages first, then its meta.
    fn write(&mut self, meta: &Meta) -> Result<D::Pages, StoreError> {
        self.grow(meta.high_water)?;
        self.output.write_to(&mut self.disk)?;
        let len = meta.high_water * u64::from(meta.page_size);
        // What may fail without harm is done before the meta.
        let pages = self.disk.pages(len, self.options.initial_map_bytes)?;
        self.sync()?;
        let index = meta.txid % 2;
        assert!(index != self.newest, "the committed state's meta is not overwritten");
        let offset = index * u64::from(meta.page_size);
        let written = self.disk.write_at(offset, &meta.encode_page(index));
        self.decide(written)?;
        self.sync()?;
        Ok(pages)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        if self.options.no_sync {
            return Ok(());
        }
        let synced = self.disk.sync_data();
        self.decide(synced)
    }

    /// After a failure here nobody knows what is on the disk.
    fn decide(&mut self, outcome: Result<(), DiskError>) -> Result<(), StoreError> {
        self.poisoned |= outcome.is_err();
        Ok(outcome?)
    }

    /// Makes the file large enough, by as much as bbolt does: to the size of its map as long as
    /// that is no larger than the step, else by the step. The length is durable before a meta
    /// counts on it.
    fn grow(&mut self, high_water: u64) -> Result<(), StoreError> {
        let needed = (high_water + 1) * u64::from(self.meta.page_size);
        if high_water == self.meta.high_water {
            return Ok(());
        }
        if needed >= self.map_bytes {
            self.map_bytes = map_bytes(needed.max(self.file_bytes));
        }
        if needed <= self.file_bytes {
            return Ok(());
        }
        let step = self.options.growth_step_bytes;
        let len = if self.map_bytes <= step { self.map_bytes } else { needed + step };
        self.disk.set_len(len)?;
        self.file_bytes = len;
        if self.options.no_sync {
            return Ok(());
        }
        let synced = self.disk.sync_all();
        self.decide(synced)
    }
}

/// The size of bbolt's map for so many bytes.
fn map_bytes(bytes: u64) -> u64 {
    if bytes <= MAP_STEP_BYTES {
        return bytes.next_power_of_two().max(SMALLEST_MAP_BYTES);
    }
    bytes.next_multiple_of(MAP_STEP_BYTES)
}
