//! Nodes in memory: those that a transaction changes, and the branches above them.
//!
//! What must hold: a loaded node's run is freed when the node is written anew or goes away; a
//! child's key is not above any key below it, but for the first child of a branch on the left edge
//! of the tree, which may hold smaller ones until it is written.

use super::arena::{Arena, Place};
use super::freelist::Run;
use super::write::Context;
use crate::error::{Damage, ReadError};
use crate::layout::{ELEMENT_BYTES, FLAG_LEAF, PAGE_HEADER_BYTES};
use crate::node::Node as StoredNode;
use crate::source::PageSource;

/// Elements above which a node is halved in memory, so that insertions in the middle stay cheap.
/// When it is written it is cut to pages anyway.
const MAX_LOADED_ELEMENTS: usize = 1024;

/// A node in memory.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Where it was read from.
    pub(super) run: Run,
    /// Whether something was taken away, so that it may have become too small.
    pub(super) shrunk: bool,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Leaf(Vec<Entry>),
    Branch(Vec<Child>),
}

impl Default for Kind {
    fn default() -> Kind {
        Kind::Leaf(Vec::new())
    }
}

/// An entry of a leaf: the value follows the key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) key_bytes: u32,
    pub(super) value_bytes: u32,
    pub(super) is_bucket: bool,
}

/// A child of a branch.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) key: Key,
    pub(super) to: To,
}

/// A key in the arena.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) place: Place,
    pub(super) bytes: u32,
}

/// What a child is.
#[derive(Debug)]
pub(super) enum To {
    /// As it is in the file.
    Stored(u64),
    Loaded(Box<Node>),
}

impl Entry {
    #[inline]
    pub(super) fn key<'a>(&self, arena: &'a Arena) -> &'a [u8] {
        arena.bytes(self.place, self.key_bytes as usize)
    }

    pub(super) fn value<'a>(&self, arena: &'a Arena) -> &'a [u8] {
        arena.bytes(self.place.plus(self.key_bytes as usize), self.value_bytes as usize)
    }

    pub(super) fn key_and_value<'a>(&self, arena: &'a Arena) -> &'a [u8] {
        arena.bytes(self.place, self.key_bytes as usize + self.value_bytes as usize)
    }

    /// Bytes that it takes in a node.
    pub(super) fn size_bytes(&self) -> usize {
        ELEMENT_BYTES + self.key_bytes as usize + self.value_bytes as usize
    }
}

impl Key {
    #[inline]
    pub(super) fn get<'a>(&self, arena: &'a Arena) -> &'a [u8] {
        arena.bytes(self.place, self.bytes as usize)
    }

    pub(super) fn size_bytes(&self) -> usize {
        ELEMENT_BYTES + self.bytes as usize
    }
}

impl Node {
    /// Reads the node at a page.
    pub(super) fn load<P: PageSource>(
        context: &mut Context<P>,
        page: u64,
    ) -> Result<Box<Node>, ReadError> {
        let (header, bytes) = context.db.run(page)?;
        let stored = StoredNode::parse(page, bytes)?;
        let run = Run { page, pages: u64::from(header.overflow) + 1 };
        Ok(Box::new(Node::copied(&mut context.arena, &stored, run)))
    }

    /// A copy of a stored node. A node is at most as large as its file, and its sizes fit.
    pub(super) fn copied(arena: &mut Arena, stored: &StoredNode<'_>, run: Run) -> Node {
        let base = arena.push(stored.used(), &[]);
        let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let kind = if stored.is_leaf() {
            let entry = |index| {
                let [start, middle, end] = stored.bounds(index);
                Entry {
                    place: base.plus(start),
                    key_bytes: size(middle - start),
                    value_bytes: size(end - middle),
                    is_bucket: stored.leaf(index).is_bucket,
                }
            };
            Kind::Leaf((0..stored.count()).map(entry).collect())
        } else {
            let child = |index| {
                let [start, end, _] = stored.bounds(index);
                let key = Key { place: base.plus(start), bytes: size(end - start) };
                Child { key, to: To::Stored(stored.branch(index).1) }
            };
            Kind::Branch((0..stored.count()).map(child).collect())
        };
        Node { run, shrunk: false, kind }
    }

    pub(super) fn len(&self) -> usize {
        match &self.kind {
            Kind::Leaf(entries) => entries.len(),
            Kind::Branch(children) => children.len(),
        }
    }

    /// Bytes with the page header.
    pub(super) fn size_bytes(&self) -> usize {
        let elements: usize = match &self.kind {
            Kind::Leaf(entries) => entries.iter().map(Entry::size_bytes).sum(),
            Kind::Branch(children) => children.iter().map(|child| child.key.size_bytes()).sum(),
        };
        PAGE_HEADER_BYTES + elements
    }

    /// The key that a branch above has for it; `None` if it is empty.
    pub(super) fn first_key(&self) -> Option<Key> {
        match &self.kind {
            Kind::Leaf(entries) => {
                entries.first().map(|entry| Key { place: entry.place, bytes: entry.key_bytes })
            }
            Kind::Branch(children) => children.first().map(|child| child.key),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= MAX_LOADED_ELEMENTS
    }

    /// Takes the upper part away, which is to hold `key` if that comes after all others: then it
    /// is small, so that rising keys leave full nodes behind.
    pub(super) fn split_off(&mut self, key: &[u8], arena: &Arena) -> Node {
        let half = self.len() / 2;
        let kind = match &mut self.kind {
            Kind::Leaf(entries) => {
                let rising = entries.last().is_some_and(|last| last.key(arena) < key);
                let at = if rising { entries.len() - 1 } else { half };
                Kind::Leaf(entries.split_off(at))
            }
            Kind::Branch(children) => Kind::Branch(children.split_off(half)),
        };
        Node { run: Run::default(), shrunk: self.shrunk, kind }
    }
}

impl Child {
    /// The node, read if it was not yet.
    pub(super) fn load<P: PageSource>(
        &mut self,
        context: &mut Context<P>,
    ) -> Result<&mut Node, ReadError> {
        if let To::Stored(page) = self.to {
            self.to = To::Loaded(Node::load(context, page)?);
        }
        match &mut self.to {
            To::Loaded(node) => Ok(node),
            To::Stored(page) => Err(wrong_type(*page)),
        }
    }
}

/// A leaf where a branch belongs, or the other way round.
pub(super) fn wrong_type(page: u64) -> ReadError {
    ReadError::damaged(page, Damage::WrongType { flags: FLAG_LEAF })
}

/// Index of the first entry whose key is not below `key`, and whether it is equal. What comes
/// after all others is found with one comparison.
pub(super) fn search_entries(entries: &[Entry], key: &[u8], arena: &Arena) -> (usize, bool) {
    if entries.last().is_none_or(|last| last.key(arena) < key) {
        return (entries.len(), false);
    }
    match entries.binary_search_by(|entry| entry.key(arena).cmp(key)) {
        Ok(index) => (index, true),
        Err(index) => (index, false),
    }
}

/// Index of the child that may hold `key`: the last one whose key is not above it, or the first.
pub(super) fn search_children(children: &[Child], key: &[u8], arena: &Arena) -> usize {
    if let Some(last) = children.last()
        && last.key.get(arena) <= key
    {
        return children.len() - 1;
    }
    children.partition_point(|child| child.key.get(arena) <= key).saturating_sub(1)
}
