//! Builds a new database bottom-up from sorted input, in one sequential pass.
//!
//! A leaf is written when the next entry would overfill it; its first key and page go to the
//! branch above, which is written when it is full, and so on. Page numbers grow as pages are
//! written: the metas' place (pages 0 and 1) is left out, the root bucket's leaf comes last, then
//! the freelist if one is stored, and at the very end, after a sync, both metas.
//!
//! What must hold:
//! - Until the metas are written, the file does not open; they are written only after all other
//!   bytes are durable; [`Builder::finish`] returns only after they are durable, too.
//! - Memory: one write buffer of 1 MiB, and per open bucket one unfinished node per level (about a
//!   page each, more for keys or values larger than a page: then one entry), and per finished
//!   top-level bucket its name and header (with its inline page, at most a quarter page).
//! - Every node but a root has an element; every branch has two or more; no node has more than
//!   65,534 elements; the first key of a child equals its key in the branch.

mod bucket;
mod error;
mod node;
mod pages;

use std::collections::BTreeMap;

use crate::disk::Disk;
use crate::entry::check_entry;
use crate::layout::{
    BUCKET_FLAG, BucketHeader, FREELIST_NOT_STORED, MAX_PAGE_SIZE, MIN_PAGE_SIZE, Meta,
    page_size_is_valid,
};
use crate::shown::shown;
use bucket::{Element, OpenBucket};
pub use error::BuildError;
use node::NodeLimits;
use pages::PageWriter;

/// Most buckets inside one another.
const MAX_OPEN_BUCKETS: usize = 64;
/// Most top-level buckets: they are held in memory until the end. etcd has ten.
const MAX_TOP_LEVEL_BUCKETS: usize = 65_536;

/// How a file is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildOptions {
    /// Page size in bytes: a power of two from 1 KiB to 16 MiB. etcd uses the machine's, 4,096 on
    /// most; a file can be opened on machines with any other.
    pub page_size: u32,
    /// How full nodes become, in percent of a page (10 to 100). etcd's defragmentation uses 90.
    /// Entries of more than half a page go into runs of pages, two to four entries each.
    pub fill_percent: u8,
    /// Whether a freelist page is written.
    pub freelist: Freelist,
}

/// Whether the file holds a freelist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freelist {
    /// None: a writer that opens the file finds the free pages itself. etcd's way.
    NotStored,
    /// A freelist page, empty, since a new file has no free pages.
    Stored,
}

impl Default for BuildOptions {
    fn default() -> BuildOptions {
        BuildOptions { page_size: 4096, fill_percent: 90, freelist: Freelist::NotStored }
    }
}

/// What was built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Size of the file in bytes: all pages.
    pub size_bytes: u64,
    /// Keys with values, over all buckets.
    pub entries: u64,
    /// Buckets, the root bucket not counted.
    pub buckets: u64,
    /// Buckets among them that are inline.
    pub inline_buckets: u64,
    /// Branch nodes.
    pub branch_pages: u64,
    /// Leaf nodes.
    pub leaf_pages: u64,
    /// Overflow pages of branches and leaves.
    pub overflow_pages: u64,
    /// Freelist pages (0 or 1).
    pub freelist_pages: u64,
}

/// Writes one new database. Buckets are begun, filled in key order and ended; nested ones at their
/// place in the order of the bucket around them, top-level ones in any order.
///
/// An error about an argument (order, sizes) leaves the builder as it was; after an error of the
/// disk every later call fails.
#[derive(Debug)]
pub struct Builder<D: Disk> {
    pages: PageWriter<D>,
    freelist: Freelist,
    nodes: NodeLimits,
    /// Largest inline bucket page: a quarter page (bbolt).
    inline_limit_bytes: usize,
    /// Values (bucket headers, inline pages) of the finished top-level buckets.
    finished: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The open buckets, each inside the one before.
    open: Vec<OpenBucket>,
    summary: Summary,
    failed: bool,
}

impl<D: Disk> Builder<D> {
    /// Begins a file on an empty disk.
    ///
    /// # Errors
    /// Bad options, a disk that is not empty, or a disk error.
    pub fn new(disk: D, options: BuildOptions) -> Result<Builder<D>, BuildError> {
        if !page_size_is_valid(options.page_size) {
            return Err(BuildError::Options(format!(
                "page size {}: a power of two from {MIN_PAGE_SIZE} to {MAX_PAGE_SIZE} is needed",
                options.page_size
            )));
        }
        if !(10..=100).contains(&options.fill_percent) {
            let fill = options.fill_percent;
            return Err(BuildError::Options(format!("fill {fill} %: 10 to 100 is needed")));
        }
        let size_bytes = disk.size_bytes()?;
        if size_bytes != 0 {
            return Err(BuildError::NotEmpty { size_bytes });
        }
        let page_size = options.page_size as usize;
        let nodes = NodeLimits {
            page_bytes: page_size,
            target_bytes: page_size * usize::from(options.fill_percent) / 100,
        };
        Ok(Builder {
            pages: PageWriter::new(disk, options.page_size),
            freelist: options.freelist,
            nodes,
            inline_limit_bytes: page_size / 4,
            finished: BTreeMap::new(),
            open: Vec::new(),
            summary: Summary::default(),
            failed: false,
        })
    }

    /// Begins a bucket inside the open one, or at the top level if none is open.
    ///
    /// # Errors
    /// A bad, repeated or (inside a bucket) out-of-order name; too many buckets.
    pub fn begin_bucket(&mut self, name: &[u8]) -> Result<(), BuildError> {
        self.usable()?;
        if self.open.len() >= MAX_OPEN_BUCKETS {
            let what = "buckets inside one another";
            return Err(BuildError::TooMany { what, limit: MAX_OPEN_BUCKETS });
        }
        match self.open.last() {
            Some(parent) => parent.accepts(name, 0)?,
            None => {
                check_entry(name, 0)?;
                if self.finished.contains_key(name) {
                    return Err(BuildError::DuplicateBucket { name: shown(name) });
                }
                if self.finished.len() >= MAX_TOP_LEVEL_BUCKETS {
                    let what = "top-level buckets";
                    return Err(BuildError::TooMany { what, limit: MAX_TOP_LEVEL_BUCKETS });
                }
            }
        }
        self.open.push(OpenBucket::new(name));
        Ok(())
    }

    /// Adds an entry to the open bucket. Its key must come after all before it.
    ///
    /// # Errors
    /// No open bucket, a bad or out-of-order key, a too large value, or a disk error.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), BuildError> {
        self.usable()?;
        let bucket = self.open.last_mut().ok_or(BuildError::NoBucket)?;
        bucket.accepts(key, value.len())?;
        let element = Element { flags: 0, key, value };
        let added = bucket.add(&mut self.pages, &self.nodes, &element);
        self.summary.entries += 1;
        self.note(added)
    }

    /// Sets the open bucket's sequence number (0 if never set).
    ///
    /// # Errors
    /// No open bucket.
    pub fn set_sequence(&mut self, sequence: u64) -> Result<(), BuildError> {
        self.usable()?;
        self.open.last_mut().ok_or(BuildError::NoBucket)?.sequence = sequence;
        Ok(())
    }

    /// Ends the open bucket.
    ///
    /// # Errors
    /// No open bucket, or a disk error.
    pub fn end_bucket(&mut self) -> Result<(), BuildError> {
        self.usable()?;
        let mut bucket = self.open.pop().ok_or(BuildError::NoBucket)?;
        self.summary.buckets += 1;
        let closed = self.close(&mut bucket);
        let value = self.note(closed)?;
        let Some(parent) = self.open.last_mut() else {
            let before = self.finished.insert(bucket.name, value);
            assert!(before.is_none(), "a repeated name was refused when the bucket began");
            return Ok(());
        };
        parent.holds_buckets = true;
        let element = Element { flags: BUCKET_FLAG, key: &bucket.name, value: &value };
        let added = parent.add(&mut self.pages, &self.nodes, &element);
        self.note(added)
    }

    /// Writes the root bucket, syncs, writes both metas, syncs again, and gives the disk back.
    ///
    /// # Errors
    /// Open buckets, or a disk error. The file is good only if this returns `Ok`; its name in the
    /// directory still needs [`crate::sync_directory`].
    pub fn finish(mut self) -> Result<(D, Summary), BuildError> {
        self.usable()?;
        if !self.open.is_empty() {
            return Err(BuildError::BucketsOpen { open: self.open.len() });
        }
        let mut root = OpenBucket::new(b"");
        for (name, value) in std::mem::take(&mut self.finished) {
            let element = Element { flags: BUCKET_FLAG, key: &name, value: &value };
            root.add(&mut self.pages, &self.nodes, &element)?;
        }
        let root_page = root.close_tree(&mut self.pages, &self.nodes)?;
        let freelist = match self.freelist {
            Freelist::NotStored => FREELIST_NOT_STORED,
            Freelist::Stored => self.pages.append_empty_freelist()?,
        };
        let counts = *self.pages.counts();
        let (page_size, high_water) = (self.pages.page_size(), self.pages.next_page());
        let meta = Meta {
            page_size,
            root: BucketHeader { root: root_page, sequence: 0 },
            freelist,
            high_water,
            // As in a snapshot: meta 0 is the newer one, both have the same root.
            txid: 2,
        };
        let disk = self.pages.finish(&meta)?;
        let summary = Summary {
            size_bytes: high_water * u64::from(page_size),
            branch_pages: counts.branch_pages,
            leaf_pages: counts.leaf_pages,
            overflow_pages: counts.overflow_pages,
            freelist_pages: u64::from(freelist != FREELIST_NOT_STORED),
            ..self.summary
        };
        Ok((disk, summary))
    }

    /// Writes what is left of a bucket, or makes it inline; its value in the bucket around it.
    fn close(&mut self, bucket: &mut OpenBucket) -> Result<Vec<u8>, BuildError> {
        let inline = bucket.branches.is_empty()
            && !bucket.holds_buckets
            && bucket.leaf.size_bytes() <= self.inline_limit_bytes;
        let root = if inline { 0 } else { bucket.close_tree(&mut self.pages, &self.nodes)? };
        let mut value = BucketHeader { root, sequence: bucket.sequence }.encode().to_vec();
        if inline {
            bucket.leaf.encode_inline(&mut value);
            self.summary.inline_buckets += 1;
        }
        Ok(value)
    }

    fn usable(&self) -> Result<(), BuildError> {
        if self.failed { Err(BuildError::Failed) } else { Ok(()) }
    }

    /// Remembers a failure in the middle of a write.
    fn note<T>(&mut self, outcome: Result<T, BuildError>) -> Result<T, BuildError> {
        self.failed |= outcome.is_err();
        outcome
    }
}
