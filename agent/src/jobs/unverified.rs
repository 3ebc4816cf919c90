//! Which commits were not read back yet, remembered over failures, restarts and kills.
//!
//! What must hold: it is on the disk before a round stores anything; it is forgotten only when all
//! that these commits brought was read back and is what was sent, or was looked for and noted as
//! damaged.

use super::Worker;
use crate::state::AgentState;

impl Worker {
    /// Notes that what this round stores is not read back; gives the first commit that a former
    /// round left so.
    pub(super) fn expect_reading_back(&self) -> Option<u64> {
        let next = self.vault.as_ref().map_or(0, |vault| vault.head().number).saturating_add(1);
        let mut traces = self.tools.shared.lock();
        let left = traces.state.unverified_from;
        traces.state.unverified_from = Some(left.unwrap_or(next));
        if let Err(error) = traces.save(&self.tools.config.state_directory) {
            // The round is worth more than the note.
            tracing::error!(%error, "what is not read back would be forgotten by a restart");
        }
        left
    }

    /// All of it was read back and is what was sent.
    pub(super) fn all_read_back(&self) {
        self.tools.shared.lock().state.unverified_from = None;
    }

    /// Snapshot `number` was searched for damage, after all before it were read back.
    pub(super) fn searched(&self, number: u64) {
        self.tools.shared.lock().state.searched(number);
    }
}

impl AgentState {
    /// What a damaged snapshot brought is known now: the next round goes on behind it.
    pub(super) fn searched(&mut self, number: u64) {
        if let Some(from) = &mut self.unverified_from
            && *from <= number
        {
            *from = number.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_searched_snapshot_is_left_behind_and_never_gone_back_to() {
        let mut state = AgentState::default();
        state.searched(4);
        assert_eq!(state.unverified_from, None);
        state.unverified_from = Some(4);
        for (searched, from) in [(3, 4), (4, 5), (9, 10), (2, 10)] {
            state.searched(searched);
            assert_eq!(state.unverified_from, Some(from));
        }
    }
}
