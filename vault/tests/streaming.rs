//! A check reads large objects piece by piece: the largest answer that it asks for, and the most
//! that it holds at a time, do not grow with the objects.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod support;

use async_trait::async_trait;
use futures::stream::BoxStream;
use holdfast_vault::check::{CheckOptions, Level};
use holdfast_vault::snapshot::SnapshotOptions;
use holdfast_vault::vault::Vault;
use holdfast_vault::{Store, StoreOptions};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use support::{Etcd, options};

/// Remembers the largest read.
#[derive(Debug)]
struct Measured {
    inner: InMemory,
    largest: AtomicU64,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Measured")
    }
}

#[async_trait]
impl ObjectStore for Measured {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let answer = self.inner.get_opts(location, options).await?;
        let bytes = if head { 0 } else { answer.range.end - answer.range.start };
        self.largest.fetch_max(bytes, Ordering::SeqCst);
        Ok(answer)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
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

#[tokio::test]
async fn a_check_holds_a_few_frames_of_a_large_object() {
    let inner = Arc::new(Measured { inner: InMemory::new(), largest: AtomicU64::new(0) });
    let store = || Store::over(inner.clone(), "memory", StoreOptions::default());
    let mut vault = Vault::init(store(), options(1)).await.unwrap();
    let mut etcd = Etcd::new();
    for i in 0..24 {
        etcd.put(&format!("/registry/secrets/{i}"), 700_000);
    }
    // Not compressible, so that the spill is as long as its entries.
    let noise: Vec<u8> =
        (0..10_000_000u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
    let auth = etcd.buckets.get_mut(&b"auth"[..]).unwrap();
    auth.extend(
        noise
            .chunks(100_000)
            .enumerate()
            .map(|(i, value)| (u32::try_from(i).unwrap().to_be_bytes().to_vec(), value.to_vec())),
    );
    vault.snapshot(etcd.source(), &SnapshotOptions::default()).await.unwrap();
    let listed = store().list_all("", 1000).await.unwrap();
    let largest_of = |part: &str| {
        listed.iter().filter(|item| item.name.contains(part)).map(|item| item.size_bytes).max()
    };
    assert!(largest_of("/seg/") > Some(8 << 20) && largest_of("/spill/") > Some(8 << 20));
    for level in [Level::L1, Level::L2] {
        inner.largest.store(0, Ordering::SeqCst);
        let all = CheckOptions { level, snapshots: BTreeSet::new() };
        let report = vault.check(&all).await.unwrap();
        assert!(report.findings.is_empty() && report.read_bytes > 24 << 20, "{report:#?}");
        let largest = inner.largest.load(Ordering::SeqCst);
        assert!(largest <= 4 << 20, "{level:?} read {largest} bytes at once");
    }
}
