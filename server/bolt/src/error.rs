//! What can be wrong with a database that is read: I/O, no database at all, cut short, or damaged
//! at a page. Corruption and I/O are never one variant.

use std::io;

use crate::layout::MetaDamage;

/// Why a database, or a part of it, cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The source failed; the file may be fine.
    #[error("cannot read {len} bytes at byte {offset} of the database: {source}")]
    Io {
        /// First byte that was asked for.
        offset: u64,
        /// Number of bytes that were asked for.
        len: usize,
        /// The source's error.
        source: io::Error,
    },
    /// Neither meta is valid.
    #[error(
        "not a bolt database, or both its meta pages are lost: meta 0: {meta0}; meta 1: {meta1}; \
         take another copy"
    )]
    NoMeta {
        /// What is wrong with meta 0.
        meta0: MetaDamage,
        /// What is wrong with meta 1, at the page size it was last looked for.
        meta1: MetaDamage,
    },
    /// The file ends before the pages that its meta counts.
    #[error(
        "the database is cut short: it needs {needed_bytes} bytes and has {actual_bytes}; \
         copy it again"
    )]
    Truncated {
        /// High water mark times page size.
        needed_bytes: u64,
        /// The source's size.
        actual_bytes: u64,
    },
    /// A page is damaged.
    #[error("page {page} of the database is damaged: {damage}; take another copy")]
    Damaged {
        /// Number of the page.
        page: u64,
        /// What is wrong with it.
        damage: Damage,
    },
    /// A cursor was used after an error; its place is lost.
    #[error("the cursor failed before at page {page}; begin again with first or seek")]
    CursorFailed {
        /// The page at which it failed; 0 if it failed outside of a page.
        page: u64,
    },
}

/// What is wrong with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// A reference to a meta page or beyond the high water mark.
    #[error("its number is outside of 2..{high_water}")]
    OutOfBounds {
        /// The high water mark.
        high_water: u64,
    },
    /// The page names itself by another number.
    #[error("it says that it is page {found}")]
    WrongId {
        /// The number in its header.
        found: u64,
    },
    /// The page is of a type that cannot stand here.
    #[error("its flags are {flags:#06x}, which is not what belongs here")]
    WrongType {
        /// The flags in its header.
        flags: u16,
    },
    /// Its overflow pages end beyond the high water mark.
    #[error("its {overflow} overflow pages end beyond the high water mark {high_water}")]
    Overflow {
        /// The overflow count in its header.
        overflow: u32,
        /// The high water mark.
        high_water: u64,
    },
    /// The node is larger than the source allows to be read at once.
    #[error("it has {bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Bytes of the node with its overflow pages.
        bytes: u64,
        /// The source's limit.
        limit: u64,
    },
    /// More elements than fit.
    #[error("its {count} elements do not fit")]
    Count {
        /// The number of elements in its header.
        count: u64,
    },
    /// A key or value lies outside of the node, or the elements up to it are larger than the node.
    #[error("element {index} lies outside of it or over others")]
    Element {
        /// Number of the element.
        index: usize,
    },
    /// A branch without children.
    #[error("it is a branch without children")]
    EmptyBranch,
    /// A bucket's value is too short for its header or its inline page, or it stands in an inline
    /// bucket.
    #[error("element {index} is no valid bucket, or a bucket inside an inline one")]
    Bucket {
        /// Number of the element.
        index: usize,
    },
    /// Its keys, or those below it, are not in order.
    #[error("the keys in it or below it are not in order")]
    KeyOrder,
    /// The page is its own ancestor.
    #[error("it is its own ancestor")]
    Cycle,
    /// The tree is deeper than any real one.
    #[error("the tree is deeper than {limit} levels")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// A walk met more nodes than the file has pages, so some are referred to twice.
    #[error("pages are referred to more than once")]
    Shared,
}

impl ReadError {
    /// A damaged page.
    pub(crate) fn damaged(page: u64, damage: Damage) -> ReadError {
        ReadError::Damaged { page, damage }
    }
}
