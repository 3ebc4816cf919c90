//! A plan in words: what goes over, what changes, what is left out, what to know; and the plan as
//! an operator reads it.

use std::fmt;

use holdfast_core::ids;
use holdfast_vault::proto::Facts;

use super::{BumpDecision, PlannedMember, PlannedSnapshot, RestorePlan, RestoreRequest};
use crate::text;

pub(super) fn carried(facts: &Facts) -> Vec<String> {
    let Facts { record_count, key_count, lease_count, user_count, role_count, .. } = facts;
    let authentication = if facts.auth_enabled { "on" } else { "off" };
    let mut carried = vec![
        format!("{record_count} records of {key_count} keys, byte for byte"),
        format!("{lease_count} leases with their times to live"),
        format!("{user_count} users, {role_count} roles; authentication is {authentication}"),
        match facts.compact_revision {
            -1 => "no compaction marks: the source never compacted".to_owned(),
            compacted => format!("the compaction marks (history begins at {compacted})"),
        },
    ];
    if !facts.unknown_buckets.is_empty() {
        carried.push(format!("buckets of no known etcd: {}", facts.unknown_buckets.join(", ")));
    }
    carried
}

pub(super) fn rewritten(bump: &BumpDecision) -> Vec<String> {
    let mut rewritten = vec![
        "members and voters: one new member in a new cluster".to_owned(),
        "raft index and term: a new log".to_owned(),
        "storage and cluster version: the lower of the source's and the target's".to_owned(),
    ];
    if bump.to.is_some() {
        rewritten.push("the compaction mark: all older revisions answer `compacted`".to_owned());
    }
    rewritten
}

pub(super) fn dropped(facts: &Facts) -> Vec<String> {
    let mut dropped: Vec<String> =
        facts.alarms.iter().map(|alarm| format!("alarm {alarm}")).collect();
    let names: Vec<String> = facts
        .members
        .iter()
        .map(|one| if one.name.is_empty() { ids::hex(one.member_id) } else { one.name.clone() })
        .collect();
    if !names.is_empty() {
        dropped.push(format!("the old members {}; they can never rejoin", names.join(", ")));
    }
    dropped.push("removed members and a running downgrade, if there are any".to_owned());
    dropped
}

pub(super) fn warnings(
    snapshot: &PlannedSnapshot<'_>,
    bump: &BumpDecision,
    revision: i64,
    request: &RestoreRequest,
) -> Vec<String> {
    let PlannedSnapshot { selected, facts, high_water, .. } = snapshot;
    let mut notes = Vec::new();
    let highest = (*high_water).max(revision);
    match bump.to {
        Some(to) if to <= highest => notes.push(format!(
            "the lift to {to} ends below revision {highest}, which was served: watchers will \
             miss events"
        )),
        None if *high_water > revision => notes.push(format!(
            "revisions {} to {high_water} were served before and will be used again for other \
             changes: \
             clients that watch will miss events; restart them all, or leave out --bump none",
            revision + 1
        )),
        None => notes.push(
            "writes after the snapshot may have been served: if clients watch or cache, use \
             --bump 1000000000"
                .to_owned(),
        ),
        Some(_) => {}
    }
    if bump.to.is_some() {
        notes.push(
            "the first start compacts the whole history and is slower; HashKV differs from the \
             source's"
                .to_owned(),
        );
    }
    if request.token.is_some() {
        notes.push(
            "with a token that was used before, old members could rejoin and spoil the data"
                .to_owned(),
        );
    }
    if request.prove_hash && (selected.trim_to.is_some() || facts.hash_kv.is_none()) {
        let why = if selected.trim_to.is_some() {
            "the snapshot is trimmed"
        } else {
            "the source gave none"
        };
        notes.push(format!("HashKV cannot be proven: {why}"));
    }
    if !facts.encryption_key_ids.is_empty() {
        notes.push(format!(
            "API servers will need these keys to read their secrets: {}",
            facts.encryption_key_ids.join(", ")
        ));
    }
    notes
}

impl fmt::Display for RestorePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Restore of snapshot {} from {}", self.snapshot, self.vault)?;
        writeln!(f, "  chosen       {}", self.reason)?;
        writeln!(
            f,
            "  taken        {} from etcd {}",
            text::time(self.taken_ms),
            self.source_version
        )?;
        let trimmed = if self.trim_to.is_some() { ", trimmed" } else { "" };
        writeln!(f, "  revision     {}{trimmed}", self.revision)?;
        match self.bump.to {
            Some(to) => writeln!(f, "  lifted to    {to} ({})", self.bump.reason)?,
            None => writeln!(f, "  not lifted   {}", self.bump.reason)?,
        }
        writeln!(f, "  for          etcd {}.{}", self.target.major, self.target.minor)?;
        let PlannedMember { name, id, peer_urls, cluster_id, token, .. } = &self.member;
        writeln!(f, "  member       {name} ({id}) at {}", peer_urls.join(", "))?;
        writeln!(f, "  cluster      {cluster_id}, token {token}")?;
        writeln!(f, "  data dir     {}", self.place.data_dir.display())?;
        match &self.moved_aside {
            Some(aside) => {
                writeln!(f, "               what is there moves to {}", aside.display())?;
            }
            None => writeln!(f, "               nothing is there now")?,
        }
        let free = self.free_bytes.map_or_else(|| "unknown".to_owned(), text::bytes);
        writeln!(f, "  disk         about {} needed, {free} free", text::bytes(self.need_bytes))?;
        for (head, lines) in [
            ("carried over", &self.carried),
            ("rewritten", &self.rewritten),
            ("dropped", &self.dropped),
        ] {
            lines.iter().enumerate().try_for_each(|(at, line)| {
                writeln!(f, "  {:<12} {line}", if at == 0 { head } else { "" })
            })?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  note         {note}"))?;
        write!(f, "  then start   {}", shell_line(&self.command))
    }
}

/// A command line as a shell reads it.
pub(crate) fn shell_line(command: &[String]) -> String {
    let quoted = command.iter().map(|word| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+[]".contains(&byte);
        if !word.is_empty() && word.bytes().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}
