//! Majorities: what they have committed, and how a vote among them stands.
//!
//! Must hold: any two majorities of the same voters share a voter. A joint configuration decides
//! only what both of its halves decide. An empty half agrees with everything, so that a
//! configuration whose outgoing half is empty is a plain one.

use std::collections::BTreeSet;

/// Voters of which more than half decide.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Majority(pub BTreeSet<u64>);

/// The voters: those that come, and while a joint configuration lasts those that go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Voters {
    /// The configuration that is, or that is entered.
    pub incoming: Majority,
    /// The one that is left; empty outside of a joint configuration.
    pub outgoing: Majority,
}

/// How a vote stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tally {
    /// Not decided.
    Pending,
    /// A quorum refused, or too few are left.
    Lost,
    /// A quorum agreed.
    Won,
}

impl Majority {
    /// How many make a quorum.
    pub fn quorum(&self) -> usize {
        self.0.len() / 2 + 1
    }

    /// The highest index that a quorum has acknowledged. [`u64::MAX`] without voters.
    pub fn committed(&self, acknowledged: impl Fn(u64) -> Option<u64>) -> u64 {
        let mut indices: Vec<u64> =
            self.0.iter().map(|id| acknowledged(*id).unwrap_or_default()).collect();
        indices.sort_unstable();
        // As many as make a quorum have this one or a higher one.
        indices.len().checked_sub(self.quorum()).map_or(u64::MAX, |at| indices[at])
    }

    /// How the vote stands, given what each voter has said so far.
    pub fn tally(&self, said: impl Fn(u64) -> Option<bool>) -> Tally {
        if self.0.is_empty() {
            return Tally::Won;
        }
        let votes = || self.0.iter().map(|id| said(*id));
        let granted = votes().filter(|vote| *vote == Some(true)).count();
        let silent = votes().filter(Option::is_none).count();
        if granted >= self.quorum() {
            Tally::Won
        } else if granted + silent >= self.quorum() {
            Tally::Pending
        } else {
            Tally::Lost
        }
    }
}

impl Voters {
    /// Whether a change of configuration is under way.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.0.is_empty()
    }

    /// Whether the member has a vote in either half.
    pub fn contains(&self, id: u64) -> bool {
        self.incoming.0.contains(&id) || self.outgoing.0.contains(&id)
    }

    /// All who have a vote, in order.
    pub fn ids(&self) -> BTreeSet<u64> {
        self.incoming.0.union(&self.outgoing.0).copied().collect()
    }

    /// The highest index that is committed in both halves.
    pub fn committed(&self, acknowledged: impl Fn(u64) -> Option<u64>) -> u64 {
        let incoming = self.incoming.committed(&acknowledged);
        incoming.min(self.outgoing.committed(&acknowledged))
    }

    /// How the vote stands: won where both halves won, lost where either did.
    pub fn tally(&self, said: impl Fn(u64) -> Option<bool>) -> Tally {
        match (self.incoming.tally(&said), self.outgoing.tally(&said)) {
            (Tally::Won, Tally::Won) => Tally::Won,
            (Tally::Lost, _) | (_, Tally::Lost) => Tally::Lost,
            _ => Tally::Pending,
        }
    }
}
