//! Buckets: named trees in a leaf of the tree above, or inline in that leaf.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Bound, RangeBounds};

use crate::cursor::{Cursor, Range};
use crate::db::Db;
use crate::error::{Damage, ReadError};
use crate::layout::{BUCKET_HEADER_BYTES, BucketHeader, PAGE_HEADER_BYTES};
use crate::node::Node;
use crate::source::PageSource;

/// A bucket of an open database.
pub struct Bucket<'d, S: PageSource> {
    db: &'d Db<S>,
    place: Place<'d>,
    sequence: u64,
}

/// Where a bucket's tree begins.
#[derive(Debug, Clone)]
pub(crate) enum Place<'d> {
    /// A root page.
    Page(u64),
    /// One leaf, inside a leaf of page `holder`.
    Inline { holder: u64, bytes: Cow<'d, [u8]> },
}

impl<'d, S: PageSource> Bucket<'d, S> {
    pub(crate) fn root(db: &'d Db<S>) -> Bucket<'d, S> {
        let root = db.meta().root;
        Bucket { db, place: Place::Page(root.root), sequence: root.sequence }
    }

    /// The bucket in the leaf element `index` of a node.
    pub(crate) fn in_leaf(
        db: &'d Db<S>,
        node: &Node<'d>,
        index: usize,
    ) -> Result<Bucket<'d, S>, ReadError> {
        let (place, sequence) = Place::of(node, index)?;
        Ok(Bucket { db, place, sequence })
    }

    /// The bucket's sequence number.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether its only page stands inside the leaf of the bucket above.
    pub fn is_inline(&self) -> bool {
        matches!(self.place, Place::Inline { .. })
    }

    /// The value of a key; `None` if there is none, or if it is a bucket. Borrowed from the source
    /// where that can lend.
    ///
    /// # Errors
    /// I/O, or damage on the way to it.
    pub fn get(&self, key: &[u8]) -> Result<Option<Cow<'d, [u8]>>, ReadError> {
        let mut cursor = self.cursor();
        let Some((node, index)) = cursor.find(key)? else { return Ok(None) };
        if node.leaf(index).is_bucket {
            return Ok(None);
        }
        Ok(Some(node.leaf_value(index)))
    }

    /// The bucket of that name inside this one; `None` if there is none, or if it is a plain key.
    ///
    /// # Errors
    /// I/O, or damage on the way to it.
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Bucket<'d, S>>, ReadError> {
        let mut cursor = self.cursor();
        let Some((node, index)) = cursor.find(name)? else { return Ok(None) };
        if !node.leaf(index).is_bucket {
            return Ok(None);
        }
        Bucket::in_leaf(self.db, node, index).map(Some)
    }

    /// A cursor before the first entry.
    pub fn cursor(&self) -> Cursor<'d, S> {
        Cursor::new(self.db, self.place.clone())
    }

    /// The entries with keys in a range, in order.
    pub fn range<'k>(&self, keys: impl RangeBounds<&'k [u8]>) -> Range<'d, S> {
        let owned = |bound: Bound<&&[u8]>| bound.map(|key| key.to_vec());
        Range::new(self.cursor(), owned(keys.start_bound()), owned(keys.end_bound()))
    }

    /// The buckets directly inside this one, with their names, in order. Plain keys are passed
    /// over.
    pub fn buckets(&self) -> Buckets<'d, S> {
        Buckets { cursor: self.cursor(), done: false }
    }
}

impl<S: PageSource> Clone for Bucket<'_, S> {
    fn clone(&self) -> Self {
        Bucket { db: self.db, place: self.place.clone(), sequence: self.sequence }
    }
}

impl<S: PageSource> fmt::Debug for Bucket<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Bucket");
        match &self.place {
            Place::Page(page) => out.field("root", page),
            Place::Inline { holder, .. } => out.field("inline_in", holder),
        };
        out.field("sequence", &self.sequence).finish()
    }
}

impl<'d> Place<'d> {
    /// Where the bucket in leaf element `index` begins, and its sequence.
    pub(crate) fn of(node: &Node<'d>, index: usize) -> Result<(Place<'d>, u64), ReadError> {
        let element = node.leaf(index);
        assert!(element.is_bucket, "the caller asked for the element's flag");
        let bad = || ReadError::damaged(node.page(), Damage::Bucket { index });
        if node.is_inline() || element.value.len() < BUCKET_HEADER_BYTES {
            return Err(bad());
        }
        let header = BucketHeader::parse(element.value);
        if header.root != 0 {
            return Ok((Place::Page(header.root), header.sequence));
        }
        if element.value.len() < BUCKET_HEADER_BYTES + PAGE_HEADER_BYTES {
            return Err(bad());
        }
        let bytes = match node.leaf_value(index) {
            Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[BUCKET_HEADER_BYTES..]),
            Cow::Owned(bytes) => Cow::Owned(bytes[BUCKET_HEADER_BYTES..].to_vec()),
        };
        Ok((Place::Inline { holder: node.page(), bytes }, header.sequence))
    }

    /// Reads the tree's first node.
    pub(crate) fn node<S: PageSource>(&self, db: &'d Db<S>) -> Result<Node<'d>, ReadError> {
        match self {
            Place::Page(page) => db.node(*page),
            Place::Inline { holder, bytes } => Node::parse_inline(*holder, bytes.clone()),
        }
    }
}

/// A bucket with its name.
type Named<'d, S> = (Vec<u8>, Bucket<'d, S>);

/// The buckets directly inside a bucket, by name. Ends after the first error.
#[derive(Debug)]
pub struct Buckets<'d, S: PageSource> {
    cursor: Cursor<'d, S>,
    done: bool,
}

impl<'d, S: PageSource> Buckets<'d, S> {
    fn advance(&mut self) -> Result<Option<Named<'d, S>>, ReadError> {
        while let Some(entry) = self.cursor.next()? {
            if entry.is_bucket {
                let name = entry.key.to_vec();
                return Ok(Some((name, self.cursor.bucket_here()?)));
            }
        }
        Ok(None)
    }
}

impl<'d, S: PageSource> Iterator for Buckets<'d, S> {
    type Item = Result<Named<'d, S>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.advance().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}
