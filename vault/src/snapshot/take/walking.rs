//! Carries a walk out: records to the walk, indexes when it wants them, bytes to the store.
//!
//! Holds: what computes runs on threads that may block, what waits does not; no more than
//! [`BATCH_BYTES`] and the segments in the making wait in memory.

use super::types::SnapshotOptions;
use crate::access::Access;
use crate::proto::ObjectKind;
use crate::snapshot::build::Builders;
use crate::snapshot::source::Source;
use crate::snapshot::uploads::{Uploaded, Uploads};
use crate::snapshot::walk::{SourceItem, SourceRecord, Walk};
use crate::snapshot::{SnapshotError, base};
use std::sync::Arc;

/// The walk with everything it needs, moved between threads step by step.
pub(super) struct Task {
    pub(super) walk: Option<Walk>,
    pub(super) source: Box<dyn Source>,
    pub(super) builders: Builders,
    pending: Option<Owned>,
}

/// What waits for an index.
struct Owned {
    main: i64,
    sub: i64,
    gone: bool,
    flags: [bool; 3],
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Owned {
    fn of(item: &SourceItem<'_>) -> Owned {
        let record = match item {
            SourceItem::Record(record) => record,
            SourceItem::Gone((main, sub)) => {
                let (key, value) = (Vec::new(), Vec::new());
                return Owned { main: *main, sub: *sub, gone: true, flags: [false; 3], key, value };
            }
        };
        Owned {
            main: record.main,
            sub: record.sub,
            gone: false,
            flags: [record.tombstone, record.superseded, record.sensitive],
            key: record.key.to_vec(),
            value: record.value.to_vec(),
        }
    }

    fn item(&self) -> SourceItem<'_> {
        let [tombstone, superseded, sensitive] = self.flags;
        let (main, sub) = (self.main, self.sub);
        if self.gone {
            return SourceItem::Gone((main, sub));
        }
        let (key, value) = (&self.key[..], &self.value[..]);
        SourceItem::Record(SourceRecord { main, sub, tombstone, key, value, superseded, sensitive })
    }
}

enum Step {
    /// The index of this base segment is wanted.
    Want(usize),
    /// Bytes wait to be uploaded.
    Upload,
    /// The source and the base are through.
    End,
}

/// Bytes that may wait before the walk pauses.
const BATCH_BYTES: usize = 512 << 10;

impl Task {
    pub(super) fn new(walk: Walk, source: Box<dyn Source>, builders: Builders) -> Task {
        Task { walk: Some(walk), source, builders, pending: None }
    }

    fn step(&mut self) -> Result<Step, SnapshotError> {
        let Some(walk) = &mut self.walk else { return Ok(Step::End) };
        if let Some(owned) = self.pending.take() {
            let item = owned.item();
            if let Some(place) = walk.wants(Some(item.rev())) {
                self.pending = Some(owned);
                return Ok(Step::Want(place));
            }
            feed(walk, &item, &mut self.builders)?;
        }
        while let Some(item) = self.source.next_item()? {
            if let Some(place) = walk.wants(Some(item.rev())) {
                self.pending = Some(Owned::of(&item));
                return Ok(Step::Want(place));
            }
            feed(walk, &item, &mut self.builders)?;
            if self.builders.waiting() >= BATCH_BYTES {
                return Ok(Step::Upload);
            }
        }
        match walk.wants(None) {
            Some(place) => Ok(Step::Want(place)),
            None => {
                self.builders.close()?;
                Ok(Step::End)
            }
        }
    }
}

fn feed(
    walk: &mut Walk,
    item: &SourceItem<'_>,
    builders: &mut Builders,
) -> Result<(), SnapshotError> {
    match item {
        SourceItem::Record(record) => walk.take(record, builders)??,
        SourceItem::Gone(rev) => walk.take_gone(*rev)??,
    }
    Ok(())
}

/// Walks to the end, and uploads meanwhile.
pub(super) async fn run(
    access: &Arc<Access>,
    base: &base::Base,
    mut task: Task,
    options: &SnapshotOptions,
) -> Result<(Task, Vec<Uploaded>), SnapshotError> {
    let mut uploads = Uploads::new(access.clone(), ObjectKind::Segment);
    loop {
        let step;
        (task, step) = compute(options.inline, move || {
            let step = task.step();
            (task, step)
        })
        .await?;
        let step = step?;
        uploads.take(task.builders.events()).await?;
        match step {
            Step::Want(place) => {
                let index = base.index(access, place, &options.damaged).await?;
                match (&mut task.walk, index) {
                    (Some(walk), Some(index)) => walk.give(place, Box::new(index)),
                    (Some(walk), None) if walk.is_implied(place) => {
                        let detail = "a segment that was compared is lost by now".to_owned();
                        return Err(SnapshotError::Unfit { detail });
                    }
                    (Some(walk), None) => walk.lose(place),
                    (None, _) => {}
                }
            }
            Step::Upload => {}
            Step::End => return Ok((task, uploads.finish().await?)),
        }
    }
}

/// Runs `work` on a thread that may block, or here.
pub(in crate::snapshot) async fn compute<T: Send + 'static>(
    inline: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SnapshotError> {
    if inline {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| SnapshotError::Base { detail: format!("the walk's thread: {error}") })
}
