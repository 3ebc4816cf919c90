//! A bucket that is being filled: its unfinished leaf, and the unfinished branches above it.
//!
//! What must hold: entries come in key order; no branch is ever left with one child only.

use super::BuildError;
use super::node::{NodeLimits, OpenBranch, OpenLeaf};
use super::pages::PageWriter;
use crate::disk::Disk;
use crate::entry::check_entry;
use crate::layout::MAX_TREE_DEPTH;
use crate::shown::shown;

/// A bucket that is being filled.
#[derive(Debug)]
pub(super) struct OpenBucket {
    pub(super) name: Vec<u8>,
    pub(super) sequence: u64,
    pub(super) last_key: Vec<u8>,
    pub(super) leaf: OpenLeaf,
    /// The unfinished branches, the lowest level first.
    pub(super) branches: Vec<OpenBranch>,
    pub(super) holds_buckets: bool,
}

pub(super) struct Element<'e> {
    pub(super) flags: u32,
    pub(super) key: &'e [u8],
    pub(super) value: &'e [u8],
}

impl OpenBucket {
    pub(super) fn new(name: &[u8]) -> OpenBucket {
        OpenBucket {
            name: name.to_vec(),
            sequence: 0,
            last_key: Vec::new(),
            leaf: OpenLeaf::default(),
            branches: Vec::new(),
            holds_buckets: false,
        }
    }

    /// Refuses keys that bbolt cannot hold or that do not come after the last one.
    pub(super) fn accepts(&self, key: &[u8], value_bytes: usize) -> Result<(), BuildError> {
        check_entry(key, value_bytes)?;
        if key <= self.last_key.as_slice() {
            let previous = shown(&self.last_key);
            return Err(BuildError::OutOfOrder { key: shown(key), previous });
        }
        Ok(())
    }

    /// Adds an element to the leaf, writing the leaf first if it is full.
    pub(super) fn add<D: Disk>(
        &mut self,
        pages: &mut PageWriter<D>,
        limits: &NodeLimits,
        element: &Element<'_>,
    ) -> Result<(), BuildError> {
        if self.leaf.is_full_for(element.key, element.value, limits) {
            let (first, page) = pages.append_leaf(&mut self.leaf)?;
            self.add_child(0, pages, limits, (first, page))?;
        }
        self.leaf.push(element.flags, element.key, element.value);
        self.last_key.clear();
        self.last_key.extend_from_slice(element.key);
        Ok(())
    }

    /// Writes the unfinished nodes from the leaf up; the root's page.
    pub(super) fn close_tree<D: Disk>(
        &mut self,
        pages: &mut PageWriter<D>,
        limits: &NodeLimits,
    ) -> Result<u64, BuildError> {
        let (mut key, mut page) = pages.append_leaf(&mut self.leaf)?;
        let mut level = 0;
        while level < self.branches.len() {
            self.add_child(level, pages, limits, (key, page))?;
            let all = self.branches[level].len();
            assert!(all >= 2, "a branch has at least two children");
            (key, page) = pages.append_branch(&mut self.branches[level], all)?;
            level += 1;
        }
        Ok(page)
    }

    /// Adds a child to the branch at `level`. If that is full, it is written first, but for its
    /// last child, so that no branch is ever left with one child only.
    fn add_child<D: Disk>(
        &mut self,
        mut level: usize,
        pages: &mut PageWriter<D>,
        limits: &NodeLimits,
        (mut key, mut page): (Vec<u8>, u64),
    ) -> Result<(), BuildError> {
        loop {
            if level == self.branches.len() {
                assert!(level < MAX_TREE_DEPTH, "two children per branch bound the depth");
                self.branches.push(OpenBranch::default());
            }
            let branch = &mut self.branches[level];
            if !branch.is_full_for(&key, limits) {
                branch.push(&key, page);
                return Ok(());
            }
            let written = pages.append_branch(branch, branch.len() - 1)?;
            branch.push(&key, page);
            (key, page) = written;
            level += 1;
        }
    }
}
