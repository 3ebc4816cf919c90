//! Checks a whole database: structure, order, and that every page is used exactly once.
//!
//! Finds what Go's `bbolt check` finds (pages referred to twice, freed twice, free and in use,
//! neither free nor in use, out of bounds, of the wrong type; keys out of order in a node or
//! against the branches above), and goes on after a fault where it can.
//!
//! What must hold: two bits per page and one node per level are in memory; each page is walked
//! once, so the check ends on any input. If no freelist is stored, free pages are those that are
//! not reachable, and a leak cannot be seen.

use std::fmt;

use crate::bucket::Place;
use crate::db::Db;
use crate::error::{Damage, ReadError};
use crate::layout::MAX_TREE_DEPTH;
use crate::node::Node;
use crate::pageset::PageSet;
use crate::source::PageSource;

/// Faults that are kept; more are only counted.
const MAX_FAULTS: usize = 1000;
/// Buckets inside one another that are followed. bbolt knows no limit; etcd nests none.
const MAX_BUCKET_DEPTH: usize = 64;
/// Levels over all nested buckets: bounds the recursion.
const MAX_LEVELS: usize = 512;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Page size in bytes.
    pub page_size: u32,
    /// Pages of the file (the high water mark), the two metas among them.
    pub pages: u64,
    /// Branch nodes (their first pages).
    pub branch_pages: u64,
    /// Leaf nodes (their first pages).
    pub leaf_pages: u64,
    /// Overflow pages of branches and leaves.
    pub overflow_pages: u64,
    /// Pages of the stored freelist; 0 if none is stored.
    pub freelist_pages: u64,
    /// Free pages: as the freelist says, or if none is stored those that are not reachable.
    pub free_pages: u64,
    /// Keys with values, over all buckets.
    pub entries: u64,
    /// Buckets, the root bucket not counted.
    pub buckets: u64,
    /// Buckets among them that are inline.
    pub inline_buckets: u64,
    /// Bytes of all pages that are not free: what etcd calls the size in use.
    pub in_use_bytes: u64,
    /// Bytes that headers, elements, keys and values take in the branch and leaf pages.
    pub filled_bytes: u64,
    /// The first faults, at most 1,000.
    pub faults: Vec<Fault>,
    /// Number of all faults.
    pub fault_count: u64,
}

impl Report {
    /// Whether no fault was found.
    pub fn is_ok(&self) -> bool {
        self.fault_count == 0
    }

    fn fault(&mut self, page: u64, kind: FaultKind) {
        self.fault_count += 1;
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Fault { page, kind });
        }
    }
}

/// One fault, at a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Number of the page.
    pub page: u64,
    /// What is wrong.
    pub kind: FaultKind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {}: {}", self.page, self.kind)
    }
}

/// What is wrong with a page or its place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultKind {
    /// The page cannot be read as what it should be.
    #[error("{0}")]
    Damaged(Damage),
    /// The page is referred to more than once.
    #[error("it is referred to more than once")]
    Shared,
    /// The page is in the freelist more than once.
    #[error("it is freed more than once")]
    FreedTwice,
    /// The page is in the freelist and in use.
    #[error("it is free, and in use")]
    FreeAndInUse,
    /// The freelist names a page that cannot be free.
    #[error("it is in the freelist, and out of bounds")]
    FreeOutOfBounds,
    /// The page is neither in use nor in the freelist.
    #[error("it is neither free nor in use")]
    Leaked,
    /// A key is not above the one before it in the node.
    #[error("the key of element {index} is not above the one before it")]
    KeyOrder {
        /// Number of the element.
        index: usize,
    },
    /// A key is below the branch key that leads to its node.
    #[error("its first key is below the key of the branch that leads to it")]
    BelowBranchKey,
    /// A key is not below the next branch key.
    #[error("its last key is not below the next key of the branch that leads to it")]
    AboveNextBranchKey,
    /// A leaf other than a root has no elements.
    #[error("it is an empty leaf, and not a bucket's root")]
    EmptyLeaf,
    /// A key is empty; bbolt has none such.
    #[error("the key of element {index} is empty")]
    EmptyKey {
        /// Number of the element.
        index: usize,
    },
    /// Buckets are nested deeper than any real ones.
    #[error("buckets are nested deeper than {limit}")]
    Nesting {
        /// The limit.
        limit: usize,
    },
}

/// Walks a whole database.
///
/// # Errors
/// Only if the source cannot be read. Damage is in the report.
pub fn check<S: PageSource>(db: &Db<S>) -> Result<Report, ReadError> {
    let pages = db.meta().high_water;
    let mut report = Report { page_size: db.page_size(), pages, ..Report::default() };
    let mut free = PageSet::new(pages);
    let mut used = PageSet::new(pages);
    used.insert(0);
    used.insert(1);
    let stored = check_freelist(db, &mut report, &mut free, &mut used)?;
    let mut walk = Walk { db, report, used, free, levels: 0, buckets: 0 };
    let root = Place::Page(db.meta().root.root);
    walk.tree(&root)?;
    let Walk { mut report, used, free, .. } = walk;
    let unused = pages - used.len();
    if stored {
        for page in 2..pages {
            if !used.contains(page) && !free.contains(page) {
                report.fault(page, FaultKind::Leaked);
            }
        }
        report.free_pages = free.len();
    } else {
        report.free_pages = unused;
    }
    report.in_use_bytes = (pages - report.free_pages) * u64::from(db.page_size());
    Ok(report)
}

/// Notes the stored freelist's own pages and those it names. Says whether there is a readable one.
fn check_freelist<S: PageSource>(
    db: &Db<S>,
    report: &mut Report,
    free: &mut PageSet,
    used: &mut PageSet,
) -> Result<bool, ReadError> {
    let list = match db.freelist() {
        Ok(Some(list)) => list,
        Ok(None) => return Ok(false),
        Err(ReadError::Damaged { page, damage }) => {
            report.fault(page, FaultKind::Damaged(damage));
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    report.freelist_pages = list.pages();
    for page in list.page()..list.page() + list.pages() {
        used.insert(page);
    }
    for page in list.iter() {
        if !(2..report.pages).contains(&page) {
            report.fault(page, FaultKind::FreeOutOfBounds);
        } else if !free.insert(page) {
            report.fault(page, FaultKind::FreedTwice);
        } else if used.contains(page) {
            report.fault(page, FaultKind::FreeAndInUse);
        }
    }
    Ok(true)
}

/// The walk over all trees.
struct Walk<'d, S: PageSource> {
    db: &'d Db<S>,
    report: Report,
    used: PageSet,
    free: PageSet,
    /// Levels above the present node, over all buckets.
    levels: usize,
    /// Buckets around the present node.
    buckets: usize,
}

/// The keys between which a node's keys must lie, from the branches above.
#[derive(Clone, Copy)]
struct Between<'k> {
    at_least: Option<&'k [u8]>,
    below: Option<&'k [u8]>,
}

impl<'d, S: PageSource> Walk<'d, S> {
    /// Walks a bucket's tree.
    fn tree(&mut self, place: &Place<'d>) -> Result<(), ReadError> {
        let anywhere = Between { at_least: None, below: None };
        match place {
            Place::Page(page) => self.page(*page, 0, anywhere),
            Place::Inline { .. } => match place.node(self.db) {
                Ok(node) => self.node(&node, 0, anywhere),
                Err(error) => self.damaged(error),
            },
        }
    }

    fn page(&mut self, page: u64, depth: usize, keys: Between<'_>) -> Result<(), ReadError> {
        let limit = MAX_TREE_DEPTH;
        if depth >= limit || self.levels >= MAX_LEVELS {
            self.report.fault(page, FaultKind::Damaged(Damage::TooDeep { limit }));
            return Ok(());
        }
        let (header, bytes) = match self.db.run(page) {
            Ok(run) => run,
            Err(error) => return self.damaged(error),
        };
        let mut shared = false;
        for page in page..=page + u64::from(header.overflow) {
            if !self.used.insert(page) {
                shared = true;
                self.report.fault(page, FaultKind::Shared);
            }
            if self.free.contains(page) {
                self.report.fault(page, FaultKind::FreeAndInUse);
            }
        }
        if shared {
            return Ok(());
        }
        match Node::parse(page, bytes) {
            Ok(node) => {
                if node.is_leaf() {
                    self.report.leaf_pages += 1;
                } else {
                    self.report.branch_pages += 1;
                }
                self.report.overflow_pages += u64::from(header.overflow);
                self.report.filled_bytes += node.used_bytes() as u64;
                self.node(&node, depth, keys)
            }
            Err(error) => self.damaged(error),
        }
    }

    fn node(&mut self, node: &Node<'d>, depth: usize, keys: Between<'_>) -> Result<(), ReadError> {
        self.keys(node, keys);
        if node.is_leaf() {
            if node.count() == 0 && depth > 0 {
                self.report.fault(node.page(), FaultKind::EmptyLeaf);
            }
            return self.leaf(node);
        }
        self.levels += 1;
        for index in 0..node.count() {
            let (key, child) = node.branch(index);
            let next = (index + 1 < node.count()).then(|| node.branch(index + 1).0);
            let between = Between { at_least: Some(key), below: next.or(keys.below) };
            self.page(child, depth + 1, between)?;
        }
        self.levels -= 1;
        Ok(())
    }

    fn leaf(&mut self, node: &Node<'d>) -> Result<(), ReadError> {
        for index in 0..node.count() {
            if !node.leaf(index).is_bucket {
                self.report.entries += 1;
                continue;
            }
            self.report.buckets += 1;
            let (place, _) = match Place::of(node, index) {
                Ok(place) => place,
                Err(error) => {
                    self.damaged(error)?;
                    continue;
                }
            };
            self.report.inline_buckets += u64::from(matches!(place, Place::Inline { .. }));
            if self.buckets >= MAX_BUCKET_DEPTH {
                let limit = MAX_BUCKET_DEPTH;
                self.report.fault(node.page(), FaultKind::Nesting { limit });
                continue;
            }
            self.buckets += 1;
            self.levels += 1;
            self.tree(&place)?;
            self.levels -= 1;
            self.buckets -= 1;
        }
        Ok(())
    }

    /// Checks the order of a node's keys, and that they lie between those of the branches above.
    fn keys(&mut self, node: &Node<'d>, keys: Between<'_>) {
        let page = node.page();
        let key = |index| if node.is_leaf() { node.leaf(index).key } else { node.branch(index).0 };
        for index in 0..node.count() {
            if node.is_leaf() && key(index).is_empty() {
                self.report.fault(page, FaultKind::EmptyKey { index });
            }
            if index > 0 && key(index) <= key(index - 1) {
                self.report.fault(page, FaultKind::KeyOrder { index });
            }
        }
        let Some(last) = node.count().checked_sub(1) else { return };
        if keys.at_least.is_some_and(|least| key(0) < least) {
            self.report.fault(page, FaultKind::BelowBranchKey);
        }
        if keys.below.is_some_and(|bound| key(last) >= bound) {
            self.report.fault(page, FaultKind::AboveNextBranchKey);
        }
    }

    /// Damage goes into the report; an error of the source ends the check.
    fn damaged(&mut self, error: ReadError) -> Result<(), ReadError> {
        match error {
            ReadError::Damaged { page, damage } => {
                self.report.fault(page, FaultKind::Damaged(damage));
                Ok(())
            }
            error => Err(error),
        }
    }
}
