//! An open database: which meta counts, and how a node is read.
//!
//! What must hold: every page number that is followed lies in `2..high_water`, and
//! `high_water * page_size` lies within the source.

use crate::bucket::{Bucket, Buckets};
use crate::error::{Damage, ReadError};
use crate::freelist::FreeIds;
use crate::layout::{
    MAX_PAGE_SIZE, META_BYTES, MIN_PAGE_SIZE, Meta, MetaDamage, PAGE_HEADER_BYTES, PageHeader,
};
use crate::node::Node;
use crate::source::PageSource;

const META_PAGE_BYTES: usize = PAGE_HEADER_BYTES + META_BYTES;

/// A bolt database, read-only. Buckets and cursors borrow from it.
#[derive(Debug)]
pub struct Db<S: PageSource> {
    source: S,
    meta: Meta,
}

impl<S: PageSource> Db<S> {
    /// Finds the page size and the newest valid meta, and checks that the source holds all pages
    /// it speaks of. Reads nothing else.
    ///
    /// # Errors
    /// [`ReadError::NoMeta`] if it is no database, [`ReadError::Truncated`] if it is cut short.
    pub fn open(source: S) -> Result<Db<S>, ReadError> {
        let meta = newest_meta(&source)?;
        let actual_bytes = source.size_bytes();
        match meta.high_water.checked_mul(u64::from(meta.page_size)) {
            Some(needed_bytes) if needed_bytes > actual_bytes => {
                Err(ReadError::Truncated { needed_bytes, actual_bytes })
            }
            None => Err(ReadError::Truncated { needed_bytes: u64::MAX, actual_bytes }),
            Some(_) => Ok(Db { source, meta }),
        }
    }

    /// A database in the state of a meta that was read or written before. The source holds all
    /// pages it speaks of.
    pub(crate) fn at(source: S, meta: Meta) -> Db<S> {
        Db { source, meta }
    }

    /// The meta that counts.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Page size in bytes.
    pub fn page_size(&self) -> u32 {
        self.meta.page_size
    }

    /// The source of the pages.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Gives the source back.
    pub fn into_source(self) -> S {
        self.source
    }

    /// The root bucket: its keys are the names of the top-level buckets.
    pub fn root(&self) -> Bucket<'_, S> {
        Bucket::root(self)
    }

    /// The top-level bucket of that name.
    ///
    /// # Errors
    /// I/O, or damage on the way to it.
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Bucket<'_, S>>, ReadError> {
        self.root().bucket(name)
    }

    /// All top-level buckets by name, in order.
    pub fn buckets(&self) -> Buckets<'_, S> {
        self.root().buckets()
    }

    /// The stored freelist; `None` if the file stores none (etcd's default).
    ///
    /// # Errors
    /// I/O, or damage of the freelist page.
    pub fn freelist(&self) -> Result<Option<FreeIds<'_>>, ReadError> {
        FreeIds::read(self)
    }

    /// Reads the branch or leaf at a page, with its overflow pages.
    pub(crate) fn node(&self, page: u64) -> Result<Node<'_>, ReadError> {
        let (_, bytes) = self.run(page)?;
        Node::parse(page, bytes)
    }

    /// Reads a page and its overflow pages: one read, or two if there are any.
    pub(crate) fn run(
        &self,
        page: u64,
    ) -> Result<(PageHeader, std::borrow::Cow<'_, [u8]>), ReadError> {
        let high_water = self.meta.high_water;
        if !(2..high_water).contains(&page) {
            return Err(ReadError::damaged(page, Damage::OutOfBounds { high_water }));
        }
        let page_size = u64::from(self.meta.page_size);
        // Below the source's size, checked at open; page sizes fit usize.
        let offset = page * page_size;
        let first = read(&self.source, offset, self.meta.page_size as usize)?;
        let header = PageHeader::parse(&first);
        if header.id != page {
            return Err(ReadError::damaged(page, Damage::WrongId { found: header.id }));
        }
        if header.overflow == 0 {
            return Ok((header, first));
        }
        let pages = u64::from(header.overflow) + 1;
        if pages > high_water - page {
            let overflow = header.overflow;
            return Err(ReadError::damaged(page, Damage::Overflow { overflow, high_water }));
        }
        let (bytes, limit) = (pages * page_size, self.source.node_limit_bytes());
        let too_large = || ReadError::damaged(page, Damage::TooLarge { bytes, limit });
        if bytes > limit {
            return Err(too_large());
        }
        let len = usize::try_from(bytes).map_err(|_| too_large())?;
        drop(first);
        Ok((header, read(&self.source, offset, len)?))
    }
}

/// Reads exactly `len` bytes.
pub(crate) fn read<S: PageSource>(
    source: &S,
    offset: u64,
    len: usize,
) -> Result<std::borrow::Cow<'_, [u8]>, ReadError> {
    let bytes =
        source.read_at(offset, len).map_err(|source| ReadError::Io { offset, len, source })?;
    if bytes.len() != len {
        let source = std::io::ErrorKind::UnexpectedEof.into();
        return Err(ReadError::Io { offset, len, source });
    }
    Ok(bytes)
}

/// The valid meta with the higher transaction id. If meta 0 is lost, so is the page size, and with
/// it the place of meta 1: then every page size is tried.
fn newest_meta<S: PageSource>(source: &S) -> Result<Meta, ReadError> {
    let meta0 = meta_at(source, 0)?;
    match meta0 {
        Ok(first) => match meta_of_size(source, first.page_size)? {
            Ok(second) if second.txid > first.txid => Ok(second),
            _ => Ok(first),
        },
        Err(meta0) => {
            let mut page_size = MIN_PAGE_SIZE;
            let mut meta1 = MetaDamage::Missing;
            while page_size <= MAX_PAGE_SIZE {
                match meta_of_size(source, page_size)? {
                    Ok(meta) => return Ok(meta),
                    // What stands at the usual page size is the most useful reason.
                    Err(damage) if page_size == 4096 => meta1 = damage,
                    Err(_) => {}
                }
                page_size *= 2;
            }
            Err(ReadError::NoMeta { meta0, meta1 })
        }
    }
}

/// Meta 1 of a file with that page size.
fn meta_of_size<S: PageSource>(
    source: &S,
    page_size: u32,
) -> Result<Result<Meta, MetaDamage>, ReadError> {
    let meta = meta_at(source, u64::from(page_size))?;
    Ok(match meta {
        Ok(meta) if meta.page_size != page_size => Err(MetaDamage::PageSize(meta.page_size)),
        other => other,
    })
}

fn meta_at<S: PageSource>(source: &S, offset: u64) -> Result<Result<Meta, MetaDamage>, ReadError> {
    if source.size_bytes() < offset + META_PAGE_BYTES as u64 {
        return Ok(Err(MetaDamage::Missing));
    }
    Ok(Meta::parse(&read(source, offset, META_PAGE_BYTES)?))
}
