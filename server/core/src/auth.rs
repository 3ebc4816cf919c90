//! Users, roles and what they may do.
//!
//! A pure state machine. Changes of users and roles are entries of the raft log: [`Auth::apply`]
//! gives the answer and what is to be stored, so that the buckets `auth`, `authUsers` and
//! `authRoles` hold the bytes that upstream's would. Every change raises the auth revision; a
//! request that was allowed at an earlier one is refused when it is applied, and asked again by its
//! client.
//!
//! What must hold:
//! - all members come to the same state from the same entries: no clock, no chance;
//! - a user's merged ranges ([`spans`]) are those of the roles as they are now: each change drops
//!   the merged ranges of all users whom it concerns;
//! - passwords and their hashes are never shown, and wiped when they are dropped.
//!
//! How a server uses it:
//! - who asks: the token in the metadata ([`token::METADATA`]), a simple one looked up when its
//!   index is applied, or a signed one; else the client certificate
//!   ([`Auth::certificate_identity`]); else nobody. While authentication is off nobody is asked for
//!   a token, and everybody is nobody.
//! - a read outside of the log: [`Auth::check_range`] or [`Auth::check_txn`], the read, then
//!   [`Auth::check_fresh`];
//! - an entry: user and auth revision travel in its header and are its [`Identity`] at apply.
//!   [`Auth::apply`] does those of users and roles. For others upstream asks first the alarms, then
//!   [`Auth::check_operation`], then the quota;
//! - a login: [`Auth::login_check`], the entry without the password, the token at apply.

mod apply;
mod check;
mod der;
mod error;
pub mod jwt;
pub mod options;
pub mod password;
mod roles;
mod spans;
pub mod token;
mod users;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use holdfast_api::authpb;
use prost::Message;
use zeroize::{Zeroize, Zeroizing};

use crate::buckets::{AUTH, AUTH_ROLES, AUTH_USERS};
use crate::change::BucketChange;
pub use apply::{Answer, Applied, LoggedOut};
pub use check::Access;
pub use error::{AuthError, RestoreError};
use spans::Spans;

/// The user whom every cluster with authentication has.
pub const ROOT_USER: &str = "root";
/// The role that may do everything.
pub const ROOT_ROLE: &str = "root";
/// Key of the bucket `auth`: one byte, 1 if authentication is on.
const ENABLED_KEY: &[u8] = b"authEnabled";
/// Key of the bucket `auth`: the auth revision, 8 bytes big-endian.
const REVISION_KEY: &[u8] = b"authRevision";

/// Users, roles, and whether they matter.
#[derive(Debug)]
pub struct Auth {
    enabled: bool,
    revision: u64,
    users: BTreeMap<String, User>,
    roles: BTreeMap<String, Role>,
}

/// Who asks, and the auth revision at which that was found out. The default is nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user's name.
    pub user: String,
    /// The auth revision; 0 for nobody.
    pub revision: u64,
}

/// A user.
#[derive(Default)]
struct User {
    /// A bcrypt hash; empty without a password.
    password_hash: Zeroizing<Vec<u8>>,
    /// Sorted.
    roles: Vec<String>,
    options: Option<authpb::UserAddOptions>,
    /// What its roles open together, merged when it is first asked for.
    merged: OnceLock<Merged>,
}

/// A role's permissions in the order in which they are stored: by key.
#[derive(Debug, Default)]
struct Role {
    permissions: Vec<authpb::Permission>,
}

#[derive(Debug)]
struct Merged {
    read: Spans,
    write: Spans,
}

impl Auth {
    /// Reads the buckets `auth`, `authUsers` and `authRoles`. Also gives what a new database must
    /// be given: an auth revision of 1.
    ///
    /// # Errors
    /// An entry that cannot be read.
    pub fn restore<'a, E>(
        auth: E,
        users: E,
        roles: E,
    ) -> Result<(Self, Vec<BucketChange>), RestoreError>
    where
        E: IntoIterator<Item = (&'a [u8], &'a [u8])>,
    {
        let mut out =
            Auth { enabled: false, revision: 0, users: BTreeMap::new(), roles: BTreeMap::new() };
        for (key, value) in auth {
            match key {
                ENABLED_KEY => out.enabled = value == [1],
                REVISION_KEY => out.revision = revision_from(value)?,
                _ => {}
            }
        }
        for (key, value) in users {
            let stored = authpb::User::decode(value)
                .map_err(|source| RestoreError::damaged(AUTH_USERS, key, source))?;
            let name = name_of(AUTH_USERS, key, &stored.name)?;
            out.users.insert(name, User::from_stored(stored));
        }
        for (key, value) in roles {
            let stored = authpb::Role::decode(value)
                .map_err(|source| RestoreError::damaged(AUTH_ROLES, key, source))?;
            let name = name_of(AUTH_ROLES, key, &stored.name)?;
            out.roles.insert(name, Role { permissions: stored.key_permission });
        }
        let changes = if out.revision == 0 { vec![out.next_revision()] } else { Vec::new() };
        Ok((out, changes))
    }

    /// A new cluster's: no users, no roles, off, revision 1.
    pub fn new() -> (Self, Vec<BucketChange>) {
        let mut out =
            Auth { enabled: false, revision: 0, users: BTreeMap::new(), roles: BTreeMap::new() };
        let change = out.next_revision();
        (out, vec![change])
    }

    /// Whether authentication is on.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The auth revision.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Who a client certificate speaks for: its common name, whether or not there is such a user.
    /// To be asked only with `--client-cert-auth`, if the request carried no token, and never for
    /// requests of the JSON gateway (those that carry the metadata `grpcgateway-accept`), since
    /// the certificate is the gateway's.
    pub fn certificate_identity(&self, common_name: &str) -> Identity {
        Identity { user: common_name.to_owned(), revision: self.revision }
    }

    /// Whom a simple token speaks for: its user, as of now.
    pub fn token_identity(&self, user: &str) -> Identity {
        Identity { user: user.to_owned(), revision: self.revision }
    }

    /// In whose name the server itself proposes, such as the revocation of a lease that ran out:
    /// root, or nobody while authentication is off.
    pub fn server_identity(&self) -> Identity {
        match self.enabled {
            true => Identity { user: ROOT_USER.to_owned(), revision: self.revision },
            false => Identity::default(),
        }
    }

    /// Raises the revision.
    fn next_revision(&mut self) -> BucketChange {
        self.revision += 1;
        BucketChange::put(AUTH, REVISION_KEY, self.revision.to_be_bytes())
    }

    fn store_enabled(&self) -> BucketChange {
        BucketChange::put(AUTH, ENABLED_KEY, [u8::from(self.enabled)])
    }

    fn store_user(&self, name: &str) -> Option<BucketChange> {
        let user = self.users.get(name)?;
        let mut stored = authpb::User {
            name: name.as_bytes().to_vec(),
            password: user.password_hash.to_vec(),
            roles: user.roles.clone(),
            options: user.options,
        };
        let value = stored.encode_to_vec();
        stored.password.zeroize();
        Some(BucketChange::put(AUTH_USERS, name, value))
    }

    fn store_role(&self, name: &str) -> Option<BucketChange> {
        let key_permission = self.roles.get(name)?.permissions.clone();
        let stored = authpb::Role { name: name.as_bytes().to_vec(), key_permission };
        Some(BucketChange::put(AUTH_ROLES, name, stored.encode_to_vec()))
    }
}

impl User {
    fn from_stored(stored: authpb::User) -> Self {
        User {
            password_hash: Zeroizing::new(stored.password),
            roles: stored.roles,
            options: stored.options,
            merged: OnceLock::new(),
        }
    }

    fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|own| own == role)
    }

    fn has_no_password(&self) -> bool {
        self.options.is_some_and(|options| options.no_password)
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("roles", &self.roles).finish_non_exhaustive()
    }
}

/// The name in an entry, which must be the key that it lies under.
fn name_of(bucket: &[u8], key: &[u8], name: &[u8]) -> Result<String, RestoreError> {
    match std::str::from_utf8(name) {
        Ok(text) if name == key => Ok(text.to_owned()),
        _ => Err(RestoreError::misplaced(bucket, key)),
    }
}

fn revision_from(value: &[u8]) -> Result<u64, RestoreError> {
    let bytes: Result<[u8; 8], _> = value.try_into();
    bytes.map(u64::from_be_bytes).map_err(|_| RestoreError::Revision { len: value.len() })
}

#[cfg(test)]
mod tests;
