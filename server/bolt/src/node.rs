//! One node of a tree: a page with its overflow pages, or the page of an inline bucket.
//!
//! What must hold, checked when the node is made: `count` elements of 16 bytes fit behind the
//! header, every key and value lies behind them and within the node, and together they are not
//! larger than the node.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::error::{Damage, ReadError};
use crate::layout::{
    BUCKET_FLAG, ELEMENT_BYTES, FLAG_BRANCH, FLAG_LEAF, PAGE_HEADER_BYTES, PageHeader, u32_at,
    u64_at,
};

/// A branch or leaf whose elements are known to lie within it.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    /// The page it begins at; for an inline bucket the page that holds it. For messages.
    page: u64,
    is_leaf: bool,
    is_inline: bool,
    count: usize,
    bytes: Cow<'a, [u8]>,
}

/// A leaf element, its bytes within the node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeafElement<'n> {
    pub(crate) key: &'n [u8],
    pub(crate) value: &'n [u8],
    pub(crate) is_bucket: bool,
}

impl<'a> Node<'a> {
    /// A node from its whole run of bytes (at least a page header long).
    pub(crate) fn parse(page: u64, bytes: Cow<'a, [u8]>) -> Result<Node<'a>, ReadError> {
        Node::parse_at(page, bytes, false)
    }

    /// The leaf of an inline bucket that stands in a leaf of page `holder`.
    pub(crate) fn parse_inline(holder: u64, bytes: Cow<'a, [u8]>) -> Result<Node<'a>, ReadError> {
        Node::parse_at(holder, bytes, true)
    }

    fn parse_at(page: u64, bytes: Cow<'a, [u8]>, inline: bool) -> Result<Node<'a>, ReadError> {
        assert!(bytes.len() >= PAGE_HEADER_BYTES, "the caller reads at least the header");
        let header = PageHeader::parse(&bytes);
        let is_leaf = match header.flags {
            FLAG_LEAF => true,
            FLAG_BRANCH if !inline => false,
            flags => return Err(ReadError::damaged(page, Damage::WrongType { flags })),
        };
        let count = usize::from(header.count);
        if count > (bytes.len() - PAGE_HEADER_BYTES) / ELEMENT_BYTES {
            return Err(ReadError::damaged(page, Damage::Count { count: count as u64 }));
        }
        if !is_leaf && count == 0 {
            return Err(ReadError::damaged(page, Damage::EmptyBranch));
        }
        let node = Node { page, is_leaf, is_inline: inline, count, bytes };
        node.check_elements()?;
        Ok(node)
    }

    /// Every element lies behind the table and within the node, and together they take no more
    /// than it has: else a small file could claim to hold endless data.
    fn check_elements(&self) -> Result<(), ReadError> {
        let table_end = PAGE_HEADER_BYTES + self.count * ELEMENT_BYTES;
        let mut room = self.bytes.len() - table_end;
        for index in 0..self.count {
            let damaged = || ReadError::damaged(self.page, Damage::Element { index });
            let [start, _, end] = self.bounds(index);
            if start < table_end || end > self.bytes.len() {
                return Err(damaged());
            }
            room = room.checked_sub(end - start).ok_or_else(damaged)?;
        }
        Ok(())
    }

    /// Start of the key, end of the key, end of the value (for a branch: of the key) in the node.
    #[inline]
    pub(crate) fn bounds(&self, index: usize) -> [usize; 3] {
        let at = PAGE_HEADER_BYTES + index * ELEMENT_BYTES;
        let element = &self.bytes[at..at + ELEMENT_BYTES];
        // Three 32-bit sizes and an offset within a node cannot overflow 64 bits.
        if self.is_leaf {
            let start = at + u32_at(element, 4) as usize;
            let middle = start + u32_at(element, 8) as usize;
            [start, middle, middle + u32_at(element, 12) as usize]
        } else {
            let start = at + u32_at(element, 0) as usize;
            let end = start + u32_at(element, 4) as usize;
            [start, end, end]
        }
    }

    pub(crate) fn page(&self) -> u64 {
        self.page
    }

    pub(crate) fn is_leaf(&self) -> bool {
        self.is_leaf
    }

    /// Whether it is the leaf of an inline bucket; such a leaf holds no buckets.
    pub(crate) fn is_inline(&self) -> bool {
        self.is_inline
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// An inline bucket holds no buckets.
    pub(crate) fn refuse_buckets(&self) -> Result<(), ReadError> {
        match (0..self.count).find(|index| self.is_leaf && self.leaf(*index).is_bucket) {
            Some(index) => Err(ReadError::damaged(self.page, Damage::Bucket { index })),
            None => Ok(()),
        }
    }

    /// Bytes from the page header to the end of the last element.
    pub(crate) fn used_bytes(&self) -> usize {
        let table_end = PAGE_HEADER_BYTES + self.count * ELEMENT_BYTES;
        (0..self.count).map(|index| self.bounds(index)[2]).fold(table_end, usize::max)
    }

    /// The node's bytes from its page header on; [`Node::bounds`] are places in them.
    pub(crate) fn used(&self) -> &[u8] {
        &self.bytes[..self.used_bytes()]
    }

    /// The leaf element at `index`, which must be below `count`.
    #[inline]
    pub(crate) fn leaf(&self, index: usize) -> LeafElement<'_> {
        assert!(self.is_leaf && index < self.count, "the caller stays within the leaf");
        let [start, middle, end] = self.bounds(index);
        let flags = u32_at(&self.bytes, PAGE_HEADER_BYTES + index * ELEMENT_BYTES);
        LeafElement {
            key: &self.bytes[start..middle],
            value: &self.bytes[middle..end],
            is_bucket: flags & BUCKET_FLAG != 0,
        }
    }

    /// The value of a leaf element with the source's life time: borrowed if the node is.
    pub(crate) fn leaf_value(&self, index: usize) -> Cow<'a, [u8]> {
        assert!(self.is_leaf && index < self.count, "the caller stays within the leaf");
        let [_, start, end] = self.bounds(index);
        match &self.bytes {
            Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[start..end]),
            Cow::Owned(bytes) => Cow::Owned(bytes[start..end].to_vec()),
        }
    }

    /// Key and child page of the branch element at `index`, which must be below `count`.
    #[inline]
    pub(crate) fn branch(&self, index: usize) -> (&[u8], u64) {
        assert!(!self.is_leaf && index < self.count, "the caller stays within the branch");
        let [start, end, _] = self.bounds(index);
        let child = u64_at(&self.bytes, PAGE_HEADER_BYTES + index * ELEMENT_BYTES + 8);
        (&self.bytes[start..end], child)
    }

    /// Index of the first leaf element whose key is not below `key` (`count` if there is none),
    /// and whether it is equal.
    pub(crate) fn search_leaf(&self, key: &[u8]) -> (usize, bool) {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.leaf(middle).key.cmp(key) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return (middle, true),
                Ordering::Greater => high = middle,
            }
        }
        (low, false)
    }

    /// Index of the child that may hold `key`: the last one whose key is not above it, or the
    /// first one.
    pub(crate) fn search_branch(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.branch(middle).0 <= key { low = middle + 1 } else { high = middle }
        }
        low.saturating_sub(1)
    }
}
