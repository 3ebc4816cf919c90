//! Answers and refusals as text.

use holdfast_api::etcdserverpb as pb;
use tonic::Status;

/// What the answers have in common.
pub trait Answer: std::fmt::Debug {
    fn header(&self) -> Option<&pb::ResponseHeader>;
}

macro_rules! answers {
    ($($message:path),* $(,)?) => {
        $(impl Answer for $message {
            fn header(&self) -> Option<&pb::ResponseHeader> {
                self.header.as_ref()
            }
        })*
    };
}

answers!(
    pb::RangeResponse,
    pb::PutResponse,
    pb::DeleteRangeResponse,
    pb::TxnResponse,
    pb::CompactionResponse,
    pb::LeaseGrantResponse,
    pb::LeaseRevokeResponse,
    pb::LeaseTimeToLiveResponse,
    pb::LeaseLeasesResponse,
    pb::LeaseKeepAliveResponse,
    pb::MemberListResponse,
    pb::MemberRemoveResponse,
    pb::MemberPromoteResponse,
    pb::MemberAddResponse,
    pb::MemberUpdateResponse,
    pb::AlarmResponse,
    pb::StatusResponse,
    pb::HashResponse,
    pb::HashKvResponse,
    pb::DefragmentResponse,
    pb::MoveLeaderResponse,
    pb::DowngradeResponse,
    pb::AuthEnableResponse,
    pb::AuthDisableResponse,
    pb::AuthStatusResponse,
    pb::AuthenticateResponse,
    pb::AuthUserAddResponse,
    pb::AuthUserGetResponse,
    pb::AuthUserListResponse,
    pb::AuthUserDeleteResponse,
    pb::AuthUserChangePasswordResponse,
    pb::AuthUserGrantRoleResponse,
    pb::AuthUserRevokeRoleResponse,
    pb::AuthRoleAddResponse,
    pb::AuthRoleGetResponse,
    pb::AuthRoleListResponse,
    pb::AuthRoleDeleteResponse,
    pb::AuthRoleGrantPermissionResponse,
    pb::AuthRoleRevokePermissionResponse,
    holdfast_api::v3lockpb::LockResponse,
    holdfast_api::v3lockpb::UnlockResponse,
    holdfast_api::v3electionpb::CampaignResponse,
    holdfast_api::v3electionpb::ProclaimResponse,
    holdfast_api::v3electionpb::LeaderResponse,
    holdfast_api::v3electionpb::ResignResponse,
);

/// What a refusal begins with.
const REFUSED: &str = "refused: ";

/// A refusal as text.
pub fn told(status: &Status) -> String {
    let details = String::from_utf8_lossy(status.details()).into_owned();
    format!("{REFUSED}{:?}: {:?} {details:?}", status.code(), status.message())
}

/// Whether an answer's text is a refusal.
pub fn is_refusal(text: &str) -> bool {
    text.starts_with(REFUSED)
}
