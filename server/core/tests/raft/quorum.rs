//! Upstream's quorum files: what voters have acknowledged or voted, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use holdfast_core::raft::quorum::{Majority, Tally, Voters};

use crate::datadriven::{self, Directive};

#[test]
fn upstreams_quorum_files_are_reproduced() {
    for (name, text) in datadriven::files("quorum") {
        let ran = datadriven::run(&text, |directive| Ok(decide(directive)));
        ran.unwrap_or_else(|difference| panic!("{name}: {difference}"));
    }
}

fn decide(directive: &Directive) -> String {
    let ids = |key| -> Vec<u64> {
        let values = directive.values(key).iter();
        values.filter(|value| *value != "zero").map(|value| value.parse().unwrap()).collect()
    };
    let (incoming, outgoing) = (ids("cfg"), ids("cfgj"));
    let is_joint = !directive.values("cfgj").is_empty();
    // Values are given to voters in the order in which they are first named.
    let mut order = incoming.clone();
    order.extend(&outgoing);
    let mut seen = BTreeSet::new();
    order.retain(|id| seen.insert(*id));
    let majority = |ids: &[u64]| Majority(ids.iter().copied().collect());
    let voters = Voters { incoming: majority(&incoming), outgoing: majority(&outgoing) };
    let swapped = Voters { incoming: voters.outgoing.clone(), outgoing: voters.incoming.clone() };

    match directive.command.as_str() {
        "committed" => {
            let values = directive.values("idx");
            assert_eq!(values.len(), order.len(), "each voter has an index or _");
            let given = order.iter().zip(values).filter(|(_, value)| *value != "_");
            let indices: BTreeMap<u64, u64> =
                given.map(|(id, value)| (*id, value.parse().unwrap())).collect();
            let acknowledged = |id| indices.get(&id).copied();
            let committed = voters.committed(acknowledged);
            assert_eq!(swapped.committed(acknowledged), committed, "the halves are equal");
            if !is_joint {
                let twice =
                    Voters { incoming: voters.incoming.clone(), outgoing: voters.incoming.clone() };
                assert_eq!(twice.committed(acknowledged), committed, "joint with itself");
            }
            let shown =
                if committed == u64::MAX { "∞".to_owned() } else { committed.to_string() };
            format!("{}{shown}\n", picture(&voters, &indices))
        }
        "vote" => {
            let values = directive.values("votes");
            assert_eq!(values.len(), order.len(), "each voter has a vote or _");
            let votes: BTreeMap<u64, bool> = order
                .iter()
                .zip(values)
                .filter(|(_, value)| *value != "_")
                .map(|(id, value)| (*id, value == "y"))
                .collect();
            let said = |id| votes.get(&id).copied();
            assert_eq!(swapped.tally(said), voters.tally(said), "the halves are equal");
            let result = match voters.tally(said) {
                Tally::Pending => "VotePending",
                Tally::Lost => "VoteLost",
                Tally::Won => "VoteWon",
            };
            format!("{result}\n")
        }
        unknown => panic!("unknown command {unknown}"),
    }
}

/// Upstream's drawing of who has acknowledged how much: a longer bar is a higher index.
fn picture(voters: &Voters, indices: &BTreeMap<u64, u64>) -> String {
    let ids = voters.ids();
    if ids.is_empty() {
        return "<empty majority quorum>".to_owned();
    }
    let index = |id: u64| indices.get(&id).copied().unwrap_or_default();
    let mut sorted: Vec<(u64, u64)> = ids.iter().map(|id| (index(*id), *id)).collect();
    sorted.sort_unstable();
    let width = ids.len();
    let mut out = format!("{}    idx\n", " ".repeat(width));
    for id in ids {
        let place = sorted.iter().position(|(_, other)| *other == id).unwrap();
        let rises = place > 0 && sorted[place - 1].0 < sorted[place].0;
        let bar = if rises { place } else { 0 };
        let bar = if indices.contains_key(&id) {
            format!("{}>{}", "x".repeat(bar), " ".repeat(width - bar))
        } else {
            format!("?{}", " ".repeat(width))
        };
        writeln!(out, "{bar} {:>5}    (id={id})", index(id)).unwrap();
    }
    out
}
