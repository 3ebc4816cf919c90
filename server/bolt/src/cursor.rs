//! Cursors: the entries of a bucket in key order.
//!
//! What must hold: at most one node per level is held; a scan ends after at most as many nodes as
//! the file has pages (more would mean that a page is referred to twice); after an error the
//! cursor keeps failing until it is placed anew, so that a failed scan never looks complete.

use std::fmt;
use std::ops::Bound;

use crate::bucket::{Bucket, Place};
use crate::db::Db;
use crate::error::{Damage, ReadError};
use crate::layout::MAX_TREE_DEPTH;
use crate::node::Node;
use crate::source::PageSource;

/// An entry of a bucket. The bytes are lent until the cursor moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'c> {
    /// The key, or the name of a bucket.
    pub key: &'c [u8],
    /// The value; for a bucket the bytes of its header (and inline page).
    pub value: &'c [u8],
    /// Whether the entry is a bucket.
    pub is_bucket: bool,
}

/// A place in a bucket, moved in key order. It begins before the first entry.
pub struct Cursor<'d, S: PageSource> {
    db: &'d Db<S>,
    root: Place<'d>,
    /// From the root down; the last one is the leaf the cursor stands in.
    path: Vec<Level<'d>>,
    state: State,
    nodes_read: u64,
    nodes_left: u64,
}

struct Level<'d> {
    node: Node<'d>,
    index: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Before,
    At,
    After,
    Failed { page: u64 },
}

impl<'d, S: PageSource> Cursor<'d, S> {
    pub(crate) fn new(db: &'d Db<S>, root: Place<'d>) -> Cursor<'d, S> {
        Cursor { db, root, path: Vec::new(), state: State::Before, nodes_read: 0, nodes_left: 0 }
    }

    /// Moves to the first entry.
    ///
    /// # Errors
    /// I/O, or damage on the way to it; so for all moves.
    pub fn first(&mut self) -> Result<Option<Entry<'_>>, ReadError> {
        let moved = self.move_first();
        self.settle(moved)
    }

    /// Moves to the last entry. Branches are followed at their last child, so an empty last leaf
    /// (which bbolt does not write) is reported as damage.
    ///
    /// # Errors
    /// As [`Cursor::first`].
    pub fn last(&mut self) -> Result<Option<Entry<'_>>, ReadError> {
        let moved = self.move_last();
        self.settle(moved)
    }

    /// Moves to the first entry whose key is not below `key`.
    ///
    /// # Errors
    /// As [`Cursor::first`].
    pub fn seek(&mut self, key: &[u8]) -> Result<Option<Entry<'_>>, ReadError> {
        let moved = self.move_to(key);
        self.settle(moved)
    }

    /// Moves to the next entry; to the first one if the cursor was not placed yet. After the last
    /// entry it stays at the end.
    ///
    /// # Errors
    /// As [`Cursor::first`]; [`ReadError::CursorFailed`] after an error.
    #[expect(clippy::should_implement_trait, reason = "lends its entries, as no Iterator can")]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, ReadError> {
        match self.state {
            State::At => {
                let last = self.deepest_mut();
                last.index += 1;
                let moved = if last.index < last.node.count() {
                    Ok(true)
                } else {
                    self.move_to_next_leaf()
                };
                self.settle(moved)
            }
            State::Before => self.first(),
            State::After => Ok(None),
            State::Failed { page } => Err(ReadError::CursorFailed { page }),
        }
    }

    /// The entry the cursor stands at; `None` before the first and after the last.
    ///
    /// # Errors
    /// [`ReadError::CursorFailed`] after an error.
    pub fn current(&self) -> Result<Option<Entry<'_>>, ReadError> {
        match self.state {
            State::At => Ok(Some(self.entry())),
            State::Before | State::After => Ok(None),
            State::Failed { page } => Err(ReadError::CursorFailed { page }),
        }
    }

    /// The bucket that the entry the cursor stands at is. Call it only if the entry says so.
    ///
    /// # Errors
    /// Damage of the bucket's header.
    ///
    /// # Panics
    /// If the cursor does not stand at a bucket.
    pub fn bucket_here(&self) -> Result<Bucket<'d, S>, ReadError> {
        assert!(self.state == State::At, "bucket_here needs a placed cursor");
        let level = self.deepest();
        Bucket::in_leaf(self.db, &level.node, level.index)
    }

    /// Number of nodes that this cursor read since it was made; an inline bucket's is not counted.
    pub(crate) fn nodes_read(&self) -> u64 {
        self.nodes_read
    }

    /// Leaf and index of exactly `key`.
    pub(crate) fn find(&mut self, key: &[u8]) -> Result<Option<(&Node<'d>, usize)>, ReadError> {
        self.restart()?;
        let equal = self.descend_to(key)?;
        let level = self.deepest();
        Ok(equal.then_some((&level.node, level.index)))
    }

    /// Turns the outcome of a move into the state and the entry.
    #[inline]
    fn settle(&mut self, moved: Result<bool, ReadError>) -> Result<Option<Entry<'_>>, ReadError> {
        match moved {
            Ok(true) => {
                self.state = State::At;
                Ok(Some(self.entry()))
            }
            Ok(false) => {
                self.state = State::After;
                self.path.clear();
                Ok(None)
            }
            Err(error) => {
                self.state = State::Failed { page: page_of(&error) };
                self.path.clear();
                Err(error)
            }
        }
    }

    #[inline]
    fn entry(&self) -> Entry<'_> {
        let level = self.deepest();
        let element = level.node.leaf(level.index);
        Entry { key: element.key, value: element.value, is_bucket: element.is_bucket }
    }

    fn move_first(&mut self) -> Result<bool, ReadError> {
        self.restart()?;
        self.descend_first()?;
        self.move_past_empty_leaf()
    }

    fn move_last(&mut self) -> Result<bool, ReadError> {
        self.restart()?;
        loop {
            let level = self.deepest_mut();
            let Some(last) = level.node.count().checked_sub(1) else {
                // Only a root may be empty.
                if self.path.len() > 1 {
                    let page = self.path.last().map_or(0, |level| level.node.page());
                    return Err(ReadError::damaged(page, Damage::Count { count: 0 }));
                }
                return Ok(false);
            };
            level.index = last;
            if level.node.is_leaf() {
                return Ok(true);
            }
            self.push_child()?;
        }
    }

    fn move_to(&mut self, key: &[u8]) -> Result<bool, ReadError> {
        self.restart()?;
        self.descend_to(key)?;
        self.move_past_empty_leaf()
    }

    /// If the cursor stands behind the last element of its leaf, goes on to the next leaf.
    fn move_past_empty_leaf(&mut self) -> Result<bool, ReadError> {
        let leaf = self.deepest();
        if leaf.index < leaf.node.count() { Ok(true) } else { self.move_to_next_leaf() }
    }

    fn move_to_next_leaf(&mut self) -> Result<bool, ReadError> {
        loop {
            self.path.pop();
            let Some(level) = self.path.last_mut() else { return Ok(false) };
            level.index += 1;
            if level.index < level.node.count() {
                self.push_child()?;
                self.descend_first()?;
                let leaf = self.deepest();
                if leaf.node.count() > 0 {
                    return Ok(true);
                }
            }
        }
    }

    /// The level the cursor stands at: a leaf once it is placed.
    fn deepest(&self) -> &Level<'d> {
        self.path.last().expect("restart pushed the root, and moves push or end the cursor")
    }

    fn deepest_mut(&mut self) -> &mut Level<'d> {
        self.path.last_mut().expect("restart pushed the root, and moves push or end the cursor")
    }

    /// Begins anew at the root.
    fn restart(&mut self) -> Result<(), ReadError> {
        self.path.clear();
        self.nodes_left = self.db.meta().high_water;
        let node = self.root.node(self.db)?;
        self.nodes_read += u64::from(!node.is_inline());
        self.path.push(Level { node, index: 0 });
        Ok(())
    }

    /// Follows first children down to a leaf.
    fn descend_first(&mut self) -> Result<(), ReadError> {
        while !self.deepest().node.is_leaf() {
            self.push_child()?;
        }
        Ok(())
    }

    /// Follows the children that may hold `key`, and stands at its place in the leaf. Says whether
    /// the key is there.
    fn descend_to(&mut self, key: &[u8]) -> Result<bool, ReadError> {
        loop {
            let level = self.deepest_mut();
            if level.node.is_leaf() {
                let (index, equal) = level.node.search_leaf(key);
                level.index = index;
                return Ok(equal);
            }
            level.index = level.node.search_branch(key);
            self.push_child()?;
        }
    }

    /// Reads the child that the last level's index names.
    fn push_child(&mut self) -> Result<(), ReadError> {
        let level = self.deepest();
        let (_, page) = level.node.branch(level.index);
        if self.path.iter().any(|level| level.node.page() == page) {
            return Err(ReadError::damaged(page, Damage::Cycle));
        }
        if self.path.len() >= MAX_TREE_DEPTH {
            return Err(ReadError::damaged(page, Damage::TooDeep { limit: MAX_TREE_DEPTH }));
        }
        self.nodes_left =
            self.nodes_left.checked_sub(1).ok_or(ReadError::damaged(page, Damage::Shared))?;
        let node = self.db.node(page)?;
        self.nodes_read += 1;
        self.path.push(Level { node, index: 0 });
        Ok(())
    }
}

impl<S: PageSource> fmt::Debug for Cursor<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path: Vec<_> = self.path.iter().map(|level| (level.node.page(), level.index)).collect();
        f.debug_struct("Cursor").field("state", &self.state).field("path", &path).finish()
    }
}

fn page_of(error: &ReadError) -> u64 {
    match error {
        ReadError::Damaged { page, .. } | ReadError::CursorFailed { page } => *page,
        _ => 0,
    }
}

/// The entries of a bucket whose keys lie in a range, lent one after the other.
#[derive(Debug)]
pub struct Range<'d, S: PageSource> {
    cursor: Cursor<'d, S>,
    start: Option<Bound<Vec<u8>>>,
    end: Bound<Vec<u8>>,
    done: bool,
}

impl<'d, S: PageSource> Range<'d, S> {
    pub(crate) fn new(
        cursor: Cursor<'d, S>,
        start: Bound<Vec<u8>>,
        end: Bound<Vec<u8>>,
    ) -> Range<'d, S> {
        Range { cursor, start: Some(start), end, done: false }
    }

    /// The next entry of the range, `None` at its end.
    ///
    /// # Errors
    /// I/O or damage; then all further calls fail, too.
    #[expect(clippy::should_implement_trait, reason = "lends its entries, as no Iterator can")]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, ReadError> {
        if self.done {
            return Ok(None);
        }
        let here = match self.start.take() {
            Some(start) => self.begin(&start)?,
            None => self.cursor.next()?.is_some(),
        };
        let Some(entry) = (if here { self.cursor.current()? } else { None }) else {
            self.done = true;
            return Ok(None);
        };
        let within = match &self.end {
            Bound::Included(end) => entry.key <= end.as_slice(),
            Bound::Excluded(end) => entry.key < end.as_slice(),
            Bound::Unbounded => true,
        };
        if !within {
            self.done = true;
            return Ok(None);
        }
        Ok(Some(entry))
    }

    fn begin(&mut self, start: &Bound<Vec<u8>>) -> Result<bool, ReadError> {
        match start {
            Bound::Unbounded => Ok(self.cursor.first()?.is_some()),
            Bound::Included(key) => Ok(self.cursor.seek(key)?.is_some()),
            Bound::Excluded(key) => match self.cursor.seek(key)? {
                Some(entry) if entry.key == key.as_slice() => Ok(self.cursor.next()?.is_some()),
                entry => Ok(entry.is_some()),
            },
        }
    }
}
