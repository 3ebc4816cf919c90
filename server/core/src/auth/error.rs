//! Why a request is refused, and how upstream says so on the wire.

/// A refusal. The text and the code are what clients see (api/v3rpc/rpctypes/error.go); clients
/// tell errors apart by their text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Authentication cannot be turned on.
    #[error("etcdserver: root user does not exist")]
    RootUserNotExist,
    /// Authentication cannot be turned on.
    #[error("etcdserver: root user does not have root role")]
    RootRoleNotExist,
    /// Such a user is there.
    #[error("etcdserver: user name already exists")]
    UserAlreadyExists,
    /// Nobody asks, or a user without a name is to be added.
    #[error("etcdserver: user name is empty")]
    UserEmpty,
    /// No such user.
    #[error("etcdserver: user name not found")]
    UserNotFound,
    /// Such a role is there.
    #[error("etcdserver: role name already exists")]
    RoleAlreadyExists,
    /// No such role.
    #[error("etcdserver: role name not found")]
    RoleNotFound,
    /// A role without a name is to be added.
    #[error("etcdserver: role name is empty")]
    RoleEmpty,
    /// Wrong name or password.
    #[error("etcdserver: authentication failed, invalid user ID or password")]
    AuthFailed,
    /// A grant without a permission.
    #[error("etcdserver: permission not given")]
    PermissionNotGiven,
    /// The user may not.
    #[error("etcdserver: permission denied")]
    PermissionDenied,
    /// The user has no such role.
    #[error("etcdserver: role is not granted to the user")]
    RoleNotGranted,
    /// The role has no such permission.
    #[error("etcdserver: permission is not granted to the role")]
    PermissionNotGranted,
    /// A login while authentication is off.
    #[error("etcdserver: authentication is not enabled")]
    NotEnabled,
    /// A token that nobody was given, or that ran out.
    #[error("etcdserver: invalid auth token")]
    InvalidToken,
    /// What would lock everybody out, or a range that is none.
    #[error("etcdserver: invalid auth management")]
    InvalidManagement,
    /// Users or roles have changed since the request was allowed.
    #[error("etcdserver: revision of auth store is old")]
    OldRevision,
    /// A login by password of a user who has none; also a hash that is no base64. Upstream has no
    /// code for it.
    #[error("auth: authentication failed, password was given for no password user")]
    NoPasswordUser,
    /// Only a public key is configured. Upstream has no code for it.
    #[error("auth: token signing attempted with verify-only key")]
    VerifyOnly,
    /// Upstream's bcrypt takes no more. It has no code for it.
    #[error("bcrypt: password length exceeds 72 bytes")]
    PasswordTooLong,
    /// The key that is configured does not sign. Upstream has no code for it.
    #[error("auth: the token could not be signed; check --auth-token's priv-key")]
    Signing,
}

impl AuthError {
    /// The gRPC status code, as a number of the wire.
    pub fn code(self) -> i32 {
        use AuthError as E;
        match self {
            E::NoPasswordUser | E::VerifyOnly | E::PasswordTooLong | E::Signing => 2,
            E::UserEmpty
            | E::RoleEmpty
            | E::AuthFailed
            | E::PermissionNotGiven
            | E::InvalidManagement
            | E::OldRevision => 3,
            E::PermissionDenied => 7,
            E::RootUserNotExist
            | E::RootRoleNotExist
            | E::UserAlreadyExists
            | E::UserNotFound
            | E::RoleAlreadyExists
            | E::RoleNotFound
            | E::RoleNotGranted
            | E::PermissionNotGranted
            | E::NotEnabled => 9,
            E::InvalidToken => 16,
        }
    }
}

/// An entry of the buckets of users and roles that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Not such a message.
    #[error("bucket {bucket}, entry {name}: {source}; restore the member from a snapshot")]
    Damaged {
        /// The bucket.
        bucket: String,
        /// The entry's key, printable.
        name: String,
        /// What is wrong.
        source: prost::DecodeError,
    },
    /// The entry has another name than the key it lies under, or one that is no text.
    #[error(
        "bucket {bucket}, entry {name}: holds another name; restore the member from a snapshot"
    )]
    Misplaced {
        /// The bucket.
        bucket: String,
        /// The entry's key, printable.
        name: String,
    },
    /// The auth revision has another length.
    #[error(
        "bucket auth, authRevision: {len} bytes instead of 8; restore the member from a snapshot"
    )]
    Revision {
        /// Bytes found.
        len: usize,
    },
}

impl RestoreError {
    pub(super) fn damaged(bucket: &[u8], key: &[u8], source: prost::DecodeError) -> Self {
        let (bucket, name) = (printable(bucket), printable(key));
        RestoreError::Damaged { bucket, name, source }
    }

    pub(super) fn misplaced(bucket: &[u8], key: &[u8]) -> Self {
        RestoreError::Misplaced { bucket: printable(bucket), name: printable(key) }
    }
}

fn printable(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
