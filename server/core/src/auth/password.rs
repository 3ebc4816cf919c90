//! Passwords: hashed before they are proposed, compared outside of every lock.
//!
//! A hash takes tens of milliseconds on purpose, so neither the apply thread nor a lock waits for
//! one. Hashes are written as Go's bcrypt writes them (`$2a$`).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bcrypt::Version;
use holdfast_api::etcdserverpb::{AuthUserAddRequest, AuthUserChangePasswordRequest};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::{Auth, AuthError};

/// Cost of a hash without `--bcrypt-cost`: 2^10 rounds.
pub const DEFAULT_COST: u32 = 10;
/// Costs that bcrypt knows.
const COSTS: std::ops::RangeInclusive<u32> = 4..=31;
/// Longest password in bytes: bcrypt looks at no more.
const MAX_LEN: usize = 72;
/// Bytes of a salt.
pub const SALT_LEN: usize = 16;

/// The cost to use: that of `--bcrypt-cost`, or the default if that is none.
pub fn effective_cost(given: u32) -> u32 {
    if COSTS.contains(&given) { given } else { DEFAULT_COST }
}

/// Hashes a password.
///
/// # Errors
/// It is longer than 72 bytes.
pub fn hash(plain: &str, cost: u32, salt: [u8; SALT_LEN]) -> Result<Zeroizing<String>, AuthError> {
    if plain.len() > MAX_LEN {
        return Err(AuthError::PasswordTooLong);
    }
    let parts = bcrypt::hash_with_salt(plain, effective_cost(cost), salt);
    // The cost is one that it takes, and there is no other error.
    let parts = parts.map_err(|_| AuthError::PasswordTooLong)?;
    Ok(Zeroizing::new(parts.format_for_version(Version::TwoA)))
}

/// Makes a request to add a user fit for the log: the password becomes a hash. The salt is 16
/// random bytes.
///
/// # Errors
/// As [`hash`].
pub fn seal_user_add(
    request: &mut AuthUserAddRequest,
    cost: u32,
    salt: [u8; SALT_LEN],
) -> Result<(), AuthError> {
    if request.options.is_some_and(|options| options.no_password) {
        return Ok(());
    }
    request.hashed_password = sealed(&mut request.password, cost, salt)?;
    Ok(())
}

/// The same for a change of a password. An empty one passes as it is: the hash is the request's.
///
/// # Errors
/// As [`hash`].
pub fn seal_change(
    request: &mut AuthUserChangePasswordRequest,
    cost: u32,
    salt: [u8; SALT_LEN],
) -> Result<(), AuthError> {
    if !request.password.is_empty() {
        request.hashed_password = sealed(&mut request.password, cost, salt)?;
    }
    Ok(())
}

/// Base64 of a password's hash; the password is wiped.
fn sealed(plain: &mut String, cost: u32, salt: [u8; SALT_LEN]) -> Result<String, AuthError> {
    let mut plain = Zeroizing::new(std::mem::take(plain));
    let hashed = hash(&plain, cost, salt)?;
    plain.zeroize();
    Ok(STANDARD.encode(hashed.as_bytes()))
}

/// A salt that all members find alike, for entries of etcd 3.4 and older that carry a password.
pub(super) fn derived_salt(user: &str, revision: u64) -> [u8; SALT_LEN] {
    let mut digest = Sha256::new();
    digest.update(revision.to_be_bytes());
    digest.update(user.as_bytes());
    let mut salt = [0; SALT_LEN];
    for (to, from) in salt.iter_mut().zip(digest.finalize()) {
        *to = from;
    }
    salt
}

/// A user's hash and the auth revision it was read at, to be compared without holding a lock.
pub struct LoginCheck {
    hash: Zeroizing<Vec<u8>>,
    revision: u64,
}

impl Auth {
    /// What a login is checked against, before it is proposed. When its entry is applied and the
    /// auth revision is no longer the one that [`LoginCheck::verify`] gave, it must be checked
    /// again: the password may have been changed meanwhile.
    ///
    /// # Errors
    /// Authentication is off, there is no such user, or one without a password.
    pub fn login_check(&self, user: &str) -> Result<LoginCheck, AuthError> {
        if !self.enabled {
            return Err(AuthError::NotEnabled);
        }
        let user = self.users.get(user).ok_or(AuthError::AuthFailed)?;
        if user.has_no_password() {
            return Err(AuthError::NoPasswordUser);
        }
        Ok(LoginCheck { hash: user.password_hash.clone(), revision: self.revision })
    }
}

impl LoginCheck {
    /// Compares; gives the auth revision at which the hash was read. Takes tens of milliseconds.
    /// The password is the caller's to wipe.
    ///
    /// # Errors
    /// It is another password.
    pub fn verify(&self, plain: &str) -> Result<u64, AuthError> {
        let hash = std::str::from_utf8(&self.hash).map_err(|_| AuthError::AuthFailed)?;
        match bcrypt::verify(plain, hash) {
            Ok(true) => Ok(self.revision),
            _ => Err(AuthError::AuthFailed),
        }
    }
}

impl fmt::Debug for LoginCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginCheck").field("revision", &self.revision).finish_non_exhaustive()
    }
}
