//! Whether all members are well, and whether they hold the same data.

use std::fmt;

use holdfast_api::client::{Client, ClientConfig, ClientError, Member as Endpoint};
use holdfast_api::etcdserverpb::{HashKvRequest, HashKvResponse, Member, RangeRequest};

use super::plan::{is_same, shown};
use super::{GrowError, NewMember};

/// A member and a way to it.
#[derive(Debug, Clone)]
pub struct Reached {
    name: String,
    client: Client,
}

/// A hash that all members gave for the same revisions.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct EqualHash {
    /// The revision it is taken at.
    pub revision: i64,
    /// The compaction revision it is taken above.
    pub compact_revision: i64,
    /// HashKV.
    pub hash: u32,
    /// Members that gave it.
    pub members: usize,
}

impl fmt::Display for EqualHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EqualHash { revision, hash, members, .. } = self;
        write!(f, "{members} members answer, HashKV {hash:08x} at revision {revision} on each")
    }
}

impl Reached {
    /// Its endpoint.
    pub(super) fn member(&self) -> &Endpoint {
        &self.client.members()[0]
    }
}

/// A way to one member: where we were told it is, else where it says.
pub(super) fn reach(
    config: &ClientConfig,
    member: &Member,
    wanted: &[NewMember],
) -> Result<Reached, ClientError> {
    let told = wanted.iter().find(|wanted| is_same(member, wanted));
    let told = told.map(|wanted| &wanted.client_urls).filter(|urls| !urls.is_empty());
    let endpoints = told.unwrap_or(&member.client_urls).iter().take(1).cloned().collect();
    let client = Client::lazy(ClientConfig { endpoints, ..config.clone() })?;
    Ok(Reached { name: shown(member), client })
}

/// All voters, if all of them answer a linearizable read, know one leader and report no error; else
/// what is wrong.
pub(super) async fn look(
    config: &ClientConfig,
    members: &[Member],
    wanted: &[NewMember],
) -> Result<Vec<Reached>, String> {
    let mut reached = Vec::new();
    let mut leader = 0;
    for member in members.iter().filter(|member| !member.is_learner) {
        let name = shown(member);
        if member.name.is_empty() {
            return Err(format!("voter {name} never started"));
        }
        let one = reach(config, member, wanted).map_err(|error| format!("{name}: {error}"))?;
        let status = one.member().status().await.map_err(|error| format!("{name}: {error}"))?;
        if let Some(error) = status.errors.first() {
            return Err(format!("{name} reports: {error}"));
        }
        if status.leader == 0 || (leader != 0 && leader != status.leader) {
            return Err(format!("{name} knows another leader or none"));
        }
        leader = status.leader;
        let read =
            RangeRequest { key: b"\0".to_vec(), count_only: true, ..RangeRequest::default() };
        let answer = one.member().kv().range(read).await;
        one.member().check("Range", answer).map_err(|error| format!("{name}: {error}"))?;
        reached.push(one);
    }
    if reached.is_empty() { Err("there is no voter".to_owned()) } else { Ok(reached) }
}

/// Compares HashKV over all members. The inner error says why it cannot be told yet.
///
/// Revision 0 asks for the newest and is answered without the cache of earlier compactions, which
/// would give another scope. Members under load answer for different revisions: then all are
/// asked for the lowest of these. Only answers of equal revision and compaction revision are
/// compared.
pub(super) async fn compare(reached: &[Reached]) -> Result<Result<EqualHash, String>, GrowError> {
    let mut answers = ask(reached, 0).await?;
    let lowest = answers.iter().map(|answer| revision_of(answer, 0)).min().unwrap_or(0);
    let mut asked = 0;
    if answers.iter().any(|answer| revision_of(answer, 0) != lowest) {
        asked = lowest;
        answers = ask(reached, lowest).await?;
    }
    let Some(first) = answers.first() else { return Ok(Err("there is no voter".to_owned())) };
    let scope = (revision_of(first, asked), first.compact_revision);
    if answers.iter().any(|one| (revision_of(one, asked), one.compact_revision) != scope) {
        return Ok(Err("members compact at this moment".to_owned()));
    }
    if answers.iter().any(|answer| answer.hash != first.hash) {
        let hashes: Vec<String> = reached
            .iter()
            .zip(&answers)
            .map(|(one, answer)| format!("{} {:08x}", one.name, answer.hash))
            .collect();
        return Err(GrowError::HashDiffers { revision: scope.0, hashes: hashes.join(", ") });
    }
    let (revision, compact_revision) = scope;
    let (hash, members) = (first.hash, answers.len());
    Ok(Ok(EqualHash { revision, compact_revision, hash, members }))
}

async fn ask(reached: &[Reached], revision: i64) -> Result<Vec<HashKvResponse>, ClientError> {
    let mut answers = Vec::with_capacity(reached.len());
    for one in reached {
        let answer = one.member().maintenance().hash_kv(HashKvRequest { revision }).await;
        answers.push(one.member().check("HashKV", answer)?);
    }
    Ok(answers)
}

/// The revision that an answer is for. 3.5 does not say; then it is the one asked for, or the
/// store's.
fn revision_of(answer: &HashKvResponse, asked: i64) -> i64 {
    let stores = answer.header.as_ref().map_or(0, |header| header.revision);
    match (answer.hash_revision, asked) {
        (0, 0) => stores,
        (0, asked) => asked,
        (told, _) => told,
    }
}
