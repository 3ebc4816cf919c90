//! Users, roles, permissions, leases and tokens: the same requests to etcd 3.6 and to ours, in the
//! same order. Every answer must be equal, and at the end the buckets.

mod requests;
mod scripts;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::peers::{Etcd, Ports, base64, open};
use holdfast_api::authpb;
use holdfast_api::etcdserverpb::{AlarmRequest, DeleteRangeRequest};
use holdfast_core::alarm::{AlarmRefusal, Alarms};
use holdfast_core::auth::jwt::{Jwt, Method};
use holdfast_core::auth::token::{SimpleTokens, index_of, prefix};
use holdfast_core::auth::{Answer, Auth, AuthError, Identity, password};
use holdfast_core::buckets::{ALARM, AUTH, AUTH_ROLES, AUTH_USERS, LEASE, SmallBuckets};
use holdfast_core::change::BucketChange;
use holdfast_core::database::read_small;
use holdfast_core::datadir::db_path;
use holdfast_core::lease::{LeaseConfig, Leases, TimeToLive};
use prost::Message;
use requests::Asked;
use scripts::{alarms, script, wild};
use serde_json::{Value, json};

/// Cheap hashes: the flag is the same on both sides.
const COST: u32 = 4;
const NOW: Duration = Duration::ZERO;

/// A refusal: gRPC code and text.
type Refusal = (i64, String);

/// Ours, as a server would hold it together.
struct Ours {
    auth: Auth,
    leases: Leases,
    tokens: SimpleTokens,
    alarms: Alarms,
    stored: SmallBuckets,
    index: u64,
}

impl Ours {
    fn new() -> Self {
        let (auth, changes) = Auth::new();
        let config = LeaseConfig { min_ttl_seconds: 1, ..LeaseConfig::default() };
        let mut leases = Leases::new(config);
        leases.promote(NOW, NOW);
        let tokens = SimpleTokens::new(Duration::ZERO);
        let (alarms, stored) = (Alarms::default(), SmallBuckets::default());
        let mut ours = Ours { auth, leases, tokens, alarms, stored, index: 0 };
        ours.store(changes);
        ours
    }

    fn store(&mut self, changes: impl IntoIterator<Item = BucketChange>) {
        for change in changes {
            match change.value {
                Some(value) => self.stored.put(change.bucket, &change.key, value),
                None => drop(self.stored.create(change.bucket).remove(&change.key)),
            }
        }
    }

    /// The answer as JSON, as far as it is users' and roles'; a token for a login.
    fn ask(&mut self, token: Option<&str>, asked: &Asked) -> Result<Value, Refusal> {
        self.index += 1;
        let refused = |error: AuthError| (i64::from(error.code()), error.to_string());
        let who = match token {
            Some(token) if self.auth.is_enabled() && asked.entry.authenticate.is_none() => {
                let user = self.tokens.user_of(token, NOW).map_err(refused)?.to_owned();
                self.auth.token_identity(&user)
            }
            _ => Identity::default(),
        };
        let mut entry = asked.entry.clone();
        let salt = [u8::try_from(self.index % 256).unwrap(); password::SALT_LEN];
        if let Some(add) = &mut entry.auth_user_add {
            password::seal_user_add(add, COST, salt).map_err(refused)?;
        }
        if let Some(change) = &mut entry.auth_user_change_password {
            password::seal_change(change, COST, salt).map_err(refused)?;
        }
        if let Some(login) = &mut entry.authenticate {
            let plain = std::mem::take(&mut login.password);
            let check = self.auth.login_check(&login.name).map_err(refused)?;
            check.verify(&plain).map_err(refused)?;
        }
        if let Some(applied) = self.auth.apply(&who, &entry) {
            let applied = applied.map_err(refused)?;
            self.store(applied.changes);
            self.tokens.log_out(&applied.logged_out);
            return Ok(self.shown(applied.answer));
        }
        self.operate(&who, asked)
    }

    fn operate(&mut self, who: &Identity, asked: &Asked) -> Result<Value, Refusal> {
        let refused = |error: AuthError| (i64::from(error.code()), error.to_string());
        let no_lease =
            |error: holdfast_core::lease::LeaseError| (i64::from(error.code()), error.to_string());
        let entry = &asked.entry;
        if entry.lease_grant.is_some() || entry.lease_revoke.is_some() {
            self.auth.check_somebody(who).map_err(refused)?;
        }
        if let Some(request) = &entry.alarm {
            return self.alarm(who, request).map_err(refused);
        }
        // A read does not travel through the log.
        if entry.range.is_none() {
            let refused = self.alarms.check(entry);
            refused.map_err(|refusal| (i64::from(refusal.code()), refusal.to_string()))?;
        }
        self.auth.check_operation(who, entry, &self.leases).map_err(refused)?;
        if let Some(grant) = &entry.lease_grant {
            let granted = self.leases.grant(grant.id, grant.ttl, NOW).map_err(no_lease)?;
            self.store([granted.change]);
            return Ok(json!({"TTL": granted.ttl_seconds.to_string()}));
        }
        if let Some(revoke) = &entry.lease_revoke {
            let revoked = self.leases.revoke(revoke.id).map_err(no_lease)?;
            self.store([revoked.change]);
        }
        if let Some(put) = &entry.put {
            if put.lease == 0 {
                self.leases.detach(&put.key);
            } else {
                self.leases.attach(put.lease, &put.key).map_err(no_lease)?;
            }
        }
        if let Some(delete) = &entry.delete_range {
            let leased = self.leases.list();
            let leased = leased.iter().flat_map(|id| self.leases.keys(*id));
            let keys: Vec<Vec<u8>> = leased.map(<[u8]>::to_vec).collect();
            for key in keys.iter().filter(|key| holds(delete, key)) {
                self.leases.detach(key);
            }
        }
        Ok(Value::Null)
    }

    fn alarm(&mut self, who: &Identity, request: &AlarmRequest) -> Result<Value, AuthError> {
        match request.action {
            0 => self.auth.check_somebody(who)?,
            _ => self.auth.check_admin(who)?,
        }
        let (listed, change) = self.alarms.apply(request);
        self.store(change);
        let shown = listed.iter().map(|alarm| {
            json!({"memberID": alarm.member_id.to_string(), "alarm": alarm.alarm().as_str_name()})
        });
        Ok(json!({"alarms": shown.collect::<Vec<_>>()}))
    }

    fn shown(&mut self, answer: Answer) -> Value {
        match answer {
            Answer::Done => Value::Null,
            Answer::Status { enabled, revision } => {
                json!({"enabled": enabled, "revision": revision.to_string()})
            }
            Answer::UserRoles(names) | Answer::Roles(names) => json!({"roles": names}),
            Answer::Users(names) => json!({"users": names}),
            Answer::Permissions(all) => {
                json!({"perm": all.iter().map(requests::shown).collect::<Vec<_>>()})
            }
            Answer::LogIn(who) => {
                let prefix = prefix(u128::from(self.index) << 64);
                let token = self.tokens.assign(&prefix, self.index, &who.user, NOW);
                json!({"token": token.as_str()})
            }
        }
    }
}

/// A number of each object in a list.
fn texts(list: &Value, name: &str) -> BTreeSet<i64> {
    let list = list.as_array().cloned().unwrap_or_default();
    list.iter().map(|one| one[name].as_str().unwrap().parse().unwrap()).collect()
}

/// Whether a key is deleted.
fn holds(delete: &DeleteRangeRequest, key: &[u8]) -> bool {
    match delete.range_end.as_slice() {
        [] => key == delete.key,
        [0] => key >= delete.key.as_slice(),
        end => key >= delete.key.as_slice() && key < end,
    }
}

/// The same of an answer of etcd's; the token by itself.
fn theirs(answer: &Value, ours: &Result<Value, Refusal>) -> Result<Value, Refusal> {
    if let (Some(code), Some(text)) = (answer["code"].as_i64(), answer["message"].as_str()) {
        return Err((code, text.to_owned()));
    }
    let Ok(Value::Object(shape)) = ours else { return Ok(Value::Null) };
    let mut out = serde_json::Map::new();
    for name in shape.keys() {
        let value = match (name.as_str(), &answer[name]) {
            // Left out where they are zero or empty.
            ("enabled", value) => json!(value == true),
            ("revision", _) => answer["authRevision"].clone(),
            ("token", value) => {
                assert!(index_of(value.as_str().unwrap()).is_some(), "{answer}");
                shape[name].clone()
            }
            (_, Value::Null) => json!([]),
            // In no order.
            ("alarms", value) => {
                let mut all = value.as_array().unwrap().clone();
                all.sort_by_key(|alarm| alarm["memberID"].to_string());
                json!(all)
            }
            (_, value) => value.clone(),
        };
        out.insert(name.clone(), value);
    }
    Ok(Value::Object(out))
}

/// Both, and the tokens (theirs, ours) of who is logged in.
struct Pair {
    etcd: Etcd,
    ours: Ours,
    tokens: BTreeMap<String, (String, String)>,
    refusals: BTreeMap<String, u32>,
    allowed: u32,
}

impl Pair {
    fn ask(&mut self, who: &str, asked: &Asked) {
        let tokens = self.tokens.get(who).cloned();
        let token = tokens.as_ref().map(|(theirs, _)| theirs.as_str());
        let answer = self.etcd.call_as(token, asked.path, &asked.body);
        let own = self.ours.ask(tokens.as_ref().map(|(_, ours)| ours.as_str()), asked);
        assert_eq!(own, theirs(&answer, &own), "{who:?}: {} {}: {answer}", asked.path, asked.body);
        if let (Some(login), Ok(own)) = (&asked.entry.authenticate, &own) {
            let texts =
                [&answer["token"], &own["token"]].map(|text| text.as_str().unwrap().to_owned());
            let [theirs, ours] = texts;
            self.tokens.insert(login.name.clone(), (theirs, ours));
        }
        match own {
            Ok(_) => self.allowed += 1,
            Err((_, text)) => *self.refusals.entry(text).or_default() += 1,
        }
    }

    /// What is known of each lease, and of one that is not there.
    fn compare_leases(&self) {
        let ours = &self.ours.leases;
        let token = self.tokens.get("root").map(|(theirs, _)| theirs.as_str());
        let listed = self.etcd.call_as(token, "/v3/lease/leases", &json!({}));
        let ids: BTreeSet<i64> = texts(&listed["leases"], "ID");
        assert_eq!(ids, ours.list().into_iter().collect(), "{listed}");
        for id in ids.into_iter().chain([77]) {
            let ask = json!({"ID": id.to_string(), "keys": true});
            let answer = self.etcd.call_as(token, "/v3/lease/timetolive", &ask);
            let (left, granted) = match ours.time_to_live(id, NOW) {
                TimeToLive::Lease { remaining_seconds, granted_seconds } => {
                    (remaining_seconds, granted_seconds)
                }
                _ => (-1, 0),
            };
            let number = |name: &str| answer[name].as_str().map_or(0, |text| text.parse().unwrap());
            assert_eq!(number("grantedTTL"), granted, "{answer}");
            // Time has passed on their side only.
            assert!((left - 60..=left).contains(&number("TTL")), "{left}: {answer}");
            let keys = ours.keys(id).map(|key| base64(std::str::from_utf8(key).unwrap()));
            let theirs = answer["keys"].as_array().cloned().unwrap_or_default();
            let theirs = theirs.iter().map(|key| key.as_str().unwrap().to_owned());
            assert_eq!(theirs.collect::<BTreeSet<_>>(), keys.collect(), "{answer}");
        }
    }
}

#[test]
fn the_same_requests_give_the_same_answers_and_buckets() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("auth");
    let etcd = Etcd::start("3.6", &dir, Ports::free(), &["--bcrypt-cost", &COST.to_string()]);
    let mut pair = Pair {
        etcd,
        ours: Ours::new(),
        tokens: BTreeMap::new(),
        refusals: BTreeMap::new(),
        allowed: 0,
    };
    for (who, asked) in script() {
        pair.ask(who, &asked);
    }
    let (scripted, allowed) = (pair.refusals.len(), pair.allowed);
    for step in 0..1000 {
        let is_enabled = pair.ours.auth.is_enabled();
        for (who, asked) in wild(step, is_enabled) {
            pair.ask(&who, &asked);
        }
    }
    assert!(scripted == 21, "the script meets every refusal there is: {:#?}", pair.refusals);
    let wild_allowed = pair.allowed - allowed;
    assert!(wild_allowed > 300, "the wild course is more than refusals: {wild_allowed}");
    pair.compare_leases();
    for (who, asked) in alarms() {
        pair.ask(who, &asked);
    }
    for refusal in [AlarmRefusal::NoSpace, AlarmRefusal::Corrupt] {
        let count = pair.refusals.get(&refusal.to_string());
        assert!(count.is_some_and(|count| *count > 8), "{refusal}: {count:?}");
    }
    pair.etcd.stop();

    let written = read_small(&open(&db_path(&dir))).unwrap();
    let ours = &pair.ours.stored;
    for bucket in [ALARM, AUTH, AUTH_ROLES, LEASE] {
        let name = String::from_utf8_lossy(bucket);
        let entries = |of: &SmallBuckets| {
            of.entries(bucket)
                .map(|(key, value)| (key.to_vec(), value.to_vec()))
                .collect::<Vec<_>>()
        };
        assert_eq!(entries(ours), entries(&written), "bucket {name}");
    }
    let users = |of: &SmallBuckets| of.entries(AUTH_USERS).map(without_hash).collect::<Vec<_>>();
    assert_eq!(users(ours), users(&written));
    assert!(users(ours).len() > 2 && ours.entries(AUTH_ROLES).count() > 1, "something is left");

    // Ours opens what they wrote, knows their hashes, and they know ours.
    let entries = |bucket| written.entries(bucket).collect::<Vec<_>>();
    let (restored, changes) =
        Auth::restore(entries(AUTH), entries(AUTH_USERS), entries(AUTH_ROLES)).unwrap();
    assert_eq!(changes, []);
    let check = restored.login_check("root").unwrap();
    assert!(check.verify("root's").is_ok() && check.verify("root").is_err());
}

/// A user's entry with its hash taken out, and the hash's length and beginning.
fn without_hash((key, value): (&[u8], &[u8])) -> (Vec<u8>, Vec<u8>, usize, Vec<u8>) {
    let mut user = authpb::User::decode(value).unwrap();
    let hash = std::mem::take(&mut user.password);
    assert_eq!(user.name, key);
    let whole = user.encode_to_vec().len();
    let fields = if hash.is_empty() { 0 } else { 2 };
    assert_eq!(whole + hash.len() + fields, value.len(), "nothing else is in it");
    (key.to_vec(), user.encode_to_vec(), hash.len(), hash.iter().take(7).copied().collect())
}

#[test]
fn signed_tokens_are_good_on_both_sides() {
    let root = tempfile::tempdir().unwrap();
    let p256 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let keys = [
        (Method::Hs384, "a secret".to_owned()),
        (Method::Es256, p256.serialize_pem()),
        (Method::EdDsa, ed25519.serialize_pem()),
    ];
    for (method, key) in keys {
        let name = method.name();
        let file = root.path().join(name);
        std::fs::write(&file, &key).unwrap();
        let flag = format!("jwt,sign-method={name},priv-key={},ttl=1h", file.display());
        let dir = root.path().join(format!("{name}.dir"));
        let etcd = Etcd::start("3.6", &dir, Ports::free(), &["--auth-token", &flag]);
        for (path, body) in [
            ("/v3/auth/user/add", json!({"name": "root", "password": "root"})),
            ("/v3/auth/user/grant", json!({"user": "root", "role": "root"})),
            ("/v3/auth/enable", json!({})),
        ] {
            etcd.call(path, &body);
        }
        let login = json!({"name": "root", "password": "root"});
        let token = etcd.call("/v3/auth/authenticate", &login);
        let ours = Jwt::new(method, Duration::from_secs(60), None, Some(key.as_bytes())).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let who = ours.verify(token["token"].as_str().unwrap(), now.as_secs()).unwrap();
        assert_eq!(who, Identity { user: "root".into(), revision: 3 }, "{name}");

        let get = json!({"key": base64("k")});
        let with = |token: &str| etcd.call_as(Some(token), "/v3/kv/range", &get)["code"].as_i64();
        assert_eq!(with(&ours.sign(&who, now.as_secs()).unwrap()), None, "{name}: ours is good");
        let old = Identity { revision: 2, ..who.clone() };
        assert_eq!(with(&ours.sign(&old, now.as_secs()).unwrap()), Some(3), "{name}: too old");
        let over = ours.sign(&who, now.as_secs() - 60).unwrap();
        assert_eq!(with(&over), Some(16), "{name}: its time is over");
    }
}
