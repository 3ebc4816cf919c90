//! A bucket that a transaction has opened: its tree, partly in memory, and the buckets opened
//! inside it.
//!
//! What must hold: an opened bucket always has its entry in the tree around it; that entry's value
//! is brought up to date when the transaction is written.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::StoreError;
use super::arena::Arena;
use super::freelist::Run;
use super::look_up::find;
use super::node::{Child, Entry, Kind, Node, To, search_children, search_entries, wrong_type};
use super::write::{Context, DEFAULT_FILL_PERCENT};
use crate::error::{Damage, ReadError};
use crate::layout::{
    BUCKET_HEADER_BYTES, BucketHeader, FLAG_LEAF, MAX_TREE_DEPTH, PAGE_HEADER_BYTES, PageHeader,
};
use crate::node::Node as StoredNode;
use crate::reach;
use crate::source::PageSource;

/// A bucket in a transaction.
#[derive(Debug)]
pub(super) struct BucketState {
    pub(super) root: To,
    pub(super) sequence: u64,
    pub(super) fill_percent: u8,
    /// Whether anything in it (not in a bucket inside it) was changed.
    pub(super) changed: bool,
    pub(super) buckets: BTreeMap<Vec<u8>, BucketState>,
}

/// The value of an empty bucket: a header, and an inline leaf without entries.
pub(super) fn empty_bucket() -> [u8; BUCKET_HEADER_BYTES + PAGE_HEADER_BYTES] {
    let mut value = [0; BUCKET_HEADER_BYTES + PAGE_HEADER_BYTES];
    let leaf = PageHeader { id: 0, flags: FLAG_LEAF, count: 0, overflow: 0 };
    value[BUCKET_HEADER_BYTES..].copy_from_slice(&leaf.encode());
    value
}

impl BucketState {
    pub(super) fn stored(header: BucketHeader) -> BucketState {
        BucketState {
            root: To::Stored(header.root),
            sequence: header.sequence,
            fill_percent: DEFAULT_FILL_PERCENT,
            changed: false,
            buckets: BTreeMap::new(),
        }
    }

    /// The bucket whose entry has this value.
    fn from_value(value: &[u8], arena: &mut Arena) -> Result<BucketState, ReadError> {
        let damaged = || ReadError::damaged(0, Damage::Bucket { index: 0 });
        let header = value.get(..BUCKET_HEADER_BYTES).ok_or_else(damaged)?;
        let mut state = BucketState::stored(BucketHeader::parse(header));
        if let To::Stored(0) = state.root {
            let inline = &value[BUCKET_HEADER_BYTES..];
            if inline.len() < PAGE_HEADER_BYTES {
                return Err(damaged());
            }
            let leaf = StoredNode::parse_inline(0, Cow::Borrowed(inline))?;
            leaf.refuse_buckets()?;
            let node = Node::copied(arena, &leaf, Run::default());
            state.root = To::Loaded(Box::new(node));
        }
        Ok(state)
    }

    /// Opens the bucket of that name inside; `None` if there is none.
    pub(super) fn open<P: PageSource>(
        &mut self,
        context: &mut Context<P>,
        name: &[u8],
    ) -> Result<Option<&mut BucketState>, StoreError> {
        if !self.buckets.contains_key(name) {
            let Some(found) = find(&self.root, &context.db, &context.arena, name)? else {
                return Ok(None);
            };
            if !found.is_bucket {
                return Err(StoreError::not_a_bucket(name));
            }
            let value = found.value.into_owned();
            let state = BucketState::from_value(&value, &mut context.arena)?;
            self.buckets.insert(name.to_vec(), state);
        }
        Ok(self.buckets.get_mut(name))
    }

    /// The root node, read if it was not yet.
    fn root<P: PageSource>(&mut self, context: &mut Context<P>) -> Result<&mut Node, ReadError> {
        if let To::Stored(page) = self.root {
            self.root = To::Loaded(Node::load(context, page)?);
        }
        match &mut self.root {
            To::Loaded(node) => Ok(node),
            To::Stored(page) => Err(wrong_type(*page)),
        }
    }

    /// Sets an entry. A bucket's entry is replaced only by another one of it.
    pub(super) fn put<P: PageSource>(
        &mut self,
        context: &mut Context<P>,
        key: &[u8],
        value: &[u8],
        is_bucket: bool,
    ) -> Result<(), StoreError> {
        self.root(context)?;
        self.split_full_root(key, &context.arena);
        self.changed = true;
        let mut node = self.root(context)?;
        for _ in 0..MAX_TREE_DEPTH {
            match &mut node.kind {
                Kind::Leaf(entries) => {
                    return put_entry(entries, context, key, value, is_bucket);
                }
                Kind::Branch(children) => {
                    let mut at = search_children(children, key, &context.arena);
                    let child = children[at].load(context)?;
                    if child.is_full() {
                        let right = child.split_off(key, &context.arena);
                        if let Some(first) = right.first_key() {
                            let goes_right = first.get(&context.arena) <= key;
                            let to = To::Loaded(Box::new(right));
                            children.insert(at + 1, Child { key: first, to });
                            at += usize::from(goes_right);
                        }
                    }
                    node = children[at].load(context)?;
                }
            }
        }
        Err(too_deep(node.run.page).into())
    }

    /// Halves a root that is full; a new root is put above the halves.
    fn split_full_root(&mut self, key: &[u8], arena: &Arena) {
        let To::Loaded(root) = &mut self.root else { return };
        if !root.is_full() {
            return;
        }
        let right = root.split_off(key, arena);
        let (Some(low), Some(high)) = (root.first_key(), right.first_key()) else { return };
        let left = std::mem::take(root);
        let right = To::Loaded(Box::new(right));
        let children = [Child { key: low, to: To::Loaded(left) }, Child { key: high, to: right }];
        root.kind = Kind::Branch(children.into());
    }

    /// Takes an entry away, if it is there. The bucket that it may be was closed before.
    pub(super) fn remove<P: PageSource>(
        &mut self,
        context: &mut Context<P>,
        key: &[u8],
    ) -> Result<(), StoreError> {
        self.changed = true;
        let leaf = self.load_leaf(context, key)?;
        let Kind::Leaf(entries) = &mut leaf.kind else { return Ok(()) };
        let (index, equal) = search_entries(entries, key, &context.arena);
        if equal {
            entries.remove(index);
            leaf.shrunk = true;
        }
        Ok(())
    }

    /// The leaf that may hold `key`, read with all that is above it.
    fn load_leaf<P: PageSource>(
        &mut self,
        context: &mut Context<P>,
        key: &[u8],
    ) -> Result<&mut Node, ReadError> {
        let mut node = self.root(context)?;
        for _ in 0..MAX_TREE_DEPTH {
            if let Kind::Leaf(_) = node.kind {
                return Ok(node);
            }
            let page = node.run.page;
            let Kind::Branch(children) = &mut node.kind else { return Err(wrong_type(page)) };
            let at = search_children(children, key, &context.arena);
            node = children[at].load(context)?;
        }
        Err(too_deep(node.run.page))
    }

    /// Frees all pages of the bucket and of those inside it.
    pub(super) fn free<P: PageSource>(
        mut self,
        context: &mut Context<P>,
    ) -> Result<(), StoreError> {
        // What was changed in an opened bucket stands in memory only: its entry must be met there.
        for name in self.buckets.keys().cloned().collect::<Vec<_>>() {
            self.load_leaf(context, &name)?;
        }
        let mut waiting = vec![std::mem::replace(&mut self.root, To::Stored(0))];
        while let Some(to) = waiting.pop() {
            let node = match to {
                To::Stored(page) => {
                    free_stored(context, page)?;
                    continue;
                }
                To::Loaded(node) => node,
            };
            context.free(node.run);
            match node.kind {
                Kind::Branch(children) => waiting.extend(children.into_iter().map(|c| c.to)),
                Kind::Leaf(entries) => {
                    for entry in entries.into_iter().filter(|entry| entry.is_bucket) {
                        let name = entry.key(&context.arena).to_vec();
                        let value = entry.value(&context.arena).to_vec();
                        match self.buckets.remove(&name) {
                            Some(open) => open.free(context)?,
                            None => {
                                BucketState::from_value(&value, &mut context.arena)?
                                    .free(context)?;
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Sets an entry of a leaf in memory.
fn put_entry<P: PageSource>(
    entries: &mut Vec<Entry>,
    context: &mut Context<P>,
    key: &[u8],
    value: &[u8],
    is_bucket: bool,
) -> Result<(), StoreError> {
    let (index, equal) = search_entries(entries, key, &context.arena);
    if equal && entries[index].is_bucket != is_bucket {
        return Err(StoreError::is_a_bucket(key));
    }
    let place = context.arena.push(key, value);
    // The caller checked both lengths.
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let entry = Entry { place, key_bytes: size(key), value_bytes: size(value), is_bucket };
    if equal {
        entries[index] = entry;
    } else {
        entries.insert(index, entry);
    }
    Ok(())
}

/// Frees a tree that is as it is in the file.
fn free_stored<P: PageSource>(context: &mut Context<P>, root: u64) -> Result<(), StoreError> {
    let Context { db, freed, .. } = context;
    let mut left = db.meta().high_water;
    reach::runs(db, root, |page, pages| {
        let shared = ReadError::damaged(page, Damage::Shared);
        left = left.checked_sub(pages).ok_or(shared)?;
        freed.push(Run { page, pages });
        Ok(())
    })?;
    Ok(())
}

fn too_deep(page: u64) -> ReadError {
    ReadError::damaged(page, Damage::TooDeep { limit: MAX_TREE_DEPTH })
}
