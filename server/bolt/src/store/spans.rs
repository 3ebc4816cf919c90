//! Free pages as spans, found by size and joined with their neighbours.
//!
//! What must hold: spans never overlap or touch; the two orders hold the same spans.

use std::collections::{BTreeMap, BTreeSet};

/// Disjoint runs of pages.
#[derive(Debug, Default)]
pub(super) struct Spans {
    /// Length by first page.
    by_start: BTreeMap<u64, u64>,
    /// Length and first page.
    by_len: BTreeSet<(u64, u64)>,
    pages: u64,
}

impl Spans {
    /// Number of pages in all spans.
    pub(super) fn pages(&self) -> u64 {
        self.pages
    }

    /// Adds a run of pages, none of which may be in it.
    pub(super) fn insert(&mut self, start: u64, len: u64) {
        let (mut first, mut whole) = (start, len);
        if let Some((&before, &length)) = self.by_start.range(..start).next_back() {
            assert!(before + length <= start, "a page is freed once");
            if before + length == start {
                self.forget(before, length);
                (first, whole) = (before, length + whole);
            }
        }
        if let Some((&after, &length)) = self.by_start.range(start..).next() {
            assert!(start + len <= after, "a page is freed once");
            if start + len == after {
                self.forget(after, length);
                whole += length;
            }
        }
        self.by_start.insert(first, whole);
        self.by_len.insert((whole, first));
        self.pages += len;
    }

    /// Takes a run of `len` pages: from the smallest span that has them, its lowest pages.
    pub(super) fn take(&mut self, len: u64) -> Option<u64> {
        let (whole, start) = self.by_len.range((len, 0)..).next().copied()?;
        self.forget(start, whole);
        if whole > len {
            self.by_start.insert(start + len, whole - len);
            self.by_len.insert((whole - len, start + len));
        }
        self.pages -= len;
        Some(start)
    }

    /// Whether there is a run of `len` pages.
    pub(super) fn has(&self, len: u64) -> bool {
        self.by_len.range((len, 0)..).next().is_some()
    }

    /// The spans in the order of their pages.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.by_start.iter().map(|(start, len)| (*start, *len))
    }

    fn forget(&mut self, start: u64, len: u64) {
        self.by_start.remove(&start);
        self.by_len.remove(&(len, start));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_join_and_the_smallest_fit_is_taken() {
        let mut spans = Spans::default();
        for (start, len) in [(10, 2), (20, 5), (14, 1), (12, 2), (30, 1)] {
            spans.insert(start, len);
        }
        assert_eq!(spans.iter().collect::<Vec<_>>(), [(10, 5), (20, 5), (30, 1)]);
        assert_eq!((spans.take(1), spans.take(4), spans.take(6)), (Some(30), Some(10), None));
        assert_eq!(spans.iter().collect::<Vec<_>>(), [(14, 1), (20, 5)]);
        spans.insert(15, 5);
        assert_eq!(spans.iter().collect::<Vec<_>>(), [(14, 11)]);
        assert_eq!(spans.pages(), 11);
    }

    #[test]
    #[should_panic(expected = "freed once")]
    fn a_page_is_not_freed_twice() {
        let mut spans = Spans::default();
        spans.insert(5, 10);
        spans.insert(14, 1);
    }
}
