//! How far the apply thread is, and who waits for it to get somewhere.
//!
//! What must hold: the index only grows; a waiter wakes as soon as the index reached is its own or
//! higher and never before; waking costs one step per waiter that is due, not per waiter.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

/// The applied index and its waiters.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    index: AtomicU64,
    /// By the index waited for; the lowest is the last of the map.
    waiting: Mutex<BTreeMap<Reverse<u64>, Vec<oneshot::Sender<()>>>>,
}

impl Applied {
    /// At `index`, where a member starts.
    pub(crate) fn at(index: u64) -> Applied {
        Applied { index: AtomicU64::new(index), waiting: Mutex::default() }
    }

    /// Index of the last applied entry.
    pub(crate) fn index(&self) -> u64 {
        self.index.load(Ordering::Acquire)
    }

    /// The entry at `index` is applied, and all before it.
    pub(crate) fn reach(&self, index: u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.index.fetch_max(index, Ordering::AcqRel);
        // The keys are reversed: from `Reverse(index)` on they are `index` and lower.
        for sender in waiting.split_off(&Reverse(index)).into_values().flatten() {
            let _ = sender.send(());
        }
    }

    /// Waits until the entry at `index` is applied; false if the member ended before that.
    pub(crate) async fn wait(&self, index: u64) -> bool {
        if self.index() >= index {
            return true;
        }
        let receiver = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            // Looked at again under the lock: `reach` may have passed meanwhile.
            if self.index() >= index {
                return true;
            }
            let (sender, receiver) = oneshot::channel();
            waiting.entry(Reverse(index)).or_default().push(sender);
            receiver
        };
        receiver.await.is_ok()
    }

    /// Nobody shall wait any longer: the member ends.
    pub(crate) fn end(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn each_wakes_when_its_index_is_reached() {
        let applied = Arc::new(Applied::at(5));
        assert!(applied.wait(5).await);
        let waiters: Vec<_> = [7u64, 6, 9, 7]
            .map(|index| {
                let applied = applied.clone();
                tokio::spawn(async move { (applied.wait(index).await, applied.index() >= index) })
            })
            .into();
        tokio::task::yield_now().await;
        applied.reach(6);
        applied.reach(8);
        tokio::task::yield_now().await;
        assert!(!waiters[2].is_finished());
        applied.reach(9);
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap(), (true, true));
        }
        applied.reach(3);
        assert_eq!(applied.index(), 9);
    }

    #[tokio::test]
    async fn the_end_wakes_all() {
        let applied = Arc::new(Applied::default());
        let waiting = applied.clone();
        let waiter = tokio::spawn(async move { waiting.wait(1).await });
        tokio::task::yield_now().await;
        applied.end();
        assert!(!waiter.await.unwrap());
    }
}
