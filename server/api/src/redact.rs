//! `Debug` for messages that hold a secret: the names are shown, the secrets are not.
//!
//! The list of these messages is `SECRET` in build.rs: a message missing here does not compile.

use crate::authpb::User;
use crate::etcdserverpb::{
    AuthUserAddRequest, AuthUserChangePasswordRequest, AuthenticateRequest, AuthenticateResponse,
    InternalAuthenticateRequest,
};
use std::fmt;

/// What stands in the place of a secret.
const HIDDEN: &str = "<hidden>";

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &String::from_utf8_lossy(&self.name))
            .field("password", &HIDDEN)
            .field("roles", &self.roles)
            .field("options", &self.options)
            .finish()
    }
}

impl fmt::Debug for AuthUserAddRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthUserAddRequest")
            .field("name", &self.name)
            .field("password", &HIDDEN)
            .field("options", &self.options)
            .finish()
    }
}

impl fmt::Debug for AuthUserChangePasswordRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthUserChangePasswordRequest")
            .field("name", &self.name)
            .field("password", &HIDDEN)
            .finish()
    }
}

impl fmt::Debug for AuthenticateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticateRequest")
            .field("name", &self.name)
            .field("password", &HIDDEN)
            .finish()
    }
}

impl fmt::Debug for AuthenticateResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticateResponse")
            .field("header", &self.header)
            .field("token", &HIDDEN)
            .finish()
    }
}

impl fmt::Debug for InternalAuthenticateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InternalAuthenticateRequest")
            .field("name", &self.name)
            .field("simple_token", &HIDDEN)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::authpb::User;
    use crate::etcdserverpb::*;

    #[test]
    fn secrets_are_not_shown() {
        let secret = || "hunter2".to_owned();
        let name = || "root".to_owned();
        let shown = [
            format!(
                "{:?}",
                User { name: b"root".into(), password: secret().into(), ..User::default() }
            ),
            format!(
                "{:?}",
                AuthUserAddRequest {
                    name: name(),
                    password: secret(),
                    hashed_password: secret(),
                    options: None
                }
            ),
            format!(
                "{:?}",
                AuthUserChangePasswordRequest {
                    name: name(),
                    password: secret(),
                    hashed_password: secret()
                }
            ),
            format!("{:?}", AuthenticateRequest { name: name(), password: secret() }),
            format!("{:?} root", AuthenticateResponse { header: None, token: secret() }),
            format!(
                "{:?}",
                InternalRaftRequest {
                    authenticate: Some(InternalAuthenticateRequest {
                        name: name(),
                        password: secret(),
                        simple_token: secret()
                    }),
                    ..InternalRaftRequest::default()
                }
            ),
        ];
        for text in shown {
            assert!(!text.contains("hunter2"), "{text}");
            assert!(text.contains("root"), "{text}");
        }
    }
}
