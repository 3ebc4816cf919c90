//! A base in memory: the model that tests hold others against, and a store without a file.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, RwLock};

use bytes::Bytes;

use super::base::{Base, BaseRead, Change, SizeBytes, Visit};
use super::{BackendError, exclusive, shared};

type Buckets = BTreeMap<Vec<u8>, Arc<BTreeMap<Vec<u8>, Bytes>>>;

/// Committed buckets in memory. Clones share them, so that a test can open them again.
#[derive(Debug, Clone, Default)]
pub struct MemoryBase {
    buckets: Arc<RwLock<Arc<Buckets>>>,
}

#[derive(Debug)]
struct MemoryRead(Arc<Buckets>);

impl MemoryBase {
    /// Without buckets.
    pub fn new() -> MemoryBase {
        MemoryBase::default()
    }

    /// Another one with the same content, that goes its own way from here.
    pub fn fork(&self) -> MemoryBase {
        let now = Arc::clone(&shared(&self.buckets));
        MemoryBase { buckets: Arc::new(RwLock::new(now)) }
    }

    /// Names of the buckets.
    pub fn names(&self) -> Vec<Vec<u8>> {
        shared(&self.buckets).keys().cloned().collect()
    }
}

impl Base for MemoryBase {
    fn read(&self) -> Result<Arc<dyn BaseRead>, BackendError> {
        Ok(Arc::new(MemoryRead(Arc::clone(&shared(&self.buckets)))))
    }

    fn write(&self, buckets: &[Arc<[u8]>], changes: &[Change]) -> Result<(), BackendError> {
        let mut committed = exclusive(&self.buckets);
        let all = Arc::make_mut(&mut committed);
        for bucket in buckets {
            all.entry(bucket.to_vec()).or_default();
        }
        for change in changes {
            let entries = Arc::make_mut(all.entry(change.bucket.to_vec()).or_default());
            match &change.value {
                Some(value) => entries.insert(change.key.to_vec(), value.clone()),
                None => entries.remove(&*change.key),
            };
        }
        Ok(())
    }

    fn size(&self) -> Result<SizeBytes, BackendError> {
        let buckets = shared(&self.buckets);
        let entries = buckets.values().flat_map(|entries| entries.iter());
        let bytes = entries.map(|(key, value)| (key.len() + value.len()) as u64).sum();
        Ok(SizeBytes { allocated: bytes, in_use: bytes })
    }
}

impl BaseRead for MemoryRead {
    fn buckets(&self) -> Result<Vec<Vec<u8>>, BackendError> {
        Ok(self.0.keys().cloned().collect())
    }

    fn get(&self, bucket: &[u8], key: &[u8]) -> Result<Option<Bytes>, BackendError> {
        Ok(self.0.get(bucket).and_then(|entries| entries.get(key).cloned()))
    }

    fn scan(
        &self,
        bucket: &[u8],
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), BackendError> {
        let Some(entries) = self.0.get(bucket) else { return Ok(()) };
        if to.is_some_and(|to| to <= from) {
            return Ok(());
        }
        let end = to.map_or(Bound::Unbounded, Bound::Excluded);
        for (key, value) in entries.range::<[u8], _>((Bound::Included(from), end)) {
            if visit(key, value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}
