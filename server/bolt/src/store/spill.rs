//! Writing a transaction's trees into memory, page by page, the lowest level first.
//!
//! What must hold: every node gets new pages, never ones that the state on the disk refers to;
//! no branch has fewer than two children; no node has more than 65,534 elements; a branch's key is
//! the first key of its child.

use super::StoreError;
use super::arena::{Arena, Place};
use super::balance::balance;
use super::bucket::BucketState;
use super::cut::{Cut, Part, encode_branch, encode_leaf};
use super::freelist::{Freelist, Run};
use super::node::{Child, Key, Kind, Node, To};
use super::output::Output;
use super::write::Context;
use crate::error::ReadError;
use crate::layout::{BucketHeader, FLAG_BRANCH, FLAG_LEAF, PAGE_HEADER_BYTES, PageHeader};
use crate::source::PageSource;

/// Where nodes go.
pub(super) struct Spill<'w> {
    pub(super) freelist: &'w mut Freelist,
    pub(super) output: &'w mut Output,
    pub(super) txid: u64,
    pub(super) high_water: u64,
    pub(super) page_size: usize,
}

impl Spill<'_> {
    /// Writes a bucket and those inside it; its value in the tree around it, if that changes.
    pub(super) fn bucket<P: PageSource>(
        &mut self,
        state: &mut BucketState,
        context: &mut Context<P>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner_buckets(state, context)?;
        if !state.changed {
            return Ok(None);
        }
        let sequence = state.sequence;
        let root = match std::mem::replace(&mut state.root, To::Stored(0)) {
            To::Stored(root) => root,
            To::Loaded(mut root) => {
                let small_bytes = self.page_size * usize::from(state.fill_percent) / 200;
                balance(&mut root, context, small_bytes)?;
                if is_inline(&root, self.page_size / 4) {
                    context.free(root.run);
                    return Ok(Some(inline(&root, sequence, &context.arena)));
                }
                self.root(*root, context, state.fill_percent)?
            }
        };
        Ok(Some(BucketHeader { root, sequence }.encode().to_vec()))
    }

    /// Writes the root bucket; its root page.
    pub(super) fn root_bucket<P: PageSource>(
        &mut self,
        state: &mut BucketState,
        context: &mut Context<P>,
    ) -> Result<u64, StoreError> {
        self.inner_buckets(state, context)?;
        match std::mem::replace(&mut state.root, To::Stored(0)) {
            To::Stored(root) => Ok(root),
            To::Loaded(mut root) => {
                let small_bytes = self.page_size * usize::from(state.fill_percent) / 200;
                balance(&mut root, context, small_bytes)?;
                Ok(self.root(*root, context, state.fill_percent)?)
            }
        }
    }

    /// Writes the buckets that were opened, and their headers into the tree around them.
    fn inner_buckets<P: PageSource>(
        &mut self,
        state: &mut BucketState,
        context: &mut Context<P>,
    ) -> Result<(), StoreError> {
        for (name, mut inner) in std::mem::take(&mut state.buckets) {
            if let Some(value) = self.bucket(&mut inner, context)? {
                state.put(context, &name, &value, true)?;
            }
        }
        Ok(())
    }

    /// Writes a tree, with as many new levels above it as it needs; its root page.
    fn root<P: PageSource>(
        &mut self,
        root: Node,
        context: &mut Context<P>,
        fill_percent: u8,
    ) -> Result<u64, ReadError> {
        let mut top = self.node(root, context, fill_percent)?;
        loop {
            if let [Child { to: To::Stored(page), .. }] = top[..] {
                return Ok(page);
            }
            let branch = Node { kind: Kind::Branch(top), ..Node::default() };
            top = self.node(branch, context, fill_percent)?;
        }
    }

    /// Writes a node and what is loaded below it, cut into as many nodes as it takes.
    fn node<P: PageSource>(
        &mut self,
        node: Node,
        context: &mut Context<P>,
        fill_percent: u8,
    ) -> Result<Vec<Child>, ReadError> {
        context.free(node.run);
        let cut = Cut { page_bytes: self.page_size, fill_percent };
        let old = match node.kind {
            Kind::Branch(old) => old,
            Kind::Leaf(entries) => {
                let parts = cut.leaf(&entries);
                let key =
                    |at: usize| entries.get(at).map(|e| Key { place: e.place, bytes: e.key_bytes });
                return Ok(self.parts(FLAG_LEAF, &parts, key, |from, to, out| {
                    encode_leaf(&entries[from..to], &context.arena, out);
                }));
            }
        };
        let mut children = Vec::with_capacity(old.len());
        for child in old {
            match child.to {
                To::Stored(_) => children.push(child),
                To::Loaded(node) => children.extend(self.node(*node, context, fill_percent)?),
            }
        }
        let parts = cut.branch(&children);
        let key = |at: usize| children.get(at).map(|child| child.key);
        Ok(self.parts(FLAG_BRANCH, &parts, key, |from, to, out| {
            encode_branch(&children[from..to], &context.arena, out);
        }))
    }

    /// Writes the parts of a node, one after the other in the file if there is room.
    fn parts(
        &mut self,
        flags: u16,
        parts: &[Part],
        key: impl Fn(usize) -> Option<Key>,
        encode: impl Fn(usize, usize, &mut Vec<u8>),
    ) -> Vec<Child> {
        let pages = |part: &Part| (PAGE_HEADER_BYTES + part.bytes).div_ceil(self.page_size) as u64;
        let pages: Vec<u64> = parts.iter().map(pages).collect();
        let mut runs = self.allocate(&pages).into_iter();
        let (mut start, mut written) = (0, Vec::with_capacity(parts.len()));
        for part in parts {
            let Some(run) = runs.next() else { break };
            let count = u16::try_from(part.end - start).unwrap_or(u16::MAX);
            let overflow = u32::try_from(run.pages - 1).unwrap_or(u32::MAX);
            let header = PageHeader { id: run.page, flags, count, overflow };
            encode(start, part.end, self.output.begin(&header, self.page_size));
            self.output.end();
            let nothing = Key { place: Place::default(), bytes: 0 };
            let key = key(start).unwrap_or(nothing);
            written.push(Child { key, to: To::Stored(run.page) });
            start = part.end;
        }
        written
    }

    /// A run of pages for each number.
    fn allocate(&mut self, sizes: &[u64]) -> Vec<Run> {
        let (txid, total) = (self.txid, sizes.iter().sum());
        if sizes.len() > 1 && self.freelist.has_run(total) {
            return self.freelist.allocate_row(sizes, txid, &mut self.high_water);
        }
        let mut one = |pages: &u64| {
            let page = self.freelist.allocate(*pages, txid, &mut self.high_water);
            Run { page, pages: *pages }
        };
        sizes.iter().map(&mut one).collect()
    }
}

/// Whether a bucket's only node stands in the value of its entry: a leaf of at most a quarter page
/// without buckets in it (bbolt).
fn is_inline(root: &Node, limit_bytes: usize) -> bool {
    match &root.kind {
        Kind::Leaf(entries) => {
            root.size_bytes() <= limit_bytes && entries.iter().all(|entry| !entry.is_bucket)
        }
        Kind::Branch(_) => false,
    }
}

/// The value of an inline bucket's entry.
fn inline(root: &Node, sequence: u64, arena: &Arena) -> Vec<u8> {
    let mut value = BucketHeader { root: 0, sequence }.encode().to_vec();
    if let Kind::Leaf(entries) = &root.kind {
        let count = u16::try_from(entries.len()).unwrap_or(u16::MAX);
        let header = PageHeader { id: 0, flags: FLAG_LEAF, count, overflow: 0 };
        value.extend_from_slice(&header.encode());
        encode_leaf(entries, arena, &mut value);
    }
    value
}
