//! Every way in which the server refuses, with upstream's code and text.
//!
//! Must hold: Go's client tells errors apart by their text, so each is upstream's to the letter; a
//! test compares the table with a running etcd where it can be provoked. Order and codes are those
//! of etcd 3.6's table of RPC errors.

use tonic::{Code, Status};

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the text of each says it")]
pub enum Refusal {
    EmptyKey,
    KeyNotFound,
    ValueProvided,
    LeaseProvided,
    TooManyOps,
    DuplicateKey,
    InvalidClientAPIVersion,
    InvalidSortOption,
    Compacted,
    FutureRev,
    NoSpace,
    LeaseNotFound,
    LeaseExist,
    LeaseTTLTooLarge,
    WatchCanceled,
    MemberExist,
    PeerURLExist,
    MemberNotEnoughStarted,
    MemberBadURLs,
    MemberNotFound,
    MemberNotLearner,
    LearnerNotReady,
    TooManyLearners,
    ClusterIDMismatch,
    RequestTooLarge,
    RequestTooManyRequests,
    RootUserNotExist,
    RootRoleNotExist,
    UserAlreadyExist,
    UserEmpty,
    UserNotFound,
    RoleAlreadyExist,
    RoleNotFound,
    RoleEmpty,
    AuthFailed,
    PermissionNotGiven,
    PermissionDenied,
    RoleNotGranted,
    PermissionNotGranted,
    AuthNotEnabled,
    InvalidAuthToken,
    InvalidAuthMgmt,
    AuthOldRevision,
    NoLeader,
    NotLeader,
    LeaderChanged,
    NotCapable,
    Stopped,
    Timeout,
    TimeoutDueToLeaderFail,
    TimeoutDueToConnectionLost,
    TimeoutWaitAppliedIndex,
    Unhealthy,
    Corrupt,
    NotSupportedForLearner,
    BadLeaderTransferee,
    WrongDowngradeVersionFormat,
    InvalidDowngradeTargetVersion,
    ClusterVersionUnavailable,
    DowngradeInProcess,
    NoInflightDowngrade,
    Canceled,
    DeadlineExceeded,
    /// What has no name: code `Unknown` and this text.
    Other(String),
}

/// Refusal, code, text.
const TABLE: [(Refusal, Code, &str); 63] = [
    (Refusal::EmptyKey, Code::InvalidArgument, "etcdserver: key is not provided"),
    (Refusal::KeyNotFound, Code::InvalidArgument, "etcdserver: key not found"),
    (Refusal::ValueProvided, Code::InvalidArgument, "etcdserver: value is provided"),
    (Refusal::LeaseProvided, Code::InvalidArgument, "etcdserver: lease is provided"),
    (Refusal::TooManyOps, Code::InvalidArgument, "etcdserver: too many operations in txn request"),
    (
        Refusal::DuplicateKey,
        Code::InvalidArgument,
        "etcdserver: duplicate key given in txn request",
    ),
    (
        Refusal::InvalidClientAPIVersion,
        Code::InvalidArgument,
        "etcdserver: invalid client api version",
    ),
    (Refusal::InvalidSortOption, Code::InvalidArgument, "etcdserver: invalid sort option"),
    (
        Refusal::Compacted,
        Code::OutOfRange,
        "etcdserver: mvcc: required revision has been compacted",
    ),
    (
        Refusal::FutureRev,
        Code::OutOfRange,
        "etcdserver: mvcc: required revision is a future revision",
    ),
    (Refusal::NoSpace, Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
    (Refusal::LeaseNotFound, Code::NotFound, "etcdserver: requested lease not found"),
    (Refusal::LeaseExist, Code::FailedPrecondition, "etcdserver: lease already exists"),
    (Refusal::LeaseTTLTooLarge, Code::OutOfRange, "etcdserver: too large lease TTL"),
    (Refusal::WatchCanceled, Code::Cancelled, "etcdserver: watch canceled"),
    (Refusal::MemberExist, Code::FailedPrecondition, "etcdserver: member ID already exist"),
    (Refusal::PeerURLExist, Code::FailedPrecondition, "etcdserver: Peer URLs already exists"),
    // Upstream's server gives this one its client's form, which has no code.
    (
        Refusal::MemberNotEnoughStarted,
        Code::Unknown,
        "etcdserver: re-configuration failed due to not enough started members",
    ),
    (Refusal::MemberBadURLs, Code::InvalidArgument, "etcdserver: given member URLs are invalid"),
    (Refusal::MemberNotFound, Code::NotFound, "etcdserver: member not found"),
    (
        Refusal::MemberNotLearner,
        Code::FailedPrecondition,
        "etcdserver: can only promote a learner member",
    ),
    (
        Refusal::LearnerNotReady,
        Code::FailedPrecondition,
        "etcdserver: can only promote a learner member which is in sync with leader",
    ),
    (
        Refusal::TooManyLearners,
        Code::FailedPrecondition,
        "etcdserver: too many learner members in cluster",
    ),
    (Refusal::ClusterIDMismatch, Code::FailedPrecondition, "etcdserver: cluster ID mismatch"),
    (Refusal::RequestTooLarge, Code::InvalidArgument, "etcdserver: request is too large"),
    (Refusal::RequestTooManyRequests, Code::ResourceExhausted, "etcdserver: too many requests"),
    (Refusal::RootUserNotExist, Code::FailedPrecondition, "etcdserver: root user does not exist"),
    (
        Refusal::RootRoleNotExist,
        Code::FailedPrecondition,
        "etcdserver: root user does not have root role",
    ),
    (Refusal::UserAlreadyExist, Code::FailedPrecondition, "etcdserver: user name already exists"),
    (Refusal::UserEmpty, Code::InvalidArgument, "etcdserver: user name is empty"),
    (Refusal::UserNotFound, Code::FailedPrecondition, "etcdserver: user name not found"),
    (Refusal::RoleAlreadyExist, Code::FailedPrecondition, "etcdserver: role name already exists"),
    (Refusal::RoleNotFound, Code::FailedPrecondition, "etcdserver: role name not found"),
    (Refusal::RoleEmpty, Code::InvalidArgument, "etcdserver: role name is empty"),
    (
        Refusal::AuthFailed,
        Code::InvalidArgument,
        "etcdserver: authentication failed, invalid user ID or password",
    ),
    (Refusal::PermissionNotGiven, Code::InvalidArgument, "etcdserver: permission not given"),
    (Refusal::PermissionDenied, Code::PermissionDenied, "etcdserver: permission denied"),
    (
        Refusal::RoleNotGranted,
        Code::FailedPrecondition,
        "etcdserver: role is not granted to the user",
    ),
    (
        Refusal::PermissionNotGranted,
        Code::FailedPrecondition,
        "etcdserver: permission is not granted to the role",
    ),
    (
        Refusal::AuthNotEnabled,
        Code::FailedPrecondition,
        "etcdserver: authentication is not enabled",
    ),
    (Refusal::InvalidAuthToken, Code::Unauthenticated, "etcdserver: invalid auth token"),
    (Refusal::InvalidAuthMgmt, Code::InvalidArgument, "etcdserver: invalid auth management"),
    (Refusal::AuthOldRevision, Code::InvalidArgument, "etcdserver: revision of auth store is old"),
    (Refusal::NoLeader, Code::Unavailable, "etcdserver: no leader"),
    (Refusal::NotLeader, Code::FailedPrecondition, "etcdserver: not leader"),
    (Refusal::LeaderChanged, Code::Unavailable, "etcdserver: leader changed"),
    (Refusal::NotCapable, Code::FailedPrecondition, "etcdserver: not capable"),
    (Refusal::Stopped, Code::Unavailable, "etcdserver: server stopped"),
    (Refusal::Timeout, Code::Unavailable, "etcdserver: request timed out"),
    (
        Refusal::TimeoutDueToLeaderFail,
        Code::Unavailable,
        "etcdserver: request timed out, possibly due to previous leader failure",
    ),
    (
        Refusal::TimeoutDueToConnectionLost,
        Code::Unavailable,
        "etcdserver: request timed out, possibly due to connection lost",
    ),
    (
        Refusal::TimeoutWaitAppliedIndex,
        Code::Unavailable,
        "etcdserver: request timed out, waiting for the applied index took too long",
    ),
    (Refusal::Unhealthy, Code::Unavailable, "etcdserver: unhealthy cluster"),
    (Refusal::Corrupt, Code::DataLoss, "etcdserver: corrupt cluster"),
    (
        Refusal::NotSupportedForLearner,
        Code::FailedPrecondition,
        "etcdserver: rpc not supported for learner",
    ),
    (Refusal::BadLeaderTransferee, Code::FailedPrecondition, "etcdserver: bad leader transferee"),
    (
        Refusal::WrongDowngradeVersionFormat,
        Code::InvalidArgument,
        "etcdserver: wrong downgrade target version format",
    ),
    (
        Refusal::InvalidDowngradeTargetVersion,
        Code::InvalidArgument,
        "etcdserver: invalid downgrade target version",
    ),
    (
        Refusal::ClusterVersionUnavailable,
        Code::FailedPrecondition,
        "etcdserver: cluster version not found during downgrade",
    ),
    (
        Refusal::DowngradeInProcess,
        Code::FailedPrecondition,
        "etcdserver: cluster has a downgrade job in progress",
    ),
    (
        Refusal::NoInflightDowngrade,
        Code::FailedPrecondition,
        "etcdserver: no inflight downgrade job",
    ),
    (Refusal::Canceled, Code::Cancelled, "etcdserver: request canceled"),
    (Refusal::DeadlineExceeded, Code::DeadlineExceeded, "etcdserver: context deadline exceeded"),
];

impl Refusal {
    /// Its code.
    pub fn code(&self) -> Code {
        TABLE.iter().find(|(known, _, _)| known == self).map_or(Code::Unknown, |(_, code, _)| *code)
    }

    /// Its text.
    pub fn text(&self) -> &str {
        match self {
            Refusal::Other(text) => text,
            _ => TABLE.iter().find(|(known, _, _)| known == self).map_or("", |(_, _, text)| text),
        }
    }

    /// All that have a name.
    pub fn all() -> impl Iterator<Item = &'static Refusal> {
        TABLE.iter().map(|(refusal, _, _)| refusal)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        Status::new(refusal.code(), refusal.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_refusal_has_a_code_and_a_text_of_its_own() {
        let texts: BTreeSet<&str> = Refusal::all().map(Refusal::text).collect();
        assert_eq!(texts.len(), TABLE.len());
        assert!(texts.iter().all(|text| text.starts_with("etcdserver: ")));
        assert_eq!(Refusal::Compacted.code(), Code::OutOfRange);
        assert_eq!(Status::from(Refusal::NoLeader).code(), Code::Unavailable);
        let other = Refusal::Other("disk".to_owned());
        assert_eq!((other.code(), other.to_string()), (Code::Unknown, "disk".to_owned()));
    }
}
