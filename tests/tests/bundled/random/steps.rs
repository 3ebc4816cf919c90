//! What a sequence is made of: a call, and who makes it.
//!
//! Revisions in a step are numbers or relative to the store's revision at its turn ([`since`]), so
//! that a sequence means the same when others of its steps are left out.

use holdfast_api::authpb::Permission;
use holdfast_api::etcdserverpb::compare::TargetUnion;
use holdfast_api::etcdserverpb::request_op::Request;
use holdfast_api::etcdserverpb::{
    AlarmRequest, AuthUserAddRequest, AuthUserChangePasswordRequest, CompactionRequest, Compare,
    DeleteRangeRequest, DowngradeRequest, LeaseGrantRequest, LeaseTimeToLiveRequest, PutRequest,
    RangeRequest, RequestOp, TxnRequest, WatchCreateRequest,
};
use holdfast_api::v3electionpb::{CampaignRequest, LeaderKey};
use holdfast_api::v3lockpb::LockRequest;

/// Revisions about here are relative.
const RELATIVE: i64 = 1 << 40;
/// How far from it they may be.
const REACH: i64 = 1 << 20;
/// A leader's revision that stands for that of the last campaign.
pub const LAST_CAMPAIGN: i64 = RELATIVE * 2;
/// A member that stands for the one that is asked.
pub const OWN_MEMBER: u64 = 1;

/// The revision so far from the current one, or the first.
pub fn since(distance: i64) -> i64 {
    RELATIVE + distance
}

/// Who makes a call: users by their logins, somebody without one, and one whose token is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Nobody,
    User(&'static str),
    Impostor,
}

#[derive(Debug, Clone)]
pub struct Step {
    pub who: Who,
    pub call: Call,
}

/// Users and roles.
#[derive(Clone)]
pub enum Account {
    Enable,
    Disable,
    Status,
    Login(&'static str, &'static str),
    UserAdd(AuthUserAddRequest),
    UserGet(&'static str),
    UserList,
    UserDelete(&'static str),
    UserChange(AuthUserChangePasswordRequest),
    UserGrant(&'static str, &'static str),
    UserRevoke(&'static str, &'static str),
    RoleAdd(&'static str),
    RoleGet(&'static str),
    RoleList,
    RoleDelete(&'static str),
    RoleGrant(&'static str, Option<Permission>),
    RoleRevoke(&'static str, Vec<u8>, Vec<u8>),
}

/// Locks and elections; none of them waits for another.
#[derive(Debug, Clone)]
pub enum Contest {
    Lock(LockRequest),
    Unlock(Vec<u8>),
    Campaign(CampaignRequest),
    Proclaim(Option<LeaderKey>, Vec<u8>),
    Leader(Vec<u8>),
    Resign(Option<LeaderKey>),
}

#[derive(Debug, Clone)]
pub enum Call {
    Range(RangeRequest),
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(CompactionRequest),
    Grant(LeaseGrantRequest),
    /// Granted and revoked at once: the server's own id, or one that would soon run out.
    GrantBriefly(LeaseGrantRequest),
    Revoke(i64),
    TimeToLive(LeaseTimeToLiveRequest),
    Leases,
    KeepAlive(Vec<i64>),
    Watch(usize, WatchCreateRequest),
    Cancel(usize, i64),
    Account(Account),
    Contest(Contest),
    Members(bool),
    RemoveMember(u64),
    PromoteMember(u64),
    AddMember(Vec<String>),
    UpdateMember(u64, Vec<String>),
    Alarm(AlarmRequest),
    Status,
    Hash,
    HashKv(i64),
    Defragment,
    MoveLeader(u64),
    Downgrade(DowngradeRequest),
}

/// The passwords are the generator's own, and a sequence that fails is told whole.
impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use Account::*;
        match self {
            Enable => f.write_str("Enable"),
            Disable => f.write_str("Disable"),
            Status => f.write_str("Status"),
            Login(user, password) => write!(f, "Login({user:?}, {password:?})"),
            UserAdd(add) => write!(
                f,
                "UserAdd({:?}, {:?}, hashed {:?}, {:?})",
                add.name, add.password, add.hashed_password, add.options
            ),
            UserGet(user) => write!(f, "UserGet({user:?})"),
            UserList => f.write_str("UserList"),
            UserDelete(user) => write!(f, "UserDelete({user:?})"),
            UserChange(change) => write!(
                f,
                "UserChange({:?}, {:?}, hashed {:?})",
                change.name, change.password, change.hashed_password
            ),
            UserGrant(user, role) => write!(f, "UserGrant({user:?}, {role:?})"),
            UserRevoke(user, role) => write!(f, "UserRevoke({user:?}, {role:?})"),
            RoleAdd(role) => write!(f, "RoleAdd({role:?})"),
            RoleGet(role) => write!(f, "RoleGet({role:?})"),
            RoleList => f.write_str("RoleList"),
            RoleDelete(role) => write!(f, "RoleDelete({role:?})"),
            RoleGrant(role, permission) => write!(f, "RoleGrant({role:?}, {permission:?})"),
            RoleRevoke(role, key, end) => write!(f, "RoleRevoke({role:?}, {key:?}, {end:?})"),
        }
    }
}

/// What relative numbers stand for at a step's turn.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The store's revision.
    pub revision: i64,
    /// The create revision that the last campaign told.
    pub campaign: i64,
}

impl Now {
    fn fix(self, revision: &mut i64) {
        if (RELATIVE - REACH..=RELATIVE + REACH).contains(revision) {
            *revision = (*revision + self.revision - RELATIVE).max(1);
        }
    }

    fn range(self, range: &mut RangeRequest) {
        for revision in [
            &mut range.revision,
            &mut range.min_mod_revision,
            &mut range.max_mod_revision,
            &mut range.min_create_revision,
            &mut range.max_create_revision,
        ] {
            self.fix(revision);
        }
    }

    fn compare(self, compare: &mut Compare) {
        if let Some(TargetUnion::CreateRevision(number) | TargetUnion::ModRevision(number)) =
            &mut compare.target_union
        {
            self.fix(number);
        }
    }

    fn txn(self, txn: &mut TxnRequest) {
        txn.compare.iter_mut().for_each(|compare| self.compare(compare));
        for RequestOp { request } in txn.success.iter_mut().chain(&mut txn.failure) {
            match request {
                Some(Request::RequestRange(range)) => self.range(range),
                Some(Request::RequestTxn(nested)) => self.txn(nested),
                _ => {}
            }
        }
    }

    /// The call with plain numbers.
    pub fn resolve(self, call: &Call) -> Call {
        let mut call = call.clone();
        match &mut call {
            Call::Range(range) => self.range(range),
            Call::Txn(txn) => self.txn(txn),
            Call::Compact(compact) => self.fix(&mut compact.revision),
            Call::Watch(_, create) => self.fix(&mut create.start_revision),
            Call::HashKv(revision) => self.fix(revision),
            Call::Contest(Contest::Proclaim(Some(key), _) | Contest::Resign(Some(key)))
                if key.rev == LAST_CAMPAIGN =>
            {
                key.rev = self.campaign;
            }
            _ => {}
        }
        call
    }
}
