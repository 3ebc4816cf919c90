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

mod node;
mod pages;

use std::collections::BTreeMap;

use crate::disk::{Disk, DiskError};
use crate::layout::{
    BUCKET_FLAG, BucketHeader, FREELIST_NOT_STORED, MAX_KEY_BYTES, MAX_PAGE_SIZE, MAX_TREE_DEPTH,
    MAX_VALUE_BYTES, MIN_PAGE_SIZE, Meta, page_size_is_valid,
};
use crate::shown::shown;
use node::{NodeLimits, OpenBranch, OpenLeaf};
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

/// Why a file cannot be built, or an entry not be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The options make no sense.
    #[error("cannot build with {0}")]
    Options(String),
    /// The disk holds something already.
    #[error("the target holds {size_bytes} bytes already: build into an empty file")]
    NotEmpty {
        /// Its length.
        size_bytes: u64,
    },
    /// bbolt has no empty keys and no buckets without a name.
    #[error("empty key or bucket name")]
    EmptyKey,
    /// The key is larger than bbolt allows.
    #[error("a key of {bytes} bytes is larger than the {MAX_KEY_BYTES} that bbolt allows")]
    KeyTooLarge {
        /// The key's length.
        bytes: usize,
    },
    /// The value is larger than bbolt allows.
    #[error("a value of {bytes} bytes is larger than the {MAX_VALUE_BYTES} that bbolt allows")]
    ValueTooLarge {
        /// The value's length.
        bytes: usize,
    },
    /// The key does not come after the one before; or it is the same.
    #[error(
        "key {key} does not come after {previous}: entries must be given in order, each key once"
    )]
    OutOfOrder {
        /// The key, escaped, shortened.
        key: String,
        /// The one before it, escaped, shortened.
        previous: String,
    },
    /// Two top-level buckets of one name.
    #[error("there is a bucket {name} already")]
    DuplicateBucket {
        /// The name, escaped, shortened.
        name: String,
    },
    /// Too many buckets, open or in all.
    #[error("more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Entries belong into a bucket.
    #[error("no bucket is open: begin one first")]
    NoBucket,
    /// The file was finished with a bucket still open.
    #[error("{open} buckets are still open: end them first")]
    BucketsOpen {
        /// How many.
        open: usize,
    },
    /// An earlier call failed in the middle of a write.
    #[error("the build failed before: throw the file away and build it anew")]
    Failed,
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Writes one new database. Buckets are begun, filled in key order and ended; nested ones at their
/// place in the order of the bucket around them, top-level ones in any order.
///
/// An error about an argument (order, sizes) leaves the builder as it was; after an error of the
/// disk every later call fails.
#[derive(Debug)]
pub struct Builder<D: Disk> {
    pages: PageWriter<D>,
    settings: Settings,
    /// Values (bucket headers, inline pages) of the finished top-level buckets.
    finished: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The open buckets, each inside the one before.
    open: Vec<OpenBucket>,
    summary: Summary,
    failed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Settings {
    freelist: Freelist,
    nodes: NodeLimits,
    /// Largest inline bucket page: a quarter page (bbolt).
    inline_limit_bytes: usize,
}

/// A bucket that is being filled.
#[derive(Debug)]
struct OpenBucket {
    name: Vec<u8>,
    sequence: u64,
    last_key: Vec<u8>,
    leaf: OpenLeaf,
    /// The unfinished branches, the lowest level first.
    branches: Vec<OpenBranch>,
    holds_buckets: bool,
}

impl OpenBucket {
    fn new(name: &[u8]) -> OpenBucket {
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
    fn accepts(&self, key: &[u8], value_bytes: usize) -> Result<(), BuildError> {
        key_is_valid(key)?;
        if value_bytes > MAX_VALUE_BYTES {
            return Err(BuildError::ValueTooLarge { bytes: value_bytes });
        }
        if key <= self.last_key.as_slice() {
            let previous = shown(&self.last_key);
            return Err(BuildError::OutOfOrder { key: shown(key), previous });
        }
        Ok(())
    }
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
        let settings = Settings {
            freelist: options.freelist,
            nodes: NodeLimits {
                page_bytes: page_size,
                target_bytes: page_size * usize::from(options.fill_percent) / 100,
            },
            inline_limit_bytes: page_size / 4,
        };
        Ok(Builder {
            pages: PageWriter::new(disk, options.page_size),
            settings,
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
                key_is_valid(name)?;
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
        let added = add(bucket, &mut self.pages, &self.settings, &element);
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
        let added = add(parent, &mut self.pages, &self.settings, &element);
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
            add(&mut root, &mut self.pages, &self.settings, &element)?;
        }
        let root_page = self.close_tree(&mut root)?;
        let freelist = match self.settings.freelist {
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
            && bucket.leaf.size_bytes() <= self.settings.inline_limit_bytes;
        let root = if inline { 0 } else { self.close_tree(bucket)? };
        let mut value = BucketHeader { root, sequence: bucket.sequence }.encode().to_vec();
        if inline {
            bucket.leaf.encode_inline(&mut value);
            self.summary.inline_buckets += 1;
        }
        Ok(value)
    }

    /// Writes the unfinished nodes of a bucket from the leaf up; the root's page.
    fn close_tree(&mut self, bucket: &mut OpenBucket) -> Result<u64, BuildError> {
        let (mut key, mut page) = self.pages.append_leaf(&mut bucket.leaf)?;
        let mut level = 0;
        while level < bucket.branches.len() {
            add_child(&mut bucket.branches, level, &mut self.pages, &self.settings, &key, page)?;
            let all = bucket.branches[level].len();
            assert!(all >= 2, "a branch has at least two children");
            (key, page) = self.pages.append_branch(&mut bucket.branches[level], all)?;
            level += 1;
        }
        Ok(page)
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

struct Element<'e> {
    flags: u32,
    key: &'e [u8],
    value: &'e [u8],
}

/// Adds an element to a bucket's leaf, writing the leaf first if it is full.
fn add<D: Disk>(
    bucket: &mut OpenBucket,
    pages: &mut PageWriter<D>,
    settings: &Settings,
    element: &Element<'_>,
) -> Result<(), BuildError> {
    if bucket.leaf.is_full_for(element.key, element.value, &settings.nodes) {
        let (first, page) = pages.append_leaf(&mut bucket.leaf)?;
        add_child(&mut bucket.branches, 0, pages, settings, &first, page)?;
    }
    bucket.leaf.push(element.flags, element.key, element.value);
    bucket.last_key.clear();
    bucket.last_key.extend_from_slice(element.key);
    Ok(())
}

/// Adds a child to the branch at `level`. If that is full, it is written first, but for its last
/// child, so that no branch is ever left with one child only.
fn add_child<D: Disk>(
    branches: &mut Vec<OpenBranch>,
    mut level: usize,
    pages: &mut PageWriter<D>,
    settings: &Settings,
    key: &[u8],
    page: u64,
) -> Result<(), BuildError> {
    let (mut key, mut page) = (key.to_vec(), page);
    loop {
        if level == branches.len() {
            assert!(level < MAX_TREE_DEPTH, "two children per branch bound the depth");
            branches.push(OpenBranch::default());
        }
        let branch = &mut branches[level];
        if !branch.is_full_for(&key, &settings.nodes) {
            branch.push(&key, page);
            return Ok(());
        }
        let written = pages.append_branch(branch, branch.len() - 1)?;
        branch.push(&key, page);
        (key, page) = written;
        level += 1;
    }
}

fn key_is_valid(key: &[u8]) -> Result<(), BuildError> {
    if key.is_empty() {
        return Err(BuildError::EmptyKey);
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(BuildError::KeyTooLarge { bytes: key.len() });
    }
    Ok(())
}
