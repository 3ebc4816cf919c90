//! The store itself, below all weather: notes every change that took effect, with its time.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use holdfast_vault::clock::Clock;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::sync::{Arc, Mutex};

/// One change that took effect.
#[derive(Debug, Clone)]
pub struct Change {
    pub at_ms: i64,
    pub name: String,
    /// `None`: deleted.
    pub bytes: Option<Bytes>,
}

pub type Notes = Arc<Mutex<Vec<Change>>>;

/// A store whose changes are noted.
pub struct Recorder {
    inner: Arc<dyn ObjectStore>,
    clock: Arc<dyn Clock>,
    notes: Notes,
}

impl Recorder {
    pub fn new(inner: Arc<dyn ObjectStore>, clock: Arc<dyn Clock>, notes: Notes) -> Recorder {
        Recorder { inner, clock, notes }
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

impl std::fmt::Display for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

#[async_trait]
impl ObjectStore for Recorder {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let bytes = Bytes::from(payload.clone());
        let answer = self.inner.put_opts(location, payload, options).await?;
        let (at_ms, name) = (self.clock.now_ms(), location.to_string());
        self.notes.lock().unwrap().push(Change { at_ms, name, bytes: Some(bytes) });
        Ok(answer)
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        panic!("the objects of the model are shorter than a part")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (inner, clock, notes) = (self.inner.clone(), self.clock.clone(), self.notes.clone());
        locations
            .then(move |location| {
                let (inner, clock, notes) = (inner.clone(), clock.clone(), notes.clone());
                async move {
                    let location = location?;
                    if inner.head(&location).await.is_ok() {
                        let (at_ms, name) = (clock.now_ms(), location.to_string());
                        notes.lock().unwrap().push(Change { at_ms, name, bytes: None });
                    }
                    let one = futures::stream::iter([Ok(location.clone())]).boxed();
                    let _: Vec<Path> = inner.delete_stream(one).try_collect().await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
