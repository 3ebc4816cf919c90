//! user, role, auth: who may do what.

use super::session::{Call, Session};
use crate::failure::Failure;
use crate::keys;
use crate::print::Answer;
use holdfast_api::authpb::permission::Type;
use holdfast_api::authpb::{Permission, UserAddOptions};
use holdfast_api::etcdserverpb::{
    AuthDisableRequest, AuthEnableRequest, AuthRoleAddRequest, AuthRoleDeleteRequest,
    AuthRoleGetRequest, AuthRoleGrantPermissionRequest, AuthRoleListRequest,
    AuthRoleRevokePermissionRequest, AuthStatusRequest, AuthUserAddRequest,
    AuthUserChangePasswordRequest, AuthUserDeleteRequest, AuthUserGetRequest,
    AuthUserGrantRoleRequest, AuthUserListRequest, AuthUserRevokeRoleRequest, ResponseHeader,
};

/// Runs one of these verbs.
pub(super) async fn run(call: &Call, verb: &str) -> Result<(), Failure> {
    match verb {
        "user add" => user_add(call).await,
        "user get" => user_get(call).await,
        "user list" => user_list(call).await,
        "user delete" => user_delete(call).await,
        "user passwd" => user_passwd(call).await,
        "user grant-role" => user_grant_role(call).await,
        "user revoke-role" => user_revoke_role(call).await,
        "role add" => role_add(call).await,
        "role get" => role_get(call).await,
        "role list" => role_list(call).await,
        "role delete" => role_delete(call).await,
        "role grant-permission" => role_grant_permission(call).await,
        "role revoke-permission" => role_revoke_permission(call).await,
        "auth enable" => auth_enable(call).await,
        "auth disable" => auth_disable(call).await,
        "auth status" => auth_status(call).await,
        other => Err(Failure::arguments(format!("{other} is not built in"))),
    }
}

fn done(session: &Session, words: String, header: Option<ResponseHeader>) -> Result<(), Failure> {
    session.print(&Answer::Done { words, header, has_fields: true })
}

/// The only argument.
fn only<'a>(call: &'a Call, otherwise: &str) -> Result<&'a str, Failure> {
    match call.given.arguments() {
        [one] => Ok(one),
        _ => Err(Failure::arguments(otherwise)),
    }
}

/// The only two arguments.
fn two<'a>(call: &'a Call, otherwise: &str) -> Result<(&'a str, &'a str), Failure> {
    match call.given.arguments() {
        [one, other] => Ok((one, other)),
        _ => Err(Failure::arguments(otherwise)),
    }
}

fn none(call: &Call, otherwise: &str) -> Result<(), Failure> {
    if call.given.arguments().is_empty() { Ok(()) } else { Err(Failure::arguments(otherwise)) }
}

/// A password from standard input, or asked for twice.
fn new_password(call: &Call, user: &str) -> Result<String, Failure> {
    let failed = |why: std::io::Error| Failure::arguments(format!("failed to ask password: {why}"));
    if !call.given.truth("interactive") {
        return call.console.read_word().map_err(failed);
    }
    let first = call.console.ask_secret(&format!("Password of {user}: ")).map_err(failed)?;
    if first.is_empty() {
        return Err(Failure::arguments("empty password"));
    }
    let again = format!("Type password of {user} again for confirmation: ");
    if call.console.ask_secret(&again).map_err(failed)? != first {
        return Err(Failure::arguments("given passwords are different"));
    }
    Ok(first)
}

async fn user_add(call: &Call) -> Result<(), Failure> {
    let given = only(call, "user add command requires user name as its argument")?;
    let from_flag = call.given.text("new-user-password");
    let no_password = call.given.truth("no-password");
    let (user, password) = match given.split_once(':') {
        _ if no_password => (given, String::new()),
        _ if !from_flag.is_empty() => (given, from_flag.to_owned()),
        Some(("", _)) => return Err(Failure::arguments("empty user name is not allowed")),
        Some((user, password)) => (user, password.to_owned()),
        None => (given, new_password(call, given)?),
    };
    let session = call.session()?;
    let request = AuthUserAddRequest {
        name: user.to_owned(),
        password,
        options: Some(UserAddOptions { no_password }),
        hashed_password: String::new(),
    };
    let response = session.check(session.client.auth().user_add(request).await)?;
    done(&session, format!("User {user} created"), response.header)
}

async fn user_get(call: &Call) -> Result<(), Failure> {
    let user = only(call, "user get command requires user name as its argument")?;
    let session = call.session()?;
    let request = AuthUserGetRequest { name: user.to_owned() };
    let response = session.check(session.client.auth().user_get(request).await)?;
    if !call.given.truth("detail") {
        return session.print(&Answer::UserGet { user, response: &response });
    }
    session.console.line(format!("User: {user}"))?;
    for role in &response.roles {
        session.console.line("")?;
        let request = AuthRoleGetRequest { role: role.clone() };
        let response = session.check(session.client.auth().role_get(request).await)?;
        session.print(&Answer::RoleGet { role, response: &response })?;
    }
    Ok(())
}

async fn user_list(call: &Call) -> Result<(), Failure> {
    none(call, "user list command requires no arguments")?;
    let session = call.session()?;
    let response = session.client.auth().user_list(AuthUserListRequest {}).await;
    session.print(&Answer::UserList(&session.check(response)?))
}

async fn user_delete(call: &Call) -> Result<(), Failure> {
    let user = only(call, "user delete command requires user name as its argument")?;
    let session = call.session()?;
    let request = AuthUserDeleteRequest { name: user.to_owned() };
    let response = session.check(session.client.auth().user_delete(request).await)?;
    done(&session, format!("User {user} deleted"), response.header)
}

async fn user_passwd(call: &Call) -> Result<(), Failure> {
    let user = only(call, "user passwd command requires user name as its argument")?;
    let request = AuthUserChangePasswordRequest {
        name: user.to_owned(),
        password: new_password(call, user)?,
        hashed_password: String::new(),
    };
    let session = call.session()?;
    let response = session.check(session.client.auth().user_change_password(request).await)?;
    done(&session, "Password updated".to_owned(), response.header)
}

async fn user_grant_role(call: &Call) -> Result<(), Failure> {
    let otherwise = "user grant command requires user name and role name as its argument";
    let (user, role) = two(call, otherwise)?;
    let session = call.session()?;
    let request = AuthUserGrantRoleRequest { user: user.to_owned(), role: role.to_owned() };
    let response = session.check(session.client.auth().user_grant_role(request).await)?;
    done(&session, format!("Role {role} is granted to user {user}"), response.header)
}

async fn user_revoke_role(call: &Call) -> Result<(), Failure> {
    let otherwise = "user revoke-role requires user name and role name as its argument";
    let (user, role) = two(call, otherwise)?;
    let session = call.session()?;
    let request = AuthUserRevokeRoleRequest { name: user.to_owned(), role: role.to_owned() };
    let response = session.check(session.client.auth().user_revoke_role(request).await)?;
    done(&session, format!("Role {role} is revoked from user {user}"), response.header)
}

async fn role_add(call: &Call) -> Result<(), Failure> {
    let role = only(call, "role add command requires role name as its argument")?;
    let session = call.session()?;
    let request = AuthRoleAddRequest { name: role.to_owned() };
    let response = session.check(session.client.auth().role_add(request).await)?;
    done(&session, format!("Role {role} created"), response.header)
}

async fn role_get(call: &Call) -> Result<(), Failure> {
    let role = only(call, "role get command requires role name as its argument")?;
    let session = call.session()?;
    let request = AuthRoleGetRequest { role: role.to_owned() };
    let response = session.check(session.client.auth().role_get(request).await)?;
    session.print(&Answer::RoleGet { role, response: &response })
}

async fn role_list(call: &Call) -> Result<(), Failure> {
    none(call, "role list command requires no arguments")?;
    let session = call.session()?;
    let response = session.client.auth().role_list(AuthRoleListRequest {}).await;
    session.print(&Answer::RoleList(&session.check(response)?))
}

async fn role_delete(call: &Call) -> Result<(), Failure> {
    let role = only(call, "role delete command requires role name as its argument")?;
    let session = call.session()?;
    let request = AuthRoleDeleteRequest { role: role.to_owned() };
    let response = session.check(session.client.auth().role_delete(request).await)?;
    done(&session, format!("Role {role} deleted"), response.header)
}

async fn role_grant_permission(call: &Call) -> Result<(), Failure> {
    let [role, kind, range @ ..] = call.given.arguments() else {
        return Err(Failure::arguments(GRANT));
    };
    if range.is_empty() {
        return Err(Failure::arguments(GRANT));
    }
    let perm_type = match kind.to_uppercase().as_str() {
        "READ" => Type::Read,
        "WRITE" => Type::Write,
        "READWRITE" => Type::Readwrite,
        _ => return Err(Failure::arguments(format!("invalid permission type: {kind}"))),
    };
    let (key, range_end) = permitted(call, range)?;
    let session = call.session()?;
    let request = AuthRoleGrantPermissionRequest {
        name: role.clone(),
        perm: Some(Permission { perm_type: perm_type as i32, key, range_end }),
    };
    let response = session.check(session.client.auth().role_grant_permission(request).await)?;
    done(&session, format!("Role {role} updated"), response.header)
}

const GRANT: &str =
    "role grant command requires role name, permission type, and key [endkey] as its argument";

async fn role_revoke_permission(call: &Call) -> Result<(), Failure> {
    let otherwise =
        "role revoke-permission command requires role name and key [endkey] as its argument";
    let [role, range @ ..] = call.given.arguments() else {
        return Err(Failure::arguments(otherwise));
    };
    let Some(shown) = range.first() else { return Err(Failure::arguments(otherwise)) };
    let (key, range_end) = permitted(call, range)?;
    let words = match &range_end[..] {
        b"" => format!("Permission of key {shown} is revoked from role {role}"),
        keys::OPEN_END => {
            format!("Permission of range [{shown}, <open ended> is revoked from role {role}")
        }
        end => {
            let end = String::from_utf8_lossy(end);
            format!("Permission of range [{shown}, {end}) is revoked from role {role}")
        }
    };
    let session = call.session()?;
    let request = AuthRoleRevokePermissionRequest { role: role.clone(), key, range_end };
    let response = session.check(session.client.auth().role_revoke_permission(request).await)?;
    done(&session, words, response.header)
}

/// Key and end of a permission.
fn permitted(call: &Call, range: &[String]) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let (prefix, from_key) = (call.given.truth("prefix"), call.given.truth("from-key"));
    if prefix && from_key {
        let words = "--from-key and --prefix flags are mutually exclusive";
        return Err(Failure::arguments(words));
    }
    let key = range[0].as_bytes();
    if key.is_empty() {
        // An empty key means all keys where a range is asked for.
        let end = if prefix || from_key { keys::OPEN_END } else { b"" };
        return Ok((keys::OPEN_END.to_vec(), end.to_vec()));
    }
    match range.get(1) {
        Some(_) if prefix => {
            Err(Failure::arguments("unexpected endkey argument with --prefix flag"))
        }
        Some(_) if from_key => {
            Err(Failure::arguments("unexpected endkey argument with --from-key flag"))
        }
        Some(end) => Ok((key.to_vec(), end.clone().into_bytes())),
        None if prefix => Ok((key.to_vec(), keys::prefix_end(key))),
        None if from_key => Ok((key.to_vec(), keys::OPEN_END.to_vec())),
        None => Ok((key.to_vec(), Vec::new())),
    }
}

/// Makes the role root and gives it to the user root where these are all that is missing.
async fn auth_enable(call: &Call) -> Result<(), Failure> {
    none(call, "auth enable command does not accept any arguments")?;
    let session = call.session()?;
    let mut auth = session.client.auth();
    let mut answer = auth.auth_enable(AuthEnableRequest {}).await;
    let lacks_role = |message: &str| message.contains("root user does not have root role");
    if answer.as_ref().is_err_and(|status| lacks_role(status.message())) {
        let role = AuthRoleAddRequest { name: "root".to_owned() };
        match auth.role_add(role).await {
            Err(status) if !status.message().contains("role name already exists") => {
                return Err(status.into());
            }
            _ => {}
        }
        let grant = AuthUserGrantRoleRequest { user: "root".to_owned(), role: "root".to_owned() };
        session.check(auth.user_grant_role(grant).await)?;
        answer = auth.auth_enable(AuthEnableRequest {}).await;
    }
    session.check(answer)?;
    session.console.line("Authentication Enabled")
}

async fn auth_disable(call: &Call) -> Result<(), Failure> {
    none(call, "auth disable command does not accept any arguments")?;
    let session = call.session()?;
    session.check(session.client.auth().auth_disable(AuthDisableRequest {}).await)?;
    session.console.line("Authentication Disabled")
}

async fn auth_status(call: &Call) -> Result<(), Failure> {
    none(call, "auth status command does not accept any arguments")?;
    let session = call.session()?;
    let response = session.client.auth().auth_status(AuthStatusRequest {}).await;
    session.print(&Answer::AuthStatus(&session.check(response)?))
}
