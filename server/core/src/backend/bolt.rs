//! A base that is a bolt file.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_bolt::{ReadTx, Store, StoreDisk, StoreError, StorePages, WriteBucket};

use super::BackendError;
use super::base::{Base, BaseRead, Change, SizeBytes, Visit};
use crate::buckets::KEY;

/// How full the pages of the bucket `key` become: its keys rise. Upstream's figure.
const KEY_FILL_PERCENT: u8 = 90;

/// Buckets in a bolt file. Who streams the file, or measures it, keeps the store as well.
pub struct BoltBase<D: StoreDisk> {
    store: Arc<Store<D>>,
}

struct BoltRead<P: StorePages>(ReadTx<P>);

impl<D: StoreDisk> BoltBase<D> {
    /// Stands on an open store.
    pub fn new(store: Arc<Store<D>>) -> BoltBase<D> {
        BoltBase { store }
    }

    fn apply(&self, buckets: &[Arc<[u8]>], changes: &[Change]) -> Result<(), StoreError> {
        let mut tx = self.store.write()?;
        for name in buckets {
            tx.create_bucket_if_missing(name)?;
        }
        for of_bucket in changes.chunk_by(|a, b| a.bucket == b.bucket) {
            let Some(name) = of_bucket.first().map(|change| &change.bucket) else { continue };
            let mut bucket = tx.create_bucket_if_missing(name)?;
            if **name == *KEY {
                bucket.set_fill_percent(KEY_FILL_PERCENT);
            }
            for change in of_bucket {
                write(&mut bucket, change)?;
            }
        }
        tx.commit()
    }
}

fn write<P: StorePages>(
    bucket: &mut WriteBucket<'_, P>,
    change: &Change,
) -> Result<(), StoreError> {
    match &change.value {
        Some(value) => bucket.put(&change.key, value),
        None => bucket.delete(&change.key).map(|_| ()),
    }
}

impl<D: StoreDisk> fmt::Debug for BoltBase<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoltBase").field("stats", &self.store.stats()).finish()
    }
}

impl<P: StorePages> fmt::Debug for BoltRead<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoltRead").field("txid", &self.0.txid()).finish()
    }
}

impl<D: StoreDisk> Base for BoltBase<D> {
    fn read(&self) -> Result<Arc<dyn BaseRead>, BackendError> {
        Ok(Arc::new(BoltRead(self.store.read())))
    }

    fn write(&self, buckets: &[Arc<[u8]>], changes: &[Change]) -> Result<(), BackendError> {
        self.apply(buckets, changes).map_err(BackendError::write)
    }

    fn size(&self) -> Result<SizeBytes, BackendError> {
        let stats = self.store.stats();
        Ok(SizeBytes { allocated: stats.size_bytes, in_use: stats.in_use_bytes() })
    }
}

impl<P: StorePages> BaseRead for BoltRead<P> {
    fn buckets(&self) -> Result<Vec<Vec<u8>>, BackendError> {
        let names = self.0.buckets().map(|named| named.map(|(name, _)| name.to_vec()));
        names.collect::<Result<_, _>>().map_err(BackendError::read)
    }

    fn get(&self, bucket: &[u8], key: &[u8]) -> Result<Option<Bytes>, BackendError> {
        let Some(bucket) = self.0.bucket(bucket).map_err(BackendError::read)? else {
            return Ok(None);
        };
        let value = bucket.get(key).map_err(BackendError::read)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(
        &self,
        bucket: &[u8],
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), BackendError> {
        let Some(bucket) = self.0.bucket(bucket).map_err(BackendError::read)? else {
            return Ok(());
        };
        let mut cursor = bucket.cursor();
        let mut next = cursor.seek(from).map_err(BackendError::read)?;
        while let Some(entry) = next {
            let ended = to.is_some_and(|to| entry.key >= to);
            if ended || (!entry.is_bucket && visit(entry.key, entry.value).is_break()) {
                break;
            }
            next = cursor.next().map_err(BackendError::read)?;
        }
        Ok(())
    }
}
