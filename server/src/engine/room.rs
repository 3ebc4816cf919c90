//! The limit on what is applied and not in the database's file.
//!
//! Changes wait in memory while the commit thread writes those before them, which is soon done, or
//! writes the whole file anew, which is not: more may wait then. Must hold: whoever applies goes on
//! only when what waits is below the limit again; what is committed then waits in raft's log, and
//! new requests are refused at a limit of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use holdfast_core::backend::Backend;

/// So many bytes are pending at most before who applies waits for the disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PendingLimits {
    /// While layers are written one after another. The layer that is written comes on top.
    pub(crate) beside_commits: usize,
    /// While the file is written anew.
    pub(crate) beside_rewrite: usize,
}

/// Two of the apply thread's usual layers, and what comes in while a large database is written
/// anew.
pub(crate) const PENDING: PendingLimits =
    PendingLimits { beside_commits: 32 << 20, beside_rewrite: 256 << 20 };

/// See the file's header.
pub(crate) struct Room {
    pub(crate) limits: PendingLimits,
    /// Whether the file is being written anew, or is next.
    pub(crate) rewriting: Arc<AtomicBool>,
    /// The commit thread has written a layer, or the file.
    pub(crate) written: Receiver<()>,
}

impl Room {
    /// Waits until there is room. `freeze` hands what is pending to the commit thread, and says
    /// whether it took it; it does not while it writes what it was given before. Returns as well
    /// when that thread has ended, which ends the member.
    ///
    /// # Errors
    /// Those of `freeze`.
    pub(crate) fn wait<E>(
        &self,
        backend: &Backend,
        mut freeze: impl FnMut() -> Result<bool, E>,
    ) -> Result<(), E> {
        while backend.pending_bytes() >= self.most_bytes() {
            if !freeze()? && self.written.recv().is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn most_bytes(&self) -> usize {
        if self.rewriting.load(Ordering::Acquire) {
            self.limits.beside_rewrite
        } else {
            self.limits.beside_commits
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_core::backend::{BackendError, Commit, MemoryBase};
    use std::sync::mpsc;

    const VALUE_BYTES: usize = 1_000;
    const VALUES: u32 = 300;

    /// The commit thread is busy with the first layer until it is let go on. How many values were
    /// applied when it came to a stand.
    fn applied_until_a_stand(is_rewriting: bool) -> u32 {
        let backend = Backend::new(Box::new(MemoryBase::default())).unwrap();
        let (told, written) = mpsc::sync_channel(1);
        let (orders, layers) = mpsc::channel::<Commit>();
        let (let_go, may_go) = mpsc::channel::<()>();
        let rewriting = Arc::new(AtomicBool::new(is_rewriting));
        let rewritten = Arc::clone(&rewriting);
        let committing = std::thread::spawn(move || {
            may_go.recv().unwrap();
            rewritten.store(false, Ordering::Release);
            for layer in layers {
                layer.run().unwrap();
                let _ = told.try_send(());
            }
        });
        let (applied, progress) = mpsc::channel();
        let store = backend.clone();
        let limits =
            PendingLimits { beside_commits: 20 * VALUE_BYTES, beside_rewrite: 60 * VALUE_BYTES };
        let most = if is_rewriting { limits.beside_rewrite } else { limits.beside_commits };
        let applying = std::thread::spawn(move || {
            let room = Room { limits, rewriting, written };
            let freeze = || -> Result<bool, BackendError> {
                let layer = store.freeze()?;
                let took = layer.is_some();
                layer.into_iter().for_each(|layer| orders.send(layer).unwrap());
                Ok(took)
            };
            for at in 0..VALUES {
                store.put(b"key", &at.to_be_bytes(), vec![7; VALUE_BYTES].into());
                assert!(store.pending_bytes() < most + 2 * VALUE_BYTES, "it is bounded");
                applied.send(at).unwrap();
                room.wait(&store, freeze).unwrap();
            }
        });
        // A layer lies at the disk, another one is full: it comes to a stand.
        let mut seen = 0;
        while backend.pending_bytes() < most || (seen as usize) * VALUE_BYTES < most * 3 / 2 {
            seen = progress.recv().unwrap();
        }
        assert!(!applying.is_finished(), "{seen} while the disk does nothing");
        let_go.send(()).unwrap();
        applying.join().unwrap();
        committing.join().unwrap();
        backend.commit().unwrap();
        let found = (0..VALUES).all(|at| {
            let value = backend.view().get(b"key", &at.to_be_bytes()).unwrap();
            value.is_some_and(|value| value.len() == VALUE_BYTES)
        });
        assert!(found, "nothing is lost by waiting");
        seen
    }

    #[test]
    fn who_applies_waits_at_the_limit_until_the_disk_has_caught_up() {
        let seen = applied_until_a_stand(false);
        assert!((30..60).contains(&seen), "{seen}");
    }

    #[test]
    fn more_may_wait_while_the_file_is_written_anew() {
        let seen = applied_until_a_stand(true);
        assert!((90..150).contains(&seen), "{seen}");
    }
}
