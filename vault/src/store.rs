//! Object stores: a local directory or an S3-like bucket, behind one type with typed errors.
//!
//! Holds: a write that is acknowledged is durable (the local directory syncs files and directories;
//! read in object_store 0.14's source: put, multipart completion and new directories are synced
//! under `with_fsync(true)`, deletes are not, which can only bring garbage back); every call has a
//! time limit; idempotent calls are repeated with growing, jittered pauses; a create is never
//! repeated here, since only its caller can tell its own earlier success from another's; memory is
//! bounded.

mod address;
pub mod doctor;
mod error;
pub mod faults;
mod leftovers;
mod masked;
mod pace;
mod upload;
mod versions;

pub use address::Address;
pub use error::StoreError;
pub(crate) use error::is_bad_medium;
pub use upload::{PART_BYTES, Upload};
pub use versions::ObjectVersion;

use bytes::Bytes;
use error::{classify, classify_read};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How a store is opened and how patient it is.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Make a missing local directory (for `init`; never for a restore).
    pub create: bool,
    /// How often an idempotent call is tried in all.
    pub attempts: u32,
    /// Pause before the second try; doubles, jittered, up to `max_pause`.
    pub first_pause: Duration,
    /// Longest pause between two tries.
    pub max_pause: Duration,
    /// Time limit of one try.
    pub call_timeout: Duration,
    /// Seeds the jitter; `None`: from the system.
    pub jitter_seed: Option<u64>,
    /// Most bytes per second that uploads take; `None`: as many as there is room for.
    pub upload_bytes_per_second: Option<u64>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            create: false,
            attempts: 5,
            first_pause: Duration::from_millis(200),
            max_pause: Duration::from_secs(10),
            call_timeout: Duration::from_secs(150),
            jitter_seed: None,
            upload_bytes_per_second: None,
        }
    }
}

/// What a store says about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its name below the store's address.
    pub name: String,
    /// Its length.
    pub size_bytes: u64,
    /// When it was written, by the store's clock, milliseconds since 1970.
    pub modified_ms: i64,
    /// The version id that a versioned bucket gave.
    pub version: Option<String>,
}

/// An open store. Cheap to clone; clones share the limit on parts in flight.
#[derive(Clone)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    prefix: Path,
    directory: Option<PathBuf>,
    versions: Option<Arc<versions::Versions>>,
    address: Arc<str>,
    options: Arc<StoreOptions>,
    parts: Arc<Semaphore>,
    jitter: Arc<Mutex<u64>>,
    pace: Arc<pace::Pace>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store at `address`: `file:///path`, a path, or `s3://bucket/prefix` with the
    /// credentials and the endpoint of the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    /// AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL).
    pub fn open(address: &str, options: StoreOptions) -> Result<Store, StoreError> {
        let address = Address::parse(address)?;
        let backend = address::connect(&address, options.create)?;
        let mut store = Store::over(backend.inner, &address.to_string(), options);
        store.prefix = backend.prefix;
        store.directory = backend.directory;
        store.versions = backend.versions;
        Ok(store)
    }

    /// A store over any implementation, named `address` in messages. For tests and fault injection.
    pub fn over(inner: Arc<dyn ObjectStore>, address: &str, options: StoreOptions) -> Store {
        let seed = options.jitter_seed.unwrap_or_else(system_seed);
        let pace = Arc::new(pace::Pace::new(options.upload_bytes_per_second));
        Store {
            inner,
            prefix: Path::default(),
            directory: None,
            versions: None,
            address: address.into(),
            options: Arc::new(options),
            parts: Arc::new(Semaphore::new(2)),
            jitter: Arc::new(Mutex::new(seed | 1)),
            pace,
        }
    }

    /// The address, as it may be printed.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The file of object `name`, when the store is a local directory: readers may read it in
    /// place.
    pub fn local_file(&self, name: &str) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.join(name))
    }

    /// Creates `name`, if nothing has that name. Tried once: after any error the caller reads back.
    ///
    /// # Errors
    /// `AlreadyExists`: taken, or another create in flight, or our own earlier try. `Unreachable`:
    /// it may or may not have taken effect.
    pub async fn put_if_absent(&self, name: &str, bytes: Bytes) -> Result<(), StoreError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let path = self.path(name);
        let call = self.inner.put_opts(&path, PutPayload::from(bytes), options);
        self.limited(name, call).await.map(|_| ())
    }

    /// Writes `name`, replacing what is there. Repeated on temporary failures.
    pub async fn put(&self, name: &str, bytes: Bytes) -> Result<(), StoreError> {
        let path = self.path(name);
        self.pace.wait(bytes.len()).await;
        self.repeat(name, || self.inner.put(&path, PutPayload::from(bytes.clone())))
            .await
            .map(|_| ())
    }

    /// Begins a write of unknown length to `name`, in parts of 8 MiB, at most two of them in flight
    /// over all uploads of this store.
    pub fn upload(&self, name: &str) -> Upload {
        Upload::new(self.clone(), name)
    }

    /// The whole of `name`, refused when it is longer than `max_bytes`.
    pub async fn get(&self, name: &str, max_bytes: u64) -> Result<Bytes, StoreError> {
        let path = self.path(name);
        self.repeat_ours(name, || async {
            let call = self.inner.get_opts(&path, GetOptions::default());
            let answer = call.await.map_err(|error| classify_read(&self.full(name), &error))?;
            let size = answer.meta.size;
            if size > max_bytes {
                let detail = format!("{size} bytes, at most {max_bytes} were expected");
                return Err(StoreError::Size { name: self.full(name), detail });
            }
            let bytes =
                answer.bytes().await.map_err(|error| classify_read(&self.full(name), &error))?;
            if bytes.len() as u64 != size {
                let detail = format!("the answer was cut at {} of {size} bytes", bytes.len());
                return Err(StoreError::Unreachable { name: self.full(name), detail });
            }
            Ok(bytes)
        })
        .await
    }

    /// Bytes `range` of `name`, exactly that many.
    pub async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let path = self.path(name);
        let wanted = range.end.saturating_sub(range.start);
        self.repeat_ours(name, || async {
            let answer = self.inner.get_range(&path, range.clone()).await;
            let bytes = answer.map_err(|error| classify_read(&self.full(name), &error))?;
            if bytes.len() as u64 != wanted {
                let detail = format!("{} of {wanted} bytes came from {range:?}", bytes.len());
                return Err(StoreError::Size { name: self.full(name), detail });
            }
            Ok(bytes)
        })
        .await
    }

    /// Size and time of `name`.
    pub async fn head(&self, name: &str) -> Result<ObjectInfo, StoreError> {
        let path = self.path(name);
        let meta = self.repeat(name, || self.inner.head(&path)).await?;
        Ok(info(name.to_owned(), &meta))
    }

    /// All objects whose name begins with the folder `prefix`, in the order of the store, from the
    /// first name after `start_after` on. Ends at the first error.
    pub fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
    ) -> BoxStream<'static, Result<ObjectInfo, StoreError>> {
        let folder = self.path(prefix);
        let stream = match start_after {
            Some(name) => self.inner.list_with_offset(Some(&folder), &self.path(name)),
            None => self.inner.list(Some(&folder)),
        };
        let (prefix, root) = (self.full(prefix), self.prefix.clone());
        stream
            .map(move |item| match item {
                Ok(meta) => Ok(info(below(&root, &meta.location), &meta)),
                Err(error) => Err(classify(&prefix, &error)),
            })
            .boxed()
    }

    /// All objects below `prefix`, sorted by name; the whole listing is repeated on temporary
    /// failures.
    ///
    /// # Errors
    /// `Size` when there are more than `limit`.
    pub async fn list_all(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<ObjectInfo>, StoreError> {
        self.repeat_ours(prefix, || async {
            let mut found = Vec::new();
            let mut stream = self.list(prefix, None);
            while let Some(item) = stream.next().await {
                found.push(item?);
                if found.len() > limit {
                    let detail = format!("more than {limit} objects");
                    return Err(StoreError::Size { name: self.full(prefix), detail });
                }
            }
            found.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(found)
        })
        .await
    }

    /// The names of the folders right below `prefix`, sorted.
    pub async fn folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let path = self.path(prefix);
        let answer = self.repeat(prefix, || self.inner.list_with_delimiter(Some(&path))).await?;
        let mut names: Vec<String> = answer
            .common_prefixes
            .iter()
            .filter_map(|folder| folder.filename().map(str::to_owned))
            .collect();
        names.sort();
        Ok(names)
    }

    /// Deletes `name`; that it is gone already is not an error.
    pub async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        match self.repeat(name, || self.inner.delete(&path)).await {
            Err(StoreError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    /// The implementation below, for uploads.
    pub(crate) fn inner(&self) -> &Arc<dyn ObjectStore> {
        &self.inner
    }

    /// The limit on parts in flight.
    pub(crate) fn parts(&self) -> &Arc<Semaphore> {
        &self.parts
    }

    /// The back end's path of object `name`.
    pub(crate) fn path(&self, name: &str) -> Path {
        self.prefix.parts().chain(Path::from(name).parts()).collect()
    }

    /// One try of `call` within the time limit.
    pub(crate) async fn limited<T>(
        &self,
        name: &str,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.options.call_timeout, call).await {
            Ok(answer) => answer.map_err(|error| classify(&self.full(name), &error)),
            Err(_) => Err(self.too_late(name)),
        }
    }

    /// Repeats `call` while its failures are temporary.
    pub(crate) async fn repeat<T, F>(
        &self,
        name: &str,
        mut call: impl FnMut() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        self.repeat_ours(name, || {
            let answer = call();
            async { answer.await.map_err(|error| classify(&self.full(name), &error)) }
        })
        .await
    }

    async fn repeat_ours<T, F>(
        &self,
        name: &str,
        mut call: impl FnMut() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut attempt = 1;
        loop {
            let answer = match tokio::time::timeout(self.options.call_timeout, call()).await {
                Ok(answer) => answer,
                Err(_) => Err(self.too_late(name)),
            };
            match answer {
                Err(error) if error.is_temporary() && attempt < self.options.attempts => {
                    tracing::debug!(attempt, %error, "trying again");
                }
                other => return other,
            }
            self.pause(attempt).await;
            attempt += 1;
        }
    }

    /// Waits before try `attempt` + 1: doubling, and between half and the whole of that by chance.
    pub(crate) async fn pause(&self, attempt: u32) {
        let doubled =
            self.options.first_pause.saturating_mul(1 << attempt.min(16).saturating_sub(1));
        let full = doubled.min(self.options.max_pause);
        let chance = {
            let mut state = self.jitter.lock().unwrap_or_else(PoisonError::into_inner);
            *state ^= *state << 13;
            *state ^= *state >> 7;
            *state ^= *state << 17;
            u32::try_from(*state % 1000).unwrap_or(0)
        };
        tokio::time::sleep(full / 2 + full / 2 * chance / 1000).await;
    }

    /// An object as messages call it: with the store's address.
    fn full(&self, name: &str) -> String {
        format!("{}/{name}", self.address.trim_end_matches('/'))
    }

    fn too_late(&self, name: &str) -> StoreError {
        let limit = self.options.call_timeout;
        StoreError::Unreachable {
            name: self.full(name),
            detail: format!("no answer within {limit:?}"),
        }
    }
}

fn info(name: String, meta: &object_store::ObjectMeta) -> ObjectInfo {
    ObjectInfo {
        name,
        size_bytes: meta.size,
        modified_ms: meta.last_modified.timestamp_millis(),
        version: meta.version.clone(),
    }
}

/// `location` without the store's prefix.
fn below(root: &Path, location: &Path) -> String {
    match location.prefix_match(root) {
        Some(parts) => parts.collect::<Path>().to_string(),
        None => location.to_string(),
    }
}

fn system_seed() -> u64 {
    let mut bytes = [0; 8];
    // Without entropy the pauses are merely less spread.
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
