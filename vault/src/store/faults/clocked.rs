//! A store whose clock is another one: the times of its objects come from a `Clock`.

use super::flatten_list;
use crate::clock::Clock;
use async_trait::async_trait;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A store that stamps objects by a given clock. Multipart uploads keep the inner store's times.
pub struct Clocked {
    inner: Arc<dyn ObjectStore>,
    clock: Arc<dyn Clock>,
    times: Arc<Mutex<BTreeMap<Path, i64>>>,
}

impl std::fmt::Debug for Clocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clocked({})", self.inner)
    }
}

impl std::fmt::Display for Clocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clocked({})", self.inner)
    }
}

type Times = Mutex<BTreeMap<Path, i64>>;

impl Clocked {
    /// `inner` with the times of `clock`.
    pub fn new(inner: Arc<dyn ObjectStore>, clock: Arc<dyn Clock>) -> Clocked {
        Clocked { inner, clock, times: Arc::default() }
    }
}

fn stamped(times: &Times, mut meta: ObjectMeta) -> ObjectMeta {
    let times = times.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(time) = times.get(&meta.location) {
        let ahead = time - meta.last_modified.timestamp_millis();
        let by = Duration::from_millis(ahead.unsigned_abs());
        meta.last_modified =
            if ahead < 0 { meta.last_modified - by } else { meta.last_modified + by };
    }
    meta
}

#[async_trait]
impl ObjectStore for Clocked {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let answer = self.inner.put_opts(location, payload, options).await?;
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.insert(location.clone(), self.clock.now_ms());
        Ok(answer)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let answer = self.inner.get_opts(location, options).await?;
        Ok(GetResult { meta: stamped(&self.times, answer.meta.clone()), ..answer })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (stream, times) = (self.inner.list(prefix), self.times.clone());
        flatten_list(async move {
            let items: Vec<ObjectMeta> = stream.try_collect().await?;
            Ok(items.into_iter().map(|meta| stamped(&times, meta)).collect())
        })
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
