//! Where a node that is too large is cut, and the bytes of the parts.
//!
//! What must hold: each part of a branch has two children or more, each part of a leaf an entry
//! or more, none has more than 65,534; only a leaf without entries gives an empty part.

use super::arena::Arena;
use super::node::{Child, Entry, To};
use crate::layout::{ELEMENT_BYTES, MAX_ELEMENTS, PAGE_HEADER_BYTES};

/// Least elements in a part (bbolt), but for leaves with large values.
const MIN_ELEMENTS: usize = 2;
/// bbolt never cuts a node of so many elements.
const MAX_UNCUT_ELEMENTS: usize = 4;
/// A leaf above this size is cut even if it has few entries, so that large values do not drag their
/// neighbours along when they are rewritten.
const LARGE_LEAF_BYTES: usize = 256 << 10;

/// How nodes are cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    pub(super) page_bytes: usize,
    /// How full a part that is not the last one becomes, in percent of a page.
    pub(super) fill_percent: u8,
}

/// A part of a node: its elements end before `end`; its bytes without the page header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) end: usize,
    pub(super) bytes: usize,
}

impl Cut {
    pub(super) fn leaf(&self, entries: &[Entry]) -> Vec<Part> {
        let large = LARGE_LEAF_BYTES.max(self.page_bytes);
        self.parts(entries.len(), |at| entries[at].size_bytes(), large)
    }

    pub(super) fn branch(&self, children: &[Child]) -> Vec<Part> {
        self.parts(children.len(), |at| children[at].key.size_bytes(), usize::MAX)
    }

    /// Parts are filled from the front; the rest is left whole as soon as it fits a page.
    fn parts(&self, count: usize, size: impl Fn(usize) -> usize, large: usize) -> Vec<Part> {
        let fill_bytes = self.page_bytes * usize::from(self.fill_percent) / 100;
        let mut rest: usize = (0..count).map(&size).sum();
        let (mut parts, mut start) = (Vec::new(), 0);
        loop {
            let left = count - start;
            let bytes = PAGE_HEADER_BYTES + rest;
            let fits = bytes <= self.page_bytes && left <= MAX_ELEMENTS;
            if fits || (left <= MAX_UNCUT_ELEMENTS && bytes <= large) {
                parts.push(Part { end: count, bytes: rest });
                return parts;
            }
            let (mut end, mut bytes) = (start, 0);
            while end < count {
                let (taken, grown) = (end - start, PAGE_HEADER_BYTES + bytes + size(end));
                let full = grown > fill_bytes || taken >= MAX_ELEMENTS;
                let few_left = left > MAX_UNCUT_ELEMENTS && count - end <= MIN_ELEMENTS;
                let cut = taken >= MIN_ELEMENTS && (full || few_left);
                if cut || (taken > 0 && grown > large) {
                    break;
                }
                bytes += size(end);
                end += 1;
            }
            parts.push(Part { end, bytes });
            if end == count {
                return parts;
            }
            rest -= bytes;
            start = end;
        }
    }
}

/// Appends all that follows the page header of a leaf.
pub(super) fn encode_leaf(entries: &[Entry], arena: &Arena, out: &mut Vec<u8>) {
    let (mut table, mut data) = (entries.len() * ELEMENT_BYTES, 0);
    for entry in entries {
        out.extend_from_slice(&u32::from(entry.is_bucket).to_le_bytes());
        out.extend_from_slice(&position(table + data));
        out.extend_from_slice(&entry.key_bytes.to_le_bytes());
        out.extend_from_slice(&entry.value_bytes.to_le_bytes());
        table -= ELEMENT_BYTES;
        data += entry.size_bytes() - ELEMENT_BYTES;
    }
    for entry in entries {
        out.extend_from_slice(entry.key_and_value(arena));
    }
}

/// Appends all that follows the page header of a branch, whose children have their pages.
pub(super) fn encode_branch(children: &[Child], arena: &Arena, out: &mut Vec<u8>) {
    let (mut table, mut data) = (children.len() * ELEMENT_BYTES, 0);
    for child in children {
        let To::Stored(page) = child.to else { unreachable!("children are written first") };
        out.extend_from_slice(&position(table + data));
        out.extend_from_slice(&child.key.bytes.to_le_bytes());
        out.extend_from_slice(&page.to_le_bytes());
        table -= ELEMENT_BYTES;
        data += child.key.bytes as usize;
    }
    for child in children {
        out.extend_from_slice(child.key.get(arena));
    }
}

/// Where an element's bytes begin, from its own start. A part with more than one entry is at most
/// as large as a page or 256 KiB; 65,534 keys of 32 KiB fit, too.
fn position(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}
