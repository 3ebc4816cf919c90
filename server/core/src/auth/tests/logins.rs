//! Passwords: sealed before they travel, checked outside of the state machine, never shown.

use holdfast_api::authpb::UserAddOptions;

use super::*;

#[test]
fn logins_are_checked_by_password_and_applied_without_one() {
    let salt = [7; password::SALT_LEN];
    let mut add = AuthUserAddRequest {
        name: "root".into(),
        password: "correct horse".into(),
        ..Default::default()
    };
    password::seal_user_add(&mut add, 4, salt).unwrap();
    assert!(add.password.is_empty() && !add.hashed_password.is_empty());
    let mut world = World::new();
    world.by_root(request!(auth_user_add: add)).unwrap();
    assert_eq!(world.auth.login_check("root").unwrap_err(), AuthError::NotEnabled);
    world.by_root(grant_role("root", "root")).unwrap();
    let options = Some(UserAddOptions { no_password: true });
    let mut certified = AuthUserAddRequest { name: "cn".into(), options, ..Default::default() };
    password::seal_user_add(&mut certified, 4, salt).unwrap();
    assert_eq!(certified.hashed_password, "");
    world.by_root(request!(auth_user_add: certified)).unwrap();
    world.by_root(enable()).unwrap();

    let stored = authpb::User::decode(world.stored.get(AUTH_USERS, b"root").unwrap()).unwrap();
    assert!(stored.password.starts_with(b"$2a$04$"), "as Go's bcrypt writes it");
    assert_eq!(stored.password.len(), 60);
    let check = world.auth.login_check("root").unwrap();
    assert_eq!(check.verify("correct horse"), Ok(world.auth.revision()));
    assert_eq!(check.verify("Correct horse"), Err(AuthError::AuthFailed));
    assert_eq!(world.auth.login_check("mallory").unwrap_err(), AuthError::AuthFailed);
    assert_eq!(world.auth.login_check("cn").unwrap_err(), AuthError::NoPasswordUser);
    let login = |name: &str| {
        let login = InternalAuthenticateRequest { name: name.into(), ..Default::default() };
        request!(authenticate: login)
    };
    let nobody = Identity::default();
    let root = world.apply(&nobody, login("root")).unwrap().answer;
    assert_eq!(root, Answer::LogIn(world.auth.server_identity()));
    assert_eq!(world.apply(&nobody, login("cn")), Err(AuthError::AuthFailed));
    assert_eq!(world.apply(&nobody, login("mallory")), Err(AuthError::AuthFailed));

    let mut change =
        AuthUserChangePasswordRequest { name: "root".into(), ..change_of("x".repeat(73)) };
    let too_long = password::seal_change(&mut change, 4, salt);
    assert_eq!(too_long, Err(AuthError::PasswordTooLong));
    let mut change =
        AuthUserChangePasswordRequest { name: "root".into(), ..change_of("x".repeat(72)) };
    password::seal_change(&mut change, 4, salt).unwrap();
    let applied = world.by_root(request!(auth_user_change_password: change)).unwrap();
    assert_eq!(applied.logged_out, LoggedOut::User("root".into()));
    assert!(check.verify("correct horse").unwrap() != world.auth.revision(), "ask again");
    let check = world.auth.login_check("root").unwrap();
    assert!(check.verify("correct horse").is_err() && check.verify(&"x".repeat(72)).is_ok());
    for shown in [format!("{:?}", world.auth), format!("{check:?}"), format!("{applied:?}")] {
        assert!(!shown.contains("$2a") && !shown.contains("36, 50, 97"), "{shown}");
    }
    assert_eq!([0, 3, 4, 31, 32].map(password::effective_cost), [10, 10, 4, 31, 10]);
}

fn change_of(password: String) -> AuthUserChangePasswordRequest {
    AuthUserChangePasswordRequest { password, ..Default::default() }
}

#[test]
fn an_entry_with_a_plain_password_comes_to_the_same_hash_everywhere() {
    let add =
        AuthUserAddRequest { name: "old".into(), password: "plain".into(), ..Default::default() };
    let stored = || {
        let mut world = World::new();
        world.by_root(request!(auth_user_add: add.clone())).unwrap();
        world.stored.get(AUTH_USERS, b"old").unwrap().to_vec()
    };
    assert_eq!(stored(), stored());
    let user = authpb::User::decode(&stored()[..]).unwrap();
    assert!(bcrypt::verify("plain", std::str::from_utf8(&user.password).unwrap()).unwrap());
}
