//! The commit thread: writes what the apply thread froze into the database's file, and writes the
//! file anew when a defragmentation is asked for.
//!
//! What must hold: layers are written in the order in which they were frozen; what is to follow a
//! commit follows only if it succeeded; a commit that fails ends the member, and a defragmentation
//! only if the new file has taken the old one's place already. Entries are applied and read
//! meanwhile; what they change is written afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Instant;

use holdfast_core::backend::{Backend, BackendError, Commit};
use serde_json::json;
use tokio::sync::oneshot;

use super::database::{Database, RewriteError};
use crate::log::Logger;
use crate::metrics::{Gauge, Histogram, Metrics};

const COMMIT_SECONDS: &str = "etcd_disk_backend_commit_duration_seconds";
const DEFRAGMENT_SECONDS: &str = "etcd_disk_backend_defrag_duration_seconds";
const DEFRAGMENTS: &str = "etcd_disk_defrag_inflight";

/// What is done once a layer is durable.
pub(crate) type Then = Box<dyn FnOnce() + Send>;

/// Where the outcome of a defragmentation is told; in words, if it failed.
pub(crate) type Defragmented = oneshot::Sender<Result<(), String>>;

/// What the thread is asked for.
pub(crate) enum CommitOrder {
    /// A frozen layer, and what follows it.
    Write(Commit, Vec<Then>),
    /// The file shall be written anew without its free pages.
    Defragment(Defragmented),
}

/// Why the member must end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitEnd {
    /// What the file holds is unknown.
    #[error(transparent)]
    Commit(#[from] BackendError),
    /// The new file cannot be gone on with.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
}

/// What the thread owns and whom it tells.
pub(crate) struct CommitThread {
    pub(crate) orders: Receiver<CommitOrder>,
    /// Told after each layer, and the file; holds one word at most.
    pub(crate) written: SyncSender<()>,
    /// Taken back when the file is written anew.
    pub(crate) rewriting: Arc<AtomicBool>,
    pub(crate) backend: Backend,
    pub(crate) database: Arc<Database>,
    pub(crate) logger: Logger,
    pub(crate) figures: CommitFigures,
}

/// What is measured.
pub(crate) struct CommitFigures {
    commits: Histogram,
    rewrites: Histogram,
    rewriting: Gauge,
}

impl CommitFigures {
    /// Under upstream's names.
    pub(crate) fn new(metrics: &Metrics) -> CommitFigures {
        CommitFigures {
            commits: metrics.histogram(COMMIT_SECONDS),
            rewrites: metrics.histogram(DEFRAGMENT_SECONDS),
            rewriting: metrics.gauge(DEFRAGMENTS),
        }
    }
}

impl CommitThread {
    /// Runs until the apply thread is gone.
    ///
    /// # Errors
    /// [`CommitEnd`]: the member must end.
    pub(crate) fn run(self) -> Result<(), CommitEnd> {
        for order in &self.orders {
            match order {
                CommitOrder::Write(commit, then) => {
                    let begun = Instant::now();
                    commit.run()?;
                    self.figures.commits.observe(begun.elapsed().as_secs_f64());
                    then.into_iter().for_each(|follow| follow());
                }
                CommitOrder::Defragment(done) => {
                    self.defragment(done)?;
                    self.rewriting.store(false, Ordering::Release);
                }
            }
            // One word that lies there says as much as two.
            let _ = self.written.try_send(());
        }
        Ok(())
    }

    fn defragment(&self, done: Defragmented) -> Result<(), CommitEnd> {
        let begun = Instant::now();
        self.logger.info("defragmenting", &[]);
        self.figures.rewriting.set(1.0);
        let outcome = self.database.rewrite(&self.backend);
        self.figures.rewriting.set(0.0);
        let took = begun.elapsed();
        match outcome {
            Ok(sizes) => {
                self.figures.rewrites.observe(took.as_secs_f64());
                let fields = [
                    ("size-before-bytes", json!(sizes.before.size_bytes)),
                    ("size-bytes", json!(sizes.after.size_bytes)),
                    ("took", json!(format!("{took:?}"))),
                ];
                self.logger.info("finished defragmenting", &fields);
                let _ = done.send(Ok(()));
                Ok(())
            }
            Err(error) => {
                self.logger.error("failed to defragment", &[("error", json!(error.to_string()))]);
                let _ = done.send(Err(error.to_string()));
                if error.is_final() { Err(error.into()) } else { Ok(()) }
            }
        }
    }
}
