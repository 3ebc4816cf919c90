//! The uploads of one snapshot: a task each, fed through a bounded channel.
//!
//! Holds: at most `FINISHING` objects are unfinished beside those that are fed; a failed upload
//! fails the round; what was uploaded is remembered with the time, since a commit looks again at
//! what is older than an hour.

use crate::access::Access;
use crate::chain::rules::RECHECK_AFTER_MS;
use crate::format::ObjectId;
use crate::proto::ObjectKind;
use crate::snapshot::build::UploadEvent;
use crate::store::StoreError;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Uploads that have all their bytes and are not done, at a time.
const FINISHING: usize = 2;
/// Pieces that wait in a channel; a piece is at most a frame.
const WAITING: usize = 2;

/// An object that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// Its name.
    pub name: String,
    /// Its length.
    pub size_bytes: u64,
    /// When it was complete, by the clock that counts suspend.
    pub boot_ms: i64,
}

/// Uploads in progress and done.
pub struct Uploads {
    access: Arc<Access>,
    kind: ObjectKind,
    feeds: BTreeMap<ObjectId, mpsc::Sender<Vec<u8>>>,
    tasks: JoinSet<Result<Uploaded, StoreError>>,
    done: Vec<Uploaded>,
}

impl Uploads {
    /// Of objects of this kind.
    pub fn new(access: Arc<Access>, kind: ObjectKind) -> Uploads {
        let (feeds, tasks, done) = (BTreeMap::new(), JoinSet::new(), Vec::new());
        Uploads { access, kind, feeds, tasks, done }
    }

    /// Does what happened.
    pub async fn take(&mut self, events: Vec<UploadEvent>) -> Result<(), StoreError> {
        for event in events {
            match event {
                UploadEvent::Begin(id) => self.begin(id).await?,
                UploadEvent::Data(id, bytes) => {
                    let sent = match self.feeds.get(&id) {
                        Some(feed) => feed.send(bytes).await.is_ok(),
                        None => false,
                    };
                    if !sent {
                        return Err(self.failure(id).await);
                    }
                }
                UploadEvent::End(id) => drop(self.feeds.remove(&id)),
            }
        }
        Ok(())
    }

    /// Waits for all of them.
    pub async fn finish(mut self) -> Result<Vec<Uploaded>, StoreError> {
        self.feeds.clear();
        while !self.tasks.is_empty() {
            self.reap().await?;
        }
        Ok(self.done)
    }

    async fn begin(&mut self, id: ObjectId) -> Result<(), StoreError> {
        while self.tasks.len() >= self.feeds.len() + FINISHING {
            self.reap().await?;
        }
        let name = self.access.names().object(self.kind, id);
        let (feed, mut pieces) = mpsc::channel::<Vec<u8>>(WAITING);
        let access = self.access.clone();
        self.tasks.spawn(async move {
            let mut upload = access.store().upload(&name);
            while let Some(piece) = pieces.recv().await {
                if let Err(error) = upload.write(&piece).await {
                    upload.abort().await;
                    return Err(error);
                }
            }
            let size_bytes = upload.written();
            upload.finish().await?;
            Ok(Uploaded { name, size_bytes, boot_ms: access.clock().boot_ms() })
        });
        self.feeds.insert(id, feed);
        Ok(())
    }

    async fn reap(&mut self) -> Result<(), StoreError> {
        match self.tasks.join_next().await {
            Some(Ok(outcome)) => self.done.push(outcome?),
            Some(Err(error)) => {
                let name = self.access.names().folder();
                return Err(StoreError::Unreachable { name, detail: error.to_string() });
            }
            None => {}
        }
        Ok(())
    }

    /// Why the upload of `id` no longer takes bytes.
    async fn failure(&mut self, id: ObjectId) -> StoreError {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(Err(error))) => return error,
                Some(_) => {}
                None => {
                    let name = self.access.names().object(self.kind, id);
                    let detail = "the upload ended early".to_owned();
                    return StoreError::Unreachable { name, detail };
                }
            }
        }
    }
}

/// Before a commit: whatever was uploaded more than an hour ago must still be there, as it was.
pub async fn recheck(access: &Access, uploaded: &[Uploaded]) -> Result<(), StoreError> {
    for object in uploaded {
        if access.clock().boot_ms() - object.boot_ms <= RECHECK_AFTER_MS {
            continue;
        }
        let found = access.store().head(&object.name).await?;
        if found.size_bytes != object.size_bytes {
            let detail = format!("{} bytes, {} were uploaded", found.size_bytes, object.size_bytes);
            return Err(StoreError::Size { name: object.name.clone(), detail });
        }
    }
    Ok(())
}
