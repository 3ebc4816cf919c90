//! What a stored snapshot tells: alarms for people, what was lost, what stands in the vault now.
//!
//! What must hold: a finding never passes silently; of many alike the first are told, and how many
//! there are.

use super::{RoundError, Taken};
use crate::hash;
use crate::member::Choice;
use holdfast_api::client::Client;
use holdfast_vault::format::ObjectId;
use holdfast_vault::proto::CatalogueEntry;
use holdfast_vault::snapshot::{Finding, Outcome, Summary};
use holdfast_vault::vault::Vault;

pub(super) fn lost(summary: &Summary) -> Vec<ObjectId> {
    let lost = |finding: &Finding| match finding {
        Finding::Lost(id) => Some(*id),
        _ => None,
    };
    summary.findings.iter().filter_map(lost).collect()
}

/// Findings that are told one by one.
pub(super) const MOST_FINDINGS: usize = 10;

/// What the walk and the hash found, as alarms. Gives whether the hash was equal.
pub(super) async fn look_at(
    client: &Client,
    taken: &Taken,
    summary: &Summary,
    alarms: &mut Vec<String>,
) -> Option<bool> {
    let number = summary.number;
    let told = summary.findings.iter().take(MOST_FINDINGS);
    alarms.extend(told.map(|finding| format!("snapshot {number}: {finding}")));
    let more = summary.findings.len().saturating_sub(MOST_FINDINGS);
    if more > 0 {
        alarms.push(format!("snapshot {number}: {more} more findings"));
    }
    let equal = match taken.content.hashes() {
        Some((asked, computed)) if computed != asked.hash => {
            let endpoint = &taken.choice.endpoint;
            let others = hash::second_opinions(client, endpoint, &asked).await.join("; ");
            let (revision, said) = (asked.revision, asked.hash);
            alarms.push(format!(
                "snapshot {number}: HashKV at revision {revision} is {computed:08x} in what \
                 {endpoint} \
                 sent, but it answers {said:08x}; {others}; run `etcdctl endpoint hashkv --cluster \
                 --rev {revision}`"
            ));
            Some(false)
        }
        Some(_) => Some(true),
        None => None,
    };
    for alarm in alarms.iter() {
        tracing::error!(alarm, "somebody must look at this");
    }
    equal
}

/// The snapshot that protects the cluster now, and what we stored if it is ours.
pub(super) fn judge(
    vault: &Vault,
    choice: &Choice,
    outcome: Outcome,
) -> Result<(CatalogueEntry, Option<Summary>), RoundError> {
    match outcome {
        Outcome::Committed(summary) => Ok((summary.entry.clone(), Some(*summary))),
        Outcome::Covered { number } => {
            tracing::info!(snapshot = number, "another agent's snapshot is as new: nothing to add");
            Ok((vault.chain().catalogue().get(number).cloned().unwrap_or_default(), None))
        }
        Outcome::Late { reason } => {
            Err(RoundError::Late { endpoint: choice.endpoint.clone(), reason })
        }
        Outcome::Unrelated { reason } => Err(RoundError::Unrelated { reason }),
        Outcome::Diverged { fork, reason } => Err(RoundError::Unrelated {
            reason: format!("{reason} (shared up to {fork}), also as a new lineage"),
        }),
    }
}
