//! Writing an object of unknown length with bounded memory.
//!
//! Holds: one part (8 MiB) is being filled and at most two are in flight over all uploads of a
//! store; an object shorter than one part is a single put; nothing is visible before `finish` has
//! returned; `finish` answers only when the store has acknowledged the whole. A completion whose
//! answer was lost is settled by a HEAD.

use super::{Store, StoreError};
use bytes::{Bytes, BytesMut};
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use tokio::task::JoinSet;

/// Length of a part: more than the 5 MiB that S3 asks for; every part but the last has it.
pub const PART_BYTES: usize = 8 << 20;

/// An upload in progress. Dropped without `finish`, it leaves nothing visible.
pub struct Upload {
    store: Store,
    name: String,
    filling: BytesMut,
    written: u64,
    multipart: Option<Box<dyn MultipartUpload>>,
    flying: JoinSet<Result<(), StoreError>>,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("name", &self.name).field("written", &self.written).finish()
    }
}

impl Upload {
    pub(super) fn new(store: Store, name: &str) -> Upload {
        Upload {
            store,
            name: name.to_owned(),
            filling: BytesMut::new(),
            written: 0,
            multipart: None,
            flying: JoinSet::new(),
        }
    }

    /// Bytes given so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Adds bytes; waits while two parts are in flight.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        self.written += bytes.len() as u64;
        if self.filling.capacity() == 0 {
            // Once and whole: growing by doubling would hold two copies. Untouched pages cost
            // nothing.
            self.filling.reserve(PART_BYTES);
        }
        while !bytes.is_empty() {
            let room = PART_BYTES - self.filling.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.filling.extend_from_slice(now);
            bytes = later;
            if self.filling.len() == PART_BYTES {
                let part = std::mem::take(&mut self.filling).freeze();
                self.send(part).await?;
                self.filling.reserve(PART_BYTES);
            }
        }
        Ok(())
    }

    /// Sends what is left and makes the object visible and durable.
    pub async fn finish(mut self) -> Result<(), StoreError> {
        let last = std::mem::take(&mut self.filling).freeze();
        if self.multipart.is_none() {
            return self.store.put(&self.name, last).await;
        }
        if !last.is_empty() {
            self.send(last).await?;
        }
        while let Some(done) = self.flying.join_next().await {
            self.settled(done)?;
        }
        self.complete().await
    }

    /// Gives up and removes the parts, as far as the store can be reached.
    pub async fn abort(mut self) {
        self.flying.abort_all();
        while self.flying.join_next().await.is_some() {}
        if let Some(mut multipart) = self.multipart.take() {
            let outcome = self.store.limited(&self.name, multipart.abort()).await;
            if let Err(error) = outcome {
                tracing::debug!(%error, "parts of an abandoned upload may remain in the store");
            }
        }
    }

    async fn send(&mut self, part: Bytes) -> Result<(), StoreError> {
        while let Some(done) = self.flying.try_join_next() {
            self.settled(done)?;
        }
        if self.multipart.is_none() {
            let path = self.store.path(&self.name);
            let begin = || self.store.inner().put_multipart(&path);
            self.multipart = Some(self.store.repeat(&self.name, begin).await?);
        }
        self.store.pace.wait(part.len()).await;
        let permit = self.store.parts().clone().acquire_owned().await;
        let Some(multipart) = self.multipart.as_mut() else {
            return Err(self.broken("the upload was never begun"));
        };
        let call = multipart.put_part(PutPayload::from(part));
        let (store, name) = (self.store.clone(), self.name.clone());
        self.flying.spawn(async move {
            let _permit = permit;
            store.limited(&name, call).await
        });
        Ok(())
    }

    async fn complete(&mut self) -> Result<(), StoreError> {
        let Some(multipart) = self.multipart.as_mut() else {
            return Err(self.broken("the upload was never begun"));
        };
        let outcome = self.store.limited(&self.name, multipart.complete()).await;
        let Err(error) = outcome else { return Ok(()) };
        // The completion may have taken effect although its answer was lost.
        match self.store.head(&self.name).await {
            Ok(info) if info.size_bytes == self.written => Ok(()),
            _ => Err(error),
        }
    }

    fn settled(
        &self,
        done: Result<Result<(), StoreError>, tokio::task::JoinError>,
    ) -> Result<(), StoreError> {
        match done {
            Ok(outcome) => outcome,
            Err(error) => Err(self.broken(&error.to_string())),
        }
    }

    fn broken(&self, detail: &str) -> StoreError {
        StoreError::Unreachable { name: self.name.clone(), detail: detail.to_owned() }
    }
}
