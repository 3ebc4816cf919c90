//! The index: every key that is not compacted, in order, with its history.
//!
//! It stands behind a lock that the single writer takes for each change and readers take for a
//! slice of at most [`SLICE_KEYS`] keys. Between slices the writer gets in, so that a count over
//! millions of keys holds no put back for longer than one slice. That is sound since readers ask at
//! a revision: what the writer adds meanwhile is newer and not seen, and what a compaction takes
//! meanwhile is noticed (see [`super::Reader`]). A persistent tree would need no lock, but copies a
//! path of nodes for each put while somebody reads, and takes twice the memory.
//!
//! Memory: 56 bytes a key in the tree's nodes (of which seven tenths are in use), and the key.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use super::history::History;
use crate::revision::Revision;

/// Most keys that one hold of the lock looks at.
pub(crate) const SLICE_KEYS: usize = 1_000;

/// A range of keys as requests name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRange<'a> {
    /// One key.
    One(&'a [u8]),
    /// From the first to before the second.
    Between(&'a [u8], &'a [u8]),
    /// From a key on.
    From(&'a [u8]),
}

impl<'a> KeyRange<'a> {
    /// Of a request: an empty end means one key, a zero byte means no end.
    pub fn of_request(key: &'a [u8], range_end: &'a [u8]) -> KeyRange<'a> {
        match range_end {
            [] => KeyRange::One(key),
            [0] => KeyRange::From(key),
            end => KeyRange::Between(key, end),
        }
    }

    /// Whether a key lies in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            KeyRange::One(one) => *one == key,
            KeyRange::Between(from, to) => *from <= key && key < *to,
            KeyRange::From(from) => *from <= key,
        }
    }
}

/// All keys with their histories.
#[derive(Debug, Default)]
pub(crate) struct Index {
    keys: BTreeMap<Box<[u8]>, History>,
}

impl Index {
    pub(crate) fn get(&self, key: &[u8]) -> Option<&History> {
        self.keys.get(key)
    }

    /// Keys, those included of which a tombstone is left.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Notes a put; its generation's creation and its version are what the record says.
    pub(crate) fn put(&mut self, key: &[u8], at: Revision, created: i64, version: i64) {
        match self.keys.get_mut(key) {
            Some(history) => history.put(at, created, version),
            None => {
                self.keys.insert(key.into(), History::begin_put(at, created, version));
            }
        }
    }

    /// Notes a tombstone.
    pub(crate) fn delete(&mut self, key: &[u8], at: Revision) {
        match self.keys.get_mut(key) {
            Some(history) => history.delete(at),
            None => {
                self.keys.insert(key.into(), History::begin_tombstone(at));
            }
        }
    }

    /// Forgets of a key what a compaction at `main` takes away.
    pub(crate) fn compact(&mut self, key: &[u8], main: i64) {
        if let Some(history) = self.keys.get_mut(key)
            && !history.compact(main)
        {
            self.keys.remove(key);
        }
    }

    /// Visits up to [`SLICE_KEYS`] keys of a range, from `from` on if that is given, until the
    /// visitor breaks; returns the key to go on from, if there are more.
    pub(crate) fn slice(
        &self,
        range: KeyRange<'_>,
        from: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], &History) -> ControlFlow<()>,
    ) -> Option<Box<[u8]>> {
        let (first, end) = match range {
            KeyRange::One(key) => {
                self.keys.get(key).map(|history| visit(key, history));
                return None;
            }
            KeyRange::Between(first, end) if first >= end => return None,
            KeyRange::Between(first, end) => (first, Bound::Excluded(end)),
            KeyRange::From(first) => (first, Bound::Unbounded),
        };
        let start = Bound::Included(from.unwrap_or(first));
        let mut keys = self.keys.range::<[u8], _>((start, end));
        for (key, history) in keys.by_ref().take(SLICE_KEYS) {
            if visit(key, history).is_break() {
                return None;
            }
        }
        keys.next().map(|(key, _)| key.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_cover_a_range_once() {
        let mut index = Index::default();
        for number in 0..2_500u32 {
            let at = Revision::new(i64::from(number) + 2, 0);
            index.put(format!("k{number:05}").as_bytes(), at, at.main, 1);
        }
        let count = |range| {
            let (mut seen, mut from) = (Vec::new(), None::<Box<[u8]>>);
            loop {
                from = index.slice(range, from.as_deref(), |key, _| {
                    seen.push(key.to_vec());
                    ControlFlow::Continue(())
                });
                if from.is_none() {
                    break;
                }
            }
            assert!(seen.is_sorted());
            seen.dedup();
            seen.len()
        };
        assert_eq!(count(KeyRange::From(b"")), 2_500);
        assert_eq!(count(KeyRange::Between(b"k00100", b"k02100")), 2_000);
        assert_eq!(count(KeyRange::Between(b"k02100", b"k00100")), 0);
        assert_eq!(count(KeyRange::One(b"k00007")), 1);
        assert_eq!(count(KeyRange::One(b"k")), 0);
    }

    #[test]
    fn ranges_are_read_as_upstream_reads_them() {
        assert_eq!(KeyRange::of_request(b"a", b""), KeyRange::One(b"a"));
        assert_eq!(KeyRange::of_request(b"a", b"\0"), KeyRange::From(b"a"));
        assert_eq!(KeyRange::of_request(b"a", b"b"), KeyRange::Between(b"a", b"b"));
        assert!(KeyRange::From(b"a").contains(b"b") && !KeyRange::From(b"b").contains(b"a"));
    }
}
