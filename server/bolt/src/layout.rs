//! The bytes of a bbolt file: every offset and size stands here once, with one parser and one
//! writer for each structure.
//!
//! A file is a run of pages of equal size (a power of two; 4,096 where etcd usually runs, 65,536
//! on some arm64 and ppc64 machines). All integers are little-endian on the platforms we ship.
//! Pages 0 and 1 are metas. Everything else is reached from the root bucket of the valid meta with
//! the higher transaction id.
//!
//! Page header (16 bytes), at the start of every page that is not an overflow page:
//!
//! | at | size | field |
//! |---|---|---|
//! | 0 | 8 | page id: this page's number; 0 in the page of an inline bucket |
//! | 8 | 2 | flags: exactly one of 1 branch, 2 leaf, 4 meta, 16 freelist |
//! | 10 | 2 | count of elements |
//! | 12 | 4 | overflow: number of further pages of this run, contiguous, without headers |
//!
//! Meta (64 bytes) at byte 16 of pages 0 and 1:
//!
//! | at | size | field |
//! |---|---|---|
//! | 0 | 4 | magic 0xED0CDAED |
//! | 4 | 4 | version 2 |
//! | 8 | 4 | page size in bytes |
//! | 12 | 4 | flags, 0 |
//! | 16 | 8 | root bucket's root page |
//! | 24 | 8 | root bucket's sequence |
//! | 32 | 8 | freelist page; 2^64 − 1: no freelist is stored |
//! | 40 | 8 | high water mark: the number of pages in the file that were ever used |
//! | 48 | 8 | transaction id |
//! | 56 | 8 | FNV-1a 64 of bytes 0..56 |
//!
//! Leaf element (16 bytes each, after the page header; `pos` counts from the element's own start;
//! the value follows the key):
//!
//! | at | size | field |
//! |---|---|---|
//! | 0 | 4 | flags: 1 = the value is a bucket header |
//! | 4 | 4 | pos of the key |
//! | 8 | 4 | key size |
//! | 12 | 4 | value size |
//!
//! Branch element (16 bytes each): the key is the child's first key when it was written, later
//! deletions may leave it lower.
//!
//! | at | size | field |
//! |---|---|---|
//! | 0 | 4 | pos of the key |
//! | 4 | 4 | key size |
//! | 8 | 8 | child page |
//!
//! Bucket header (16 bytes), the value of a leaf element with flag 1: root page u64, sequence u64.
//! Root 0 means inline: a leaf page with its own header follows in the same value (not aligned).
//!
//! Freelist page: page header, then page ids u64 in ascending order. A count of 0xFFFF in the
//! header says that the first u64 of the body is the true count.

/// Bytes of a page header.
pub const PAGE_HEADER_BYTES: usize = 16;
/// Bytes of a branch or leaf element.
pub const ELEMENT_BYTES: usize = 16;
/// Bytes of a bucket header in a leaf value.
pub const BUCKET_HEADER_BYTES: usize = 16;
/// Bytes of a meta, without its page header.
pub const META_BYTES: usize = 64;
/// Smallest page size that is looked for; bbolt tries from 1 KiB on.
pub const MIN_PAGE_SIZE: u32 = 1024;
/// Largest page size that is looked for; bbolt tries up to 16 MiB.
pub const MAX_PAGE_SIZE: u32 = 16 << 20;
/// Largest key in bytes (bbolt `MaxKeySize`).
pub const MAX_KEY_BYTES: usize = 32_768;
/// Largest value in bytes (bbolt `MaxValueSize`).
pub const MAX_VALUE_BYTES: usize = (1 << 31) - 2;
/// Most elements the writer puts into a node: bbolt refuses to rewrite one with 0xFFFF.
pub const MAX_ELEMENTS: usize = 0xFFFE;
/// Freelist page id that says that no freelist is stored.
pub const FREELIST_NOT_STORED: u64 = u64::MAX;
/// Leaf element flag: the value is a bucket header.
pub const BUCKET_FLAG: u32 = 1;
/// Levels of a tree that are followed. A tree of 2^64 keys with two per node has 64.
pub const MAX_TREE_DEPTH: usize = 64;

/// Page flag of a branch.
pub const FLAG_BRANCH: u16 = 0x01;
/// Page flag of a leaf.
pub const FLAG_LEAF: u16 = 0x02;
/// Page flag of a meta.
pub const FLAG_META: u16 = 0x04;
/// Page flag of a freelist.
pub const FLAG_FREELIST: u16 = 0x10;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;

// Offsets are held as usize; a 32-bit host could not map etcd's files anyway.
const _: () = assert!(usize::BITS >= 64);

/// The header of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHeader {
    /// Number of the page as it names itself.
    pub id: u64,
    /// One of the `FLAG_` values.
    pub flags: u16,
    /// Number of elements.
    pub count: u16,
    /// Number of further pages of the run.
    pub overflow: u32,
}

impl PageHeader {
    /// Reads a header from the first 16 bytes. The slice must hold them.
    pub fn parse(bytes: &[u8]) -> PageHeader {
        PageHeader {
            id: u64_at(bytes, 0),
            flags: u16_at(bytes, 8),
            count: u16_at(bytes, 10),
            overflow: u32_at(bytes, 12),
        }
    }

    /// The header's 16 bytes.
    pub fn encode(&self) -> [u8; PAGE_HEADER_BYTES] {
        let mut out = [0; PAGE_HEADER_BYTES];
        out[0..8].copy_from_slice(&self.id.to_le_bytes());
        out[8..10].copy_from_slice(&self.flags.to_le_bytes());
        out[10..12].copy_from_slice(&self.count.to_le_bytes());
        out[12..16].copy_from_slice(&self.overflow.to_le_bytes());
        out
    }
}

/// A bucket's header: where its tree begins, and its sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketHeader {
    /// Root page; 0: the bucket's only page follows inline.
    pub root: u64,
    /// The bucket's own counter, free for the application.
    pub sequence: u64,
}

impl BucketHeader {
    /// Reads a header from the first 16 bytes. The slice must hold them.
    pub fn parse(bytes: &[u8]) -> BucketHeader {
        BucketHeader { root: u64_at(bytes, 0), sequence: u64_at(bytes, 8) }
    }

    /// The header's 16 bytes.
    pub fn encode(&self) -> [u8; BUCKET_HEADER_BYTES] {
        let mut out = [0; BUCKET_HEADER_BYTES];
        out[0..8].copy_from_slice(&self.root.to_le_bytes());
        out[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        out
    }
}

/// A meta: the root of one committed state of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Page size in bytes, a power of two.
    pub page_size: u32,
    /// The root bucket, whose keys are the names of the top-level buckets.
    pub root: BucketHeader,
    /// Page of the freelist, or [`FREELIST_NOT_STORED`].
    pub freelist: u64,
    /// Number of pages ever used: all page numbers are below it.
    pub high_water: u64,
    /// Id of the transaction that wrote this meta.
    pub txid: u64,
}

/// Why 80 bytes are not a valid meta page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetaDamage {
    /// The file ends before the meta does.
    #[error("the file ends before it")]
    Missing,
    /// The magic number is another one.
    #[error("its magic number is {0:#010x} instead of 0xed0cdaed")]
    Magic(u32),
    /// The file format's version is another one.
    #[error("its version is {0} instead of 2")]
    Version(u32),
    /// The checksum does not fit the bytes.
    #[error("its checksum does not match")]
    Checksum,
    /// The page size is no power of two between 1 KiB and 16 MiB, or not the one of its place.
    #[error("its page size is {0}")]
    PageSize(u32),
    /// The checksum fits, but the page numbers make no sense.
    #[error("its root, freelist or high water mark is out of bounds")]
    Pages,
}

impl Meta {
    /// Reads the meta from the start of its page (header included).
    ///
    /// # Errors
    /// [`MetaDamage`] says what is wrong with it.
    pub fn parse(page: &[u8]) -> Result<Meta, MetaDamage> {
        let end = PAGE_HEADER_BYTES + META_BYTES;
        let bytes = page.get(PAGE_HEADER_BYTES..end).ok_or(MetaDamage::Missing)?;
        if u32_at(bytes, 0) != MAGIC {
            return Err(MetaDamage::Magic(u32_at(bytes, 0)));
        }
        if u32_at(bytes, 4) != VERSION {
            return Err(MetaDamage::Version(u32_at(bytes, 4)));
        }
        if u64_at(bytes, 56) != fnv1a(&bytes[..56]) {
            return Err(MetaDamage::Checksum);
        }
        let meta = Meta {
            page_size: u32_at(bytes, 8),
            root: BucketHeader::parse(&bytes[16..32]),
            freelist: u64_at(bytes, 32),
            high_water: u64_at(bytes, 40),
            txid: u64_at(bytes, 48),
        };
        if !page_size_is_valid(meta.page_size) {
            return Err(MetaDamage::PageSize(meta.page_size));
        }
        let within = |page: u64| (2..meta.high_water).contains(&page);
        let freelist = meta.freelist == FREELIST_NOT_STORED || within(meta.freelist);
        if !within(meta.root.root) || !freelist {
            return Err(MetaDamage::Pages);
        }
        Ok(meta)
    }

    /// The first 80 bytes of meta page `index` (0 or 1), header and checksum included.
    pub fn encode_page(&self, index: u64) -> [u8; PAGE_HEADER_BYTES + META_BYTES] {
        assert!(index < 2 && page_size_is_valid(self.page_size), "a meta that can be read back");
        let mut out = [0; PAGE_HEADER_BYTES + META_BYTES];
        let header = PageHeader { id: index, flags: FLAG_META, count: 0, overflow: 0 };
        out[..PAGE_HEADER_BYTES].copy_from_slice(&header.encode());
        let body = &mut out[PAGE_HEADER_BYTES..];
        body[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        body[4..8].copy_from_slice(&VERSION.to_le_bytes());
        body[8..12].copy_from_slice(&self.page_size.to_le_bytes());
        body[16..32].copy_from_slice(&self.root.encode());
        body[32..40].copy_from_slice(&self.freelist.to_le_bytes());
        body[40..48].copy_from_slice(&self.high_water.to_le_bytes());
        body[48..56].copy_from_slice(&self.txid.to_le_bytes());
        let sum = fnv1a(&body[..56]);
        body[56..64].copy_from_slice(&sum.to_le_bytes());
        out
    }
}

/// Whether a page size is a power of two within the limits.
pub fn page_size_is_valid(page_size: u32) -> bool {
    page_size.is_power_of_two() && (MIN_PAGE_SIZE..=MAX_PAGE_SIZE).contains(&page_size)
}

/// FNV-1a with 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let mut word = [0; 2];
    word.copy_from_slice(&bytes[at..at + 2]);
    u16::from_le_bytes(word)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv1a_equals_the_published_vectors() {
        // Landon Noll's test suite for FNV-1a 64.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_meta_reads_back_and_every_flipped_byte_is_noticed() {
        let root = BucketHeader { root: 7, sequence: 9 };
        let meta = Meta { page_size: 4096, root, freelist: 3, high_water: 12, txid: 4 };
        let page = meta.encode_page(1);
        assert_eq!(Meta::parse(&page), Ok(meta));
        for at in PAGE_HEADER_BYTES..page.len() {
            let mut bad = page;
            bad[at] ^= 0x40;
            assert!(Meta::parse(&bad).is_err(), "byte {at}");
        }
        assert_eq!(Meta::parse(&page[..79]), Err(MetaDamage::Missing));
    }
}
