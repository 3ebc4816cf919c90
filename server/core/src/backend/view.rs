//! A point of a backend's history, for readers.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use bytes::Bytes;

use super::BackendError;
use super::base::{BaseRead, Visit};
use super::layer::{Changed, Layer};

/// Changed keys taken from a layer at once.
const LAYER_BATCH: usize = 256;

/// Keys and values in order.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// A consistent point: the layers up to a number, and the base below them. Cheap to take and to
/// clone; it keeps what it sees alive.
#[derive(Debug, Clone)]
pub struct View {
    pending: Arc<Layer>,
    frozen: Option<Arc<Layer>>,
    base: Arc<dyn BaseRead>,
    number: u64,
}

impl View {
    pub(super) fn new(
        pending: Arc<Layer>,
        frozen: Option<Arc<Layer>>,
        base: Arc<dyn BaseRead>,
        number: u64,
    ) -> View {
        View { pending, frozen, base, number }
    }

    /// Names of the buckets, in order.
    ///
    /// # Errors
    /// The base cannot be read.
    pub fn buckets(&self) -> Result<Vec<Vec<u8>>, BackendError> {
        let mut names = self.base.buckets()?;
        for layer in self.frozen.iter().chain([&self.pending]) {
            names.extend(layer.buckets().iter().map(|name| name.to_vec()));
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// The value of a key.
    ///
    /// # Errors
    /// The base cannot be read.
    pub fn get(&self, bucket: &[u8], key: &[u8]) -> Result<Option<Bytes>, BackendError> {
        if let Some(value) = self.pending.get(bucket, key, self.number) {
            return Ok(value);
        }
        let frozen = self.frozen.as_ref().and_then(|layer| layer.get(bucket, key, self.number));
        if let Some(value) = frozen {
            return Ok(value);
        }
        self.base.get(bucket, key)
    }

    /// Visits the entries with `from` ≤ key < `to` (without an end: all from `from` on) in order,
    /// until the visitor breaks.
    ///
    /// # Errors
    /// The base cannot be read.
    pub fn scan(
        &self,
        bucket: &[u8],
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), BackendError> {
        let layer = |layer| ChangedKeys::new(layer, bucket, (from, to), self.number);
        let mut newer = layer(&self.pending);
        let Some(frozen) = &self.frozen else {
            let mut flow = ControlFlow::Continue(());
            let mut below = |visit: &mut Visit<'_>| self.base.scan(bucket, from, to, visit);
            merge(&mut newer, &mut below, &mut flow, visit)?;
            return Ok(());
        };
        let mut older = layer(frozen);
        let mut below = |visit: &mut Visit<'_>| {
            let mut flow = ControlFlow::Continue(());
            let mut base = |visit: &mut Visit<'_>| self.base.scan(bucket, from, to, visit);
            merge(&mut older, &mut base, &mut flow, visit)
        };
        merge(&mut newer, &mut below, &mut ControlFlow::Continue(()), visit)
    }

    /// The same with a visitor that may fail: its error ends the scan and comes back.
    ///
    /// # Errors
    /// The base cannot be read, or the visitor's.
    pub fn try_scan<E: From<BackendError>>(
        &self,
        bucket: &[u8],
        (from, to): (&[u8], Option<&[u8]>),
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let mut failed = None;
        self.scan(bucket, from, to, &mut |key, value| {
            visit(key, value).unwrap_or_else(|error| {
                failed = Some(error);
                ControlFlow::Break(())
            })
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// All entries of a bucket, for the small ones.
    ///
    /// # Errors
    /// The base cannot be read.
    pub fn entries(&self, bucket: &[u8]) -> Result<Entries, BackendError> {
        let mut out = Vec::new();
        self.scan(bucket, &[], None, &mut |key, value| {
            out.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
        Ok(out)
    }
}

/// The changed keys of a layer's range, taken in batches so that the layer is not held.
struct ChangedKeys<'v> {
    layer: &'v Layer,
    bucket: &'v [u8],
    range: (&'v [u8], Option<&'v [u8]>),
    number: u64,
    batch: std::vec::IntoIter<Changed>,
    last: Option<Box<[u8]>>,
    ended: bool,
    peeked: Option<Changed>,
}

impl<'v> ChangedKeys<'v> {
    fn new(
        layer: &'v Layer,
        bucket: &'v [u8],
        range: (&'v [u8], Option<&'v [u8]>),
        number: u64,
    ) -> ChangedKeys<'v> {
        let batch = Vec::new().into_iter();
        ChangedKeys { layer, bucket, range, number, batch, last: None, ended: false, peeked: None }
    }

    fn peek(&mut self) -> Option<&Changed> {
        if self.peeked.is_none() {
            self.peeked = self.take();
        }
        self.peeked.as_ref()
    }

    fn next(&mut self) -> Option<Changed> {
        self.peek();
        self.peeked.take()
    }

    fn take(&mut self) -> Option<Changed> {
        if let Some(changed) = self.batch.next() {
            return Some(changed);
        }
        if self.ended {
            return None;
        }
        let from = self.last.as_deref().map_or(Bound::Included(self.range.0), Bound::Excluded);
        let batch = self.layer.range(self.bucket, from, self.range.1, self.number, LAYER_BATCH);
        self.ended = batch.len() < LAYER_BATCH;
        self.last = batch.last().map(|(key, _)| key.clone());
        self.batch = batch.into_iter();
        self.batch.next()
    }
}

/// Visits the entries of `below` with `changed` laid over them.
fn merge(
    changed: &mut ChangedKeys<'_>,
    below: &mut dyn FnMut(&mut Visit<'_>) -> Result<(), BackendError>,
    flow: &mut ControlFlow<()>,
    visit: &mut Visit<'_>,
) -> Result<(), BackendError> {
    below(&mut |key, value| {
        while let Some((new, _)) = changed.peek() {
            if **new > *key {
                break;
            }
            let replaces = **new == *key;
            if let Some((new, Some(value))) = changed.next() {
                *flow = visit(&new, &value);
            }
            if flow.is_break() || replaces {
                return *flow;
            }
        }
        *flow = visit(key, value);
        *flow
    })?;
    while flow.is_continue() {
        let Some((new, value)) = changed.next() else { break };
        if let Some(value) = value {
            *flow = visit(&new, &value);
        }
    }
    Ok(())
}
