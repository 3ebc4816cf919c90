//! Which member gives the snapshot: a pure decision with a reason for each endpoint.
//!
//! What must hold: a learner, a member with a corrupt alarm, and one of another cluster are never
//! asked; a voting follower is preferred to the leader, which has enough to do; a member that is
//! late is asked only when the quorum itself cannot be read, and the decision says so. Between
//! equals the order of the configuration decides.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Entries that a member may have left to apply and still count as caught up. Upstream promotes a
/// learner at 90 % of the leader's log; a thousand entries are about a second of a busy cluster.
pub const LAG_LIMIT_ENTRIES: u64 = 1_000;

/// What one endpoint answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// As configured, without credentials.
    pub endpoint: String,
    /// The status, or why there is none.
    pub answer: Result<Answer, String>,
}

/// The parts of a member's Status that decide.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Cluster id.
    pub cluster_id: u64,
    /// Member id.
    pub member_id: u64,
    /// The member it follows; 0: none.
    pub leader_id: u64,
    /// Its store's revision.
    pub revision: i64,
    /// Highest index it knows to be committed.
    pub raft_index: u64,
    /// Highest index it has applied.
    pub applied_index: u64,
    /// Its term.
    pub raft_term: u64,
    /// Whether it has no vote.
    pub learner: bool,
    /// What it complains about.
    pub errors: Vec<String>,
    /// Server version.
    pub version: String,
    /// Bytes of its database file.
    pub database_bytes: i64,
}

/// What all endpoints together tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// In the order of the configuration.
    pub probes: Vec<Probe>,
    /// Members with a CORRUPT alarm.
    pub corrupt: BTreeSet<u64>,
    /// The revision a linearizable read gave; `None`: the quorum does not answer.
    pub quorum_revision: Option<i64>,
}

/// Who is asked, and why; and why the others are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The member to ask.
    pub endpoint: String,
    /// Its status.
    pub answer: Answer,
    /// Why this one.
    pub reason: String,
    /// The others, in the order in which they would be asked next, then those that never would.
    pub others: Vec<Judged>,
}

/// An endpoint that was not chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// As configured.
    pub endpoint: String,
    /// Whether it could be asked instead.
    pub usable: bool,
    /// Why it was not the first.
    pub reason: String,
}

/// Nobody can be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoMember {
    /// The endpoints belong to different clusters.
    #[error("the endpoints belong to different clusters: {}; correct etcd.endpoints", list(.0))]
    TwoClusters(Vec<(String, u64)>),
    /// All are down, learners, corrupt or late.
    #[error("no member can give a snapshot: {}", reasons(.0))]
    NoneUsable(Vec<Judged>),
}

/// How much a member is wanted; lower is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Follower,
    Leader,
    /// Only taken when the quorum cannot be read.
    Stranded,
    Refused,
}

/// Decides.
///
/// # Errors
/// [`NoMember`].
pub fn choose(survey: &Survey) -> Result<Choice, NoMember> {
    one_cluster(survey)?;
    let newest = survey.answers().map(|answer| answer.raft_index).max().unwrap_or(0);
    let mut judged: Vec<(Rank, &Probe, String)> = survey
        .probes
        .iter()
        .map(|probe| {
            let (rank, reason) = survey.judge(probe, newest);
            (rank, probe, reason)
        })
        .collect();
    // Without a quorum the one that has applied most is the best; else the configured order stands.
    judged.sort_by_key(|(rank, probe, _)| {
        let applied = probe.answer.as_ref().map_or(0, |answer| answer.applied_index);
        (*rank, if *rank == Rank::Stranded { u64::MAX - applied } else { 0 })
    });
    let others = |judged: &[(Rank, &Probe, String)]| {
        let told = judged.iter().map(|(rank, probe, reason)| Judged {
            endpoint: probe.endpoint.clone(),
            usable: *rank < Rank::Refused,
            reason: reason.clone(),
        });
        told.collect::<Vec<_>>()
    };
    match judged.split_first() {
        Some(((rank, Probe { endpoint, answer: Ok(answer) }, reason), rest))
            if *rank < Rank::Refused =>
        {
            let (endpoint, answer) = (endpoint.clone(), answer.clone());
            Ok(Choice { endpoint, answer, reason: reason.clone(), others: others(rest) })
        }
        _ => Err(NoMember::NoneUsable(others(&judged))),
    }
}

impl Survey {
    fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.probes.iter().filter_map(|probe| probe.answer.as_ref().ok())
    }

    /// Whether a stream that ended at `revision` and `raft_index` has all that was committed before
    /// the members were asked.
    pub fn is_reached(&self, choice: &Choice, revision: i64, raft_index: u64) -> bool {
        let newest = self.answers().map(|answer| answer.raft_index).max().unwrap_or(u64::MAX);
        let has_all = raft_index >= newest || choice.answer.applied_index >= newest;
        has_all && self.quorum_revision.is_some_and(|quorum| revision >= quorum)
    }

    fn judge(&self, probe: &Probe, newest: u64) -> (Rank, String) {
        let answer = match &probe.answer {
            Ok(answer) => answer,
            Err(reason) => return (Rank::Refused, reason.clone()),
        };
        if answer.learner {
            return (Rank::Refused, "a learner: it may be far behind and has no vote".to_owned());
        }
        if self.corrupt.contains(&answer.member_id) {
            return (Rank::Refused, "it has a CORRUPT alarm".to_owned());
        }
        let behind = newest.saturating_sub(answer.applied_index);
        let Some(quorum) = self.quorum_revision else {
            let reason =
                format!("the quorum cannot be read; it has applied {}", answer.applied_index);
            return (Rank::Stranded, reason);
        };
        let missing = quorum.saturating_sub(answer.revision);
        if behind > LAG_LIMIT_ENTRIES || missing > LAG_LIMIT_ENTRIES.cast_signed() {
            let reason = format!("late: {behind} entries and {missing} revisions behind");
            return (Rank::Refused, reason);
        }
        if answer.leader_id == 0 {
            return (Rank::Refused, "it knows no leader".to_owned());
        }
        if answer.leader_id == answer.member_id {
            return (Rank::Leader, "the leader: asked last".to_owned());
        }
        (Rank::Follower, "a caught-up voting follower".to_owned())
    }
}

fn one_cluster(survey: &Survey) -> Result<(), NoMember> {
    let mut seen = BTreeMap::new();
    for probe in &survey.probes {
        if let Ok(answer) = &probe.answer {
            seen.entry(answer.cluster_id).or_insert_with(|| probe.endpoint.clone());
        }
    }
    if seen.len() < 2 {
        return Ok(());
    }
    Err(NoMember::TwoClusters(seen.into_iter().map(|(id, endpoint)| (endpoint, id)).collect()))
}

fn list(clusters: &[(String, u64)]) -> String {
    let told = clusters.iter().map(|(endpoint, id)| format!("{endpoint} to {id:x}"));
    told.collect::<Vec<_>>().join(", ")
}

fn reasons(judged: &[Judged]) -> String {
    judged.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.endpoint, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn member(id: u64, change: impl FnOnce(&mut Answer)) -> Probe {
        let mut answer = Answer {
            cluster_id: 7,
            member_id: id,
            leader_id: 1,
            revision: 5_000,
            raft_index: 9_000,
            applied_index: 9_000,
            ..Answer::default()
        };
        change(&mut answer);
        Probe { endpoint: format!("m{id}"), answer: Ok(answer) }
    }

    fn survey(probes: Vec<Probe>) -> Survey {
        Survey { probes, corrupt: BTreeSet::new(), quorum_revision: Some(5_000) }
    }

    #[test]
    fn a_follower_before_the_leader_in_the_configured_order() {
        let all = vec![member(1, |_| ()), member(2, |_| ()), member(3, |_| ())];
        let choice = choose(&survey(all)).unwrap();
        assert_eq!(choice.endpoint, "m2");
        let others: Vec<_> = choice.others.iter().map(|one| one.endpoint.as_str()).collect();
        assert_eq!(others, ["m3", "m1"]);
        let alone = choose(&survey(vec![member(1, |_| ())])).unwrap();
        assert!(alone.reason.contains("leader"));
    }

    #[test]
    fn who_is_never_asked() {
        let late = member(2, |answer| answer.applied_index = 7_000);
        let stale = member(3, |answer| answer.revision = 3_000);
        let learner = member(4, |answer| answer.learner = true);
        let lost = member(5, |answer| answer.leader_id = 0);
        let down = Probe { endpoint: "m6".into(), answer: Err("connection refused".into()) };
        let bad = member(7, |_| ());
        let mut survey = survey(vec![late, stale, learner, lost, down, bad]);
        survey.corrupt.insert(7);
        let NoMember::NoneUsable(judged) = choose(&survey).unwrap_err() else { panic!() };
        let told = reasons(&judged);
        for reason in
            ["2000 entries", "2000 revisions", "learner", "no leader", "refused", "CORRUPT"]
        {
            assert!(told.contains(reason), "{reason} in {told}");
        }
        survey.probes.push(member(1, |_| ()));
        assert_eq!(
            choose(&survey).unwrap().endpoint,
            "m1",
            "the leader, rather than a bad follower"
        );
    }

    #[test]
    fn without_a_quorum_the_most_advanced_survivor_gives_what_it_has() {
        let old = member(2, |answer| (answer.applied_index, answer.leader_id) = (8_000, 0));
        let new = member(3, |answer| (answer.applied_index, answer.leader_id) = (8_900, 0));
        let survey = Survey { quorum_revision: None, ..survey(vec![old, new]) };
        let choice = choose(&survey).unwrap();
        assert_eq!(choice.endpoint, "m3");
        assert!(choice.reason.contains("quorum"));
    }

    #[test]
    fn a_stream_of_a_member_that_lags_vouches_for_nothing() {
        let lags = member(2, |answer| answer.applied_index = 8_990);
        let survey = survey(vec![member(1, |_| ()), lags]);
        let choice = choose(&survey).unwrap();
        assert_eq!(choice.endpoint, "m2");
        assert!(!survey.is_reached(&choice, 5_000, 8_999));
        assert!(!survey.is_reached(&choice, 4_999, 9_000));
        assert!(survey.is_reached(&choice, 5_000, 9_000));
        // Its file need not tell of entries that change nothing.
        let applied = self::survey(vec![member(2, |_| ())]);
        let choice = choose(&applied).unwrap();
        assert!(applied.is_reached(&choice, 5_000, 8_998));
        let alone = Survey { quorum_revision: None, ..applied };
        assert!(!alone.is_reached(&choice, 5_000, 9_000));
    }

    #[test]
    fn two_clusters_are_a_mistake() {
        let other = member(2, |answer| answer.cluster_id = 0xbeef);
        let error = choose(&survey(vec![member(1, |_| ()), other])).unwrap_err().to_string();
        assert!(error.contains("m1 to 7") && error.contains("m2 to beef"), "{error}");
    }

    proptest! {
        #[test]
        fn the_chosen_one_is_never_unfit(
            shapes in proptest::collection::vec(
                (any::<bool>(), 0u64..3, 0i64..3, 0u64..4, any::<bool>()), 0..6),
            quorum in any::<bool>(),
            corrupt in proptest::collection::btree_set(0u64..6, 0..3),
        ) {
            let probes: Vec<Probe> = shapes
                .iter()
                .zip(0u64..)
                .map(|((learner, lag, missing, leader, down), id)| {
                    let mut probe = member(id, |answer| {
                        answer.learner = *learner;
                        answer.applied_index -= lag * 900;
                        answer.revision -= missing * 900;
                        answer.leader_id = *leader;
                    });
                    if *down {
                        probe.answer = Err("down".into());
                    }
                    probe
                })
                .collect();
            let quorum_revision = quorum.then_some(5_000);
            let survey = Survey { probes, corrupt, quorum_revision };
            match choose(&survey) {
                Ok(choice) => {
                    prop_assert!(!choice.answer.learner);
                    prop_assert!(!survey.corrupt.contains(&choice.answer.member_id));
                    prop_assert_eq!(choice.others.len() + 1, survey.probes.len());
                    let is_leader = choice.answer.leader_id == choice.answer.member_id;
                    if quorum && is_leader {
                        let mut others = choice.others.iter();
                        let follower = others.any(|one| one.reason.contains("follower"));
                        prop_assert!(!follower);
                    }
                    if quorum {
                        prop_assert!(choice.answer.revision > 3_000);
                    }
                }
                Err(NoMember::NoneUsable(judged)) => {
                    prop_assert!(judged.iter().all(|one| !one.usable));
                    prop_assert_eq!(judged.len(), survey.probes.len());
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}
