//! The limit on what is applied and not in the database's file.
//!
//! Changes wait in memory while the commit thread writes those before them, or writes the whole
//! file anew. Must hold: whoever applies goes on only when what waits is below the limit again;
//! what is committed then waits in raft's log, and new requests are refused at a limit of their
//! own.

use std::sync::mpsc::Receiver;

use holdfast_core::backend::Backend;

/// See the file's header.
pub(crate) struct Room {
    /// So many bytes are pending at most before who applies waits for the disk.
    pub(crate) most_bytes: usize,
    /// The commit thread has written a layer.
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
        while backend.pending_bytes() >= self.most_bytes {
            if !freeze()? && self.written.recv().is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_core::backend::{BackendError, Commit, MemoryBase};
    use std::sync::mpsc;

    const VALUE_BYTES: usize = 1_000;
    const MOST_BYTES: usize = 20 * VALUE_BYTES;

    /// The commit thread is busy with the first layer until it is let go on, as while it writes
    /// the file anew.
    #[test]
    fn who_applies_waits_at_the_limit_until_the_disk_has_caught_up() {
        let backend = Backend::new(Box::new(MemoryBase::default())).unwrap();
        let (told, written) = mpsc::sync_channel(1);
        let (orders, layers) = mpsc::channel::<Commit>();
        let (let_go, may_go) = mpsc::channel::<()>();
        let committing = std::thread::spawn(move || {
            may_go.recv().unwrap();
            for layer in layers {
                layer.run().unwrap();
                let _ = told.try_send(());
            }
        });
        let (applied, progress) = mpsc::channel();
        let store = backend.clone();
        let applying = std::thread::spawn(move || {
            let room = Room { most_bytes: MOST_BYTES, written };
            let freeze = || -> Result<bool, BackendError> {
                let layer = store.freeze()?;
                let took = layer.is_some();
                layer.into_iter().for_each(|layer| orders.send(layer).unwrap());
                Ok(took)
            };
            for at in 0..200_u32 {
                store.put(b"key", &at.to_be_bytes(), vec![7; VALUE_BYTES].into());
                assert!(store.pending_bytes() < MOST_BYTES + 2 * VALUE_BYTES, "it is bounded");
                applied.send(at).unwrap();
                room.wait(&store, freeze).unwrap();
            }
        });
        // A layer lies at the disk, another one is full: it comes to a stand.
        let mut seen = 0;
        while backend.pending_bytes() < MOST_BYTES || seen < 30 {
            seen = progress.recv().unwrap();
        }
        assert!(seen < 60 && !applying.is_finished(), "{seen} while the disk does nothing");
        let_go.send(()).unwrap();
        applying.join().unwrap();
        committing.join().unwrap();
        backend.commit().unwrap();
        let found = (0..200_u32).all(|at| {
            let value = backend.view().get(b"key", &at.to_be_bytes()).unwrap();
            value.is_some_and(|value| value.len() == VALUE_BYTES)
        });
        assert!(found, "nothing is lost by waiting");
    }
}
