//! Who waits for which request's answer.
//!
//! A proposer registers its request's id, the apply thread answers by id. What must hold: an answer
//! reaches at most one waiter; a waiter that gives up leaves nothing behind; an answer for which
//! nobody waits (another member's request, or one that timed out) is dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// So many maps, by the low bits of an id, so that proposers and the apply thread seldom meet.
const SHARDS: usize = 16;

type Shard<T> = Mutex<HashMap<u64, oneshot::Sender<T>>>;

/// The waiters of a member. Shared by clones.
#[derive(Debug)]
pub(crate) struct Waits<T> {
    shards: Arc<[Shard<T>; SHARDS]>,
}

impl<T> Clone for Waits<T> {
    fn clone(&self) -> Self {
        Waits { shards: self.shards.clone() }
    }
}

/// A registered waiter. Gives its place back when dropped.
#[derive(Debug)]
pub(crate) struct Waiter<T> {
    waits: Waits<T>,
    id: u64,
    answer: oneshot::Receiver<T>,
}

impl<T> Waits<T> {
    /// Nobody waits.
    pub(crate) fn new() -> Waits<T> {
        Waits { shards: Arc::new(std::array::from_fn(|_| Mutex::default())) }
    }

    /// Registers a waiter for `id`, which must be new.
    pub(crate) fn register(&self, id: u64) -> Waiter<T> {
        let (sender, answer) = oneshot::channel();
        self.with(id, |shard| shard.insert(id, sender));
        Waiter { waits: self.clone(), id, answer }
    }

    /// Whether somebody waits for `id`.
    pub(crate) fn is_waited_for(&self, id: u64) -> bool {
        self.with(id, |shard| shard.contains_key(&id))
    }

    /// Gives `answer` to who waits for `id`.
    pub(crate) fn answer(&self, id: u64, answer: T) {
        if let Some(sender) = self.with(id, |shard| shard.remove(&id)) {
            // The waiter may have gone meanwhile.
            let _ = sender.send(answer);
        }
    }

    fn with<R>(&self, id: u64, act: impl FnOnce(&mut HashMap<u64, oneshot::Sender<T>>) -> R) -> R {
        let low = usize::try_from(id % SHARDS as u64).unwrap_or_default();
        act(&mut self.shards[low].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Waiter<T> {
    /// The answer; `None` if the member ended before there was one.
    pub(crate) async fn answer(mut self) -> Option<T> {
        (&mut self.answer).await.ok()
    }
}

impl<T> Drop for Waiter<T> {
    fn drop(&mut self) {
        self.waits.with(self.id, |shard| shard.remove(&self.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_reaches_its_waiter_and_no_other() {
        let waits = Waits::new();
        let (one, two) = (waits.register(1), waits.register(17));
        waits.answer(17, "b");
        waits.answer(3, "nobody");
        waits.answer(1, "a");
        assert_eq!((one.answer().await, two.answer().await), (Some("a"), Some("b")));
    }

    #[tokio::test]
    async fn who_gives_up_leaves_nothing_behind() {
        let waits = Waits::<u8>::new();
        drop(waits.register(5));
        assert!(!waits.is_waited_for(5));
        let waiter = waits.register(6);
        assert!(waits.is_waited_for(6));
        waits.answer(6, 1);
        assert!(!waits.is_waited_for(6));
        assert_eq!(waiter.answer().await, Some(1));
    }
}
