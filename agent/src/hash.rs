//! HashKV as the members answer it, for a stream's revision.
//!
//! What must hold: only an answer for our revision, with a compaction revision that the stream can
//! be hashed for, is compared (C of the stream ≤ C of the answer ≤ R); a member remembers the
//! hashes of its last compactions and answers for such a revision with an earlier one, and a late
//! member has an earlier one, too: then another member is asked.

use holdfast_api::client::{Client, Member};
use holdfast_api::etcdserverpb::{HashKvRequest, HashKvResponse};
use holdfast_vault::proto::HashKv;

/// What the members said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// A hash to compare with.
    Hash {
        /// With the answer's compaction revision.
        hash: HashKv,
        /// Who gave it.
        endpoint: String,
    },
    /// None; with each member's reason.
    Nobody(String),
}

/// Asks the members in this order for the hash at `revision`, until one gives a usable answer.
pub async fn ask(client: &Client, endpoints: &[String], revision: i64, compacted: i64) -> Answered {
    let mut reasons = Vec::new();
    for endpoint in endpoints {
        let answer = match client.member(endpoint) {
            Ok(member) => ask_one(member, revision).await,
            Err(error) => Err(error.to_string()),
        };
        match answer.and_then(|answer| usable(&answer, revision, compacted)) {
            Ok(hash) => return Answered::Hash { hash, endpoint: endpoint.clone() },
            Err(reason) => reasons.push(format!("{endpoint}: {reason}")),
        }
    }
    Answered::Nobody(reasons.join("; "))
}

/// What every other member says about the same scope, for people who must decide who is right.
pub async fn second_opinions(client: &Client, first: &str, hash: &HashKv) -> Vec<String> {
    let mut opinions = Vec::new();
    for member in client.members().iter().filter(|member| member.endpoint() != first) {
        let answer = ask_one(member, hash.revision).await;
        let said = match answer {
            Ok(answer) if answer.compact_revision != hash.compact_revision => {
                format!("answers for compaction {}", answer.compact_revision)
            }
            Ok(answer) if answer.hash == hash.hash => "has the same hash".to_owned(),
            Ok(answer) => format!("has {:08x}", answer.hash),
            Err(reason) => reason,
        };
        opinions.push(format!("{} {said}", member.endpoint()));
    }
    opinions
}

async fn ask_one(member: &Member, revision: i64) -> Result<HashKvResponse, String> {
    let answer = member.maintenance().hash_kv(HashKvRequest { revision }).await;
    member.check("HashKV", answer).map_err(|error| error.to_string())
}

/// Whether an answer can be compared with a stream of that revision and compaction revision.
fn usable(answer: &HashKvResponse, revision: i64, compacted: i64) -> Result<HashKv, String> {
    // 3.5 does not say what it hashed; it hashes what it was asked for.
    if answer.hash_revision != 0 && answer.hash_revision != revision {
        return Err(format!("it hashed revision {}, not {revision}", answer.hash_revision));
    }
    let compact_revision = answer.compact_revision;
    if compact_revision < compacted {
        return Err(format!(
            "its answer is for compaction {compact_revision}, the snapshot is compacted at \
             {compacted}"
        ));
    }
    if compact_revision > revision {
        return Err(format!("its answer is for compaction {compact_revision}, beyond {revision}"));
    }
    Ok(HashKv { revision, compact_revision, hash: answer.hash })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_that_the_stream_can_be_hashed_for() {
        let answer = |compact_revision, hash_revision| HashKvResponse {
            compact_revision,
            hash_revision,
            hash: 7,
            ..HashKvResponse::default()
        };
        let hash = HashKv { revision: 100, compact_revision: 50, hash: 7 };
        assert_eq!(usable(&answer(50, 100), 100, 50), Ok(hash));
        assert_eq!(usable(&answer(50, 0), 100, 50), Ok(hash), "3.5");
        assert_eq!(usable(&answer(60, 100), 100, 50).map(|hash| hash.compact_revision), Ok(60));
        assert_eq!(usable(&answer(-1, 100), 100, -1).map(|hash| hash.compact_revision), Ok(-1));
        for (compact, hashed, says) in
            [(49, 100, "compacted at 50"), (-1, 0, "-1"), (101, 100, "beyond")]
        {
            assert!(usable(&answer(compact, hashed), 100, 50).unwrap_err().contains(says));
        }
        assert!(usable(&answer(50, 99), 100, 50).unwrap_err().contains("99"));
    }
}
