//! The small buckets of a source, one after the other.
//!
//! What must hold: every bucket and every entry once, in order.

use holdfast_core::buckets::SmallBuckets;
use holdfast_vault::snapshot::{Entry, SourceBucket};
use std::collections::BTreeMap;
use std::ops::Bound;

/// Where a pass over the small buckets stands.
#[derive(Debug, Default)]
pub(crate) struct SmallWalk {
    bucket: Option<Vec<u8>>,
    entry: Option<Vec<u8>>,
}

impl SmallWalk {
    /// The next bucket.
    pub(crate) fn next_bucket(
        &mut self,
        small: &SmallBuckets,
        sequences: &BTreeMap<Vec<u8>, u64>,
    ) -> Option<SourceBucket> {
        let mut buckets = small.iter().map(|(name, _)| name);
        let next = match &self.bucket {
            None => buckets.next(),
            Some(last) => buckets.find(|name| *name > last.as_slice()),
        };
        let name = next?.to_vec();
        let sequence = sequences.get(&name).copied().unwrap_or(0);
        (self.bucket, self.entry) = (Some(name.clone()), None);
        Some(SourceBucket { name, sequence })
    }

    /// The next entry of that bucket.
    pub(crate) fn next_entry<'s>(&mut self, small: &'s SmallBuckets) -> Option<Entry<'s>> {
        let bucket = self.bucket.as_ref()?;
        let (_, entries) = small.iter().find(|(name, _)| name == bucket)?;
        let start = self.entry.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let (key, value) = entries.range::<[u8], _>((start, Bound::Unbounded)).next()?;
        self.entry = Some(key.clone());
        Some((key, value))
    }
}
