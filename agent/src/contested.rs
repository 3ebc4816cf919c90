//! A record whose bytes differ from those in the vault: which side is wrong? The other members are
//! asked, and the majority decides.
//!
//! Every member keeps the record's bytes in its own database, so three independent copies rarely
//! rot alike. The member that gave the stream has a vote, the vault's older copy has none: it came
//! from one of them.
//!
//! What must hold: the verdict is a pure function of what was said; who cannot answer has no vote;
//! without a majority nothing is decided; both versions are kept whatever the verdict is.

use holdfast_api::client::{Client, Member};
use holdfast_api::etcdserverpb::{RangeRequest, RangeResponse};
use holdfast_vault::format::Record;
use holdfast_vault::snapshot::contested::{StoredVersions, Version};
use prost::Message;

/// What a member says of a contested record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The version that the vault had before, and that a restore takes.
    Older,
    /// The version that was streamed now.
    Streamed,
    /// Neither.
    Another,
    /// It cannot say.
    Nothing(String),
}

/// Which version is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The vault's older copy: the member that gave the stream is corrupt.
    Older,
    /// What was streamed: the vault's older copy came from a corrupt member.
    Streamed,
    /// No majority.
    Undecided,
}

/// The verdict and the words that stand in the snapshot's body, the alarm and the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Which side is right.
    pub side: Side,
    /// Who said what.
    pub text: String,
}

impl Side {
    /// For metrics.
    pub fn word(self) -> &'static str {
        match self {
            Side::Older => "older",
            Side::Streamed => "streamed",
            Side::Undecided => "undecided",
        }
    }
}

/// Decides. `source`: the member that gave the stream; `others`: what each other one said.
pub fn judge(source: &str, others: &[(String, Said)]) -> Verdict {
    let votes = |wanted: &Said| others.iter().filter(|(_, said)| said == wanted).count();
    // The source's own vote.
    let (older, streamed) = (votes(&Said::Older), votes(&Said::Streamed) + 1);
    // A majority of all members, not of those that answered: silence is no consent.
    let members = others.len() + 1;
    let needed = members / 2 + 1;
    let side = match () {
        () if older >= needed => Side::Older,
        () if streamed >= needed && !others.is_empty() => Side::Streamed,
        () => Side::Undecided,
    };
    let members = others.len() + 1;
    let verdict = match side {
        Side::Older => format!(
            "{older} of {members} members have the version that is restored: {source} is corrupt, \
             replace that member"
        ),
        Side::Streamed => format!(
            "{streamed} of {members} members have the streamed version: the one that is restored \
             came from a corrupt member"
        ),
        Side::Undecided => format!("no majority among {members} members"),
    };
    let list = others.iter().map(|(endpoint, said)| format!("{endpoint} {said}"));
    let list: Vec<String> = list.collect();
    let text = if list.is_empty() { verdict } else { format!("{verdict} ({})", list.join(", ")) };
    Verdict { side, text }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Said::Older => f.write_str("has the restored one"),
            Said::Streamed => f.write_str("has the streamed one"),
            Said::Another => f.write_str("has a third one"),
            Said::Nothing(why) => write!(f, "cannot say: {why}"),
        }
    }
}

/// A contested record as it was streamed.
#[derive(Debug, Clone)]
pub struct Streamed {
    /// Its place.
    pub revision: (i64, i64),
    /// The user's key.
    pub key: Vec<u8>,
    /// The KeyValue message as in the source's bucket.
    pub value: Vec<u8>,
}

/// Asks every other member for a record and gives the verdict. `newest`: a revision that all can be
/// read at when the record's own is compacted.
pub async fn settle(
    client: &Client,
    source: &str,
    record: &Streamed,
    stored: &StoredVersions,
    newest: i64,
) -> Verdict {
    let mut others = Vec::new();
    for member in client.members().iter().filter(|member| member.endpoint() != source) {
        let said = match ask(member, record, newest).await {
            Ok(value) => compare(&value, record, stored),
            Err(why) => Said::Nothing(why),
        };
        others.push((member.endpoint().to_owned(), said));
    }
    judge(source, &others)
}

fn compare(value: &[u8], record: &Streamed, stored: &StoredVersions) -> Said {
    if value == record.value {
        return Said::Streamed;
    }
    let (main, sub) = record.revision;
    match stored.which(&Record { main, sub, tombstone: false, value }) {
        Some(Version::Restored) => Said::Older,
        Some(Version::Contested) => Said::Streamed,
        None => Said::Another,
    }
}

/// The member's own record of that revision, read without the quorum.
async fn ask(member: &Member, record: &Streamed, newest: i64) -> Result<Vec<u8>, String> {
    let mut last = String::new();
    for revision in [record.revision.0, newest] {
        let request = RangeRequest {
            key: record.key.clone(),
            revision,
            serializable: true,
            ..RangeRequest::default()
        };
        let answer = member.kv().range(request).await;
        match member.check("Range", answer) {
            Ok(answer) => return found(&answer, record.revision.0),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

fn found(answer: &RangeResponse, revision: i64) -> Result<Vec<u8>, String> {
    match answer.kvs.first() {
        Some(kv) if kv.mod_revision == revision => Ok(kv.encode_to_vec()),
        Some(kv) => Err(format!("it has revision {} of that key", kv.mod_revision)),
        None => Err("it has no such key".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(others: &[Said]) -> Side {
        let others: Vec<(String, Said)> =
            others.iter().cloned().enumerate().map(|(at, said)| (format!("m{at}"), said)).collect();
        judge("source", &others).side
    }

    #[test]
    fn the_majority_of_all_members_decides() {
        let nothing = || Said::Nothing("away".to_owned());
        // A cluster of three: the source and two others.
        assert_eq!(side(&[Said::Older, Said::Older]), Side::Older);
        assert_eq!(side(&[Said::Streamed, Said::Older]), Side::Streamed);
        assert_eq!(side(&[Said::Streamed, nothing()]), Side::Streamed);
        assert_eq!(side(&[Said::Older, nothing()]), Side::Undecided);
        assert_eq!(side(&[Said::Older, Said::Another]), Side::Undecided);
        assert_eq!(side(&[nothing(), nothing()]), Side::Undecided);
        // Of five, three are needed.
        assert_eq!(side(&[Said::Older, Said::Older, Said::Older, nothing()]), Side::Older);
        let split = [Said::Older, Said::Older, Said::Streamed, nothing()];
        assert_eq!(side(&split), Side::Undecided);
        assert_eq!(side(&[Said::Streamed, Said::Streamed, nothing(), nothing()]), Side::Streamed);
        // Alone, or with one other, nobody is a majority against the other.
        assert_eq!(side(&[]), Side::Undecided);
        assert_eq!(side(&[Said::Older]), Side::Undecided);
        assert_eq!(side(&[Said::Streamed]), Side::Streamed);
    }

    #[test]
    fn the_words_say_who_is_corrupt_and_who_said_what() {
        let others = [("http://b".to_owned(), Said::Older), ("http://c".to_owned(), Said::Older)];
        let text = judge("http://a", &others).text;
        assert!(text.contains("http://a is corrupt"), "{text}");
        assert!(text.contains("http://c has the restored one"), "{text}");
    }

    #[test]
    fn an_answer_about_another_revision_is_none() {
        let kv = |mod_revision| holdfast_api::mvccpb::KeyValue {
            key: b"k".to_vec().into(),
            mod_revision,
            ..Default::default()
        };
        let answer = |kvs| RangeResponse { kvs, ..RangeResponse::default() };
        assert!(found(&answer(vec![kv(7)]), 7).is_ok());
        assert!(found(&answer(vec![kv(8)]), 7).unwrap_err().contains("revision 8"));
        assert!(found(&answer(vec![]), 7).is_err());
    }
}
