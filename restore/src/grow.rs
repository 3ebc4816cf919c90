//! Takes a running single member to three or five: one at a time, each as a learner first.
//!
//! For each: the cluster is healthy → member add (learner) → start → it appears → it catches up →
//! promote → all members answer linearizable reads and have equal HashKV. Holds: never a voter
//! first (an unreachable voter would take the quorum of one away); nothing is changed while a
//! member is unhealthy; a call whose outcome is unknown is looked up in the member list before it
//! is repeated; each wait has a deadline; running it again goes on where it stopped.

mod health;
mod plan;
mod report;
mod starter;

use std::time::Duration;

use holdfast_api::client::{Client, ClientConfig, ClientError};
use holdfast_api::etcdserverpb::{
    Member, MemberAddRequest, MemberListRequest, MemberPromoteRequest,
};
use holdfast_core::ids;
use tokio::time::{Instant, sleep};

pub use health::{EqualHash, Reached};
pub use plan::{GrowPlan, MemberStart, NewMember, PlannedStep, Stage};
pub use report::{GrowEvent, GrowReport};
pub use starter::{AskOperator, LocalProcesses, StartError, Starter};

/// Between two looks at the same thing.
const PAUSE: Duration = Duration::from_millis(250);

/// What is to be done.
#[derive(Debug, Clone)]
pub struct GrowRequest {
    /// How to reach the running member or members.
    pub client: ClientConfig,
    /// The members to add.
    pub members: Vec<NewMember>,
    /// How long to wait for what.
    pub deadlines: GrowDeadlines,
}

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct GrowDeadlines {
    /// Until the cluster is healthy.
    pub healthy: Duration,
    /// Until a started member appears: an operator may have to start it.
    pub appear: Duration,
    /// Until a learner has caught up.
    pub catch_up: Duration,
}

impl Default for GrowDeadlines {
    fn default() -> Self {
        let minutes = |count: u64| Duration::from_secs(count * 60);
        GrowDeadlines { healthy: minutes(2), appear: minutes(60), catch_up: minutes(60) }
    }
}

/// Growing that cannot go on. Run it again when the cause is gone.
#[derive(Debug, thiserror::Error)]
pub enum GrowError {
    /// The cluster cannot be talked to.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A wanted member makes no sense.
    #[error("member {name}: {reason}")]
    Wanted {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// Somebody else is adding a member.
    #[error(
        "member {member} is a learner that was not asked for: promote it (`etcdctl member \
         promote`) or remove it first"
    )]
    OtherLearner {
        /// Name or id.
        member: String,
    },
    /// The cluster is not healthy.
    #[error(
        "the cluster is not healthy after {seconds} s: {reason}; nothing was changed since, run \
         it again when it is"
    )]
    Unhealthy {
        /// How long it was waited for.
        seconds: u64,
        /// What is wrong.
        reason: String,
    },
    /// The member could not be started.
    #[error("member {name} could not be started: {source}; it is added as a learner, run it again")]
    Start {
        /// Its name.
        name: String,
        /// Why.
        source: StartError,
    },
    /// Something took too long.
    #[error(
        "member {name} did not {what} within {seconds} s ({last}); it has no vote and harms \
         nothing, run it again"
    )]
    Late {
        /// Its name.
        name: String,
        /// What was waited for.
        what: &'static str,
        /// How long.
        seconds: u64,
        /// What was seen last.
        last: String,
    },
    /// Members hold different data.
    #[error(
        "members hold different data at revision {revision}: {hashes}; stop here and do not use \
         the member that differs"
    )]
    HashDiffers {
        /// The revision compared at.
        revision: i64,
        /// Each member's hash.
        hashes: String,
    },
}

/// Looks at the cluster and plans.
///
/// # Errors
/// The cluster cannot be reached, or the wish makes no sense.
pub async fn plan(request: &GrowRequest) -> Result<GrowPlan, GrowError> {
    let client = Client::connect(request.client.clone()).await?;
    GrowPlan::make(&members(&client).await?, &request.members)
}

/// Grows the cluster as planned now, telling `tell` what happens.
///
/// # Errors
/// See [`GrowError`].
pub async fn grow<S: Starter>(
    request: &GrowRequest,
    starter: &mut S,
    tell: &mut (dyn FnMut(GrowEvent) + Send),
) -> Result<GrowReport, GrowError> {
    let client = Client::connect(request.client.clone()).await?;
    let plan = GrowPlan::make(&members(&client).await?, &request.members)?;
    let mut work = Grow { request, client, starter, tell };
    let mut joined_ms = Vec::new();
    for step in plan.steps.iter().filter(|step| step.stage != Stage::Voter) {
        let began = Instant::now();
        work.join(&step.member).await?;
        let elapsed = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        joined_ms.push((step.member.name.clone(), elapsed));
    }
    let hash = work.agree().await?;
    let members = members(&work.client).await?.iter().map(plan::shown).collect();
    Ok(GrowReport { members, joined_ms, hash })
}

struct Grow<'a, S> {
    request: &'a GrowRequest,
    client: Client,
    starter: &'a mut S,
    tell: &'a mut (dyn FnMut(GrowEvent) + Send),
}

impl<S: Starter> Grow<'_, S> {
    async fn join(&mut self, wanted: &NewMember) -> Result<(), GrowError> {
        self.wait_healthy().await?;
        let (member, all) = self.ensure_added(wanted).await?;
        if member.name.is_empty() {
            let start = MemberStart::of(wanted, member.id, &all);
            let started = self.starter.start(&start).await;
            started.map_err(|source| GrowError::Start { name: wanted.name.clone(), source })?;
            (self.tell)(GrowEvent::Started { name: wanted.name.clone() });
        }
        self.wait_appeared(wanted).await?;
        self.promote(wanted, member.id).await?;
        self.agree().await.map(|_| ())
    }

    /// The member as the cluster knows it, added now if it was not, and all members.
    async fn ensure_added(
        &mut self,
        wanted: &NewMember,
    ) -> Result<(Member, Vec<Member>), GrowError> {
        let end = Instant::now() + self.request.deadlines.healthy;
        loop {
            let all = members(&self.client).await?;
            if let Some(found) = all.iter().find(|member| plan::is_same(member, wanted)) {
                return Ok((found.clone(), all));
            }
            let add = MemberAddRequest { peer_urls: wanted.peer_urls.clone(), is_learner: true };
            let answer = self.client.cluster().member_add(add).await;
            match self.client.check("MemberAdd", answer) {
                Ok(answer) => {
                    let id = answer.member.map_or(0, |member| member.id);
                    let (name, id) = (wanted.name.clone(), ids::hex(id));
                    (self.tell)(GrowEvent::Added { name, id });
                }
                // It may have been added all the same: the list tells.
                Err(error) if can_pass(&error) && Instant::now() < end => {
                    tracing::debug!(%error, "adding again");
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn wait_appeared(&mut self, wanted: &NewMember) -> Result<(), GrowError> {
        let end = Instant::now() + self.request.deadlines.appear;
        loop {
            let last = match members(&self.client).await {
                Ok(all) => {
                    let found = all.into_iter().find(|member| plan::is_same(member, wanted));
                    if found.as_ref().is_some_and(|member| !member.name.is_empty()) {
                        (self.tell)(GrowEvent::Appeared { name: wanted.name.clone() });
                        return Ok(());
                    }
                    "it has not told its name yet".to_owned()
                }
                Err(error) => error.to_string(),
            };
            if let Err(source) = self.starter.check(&wanted.name).await {
                return Err(GrowError::Start { name: wanted.name.clone(), source });
            }
            if Instant::now() >= end {
                let seconds = self.request.deadlines.appear.as_secs();
                let name = wanted.name.clone();
                return Err(GrowError::Late { name, what: "appear", seconds, last });
            }
            sleep(PAUSE).await;
        }
    }

    async fn promote(&mut self, wanted: &NewMember, id: u64) -> Result<(), GrowError> {
        let end = Instant::now() + self.request.deadlines.catch_up;
        let mut told = 0;
        loop {
            let answer = self.client.cluster().member_promote(MemberPromoteRequest { id }).await;
            let last = match self.client.check("MemberPromote", answer) {
                Ok(_) => break,
                // Promoted by an earlier try whose answer was lost.
                Err(error)
                    if error.to_string().contains("can only promote a learner member ")
                        && self.is_voter(id).await? =>
                {
                    break;
                }
                Err(error) if can_pass(&error) => error.to_string(),
                Err(error) => return Err(error.into()),
            };
            if let Some((applied, of)) = self.progress(id).await
                && applied > told
            {
                told = applied;
                (self.tell)(GrowEvent::CatchingUp { name: wanted.name.clone(), applied, of });
            }
            if Instant::now() >= end {
                let seconds = self.request.deadlines.catch_up.as_secs();
                let name = wanted.name.clone();
                return Err(GrowError::Late { name, what: "catch up", seconds, last });
            }
            sleep(PAUSE).await;
        }
        (self.tell)(GrowEvent::Promoted { name: wanted.name.clone() });
        Ok(())
    }

    async fn is_voter(&self, id: u64) -> Result<bool, GrowError> {
        let all = members(&self.client).await?;
        Ok(all.iter().any(|member| member.id == id && !member.is_learner))
    }

    /// Applied index of a learner and of the member that we ask.
    async fn progress(&self, id: u64) -> Option<(u64, u64)> {
        let all = members(&self.client).await.ok()?;
        let learner = all.iter().find(|member| member.id == id)?;
        let reached = health::reach(&self.request.client, learner, &self.request.members).ok()?;
        let learner = reached.member().status().await.ok()?.raft_applied_index;
        let ours = self.client.members().first()?.status().await.ok()?.raft_applied_index;
        Some((learner, ours))
    }

    async fn wait_healthy(&mut self) -> Result<Vec<Reached>, GrowError> {
        let deadline = self.request.deadlines.healthy;
        let end = Instant::now() + deadline;
        loop {
            let looked = match members(&self.client).await {
                Ok(all) => health::look(&self.request.client, &all, &self.request.members).await,
                Err(error) => Err(error.to_string()),
            };
            match looked {
                Ok(reached) => return Ok(reached),
                Err(reason) if Instant::now() >= end => {
                    return Err(GrowError::Unhealthy { seconds: deadline.as_secs(), reason });
                }
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Waits until all voters answer, then compares their data.
    async fn agree(&mut self) -> Result<EqualHash, GrowError> {
        let deadline = self.request.deadlines.healthy;
        let end = Instant::now() + deadline;
        loop {
            let reached = self.wait_healthy().await?;
            match health::compare(&reached).await? {
                Ok(hash) => {
                    (self.tell)(GrowEvent::Agreed { hash: hash.clone() });
                    return Ok(hash);
                }
                Err(reason) if Instant::now() >= end => {
                    return Err(GrowError::Unhealthy { seconds: deadline.as_secs(), reason });
                }
                Err(_) => sleep(PAUSE).await,
            }
        }
    }
}

async fn members(client: &Client) -> Result<Vec<Member>, ClientError> {
    let answer = client.cluster().member_list(MemberListRequest { linearizable: true }).await;
    Ok(client.check("MemberList", answer)?.members)
}

/// Whether time can heal it: etcd's words for "not now".
fn can_pass(error: &ClientError) -> bool {
    let text = error.to_string();
    error.is_temporary()
        || [
            "in sync with leader",
            "unhealthy cluster",
            "not enough started members",
            "leader changed",
            "no leader",
            "re-configuration",
        ]
        .iter()
        .any(|words| text.contains(words))
}
