//! Changes in memory, each with its number, so that views of different points can share them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, RwLock};

use bytes::Bytes;

use super::base::Change;
use super::{exclusive, shared};

/// Bytes that an entry takes beside its key and value, about.
const ENTRY_BYTES: usize = 96;

/// Numbered changes of buckets.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    changes: RwLock<Changes>,
}

#[derive(Debug, Default)]
struct Changes {
    buckets: BTreeMap<Arc<[u8]>, Entries>,
    count: usize,
    size_bytes: usize,
}

/// Changed keys of a bucket.
type Entries = BTreeMap<Box<[u8]>, Versions>;

/// A changed key and its value, `None` if it is deleted.
pub(crate) type Changed = (Box<[u8]>, Option<Bytes>);

/// The versions of a key; of most there is one.
#[derive(Debug)]
struct Versions {
    newest: Version,
    /// Older ones that some view may still see, ascending.
    older: Vec<Version>,
}

#[derive(Debug)]
struct Version {
    number: u64,
    value: Option<Bytes>,
}

impl Layer {
    pub(crate) fn new() -> Layer {
        Layer::default()
    }

    pub(crate) fn create_bucket(&self, bucket: &[u8]) {
        let mut changes = exclusive(&self.changes);
        if !changes.buckets.contains_key(bucket) {
            changes.buckets.insert(bucket.into(), BTreeMap::new());
        }
    }

    /// Adds a change. Of the two numbers: views so far have numbers up to the first, later ones
    /// from the second on; a version between them that a newer one replaces is nobody's, and goes.
    pub(crate) fn change(
        &self,
        bucket: &[u8],
        key: &[u8],
        number: u64,
        value: Option<Bytes>,
        (viewed, published): (u64, u64),
    ) {
        let mut changes = exclusive(&self.changes);
        let changes = &mut *changes;
        changes.size_bytes += value.as_ref().map_or(0, Bytes::len);
        let version = Version { number, value };
        if !changes.buckets.contains_key(bucket) {
            changes.buckets.insert(bucket.into(), BTreeMap::new());
        }
        let Some(entries) = changes.buckets.get_mut(bucket) else { return };
        let Some(versions) = entries.get_mut(key) else {
            entries.insert(key.into(), Versions { newest: version, older: Vec::new() });
            changes.size_bytes += key.len() + ENTRY_BYTES;
            changes.count += 1;
            return;
        };
        assert!(versions.newest.number < number, "changes are numbered in order");
        let before = std::mem::replace(&mut versions.newest, version);
        let gone = if before.number <= published {
            let gone = versions.older.pop_if(|older| older.number > viewed);
            versions.older.push(before);
            gone
        } else {
            Some(before)
        };
        changes.size_bytes -= gone.and_then(|gone| gone.value).map_or(0, |value| value.len());
    }

    /// What a view up to `number` sees of a key: `None` if the layer says nothing of it.
    pub(crate) fn get(&self, bucket: &[u8], key: &[u8], number: u64) -> Option<Option<Bytes>> {
        let changes = shared(&self.changes);
        changes.buckets.get(bucket)?.get(key)?.at(number).map(|version| version.value.clone())
    }

    /// The first keys of a range that a view up to `number` sees changed, at most `limit`.
    pub(crate) fn range(
        &self,
        bucket: &[u8],
        from: Bound<&[u8]>,
        to: Option<&[u8]>,
        number: u64,
        limit: usize,
    ) -> Vec<Changed> {
        let changes = shared(&self.changes);
        let Some(entries) = changes.buckets.get(bucket) else { return Vec::new() };
        let start = match from {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => &[],
        };
        if to.is_some_and(|to| to <= start) {
            return Vec::new();
        }
        let end = to.map_or(Bound::Unbounded, Bound::Excluded);
        let seen = entries.range::<[u8], _>((from, end)).filter_map(|(key, versions)| {
            versions.at(number).map(|version| (key.clone(), version.value.clone()))
        });
        seen.take(limit).collect()
    }

    /// The newest version of every key, by bucket and key.
    pub(crate) fn newest(&self) -> Vec<Change> {
        let changes = shared(&self.changes);
        let all = changes.buckets.iter().flat_map(|(bucket, entries)| {
            entries.iter().map(|(key, versions)| Change {
                bucket: Arc::clone(bucket),
                key: key.clone(),
                value: versions.newest.value.clone(),
            })
        });
        all.collect()
    }

    /// Names of the buckets that are changed or to be made.
    pub(crate) fn buckets(&self) -> Vec<Arc<[u8]>> {
        shared(&self.changes).buckets.keys().cloned().collect()
    }

    /// Number of keys changed.
    pub(crate) fn len(&self) -> usize {
        shared(&self.changes).count
    }

    /// Whether there is nothing to write, not even a bucket to make.
    pub(crate) fn is_empty(&self) -> bool {
        shared(&self.changes).buckets.is_empty()
    }

    pub(crate) fn size_bytes(&self) -> usize {
        shared(&self.changes).size_bytes
    }
}

impl Versions {
    fn at(&self, number: u64) -> Option<&Version> {
        if self.newest.number <= number {
            return Some(&self.newest);
        }
        let after = self.older.partition_point(|version| version.number <= number);
        self.older[..after].last()
    }
}
