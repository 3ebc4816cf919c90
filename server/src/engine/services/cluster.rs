//! Cluster: the members, as they are and as they shall be.

use holdfast_api::etcdserverpb as pb;
use holdfast_api::etcdserverpb::cluster_server::Cluster;
use holdfast_core::auth::Identity;
use holdfast_core::ids;
use holdfast_core::membership::{Connections, Member, MemberRequest, ReconfigError};
use tonic::{Request, Response, Status};

use crate::config::MemberUrl;
use crate::engine::handle::Handle;
use crate::engine::locks::read;
use crate::engine::machine::status;
use crate::grpc::Refusal;

impl Handle {
    /// Members as clients see them.
    pub(in crate::engine) fn members(&self) -> Vec<pb::Member> {
        read(&self.inner.cluster).members().map(shown).collect()
    }

    /// Upstream's answers about members name no revision.
    fn bare_header(&self) -> pb::ResponseHeader {
        self.header_at(0)
    }

    pub(super) fn check_admin(&self, who: &Identity) -> Result<(), Status> {
        read(&self.inner.shared.auth).check_admin(who).map_err(status)
    }

    async fn change(&self, request: MemberRequest) -> Result<Vec<pb::Member>, Status> {
        self.check_change(&request)?;
        self.change_members(|id| request.to_conf_change(id)).await?;
        Ok(self.members())
    }
}

/// No peer is connected: members beside this one are not served yet.
struct Nobody;

impl Connections for Nobody {
    fn is_settled(&self, _: u64) -> bool {
        false
    }

    fn is_active(&self, _: u64) -> bool {
        false
    }
}

impl Handle {
    /// What upstream looks at before it proposes a change (`--strict-reconfig-check`).
    fn check_change(&self, request: &MemberRequest) -> Result<(), Status> {
        let (cluster, strict) = (read(&self.inner.cluster), self.inner.limits.strict_reconfig);
        let verdict = match request {
            // Strict or not: a learner that is not connected is not in sync.
            MemberRequest::Promote(id) if cluster.member(*id).is_some_and(|it| it.is_learner) => {
                return Err(Refusal::LearnerNotReady.into());
            }
            _ if !strict => Ok(()),
            MemberRequest::Promote(_) => cluster.may_promote(),
            MemberRequest::Add(member) => cluster.may_add(member, &Nobody),
            MemberRequest::Remove(id) => cluster.may_remove(*id, &Nobody),
            MemberRequest::Update(_) => Ok(()),
        };
        verdict.map_err(|error| match error {
            ReconfigError::NotEnoughStarted => Refusal::MemberNotEnoughStarted.into(),
            ReconfigError::Unhealthy => Refusal::Unhealthy.into(),
        })
    }
}

fn shown(member: &Member) -> pb::Member {
    pb::Member {
        id: member.id,
        name: member.name.clone(),
        peer_urls: member.peer_urls.clone(),
        client_urls: member.client_urls.clone(),
        is_learner: member.is_learner,
    }
}

/// As written, if each is one that a member can have.
fn sound(urls: Vec<String>) -> Result<Vec<String>, Status> {
    if urls.is_empty() || urls.iter().any(|url| MemberUrl::parse(url).is_err()) {
        return Err(Refusal::MemberBadURLs.into());
    }
    Ok(urls)
}

#[tonic::async_trait]
impl Cluster for Handle {
    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        // Before it is asked who wants it, as upstream does.
        let mut peer_urls = sound(request.get_ref().peer_urls.clone())?;
        peer_urls.sort_unstable();
        let who = self.identity(&request).await?;
        self.check_admin(&who)?;
        let request = request.into_inner();
        let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seconds = seconds.map_or(0, |since| since.as_secs());
        let id = ids::added_member_id(&peer_urls, &self.inner.token, seconds);
        let member = Member { id, peer_urls, is_learner: request.is_learner, ..Member::default() };
        let new = shown(&member);
        let members = self.change(MemberRequest::Add(member)).await?;
        let header = Some(self.bare_header());
        Ok(Response::new(pb::MemberAddResponse { header, member: Some(new), members }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let who = self.identity(&request).await?;
        self.check_admin(&who)?;
        let members = self.change(MemberRequest::Remove(request.into_inner().id)).await?;
        Ok(Response::new(pb::MemberRemoveResponse { header: Some(self.bare_header()), members }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let who = self.identity(&request).await?;
        self.check_admin(&who)?;
        let pb::MemberUpdateRequest { id, peer_urls } = request.into_inner();
        // Upstream takes any text here; a member without a sound URL is reached by nobody.
        let is_known = read(&self.inner.cluster).member(id).is_some();
        let peer_urls = if is_known { sound(peer_urls)? } else { peer_urls };
        let member = Member { id, peer_urls, ..Member::default() };
        let members = self.change(MemberRequest::Update(member)).await?;
        Ok(Response::new(pb::MemberUpdateResponse { header: Some(self.bare_header()), members }))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        let who = self.identity(&request).await?;
        read(&self.inner.shared.auth).check_somebody(&who).map_err(status)?;
        if request.into_inner().linearizable {
            self.catch_up().await?;
        }
        let (header, members) = (Some(self.bare_header()), self.members());
        Ok(Response::new(pb::MemberListResponse { header, members }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        let who = self.identity(&request).await?;
        self.check_admin(&who)?;
        let members = self.change(MemberRequest::Promote(request.into_inner().id)).await?;
        Ok(Response::new(pb::MemberPromoteResponse { header: Some(self.bare_header()), members }))
    }
}
