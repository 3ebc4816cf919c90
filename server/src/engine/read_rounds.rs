//! Linearizable reads in rounds: many readers share one confirmation by raft.
//!
//! One round is in flight at a time. A reader that comes while one flies waits for the next, since
//! the index of the round that flies may be older than its request. What must hold: a reader gets
//! an index that raft confirmed after the reader came; a round without an answer is asked again
//! under a new context, and an answer to any of its contexts ends it.

use std::time::Duration;

/// After so long without an answer a round is asked again: as upstream.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Readers of type `W`, who wait for an index.
#[derive(Debug)]
pub(crate) struct ReadRounds<W> {
    next: Vec<W>,
    flying: Option<Flying<W>>,
}

#[derive(Debug)]
struct Flying<W> {
    contexts: Vec<u64>,
    asked_at: Duration,
    readers: Vec<W>,
}

/// So many contexts of one round are remembered: an answer to an older one is too old to come.
const MOST_CONTEXTS: usize = 64;

impl<W> ReadRounds<W> {
    /// Nobody reads.
    pub(crate) fn new() -> ReadRounds<W> {
        ReadRounds { next: Vec::new(), flying: None }
    }

    /// A reader came.
    pub(crate) fn join(&mut self, reader: W) {
        self.next.push(reader);
    }

    /// Begins a round under `context()` if readers wait and none flies; the context to ask raft
    /// with.
    pub(crate) fn begin(&mut self, now: Duration, context: impl FnOnce() -> u64) -> Option<u64> {
        if self.flying.is_some() || self.next.is_empty() {
            return None;
        }
        let context = context();
        let readers = std::mem::take(&mut self.next);
        self.flying = Some(Flying { contexts: vec![context], asked_at: now, readers });
        Some(context)
    }

    /// The round that flies has to be asked again: with this context. For a round that is late, or
    /// in any case where `anyway` (the first commit of a term: raft forgot what was asked before).
    pub(crate) fn again(
        &mut self,
        now: Duration,
        anyway: bool,
        context: impl FnOnce() -> u64,
    ) -> Option<u64> {
        let flying = self.flying.as_mut()?;
        if !anyway && now.saturating_sub(flying.asked_at) < RETRY_AFTER {
            return None;
        }
        let context = context();
        if flying.contexts.len() == MOST_CONTEXTS {
            flying.contexts.remove(0);
        }
        flying.contexts.push(context);
        flying.asked_at = now;
        Some(context)
    }

    /// Raft confirmed `context`: the readers it was asked for; none for an answer that is not of
    /// the round that flies.
    pub(crate) fn confirmed(&mut self, context: u64) -> Vec<W> {
        match &self.flying {
            Some(flying) if flying.contexts.contains(&context) => {
                self.flying.take().map(|flying| flying.readers).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::ZERO;

    #[test]
    fn who_comes_late_waits_for_the_next_round() {
        let mut rounds = ReadRounds::new();
        assert_eq!(rounds.begin(START, || 1), None);
        rounds.join("a");
        rounds.join("b");
        assert_eq!(rounds.begin(START, || 1), Some(1));
        rounds.join("late");
        assert_eq!(rounds.begin(START, || 2), None);
        assert_eq!(rounds.confirmed(7), [""; 0]);
        assert_eq!(rounds.confirmed(1), ["a", "b"]);
        assert_eq!(rounds.confirmed(1), [""; 0]);
        assert_eq!(rounds.begin(START, || 2), Some(2));
        assert_eq!(rounds.confirmed(2), ["late"]);
    }

    #[test]
    fn a_round_is_asked_again_and_any_of_its_answers_counts() {
        let mut rounds = ReadRounds::new();
        rounds.join("a");
        rounds.begin(START, || 1);
        assert_eq!(rounds.again(RETRY_AFTER / 2, false, || 2), None);
        assert_eq!(rounds.again(RETRY_AFTER / 2, true, || 2), Some(2));
        assert_eq!(rounds.again(RETRY_AFTER, false, || 3), None);
        assert_eq!(rounds.again(RETRY_AFTER * 2, false, || 3), Some(3));
        rounds.join("late");
        assert_eq!(rounds.confirmed(2), ["a"]);
        assert_eq!(rounds.again(RETRY_AFTER * 9, true, || 4), None);
    }

    #[test]
    fn contexts_are_bounded() {
        let mut rounds = ReadRounds::new();
        rounds.join(());
        rounds.begin(START, || 0);
        for context in 1..=100 {
            rounds.again(START, true, || context);
        }
        assert!(rounds.confirmed(0).is_empty());
        assert_eq!(rounds.confirmed(100).len(), 1);
    }
}
