//! What growing will do: pure, from the member list and the members wanted.
//!
//! Holds: a member that is there already is never added again, so an interrupted run is simply
//! run again; what is half done comes first; a foreign learner or a name that is taken stops
//! everything before the first change.

use std::fmt;

use holdfast_api::etcdserverpb::Member;
use holdfast_core::ids;

use super::GrowError;
use crate::plan::shell_line;

/// Members that etcd runs well with; more make writes slower and nothing safer.
const MOST_MEMBERS: usize = 7;

/// A member to be added.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct NewMember {
    /// Its name.
    pub name: String,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
    /// Where we reach it; empty: where it says, once it runs.
    pub client_urls: Vec<String>,
}

/// How far a wanted member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// It is unknown to the cluster.
    Absent,
    /// It was added as a learner and has not started.
    Added,
    /// It runs as a learner.
    Learner,
    /// It has a vote.
    Voter,
}

/// One wanted member, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PlannedStep {
    /// The member.
    pub member: NewMember,
    /// How far it is now.
    pub stage: Stage,
}

/// What will be done, in order.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct GrowPlan {
    /// Members there are now, by name (by id those that never started).
    pub present: Vec<String>,
    /// One after the other.
    pub steps: Vec<PlannedStep>,
    /// Members in the end.
    pub members_after: usize,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// How a member that joins is started.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MemberStart {
    /// The member.
    pub member: NewMember,
    /// Its id in the cluster, in hex.
    pub id: String,
    /// `--initial-cluster`: all members, this one included.
    pub initial_cluster: String,
}

impl GrowPlan {
    /// Compares what is there with what is wanted.
    ///
    /// # Errors
    /// A wanted member that cannot be told apart from another, or a learner that nobody asked for.
    pub fn make(present: &[Member], wanted: &[NewMember]) -> Result<GrowPlan, GrowError> {
        for (at, member) in wanted.iter().enumerate() {
            check_wanted(member, &wanted[..at], present)?;
        }
        let foreign = present.iter().find(|member| {
            member.is_learner && !wanted.iter().any(|wanted| is_same(member, wanted))
        });
        if let Some(learner) = foreign {
            return Err(GrowError::OtherLearner { member: shown(learner) });
        }
        let mut steps: Vec<PlannedStep> = wanted
            .iter()
            .map(|wanted| {
                let found = present.iter().find(|member| is_same(member, wanted));
                PlannedStep { member: wanted.clone(), stage: stage(found) }
            })
            .collect();
        steps.sort_by_key(|step| match step.stage {
            Stage::Voter => 0,
            Stage::Learner => 1,
            Stage::Added => 2,
            Stage::Absent => 3,
        });
        let absent = steps.iter().filter(|step| step.stage == Stage::Absent).count();
        let members_after = present.len() + absent;
        let mut notes = Vec::new();
        if members_after.is_multiple_of(2) {
            notes.push(format!(
                "{members_after} members stand no more failures than {}: add one more",
                members_after - 1
            ));
        }
        if members_after > MOST_MEMBERS {
            notes.push(format!("more than {MOST_MEMBERS} members make writes slow"));
        }
        let present = present.iter().map(shown).collect();
        Ok(GrowPlan { present, steps, members_after, notes })
    }

    /// Whether anything is left to do.
    pub fn is_done(&self) -> bool {
        self.steps.iter().all(|step| step.stage == Stage::Voter)
    }
}

impl MemberStart {
    /// The start of `member`, known to the cluster as `id`, among `members`.
    pub fn of(member: &NewMember, id: u64, members: &[Member]) -> MemberStart {
        let others = members.iter().filter(|other| other.id != id && !other.name.is_empty());
        let mut pairs: Vec<String> = others
            .flat_map(|other| other.peer_urls.iter().map(|url| format!("{}={url}", other.name)))
            .collect();
        pairs.extend(member.peer_urls.iter().map(|url| format!("{}={url}", member.name)));
        MemberStart { member: member.clone(), id: ids::hex(id), initial_cluster: pairs.join(",") }
    }

    /// The command line for an empty data directory. TLS flags are the operator's to add.
    pub fn command(&self, program: &str, data_dir: &str) -> Vec<String> {
        let peers = self.member.peer_urls.join(",");
        let mut pairs = vec![
            ("--name", self.member.name.clone()),
            ("--data-dir", data_dir.to_owned()),
            ("--listen-peer-urls", peers.clone()),
            ("--initial-advertise-peer-urls", peers),
            ("--initial-cluster", self.initial_cluster.clone()),
            ("--initial-cluster-state", "existing".to_owned()),
        ];
        if !self.member.client_urls.is_empty() {
            let clients = self.member.client_urls.join(",");
            pairs.push(("--listen-client-urls", clients.clone()));
            pairs.push(("--advertise-client-urls", clients));
        }
        let words = pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
        std::iter::once(program.to_owned()).chain(words).collect()
    }
}

impl fmt::Display for MemberStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shell_line(&self.command("etcd", "/var/lib/etcd")))
    }
}

impl fmt::Display for GrowPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (now, after) = (self.present.len(), self.members_after);
        writeln!(f, "Grow from {now} to {after} members; there is {}", self.present.join(", "))?;
        for step in &self.steps {
            let what = match step.stage {
                Stage::Absent => "add as a learner, start, catch up, promote, compare",
                Stage::Added => "added already: start, catch up, promote, compare",
                Stage::Learner => "a learner already: catch up, promote, compare",
                Stage::Voter => "a voter already: nothing to do",
            };
            let NewMember { name, peer_urls, .. } = &step.member;
            writeln!(f, "  {name} at {}: {what}", peer_urls.join(", "))?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  note: {note}"))?;
        write!(f, "  one at a time; each starts with an empty data directory")
    }
}

/// A member's name, or its id if it has none yet.
pub(super) fn shown(member: &Member) -> String {
    if member.name.is_empty() { ids::hex(member.id) } else { member.name.clone() }
}

/// Whether a listed member is the wanted one: the peer URLs decide, they exist before the name
/// does.
pub(super) fn is_same(member: &Member, wanted: &NewMember) -> bool {
    member.peer_urls.iter().any(|url| wanted.peer_urls.contains(url))
}

fn stage(found: Option<&Member>) -> Stage {
    match found {
        None => Stage::Absent,
        Some(member) if !member.is_learner => Stage::Voter,
        Some(member) if member.name.is_empty() => Stage::Added,
        Some(_) => Stage::Learner,
    }
}

fn check_wanted(
    member: &NewMember,
    before: &[NewMember],
    present: &[Member],
) -> Result<(), GrowError> {
    let bad = |reason: String| GrowError::Wanted { name: member.name.clone(), reason };
    if member.name.is_empty() || member.peer_urls.is_empty() {
        return Err(bad("it needs a name and a peer URL: name=https://host:2380".to_owned()));
    }
    let shares =
        |other: &NewMember| other.peer_urls.iter().any(|url| member.peer_urls.contains(url));
    if before.iter().any(|other| other.name == member.name || shares(other)) {
        return Err(bad("its name or peer URL stands twice in the list".to_owned()));
    }
    if let Some(other) =
        present.iter().find(|other| other.name == member.name && !is_same(other, member))
    {
        let urls = other.peer_urls.join(", ");
        return Err(bad(format!("the cluster has a member of that name at {urls}")));
    }
    if let Some(other) = present.iter().find(|other| is_same(other, member)) {
        if !other.name.is_empty() && other.name != member.name {
            return Err(bad(format!("its peer URL belongs to member {}", other.name)));
        }
        if other.name.is_empty() && !other.is_learner {
            return Err(bad(format!(
                "it was added as a voter and never started; remove member {} first, it counts \
                 for the quorum",
                ids::hex(other.id)
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(id: u64, name: &str, learner: bool) -> Member {
        let peer_urls = vec![format!("https://10.0.0.{id}:2380")];
        Member { id, name: name.to_owned(), peer_urls, is_learner: learner, ..Member::default() }
    }

    fn wanted(id: u64, name: &str) -> NewMember {
        let peer_urls = vec![format!("https://10.0.0.{id}:2380")];
        NewMember { name: name.to_owned(), peer_urls, client_urls: Vec::new() }
    }

    fn stages(present: &[Member], list: &[NewMember]) -> Vec<(String, Stage)> {
        let plan = GrowPlan::make(present, list).unwrap();
        plan.steps.into_iter().map(|step| (step.member.name, step.stage)).collect()
    }

    #[test]
    fn an_interrupted_run_goes_on_where_it_was() {
        let list = [wanted(2, "b"), wanted(3, "c")];
        let one = [there(1, "a", false)];
        let expect = |pairs: &[(&str, Stage)]| -> Vec<(String, Stage)> {
            pairs.iter().map(|(name, stage)| ((*name).to_owned(), *stage)).collect()
        };
        let fresh = expect(&[("b", Stage::Absent), ("c", Stage::Absent)]);
        assert_eq!(stages(&one, &list), fresh);
        let added = [there(1, "a", false), there(3, "", true)];
        assert_eq!(stages(&added, &list), expect(&[("c", Stage::Added), ("b", Stage::Absent)]));
        let learner = [there(1, "a", false), there(3, "c", true)];
        assert_eq!(stages(&learner, &list), expect(&[("c", Stage::Learner), ("b", Stage::Absent)]));
        let all = [there(1, "a", false), there(2, "b", false), there(3, "c", false)];
        let plan = GrowPlan::make(&all, &list).unwrap();
        assert!(plan.is_done() && plan.notes.is_empty());
        assert_eq!(plan.members_after, 3);
        let text = GrowPlan::make(&added, &list).unwrap().to_string();
        assert!(text.contains("from 2 to 3") && text.contains("added already"), "{text}");
        assert!(GrowPlan::make(&one, &list[..1]).unwrap().notes[0].contains("no more failures"));
    }

    #[test]
    fn what_is_unclear_stops_before_the_first_change() {
        let one = [there(1, "a", false)];
        let refuse =
            |present: &[Member], list: &[NewMember]| GrowPlan::make(present, list).unwrap_err();
        let error = refuse(&[there(1, "a", false), there(9, "z", true)], &[wanted(2, "b")]);
        assert!(matches!(error, GrowError::OtherLearner { .. }), "{error}");
        for (list, piece) in [
            (vec![wanted(2, "a")], "has a member of that name"),
            (vec![wanted(1, "b")], "belongs to member a"),
            (vec![wanted(2, "b"), wanted(3, "b")], "stands twice"),
            (vec![wanted(2, "b"), wanted(2, "c")], "stands twice"),
            (vec![wanted(2, "")], "needs a name"),
            (vec![NewMember { name: "b".to_owned(), ..NewMember::default() }], "a peer URL"),
        ] {
            let error = refuse(&one, &list).to_string();
            assert!(error.contains(piece), "{error}");
        }
        let voter = [there(1, "a", false), there(2, "", false)];
        assert!(refuse(&voter, &[wanted(2, "b")]).to_string().contains("remove member 2 first"));
    }

    #[test]
    fn the_command_names_all_members() {
        let members = [there(1, "a", false), there(2, "", true)];
        let start = MemberStart::of(&wanted(2, "b"), 2, &members);
        assert_eq!(start.initial_cluster, "a=https://10.0.0.1:2380,b=https://10.0.0.2:2380");
        assert!(start.to_string().contains("--initial-cluster-state existing"), "{start}");
    }
}
