//! Nodes that are being filled, and how they are encoded.

use crate::layout::{
    ELEMENT_BYTES, FLAG_BRANCH, FLAG_LEAF, MAX_ELEMENTS, PAGE_HEADER_BYTES, PageHeader,
};

/// bbolt puts at least two elements into a node when it splits one.
const MIN_ELEMENTS: usize = 2;
/// bbolt never splits a node of so many elements, however large it is.
const MAX_UNSPLIT_ELEMENTS: usize = 4;
/// Above this many bytes a leaf is closed even with one element: it bounds memory, and keeps large
/// values from dragging their neighbours along when they are rewritten.
const LARGE_LEAF_BYTES: usize = 256 << 10;

/// When a node is closed.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodeLimits {
    pub(super) page_bytes: usize,
    /// Bytes above which it is closed if it has enough elements.
    pub(super) target_bytes: usize,
}

/// A leaf that is being filled. It keeps its buffers from one leaf to the next.
#[derive(Debug, Default)]
pub(super) struct OpenLeaf {
    elements: Vec<LeafSizes>,
    /// Keys and values, one after the other, as they stand behind the element table.
    data: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct LeafSizes {
    flags: u32,
    key: u32,
    value: u32,
}

impl OpenLeaf {
    /// Bytes of the node with its header.
    pub(super) fn size_bytes(&self) -> usize {
        PAGE_HEADER_BYTES + ELEMENT_BYTES * self.elements.len() + self.data.len()
    }

    /// Whether the leaf must be written before this entry is added.
    pub(super) fn is_full_for(&self, key: &[u8], value: &[u8], limits: &NodeLimits) -> bool {
        let size = self.size_bytes() + ELEMENT_BYTES + key.len() + value.len();
        let len = self.elements.len();
        if len == 0 || size <= limits.target_bytes {
            return len >= MAX_ELEMENTS;
        }
        if size > LARGE_LEAF_BYTES || len >= MAX_UNSPLIT_ELEMENTS {
            return true;
        }
        len >= MIN_ELEMENTS && !self.wastes_pages(limits.page_bytes)
    }

    /// Whether an eighth or more of a run of overflow pages would be empty: then it may grow up to
    /// the number of elements that bbolt leaves together.
    fn wastes_pages(&self, page_bytes: usize) -> bool {
        let size = self.size_bytes();
        let run = size.next_multiple_of(page_bytes);
        run > page_bytes && run - size >= run / 8
    }

    pub(super) fn push(&mut self, flags: u32, key: &[u8], value: &[u8]) {
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).expect("sizes were checked before");
        self.elements.push(LeafSizes { flags, key: size(key), value: size(value) });
        self.data.extend_from_slice(key);
        self.data.extend_from_slice(value);
    }

    pub(super) fn first_key(&self) -> &[u8] {
        self.elements.first().map_or(&[], |first| &self.data[..first.key as usize])
    }

    /// Appends the element table and the data, all that follows the page header.
    pub(super) fn encode_body(&self, out: &mut Vec<u8>) {
        let mut table = self.elements.len() * ELEMENT_BYTES;
        let mut data = 0;
        for element in &self.elements {
            // From the element's own start: what is left of the table, then the data before it.
            let pos = u32::try_from(table + data).expect("a leaf above 256 KiB has one element");
            out.extend_from_slice(&element.flags.to_le_bytes());
            out.extend_from_slice(&pos.to_le_bytes());
            out.extend_from_slice(&element.key.to_le_bytes());
            out.extend_from_slice(&element.value.to_le_bytes());
            table -= ELEMENT_BYTES;
            data += element.key as usize + element.value as usize;
        }
        assert!(data == self.data.len(), "the sizes cover the data");
        out.extend_from_slice(&self.data);
    }

    /// Appends the whole page as it stands in the value of an inline bucket.
    pub(super) fn encode_inline(&self, out: &mut Vec<u8>) {
        let header = self.header(0, 0);
        out.extend_from_slice(&header.encode());
        self.encode_body(out);
    }

    pub(super) fn header(&self, id: u64, overflow: u32) -> PageHeader {
        PageHeader { id, flags: FLAG_LEAF, count: count(self.elements.len()), overflow }
    }

    pub(super) fn clear(&mut self) {
        self.elements.clear();
        self.data.clear();
        // One huge value must not stay allocated for the rest of the build.
        self.data.shrink_to(4 * LARGE_LEAF_BYTES);
    }
}

/// A branch that is being filled.
#[derive(Debug, Default)]
pub(super) struct OpenBranch {
    children: Vec<Child>,
    keys: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Child {
    key: u32,
    page: u64,
}

impl OpenBranch {
    pub(super) fn len(&self) -> usize {
        self.children.len()
    }

    /// Whether all children but the last must be written before this one is added. What is written
    /// keeps at least two.
    pub(super) fn is_full_for(&self, key: &[u8], limits: &NodeLimits) -> bool {
        let len = self.children.len();
        let size = PAGE_HEADER_BYTES + ELEMENT_BYTES * (len + 1) + self.keys.len() + key.len();
        len > MIN_ELEMENTS && (size > limits.target_bytes || len >= MAX_ELEMENTS)
    }

    pub(super) fn push(&mut self, key: &[u8], page: u64) {
        let size = u32::try_from(key.len()).expect("sizes were checked before");
        self.children.push(Child { key: size, page });
        self.keys.extend_from_slice(key);
    }

    pub(super) fn first_key(&self) -> &[u8] {
        self.children.first().map_or(&[], |first| &self.keys[..first.key as usize])
    }

    /// Bytes of a node with the first `len` children.
    pub(super) fn size_bytes(&self, len: usize) -> usize {
        PAGE_HEADER_BYTES + ELEMENT_BYTES * len + self.key_bytes(len)
    }

    pub(super) fn header(len: usize, id: u64, overflow: u32) -> PageHeader {
        PageHeader { id, flags: FLAG_BRANCH, count: count(len), overflow }
    }

    /// Appends the element table and the keys of the first `len` children.
    pub(super) fn encode_body(&self, len: usize, out: &mut Vec<u8>) {
        let mut table = len * ELEMENT_BYTES;
        let mut data = 0;
        for child in &self.children[..len] {
            let pos = u32::try_from(table + data).expect("65,534 keys of 32 KiB fit 32 bits");
            out.extend_from_slice(&pos.to_le_bytes());
            out.extend_from_slice(&child.key.to_le_bytes());
            out.extend_from_slice(&child.page.to_le_bytes());
            table -= ELEMENT_BYTES;
            data += child.key as usize;
        }
        out.extend_from_slice(&self.keys[..data]);
    }

    /// Forgets the first `len` children.
    pub(super) fn remove_first(&mut self, len: usize) {
        self.keys.drain(..self.key_bytes(len));
        self.children.drain(..len);
    }

    fn key_bytes(&self, len: usize) -> usize {
        self.children[..len].iter().map(|child| child.key as usize).sum()
    }
}

fn count(len: usize) -> u16 {
    assert!(len <= MAX_ELEMENTS, "nodes are written before they hold more");
    u16::try_from(len).expect("65,534 fits")
}
