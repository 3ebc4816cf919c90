//! The chores thread: slow work on files that nobody waits for.
//!
//! Reserving the next WAL segment, saving .snap files, unlinking old ones. What must hold: at most
//! [`MOST_WAITING`] chores wait, so that a disk that hangs fills no memory; a chore that fails is
//! told and tried again when its time comes anew.

use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;

use holdfast_core::disk::{FileSystem, free_bytes};
use holdfast_core::wal::{PurgeOrder, SpareOrder};

use serde_json::json;

use super::raft_thread::Input;
use crate::log::Logger;

const MOST_WAITING: usize = 64;
/// So many segments' bytes must be free for one to be reserved ahead: reserving to the last byte
/// would take the room that the database needs in the same moment, and end the member.
const SEGMENTS_FREE: u64 = 2;

type Chore = Box<dyn FnOnce() + Send>;

/// Hands chores to the thread.
#[derive(Clone)]
pub(crate) struct Chores {
    to: SyncSender<Chore>,
    raft: mpsc::Sender<Input>,
    logger: Logger,
}

impl Chores {
    /// Starts the thread. It ends when all who hand it chores are gone.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        raft: mpsc::Sender<Input>,
        logger: Logger,
    ) -> std::io::Result<(Chores, JoinHandle<()>)> {
        let (to, chores) = mpsc::sync_channel::<Chore>(MOST_WAITING);
        let work = move || chores.into_iter().for_each(|chore| chore());
        let thread = std::thread::Builder::new().name("chores".to_owned()).spawn(work)?;
        Ok((Chores { to, raft, logger }, thread))
    }

    /// Whether there was room for it.
    pub(crate) fn give(&self, chore: impl FnOnce() + Send + 'static) -> bool {
        self.to.try_send(Box::new(chore)).is_ok()
    }

    /// Prepares a WAL segment; the raft thread is told either way.
    pub(crate) fn prepare(&self, order: SpareOrder<FileSystem>) {
        let (raft, logger) = (self.raft.clone(), self.logger.clone());
        let prepared = self.give(move || {
            let spare = check_room(&order).and_then(|()| order.prepare());
            if let Err(error) = &spare {
                let fields = [("error", json!(error.to_string()))];
                logger.warn("failed to allocate the next WAL segment in advance", &fields);
            }
            let _ = raft.send(Input::Spare(spare.ok()));
        });
        if !prepared {
            let _ = self.raft.send(Input::Spare(None));
        }
    }

    /// Tells what came of saving the .snap file of an index.
    pub(crate) fn tell_saved(&self, index: u64, error: Option<&impl std::fmt::Display>) {
        let index = ("snapshot-index", json!(index));
        match error {
            None => self.logger.info("saved snapshot to disk", &[index]),
            Some(error) => {
                let fields = [index, ("error", json!(error.to_string()))];
                self.logger.warn("failed to save a snapshot; tried again later", &fields);
            }
        }
    }

    /// Removes old files.
    pub(crate) fn purge(&self, order: PurgeOrder<FileSystem>) {
        let logger = self.logger.clone();
        self.give(move || match order.run() {
            Ok(names) => {
                names.iter().for_each(|name| logger.info("purged", &[("path", json!(name))]));
            }
            Err(error) => {
                let fields = [("error", json!(error.to_string()))];
                logger.warn("failed to purge old files; tried again later", &fields);
            }
        });
    }
}

/// Whether a segment can be reserved ahead without harm. Where the system does not say what is
/// free, the reservation itself will tell.
fn check_room(order: &SpareOrder<FileSystem>) -> std::io::Result<()> {
    let dir = order.path().parent().unwrap_or(order.path());
    let Some(free) = free_bytes(dir) else { return Ok(()) };
    if free < order.length().saturating_mul(SEGMENTS_FREE) {
        let text = format!("{} has only {free} bytes free", dir.display());
        return Err(std::io::Error::new(std::io::ErrorKind::StorageFull, text));
    }
    Ok(())
}
