//! The stored list of free pages. etcd stores none on Linux; then free is what is not reachable.

use std::borrow::Cow;

use crate::db::Db;
use crate::error::{Damage, ReadError};
use crate::layout::{FLAG_FREELIST, FREELIST_NOT_STORED, PAGE_HEADER_BYTES, u64_at};
use crate::source::PageSource;

/// Header count that says that the true one is the first word of the body.
const COUNT_IN_BODY: u16 = 0xFFFF;

/// A stored freelist, as it stands in the file: the ids are not checked.
#[derive(Debug)]
pub struct FreeIds<'d> {
    page: u64,
    overflow: u32,
    /// Bytes of the first id, and number of ids.
    start: usize,
    count: usize,
    bytes: Cow<'d, [u8]>,
}

impl<'d> FreeIds<'d> {
    pub(crate) fn read<S: PageSource>(db: &'d Db<S>) -> Result<Option<FreeIds<'d>>, ReadError> {
        let page = db.meta().freelist;
        if page == FREELIST_NOT_STORED {
            return Ok(None);
        }
        let (header, bytes) = db.run(page)?;
        if header.flags != FLAG_FREELIST {
            let flags = header.flags;
            return Err(ReadError::damaged(page, Damage::WrongType { flags }));
        }
        // A page holds more than 24 bytes, so the first word is always there.
        let (start, count) = if header.count == COUNT_IN_BODY {
            (PAGE_HEADER_BYTES + 8, u64_at(&bytes, PAGE_HEADER_BYTES))
        } else {
            (PAGE_HEADER_BYTES, u64::from(header.count))
        };
        let room = (bytes.len() - start) / 8;
        match usize::try_from(count) {
            Ok(count) if count <= room => {
                Ok(Some(FreeIds { page, overflow: header.overflow, start, count, bytes }))
            }
            _ => Err(ReadError::damaged(page, Damage::Count { count })),
        }
    }

    /// The page that the list begins at.
    pub fn page(&self) -> u64 {
        self.page
    }

    /// Number of pages that the list takes.
    pub fn pages(&self) -> u64 {
        u64::from(self.overflow) + 1
    }

    /// Number of free pages in it.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no page is free.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The page ids in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.count).map(|index| u64_at(&self.bytes, self.start + 8 * index))
    }
}
