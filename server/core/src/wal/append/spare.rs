//! The next segment, made ahead by another thread so that a cut need not wait for the disk.
//!
//! What must hold: there is at most one spare, and at most one order is under way; a spare that
//! cannot be made ahead fails nothing, and is not ordered again before the next cut.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{failed, poison};
use super::{Wal, WalWriteError};
use crate::wal::disk::LogDisk;

/// The order to prepare the next segment, for another thread.
#[derive(Debug)]
pub struct SpareOrder<D: LogDisk> {
    disk: D,
    path: PathBuf,
    length: u64,
}

/// A segment that is reserved but not yet in use.
pub struct Spare<D: LogDisk> {
    pub(super) path: PathBuf,
    pub(super) file: D::File,
    pub(super) reserved: u64,
}

/// Where a log stands with its spares.
pub(super) struct Spares<D: LogDisk> {
    ready: Option<Spare<D>>,
    ordered: u64,
    outstanding: bool,
    /// The last order gave none; not ordered again before the next cut.
    denied: bool,
}

impl<D: LogDisk> Spares<D> {
    /// Nothing at hand, nothing ordered.
    pub(super) fn none() -> Self {
        Spares { ready: None, ordered: 0, outstanding: false, denied: false }
    }
}

impl<D: LogDisk> Wal<D> {
    /// The order to prepare the next segment, unless one is at hand or already ordered, or the last
    /// order failed. Without a spare a cut makes the segment itself, while everybody waits.
    pub fn spare_order(&mut self) -> Option<SpareOrder<D>> {
        let Spares { ready, outstanding, denied, .. } = &mut self.spares;
        if ready.is_some() || *outstanding || *denied {
            return None;
        }
        *outstanding = true;
        Some(self.next_spare())
    }

    /// Takes what came of an order. A failure is not final: it is tried again after the next cut.
    pub fn stock(&mut self, prepared: Option<Spare<D>>) {
        self.spares.outstanding = false;
        self.spares.denied = prepared.is_none();
        self.spares.ready = prepared;
    }

    /// The next segment: the spare, or else one that is made while everybody waits.
    pub(super) fn take_spare(&mut self) -> Result<Spare<D>, WalWriteError> {
        if let Some(spare) = self.spares.ready.take() {
            return Ok(spare);
        }
        // Where one was denied ahead there is little room, and others need it too.
        let in_steps = self.spares.denied;
        let order = self.next_spare();
        let path = order.path.clone();
        let spare = poison(&mut self.failed, order.prepare_at_once(in_steps), "create", &path)?;
        self.spares.denied = false;
        Ok(spare)
    }

    /// Removes the spare that was not used.
    pub(super) fn remove_spare(&mut self) -> Result<(), WalWriteError> {
        match self.spares.ready.take() {
            Some(spare) => self.disk.remove(&spare.path).map_err(failed("remove", &spare.path)),
            None => Ok(()),
        }
    }

    /// Two names take turns, so that a spare never meets the one before it.
    fn next_spare(&mut self) -> SpareOrder<D> {
        let path = self.dir.join(format!("{}.tmp", self.spares.ordered % 2));
        self.spares.ordered += 1;
        SpareOrder { disk: self.disk.clone(), path, length: self.options.segment_bytes }
    }
}

impl<D: LogDisk> SpareOrder<D> {
    /// The file that will be made.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that will be reserved.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Makes and reserves the file.
    ///
    /// # Errors
    /// I/O.
    pub fn prepare(self) -> io::Result<Spare<D>> {
        let file = self.disk.create(&self.path, self.length)?;
        Ok(Spare { path: self.path, file, reserved: self.length })
    }

    /// Makes the file; reserved in steps if there is no room for the whole.
    fn prepare_at_once(self, in_steps: bool) -> io::Result<Spare<D>> {
        if !in_steps {
            match self.disk.create(&self.path, self.length) {
                Err(error) if is_full(&error) => {}
                made => {
                    let reserved = self.length;
                    return made.map(|file| Spare { path: self.path, file, reserved });
                }
            }
        }
        let file = self.disk.create(&self.path, 0)?;
        Ok(Spare { path: self.path, file, reserved: 0 })
    }
}

/// Whether there was no room: on the disk, or within what this user may have.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl<D: LogDisk> fmt::Debug for Spare<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spare").field("path", &self.path).finish_non_exhaustive()
    }
}
