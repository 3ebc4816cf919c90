//! What single entries leave behind: in the buckets, with the leases, among the tokens.

use super::*;
use crate::grpc::Refusal;
use crate::metrics::Metrics;
use holdfast_api::authpb::UserAddOptions;
use holdfast_api::etcdserverpb::*;
use holdfast_core::auth::password;
use holdfast_core::backend::{Backend, MemoryBase};
use holdfast_core::buckets::{ALARM, LEASE};
use holdfast_core::lease::LeaseConfig;
use http::HeaderMap;

fn machine() -> Machine {
    empty(&Backend::new(Box::new(MemoryBase::new())).unwrap())
}

/// A machine without users, leases and alarms, on this backend.
pub(crate) fn empty(backend: &Backend) -> Machine {
    Machine {
        store: Store::open(backend.clone()).unwrap().0,
        shared: Arc::new(Shared {
            leases: RwLock::new(Leases::new(LeaseConfig::default())),
            auth: RwLock::new(Auth::new().0),
            alarms: RwLock::new(Alarms::default()),
        }),
        identities: Arc::new(Identities::new("simple", Duration::ZERO).unwrap()),
        figures: Figures::new(&Metrics::new()),
    }
}

/// Who asks for nothing in particular.
const NOBODY: (&str, u64) = ("", 0);

impl Machine {
    /// Applies a request as this user, at this auth revision.
    fn ask(&mut self, (user, revision): (&str, u64), request: InternalRaftRequest) -> Outcome {
        let (username, auth_revision) = (user.to_owned(), revision);
        let entry = EntryRequest { id: 1, username, auth_revision, request };
        self.apply(&entry, 5, Duration::ZERO).unwrap()
    }

    fn refusal(&mut self, who: (&str, u64), request: InternalRaftRequest) -> String {
        let answer = self.ask(who, request).answer;
        answer.err().map(|status| status.message().to_owned()).unwrap_or_default()
    }

    fn entries(&self, bucket: &[u8]) -> usize {
        self.store.backend().latest().entries(bucket).unwrap().len()
    }

    /// A user root, one without rights, and names are asked for; the auth revision.
    fn with_users(&mut self) -> u64 {
        for name in ["root", "guest"] {
            let options = Some(UserAddOptions { no_password: true });
            let add = AuthUserAddRequest { name: name.to_owned(), options, ..Default::default() };
            let done = self.ask(
                NOBODY,
                InternalRaftRequest { auth_user_add: Some(add), ..Default::default() },
            );
            assert!(done.answer.is_ok());
        }
        let grant = AuthUserGrantRoleRequest { user: "root".into(), role: "root".into() };
        self.ask(
            NOBODY,
            InternalRaftRequest { auth_user_grant_role: Some(grant), ..Default::default() },
        );
        let on =
            InternalRaftRequest { auth_enable: Some(Default::default()), ..Default::default() };
        assert!(self.ask(NOBODY, on).answer.is_ok());
        read(&self.shared.auth).revision()
    }
}

fn put(key: &str, lease: i64) -> InternalRaftRequest {
    let put = PutRequest { key: key.into(), value: b"v".to_vec(), lease, ..Default::default() };
    InternalRaftRequest { put: Some(put), ..Default::default() }
}

fn alarm(action: i32, kind: AlarmType) -> InternalRaftRequest {
    let alarm = AlarmRequest { action, member_id: 3, alarm: kind as i32 };
    InternalRaftRequest { alarm: Some(alarm), ..Default::default() }
}

#[test]
fn administrators_are_asked_for_then_alarms_then_keys() {
    let mut machine = machine();
    let now = machine.with_users();
    let (root, guest) = (("root", now), ("guest", now));
    let compaction = || {
        let compaction = CompactionRequest { revision: 1, physical: false };
        InternalRaftRequest { compaction: Some(compaction), ..Default::default() }
    };
    let denied = Refusal::PermissionDenied.text();
    assert_eq!(machine.refusal(guest, compaction()), denied);
    assert_eq!(machine.refusal(guest, alarm(1, AlarmType::Nospace)), denied);
    assert_eq!(machine.refusal(guest, alarm(0, AlarmType::None)), "", "whoever may list");
    assert_eq!(machine.refusal(guest, put("a", 0)), denied);
    assert_eq!(machine.refusal(root, alarm(1, AlarmType::Nospace)), "");
    assert_eq!(machine.refusal(guest, put("a", 0)), Refusal::NoSpace.text(), "before the keys");
    assert_eq!(machine.refusal(guest, compaction()), denied, "before the alarms");
}

#[test]
fn alarms_are_stored_while_they_are_raised() {
    let mut machine = machine();
    for (action, stored) in [(1, 1), (1, 1), (2, 0)] {
        assert!(machine.ask(NOBODY, alarm(action, AlarmType::Corrupt)).answer.is_ok());
        assert_eq!(machine.entries(ALARM), stored, "after {action}");
    }
}

#[test]
fn a_key_hangs_on_the_lease_of_its_last_put_and_goes_with_it() {
    let mut machine = machine();
    for id in [7, 8] {
        let grant = LeaseGrantRequest { id, ttl: 60 };
        let grant = InternalRaftRequest { lease_grant: Some(grant), ..Default::default() };
        assert!(machine.ask(NOBODY, grant).answer.is_ok());
    }
    assert_eq!(machine.entries(LEASE), 2);
    let keys = |machine: &Machine, id: i64| read(&machine.shared.leases).keys(id).count();
    for (key, lease) in [("a", 7), ("b", 7), ("c", 7), ("b", 0), ("c", 8)] {
        assert_eq!(machine.refusal(NOBODY, put(key, lease)), "");
    }
    assert_eq!((keys(&machine, 7), keys(&machine, 8)), (1, 1));
    let delete = DeleteRangeRequest { key: b"c".to_vec(), ..Default::default() };
    let delete = InternalRaftRequest { delete_range: Some(delete), ..Default::default() };
    assert_eq!(machine.ask(NOBODY, delete).events.len(), 1);
    assert_eq!(keys(&machine, 8), 0);
    let revoke = |id| InternalRaftRequest {
        lease_revoke: Some(LeaseRevokeRequest { id }),
        ..Default::default()
    };
    let gone = machine.ask(NOBODY, revoke(7)).events;
    let gone: Vec<_> = gone.iter().map(|event| (event.is_delete(), event.kv.clone())).collect();
    assert!(matches!(&gone[..], [(true, Some(record))] if record.key == b"a"[..]), "{gone:?}");
    assert_eq!(machine.entries(LEASE), 1, "it is not there after a restart either");
    assert_eq!(machine.refusal(NOBODY, revoke(7)), "etcdserver: requested lease not found");
}

#[test]
fn a_new_password_ends_the_tokens_of_the_old_one() {
    let mut machine = machine();
    let hash = |text: &str| {
        let hash = password::hash(text, 4, [1; 16]).unwrap();
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, hash.as_bytes())
    };
    let add = AuthUserAddRequest {
        name: "ann".into(),
        hashed_password: hash("old"),
        ..Default::default()
    };
    let add = InternalRaftRequest { auth_user_add: Some(add), ..Default::default() };
    assert_eq!(machine.refusal(NOBODY, add), "");
    let now = machine.with_users();
    let login = InternalAuthenticateRequest {
        name: "ann".into(),
        simple_token: "SecretSecretSecr".into(),
        ..Default::default()
    };
    let login = InternalRaftRequest { authenticate: Some(login), ..Default::default() };
    let Ok(Answer::Token(token)) = machine.ask(NOBODY, login).answer else { panic!("no token") };
    let mut headers = HeaderMap::new();
    headers.insert("token", token.parse().unwrap());
    let user = |machine: &Machine| {
        let known = machine.identities.of(&headers, None, &machine.shared, Duration::ZERO);
        known.map(|identity| identity.user).map_err(|status| status.message().to_owned())
    };
    assert_eq!(user(&machine).as_deref(), Ok("ann"));
    let change = AuthUserChangePasswordRequest {
        name: "ann".into(),
        hashed_password: hash("new"),
        ..Default::default()
    };
    let change =
        InternalRaftRequest { auth_user_change_password: Some(change), ..Default::default() };
    assert_eq!(machine.refusal(("root", now), change), "");
    assert_eq!(user(&machine), Err(Refusal::InvalidAuthToken.text().to_owned()));
}
