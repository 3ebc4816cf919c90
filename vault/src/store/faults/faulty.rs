//! One fault at one place: the n-th call fails before or after its effect, a read is cut or
//! flipped, a create answers wrongly, a listing is stale.

use super::{flatten_list, network_error};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    UploadPart,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call fails and has no effect.
    FailBefore,
    /// The call has its effect, and the answer is lost.
    FailAfter,
    /// A read ends at half of its bytes with a network error.
    Cut,
    /// A read fails as from a disk with a bad sector (EIO).
    BadSector,
    /// One bit of the byte at this offset of the object is flipped (counted from its end when
    /// negative).
    Flip(i64),
    /// A create takes effect and answers that the object exists.
    ExistsForOwn,
    /// A create ignores its condition and overwrites.
    IgnoreAbsent,
    /// A listing leaves out the newest half of its names.
    StaleList,
    /// A listing ignores the name to start after.
    IgnoreStartAfter,
    /// A delete does nothing and says it did.
    DeleteNothing,
}

#[derive(Debug, Clone)]
struct Rule {
    at_call: Option<u64>,
    name_part: Option<String>,
    fault: Fault,
}

/// A store that has the faults it was told.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn ObjectStore>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    rules: Mutex<Vec<Rule>>,
    calls: AtomicU64,
    dead: AtomicBool,
}

impl State {
    /// Counts one call to `name` and returns the faults that apply to it.
    fn call(&self, name: &str) -> Vec<Fault> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if self.dead.load(Ordering::SeqCst) {
            return vec![Fault::FailBefore];
        }
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let matches = |rule: &&Rule| {
            rule.at_call.is_none_or(|at| at == call)
                && rule.name_part.as_ref().is_none_or(|part| name.contains(part.as_str()))
        };
        rules.iter().filter(matches).map(|rule| rule.fault).collect()
    }

    fn dies(&self, fault: Fault) -> bool {
        matches!(fault, Fault::FailBefore | Fault::FailAfter)
    }
}

impl Faulty {
    /// A store without faults over `inner`.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Faulty {
        Faulty { inner, state: Arc::default() }
    }

    /// `fault` strikes at call number `call` (the first is 1), and only then.
    pub fn at_call(&self, call: u64, fault: Fault) {
        self.add(Rule { at_call: Some(call), name_part: None, fault });
    }

    /// `fault` strikes at every call whose object name contains `part`.
    pub fn on_name(&self, part: &str, fault: Fault) {
        self.add(Rule { at_call: None, name_part: Some(part.to_owned()), fault });
    }

    /// Removes all faults.
    pub fn heal(&self) {
        self.state.dead.store(false, Ordering::SeqCst);
        self.state.rules.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// From now on nothing is answered, as after the machine's network was cut.
    pub fn cut_off(&self) {
        self.state.dead.store(true, Ordering::SeqCst);
    }

    /// How many calls were made.
    pub fn calls(&self) -> u64 {
        self.state.calls.load(Ordering::SeqCst)
    }

    fn add(&self, rule: Rule) {
        self.state.rules.lock().unwrap_or_else(PoisonError::into_inner).push(rule);
    }

    async fn damaged(&self, result: GetResult, faults: &[Fault]) -> Result<GetResult> {
        let (meta, range) = (result.meta.clone(), result.range.clone());
        let mut bytes = result.bytes().await?.to_vec();
        let mut cut = false;
        for fault in faults {
            match fault {
                Fault::Cut => cut = true,
                Fault::Flip(offset) => flip(&mut bytes, range.start, meta.size, *offset),
                _ => {}
            }
        }
        if cut {
            bytes.truncate(bytes.len() / 2);
        }
        let tail = cut.then(|| Err(network_error("cut while reading")));
        let items = std::iter::once(Ok(Bytes::from(bytes))).chain(tail);
        let stream = futures::stream::iter(items.collect::<Vec<_>>()).boxed();
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream),
            meta,
            range,
            attributes: Default::default(),
            extensions: Default::default(),
        })
    }
}

fn flip(bytes: &mut [u8], start: u64, size: u64, offset: i64) {
    let place = if offset < 0 {
        size.checked_sub(offset.unsigned_abs())
    } else {
        Some(offset.unsigned_abs())
    };
    let index = place.and_then(|place| place.checked_sub(start)).map(usize::try_from);
    if let Some(Ok(index)) = index
        && let Some(byte) = bytes.get_mut(index)
    {
        *byte ^= 0x10;
    }
}

fn has(faults: &[Fault], fault: Fault) -> bool {
    faults.contains(&fault)
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Faulty({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        let faults = self.state.call(location.as_ref());
        let create = options.mode == PutMode::Create;
        if has(&faults, Fault::FailBefore) {
            return Err(network_error("before the put"));
        }
        if create && has(&faults, Fault::IgnoreAbsent) {
            options.mode = PutMode::Overwrite;
        }
        let answer = self.inner.put_opts(location, payload, options).await;
        if has(&faults, Fault::FailAfter) {
            return Err(network_error("after the put"));
        }
        if create && has(&faults, Fault::ExistsForOwn) && answer.is_ok() {
            let path = location.to_string();
            return Err(object_store::Error::AlreadyExists { path, source: "repeated".into() });
        }
        answer
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let faults = self.state.call(location.as_ref());
        if faults.iter().any(|fault| self.state.dies(*fault)) {
            return Err(network_error("at the start of an upload"));
        }
        let inner = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(FaultyUpload { inner, state: self.state.clone(), name: location.to_string() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let faults = self.state.call(location.as_ref());
        if faults.iter().any(|fault| self.state.dies(*fault)) {
            return Err(network_error("at a get"));
        }
        let head = options.head;
        let result = self.inner.get_opts(location, options).await?;
        if has(&faults, Fault::BadSector) && !head {
            let source = Box::new(std::io::Error::from_raw_os_error(5));
            return Err(object_store::Error::Generic { store: "faulty", source });
        }
        let read = faults.iter().any(|fault| matches!(fault, Fault::Cut | Fault::Flip(_)));
        if read && !head { self.damaged(result, &faults).await } else { Ok(result) }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (inner, state) = (self.inner.clone(), self.state.clone());
        locations
            .then(move |location| {
                let (inner, state) = (inner.clone(), state.clone());
                async move {
                    let location = location?;
                    let faults = state.call(location.as_ref());
                    if has(&faults, Fault::FailBefore) {
                        return Err(network_error("before a delete"));
                    }
                    if has(&faults, Fault::DeleteNothing) {
                        return Ok(location);
                    }
                    let one = futures::stream::iter([Ok(location)]).boxed();
                    let done: Vec<Path> = inner.delete_stream(one).try_collect().await?;
                    if has(&faults, Fault::FailAfter) {
                        return Err(network_error("after a delete"));
                    }
                    done.into_iter().next().ok_or_else(|| network_error("an empty answer"))
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let faults = self.state.call(prefix.map_or("", |path| path.as_ref()));
        if faults.iter().any(|fault| self.state.dies(*fault)) {
            return Err(network_error("at a list"));
        }
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl Faulty {
    fn listing(
        &self,
        prefix: Option<&Path>,
        offset: Option<&Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let faults = self.state.call(prefix.map_or("", |path| path.as_ref()));
        if faults.iter().any(|fault| self.state.dies(*fault)) {
            return flatten_list(async { Err(network_error("at a list")) });
        }
        let stream = match offset {
            Some(offset) if !has(&faults, Fault::IgnoreStartAfter) => {
                self.inner.list_with_offset(prefix, offset)
            }
            _ => self.inner.list(prefix),
        };
        let stale = has(&faults, Fault::StaleList);
        flatten_list(async move {
            let mut items: Vec<ObjectMeta> = stream.try_collect().await?;
            if stale {
                items.sort_by(|a, b| a.location.cmp(&b.location));
                items.truncate(items.len() / 2);
            }
            Ok(items)
        })
    }
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    state: Arc<State>,
    name: String,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let faults = self.state.call(&self.name);
        if faults.iter().any(|fault| self.state.dies(*fault)) {
            return Box::pin(async { Err(network_error("at a part")) });
        }
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let faults = self.state.call(&self.name);
        if has(&faults, Fault::FailBefore) {
            return Err(network_error("before completing"));
        }
        let answer = self.inner.complete().await;
        if has(&faults, Fault::FailAfter) {
            return Err(network_error("after completing"));
        }
        answer
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
