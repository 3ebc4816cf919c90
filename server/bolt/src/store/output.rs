//! The pages that a transaction writes, gathered, and written in the order of the file.
//!
//! What must hold: pages that follow each other in the file and were gathered one after the other
//! go out in one write.

use crate::disk::{Disk, DiskError};
use crate::layout::PageHeader;

/// Memory that is kept from one transaction to the next.
const KEPT_BYTES: usize = 256 << 10;

/// Encoded pages.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    runs: Vec<Written>,
}

/// A run of pages at `offset` in the file that begins at `start` in the buffer.
#[derive(Debug, Clone, Copy)]
struct Written {
    offset: u64,
    start: usize,
    len: usize,
}

impl Output {
    /// Begins a node; what it holds is appended to the vector that is returned.
    pub(super) fn begin(&mut self, header: &PageHeader, page_size: usize) -> &mut Vec<u8> {
        let len = (header.overflow as usize + 1) * page_size;
        let offset = header.id * page_size as u64;
        self.runs.push(Written { offset, start: self.bytes.len(), len });
        self.bytes.extend_from_slice(&header.encode());
        &mut self.bytes
    }

    /// Ends the node: the rest of its pages is zeros.
    pub(super) fn end(&mut self) {
        if let Some(last) = self.runs.last() {
            let end = last.start + last.len;
            assert!(self.bytes.len() <= end, "a node fits the pages that were allocated for it");
            self.bytes.resize(end, 0);
        }
    }

    /// Writes all.
    pub(super) fn write_to<D: Disk>(&mut self, disk: &mut D) -> Result<(), DiskError> {
        self.runs.sort_unstable_by_key(|run| run.offset);
        let mut runs = self.runs.iter().copied();
        let Some(mut whole) = runs.next() else { return Ok(()) };
        for run in runs {
            let follows = run.offset == whole.offset + whole.len as u64
                && run.start == whole.start + whole.len;
            if follows {
                whole.len += run.len;
            } else {
                disk.write_at(whole.offset, &self.bytes[whole.start..whole.start + whole.len])?;
                whole = run;
            }
        }
        disk.write_at(whole.offset, &self.bytes[whole.start..whole.start + whole.len])
    }

    pub(super) fn clear(&mut self) {
        self.runs.clear();
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
    }
}
