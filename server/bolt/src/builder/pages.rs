//! Writes nodes one after the other, in large sequential writes, and the metas at the end.

use super::BuildError;
use super::node::{OpenBranch, OpenLeaf};
use crate::disk::Disk;
use crate::layout::{FLAG_FREELIST, Meta, PAGE_HEADER_BYTES, PageHeader};

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// Appends nodes to a disk from page 2 on.
#[derive(Debug)]
pub(super) struct PageWriter<D> {
    disk: D,
    page_size: u32,
    /// Number of the next page, behind what is in the buffer.
    next_page: u64,
    buffer: Vec<u8>,
    /// Where the buffer goes.
    offset: u64,
    counts: PageCounts,
}

/// Pages written so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PageCounts {
    pub(super) branch_pages: u64,
    pub(super) leaf_pages: u64,
    pub(super) overflow_pages: u64,
}

impl<D: Disk> PageWriter<D> {
    pub(super) fn new(disk: D, page_size: u32) -> PageWriter<D> {
        PageWriter {
            disk,
            page_size,
            next_page: 2,
            buffer: Vec::with_capacity(BUFFER_BYTES + page_size as usize),
            offset: 2 * u64::from(page_size),
            counts: PageCounts::default(),
        }
    }

    pub(super) fn page_size(&self) -> u32 {
        self.page_size
    }

    /// Number of pages so far, the metas counted: the high water mark.
    pub(super) fn next_page(&self) -> u64 {
        self.next_page
    }

    pub(super) fn counts(&self) -> &PageCounts {
        &self.counts
    }

    /// Writes a leaf and empties it; its first key and page.
    pub(super) fn append_leaf(
        &mut self,
        leaf: &mut OpenLeaf,
    ) -> Result<(Vec<u8>, u64), BuildError> {
        let (page, overflow) = (self.next_page, self.overflow(leaf.size_bytes()));
        let first = leaf.first_key().to_vec();
        self.buffer.extend_from_slice(&leaf.header(page, overflow).encode());
        leaf.encode_body(&mut self.buffer);
        leaf.clear();
        self.counts.leaf_pages += 1;
        self.end_node(overflow)?;
        Ok((first, page))
    }

    /// Writes a branch of the first `len` children and forgets them; its first key and page.
    pub(super) fn append_branch(
        &mut self,
        branch: &mut OpenBranch,
        len: usize,
    ) -> Result<(Vec<u8>, u64), BuildError> {
        let (page, overflow) = (self.next_page, self.overflow(branch.size_bytes(len)));
        let first = branch.first_key().to_vec();
        self.buffer.extend_from_slice(&OpenBranch::header(len, page, overflow).encode());
        branch.encode_body(len, &mut self.buffer);
        branch.remove_first(len);
        self.counts.branch_pages += 1;
        self.end_node(overflow)?;
        Ok((first, page))
    }

    /// Writes a freelist without entries; its page.
    pub(super) fn append_empty_freelist(&mut self) -> Result<u64, BuildError> {
        let page = self.next_page;
        let header = PageHeader { id: page, flags: FLAG_FREELIST, count: 0, overflow: 0 };
        self.buffer.extend_from_slice(&header.encode());
        self.end_node(0)?;
        Ok(page)
    }

    /// Syncs the data, then writes and syncs both metas.
    pub(super) fn finish(mut self, meta: &Meta) -> Result<D, BuildError> {
        assert!(meta.high_water == self.next_page, "the meta counts all pages");
        self.flush()?;
        self.disk.sync_data()?;
        let mut metas = vec![0; 2 * self.page_size as usize];
        let older = Meta { txid: meta.txid - 1, ..*meta };
        for (index, meta) in [(0, meta), (1, &older)] {
            let bytes = meta.encode_page(index);
            let start = if index == 0 { 0 } else { self.page_size as usize };
            metas[start..start + bytes.len()].copy_from_slice(&bytes);
        }
        self.disk.write_at(0, &metas)?;
        self.disk.sync_all()?;
        Ok(self.disk)
    }

    /// Number of overflow pages of a node.
    fn overflow(&self, size_bytes: usize) -> u32 {
        assert!(size_bytes >= PAGE_HEADER_BYTES, "a node has a header");
        let pages = size_bytes.div_ceil(self.page_size as usize);
        u32::try_from(pages - 1).expect("a node below 4 GiB has fewer pages than 2^32")
    }

    /// Fills the last page of the node in the buffer, and writes the buffer out if it is full.
    fn end_node(&mut self, overflow: u32) -> Result<(), BuildError> {
        let pages = u64::from(overflow) + 1;
        self.counts.overflow_pages += u64::from(overflow);
        self.next_page += pages;
        let page_size = u64::from(self.page_size);
        let end = self.next_page * page_size - self.offset;
        let end = usize::try_from(end).expect("the buffer is in memory");
        assert!(
            self.buffer.len() <= end && end - self.buffer.len() < self.page_size as usize,
            "the node takes exactly its pages"
        );
        self.buffer.resize(end, 0);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), BuildError> {
        self.disk.write_at(self.offset, &self.buffer)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        self.buffer.shrink_to(4 * BUFFER_BYTES);
        Ok(())
    }
}
