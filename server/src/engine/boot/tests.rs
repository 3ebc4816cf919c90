//! A member's parts without all of its threads: the test is the thread that is missing.

use super::*;
use crate::config::{Wanted, read};
use crate::engine::machine::Answer;
use crate::log::{Format, Level};
use bytes::Bytes;
use futures::FutureExt;
use holdfast_api::etcdserverpb::{AlarmRequest, AlarmType, InternalRaftRequest};
use holdfast_api::health::health_check_response::ServingStatus;
use holdfast_api::health::{HealthCheckRequest, HealthCheckResponse};
use holdfast_core::auth::Identity;
use holdfast_core::raft::{Entry, Message as PeerMessage};
use holdfast_core::raftpb::{ConfChange, ConfChangeKind, EntryKind};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tonic::body::Body;
use tower::Service;

const PATIENCE: Duration = Duration::from_secs(60);

/// A founded member, and the ends of what its threads would be told by.
struct Parts {
    config: Config,
    opened: Opened,
    wires: Wires,
    inbox: Receiver<Input>,
    work: Receiver<Work>,
    _folder: tempfile::TempDir,
}

fn logger() -> Logger {
    Logger::new(Level::Fatal, Format::Json, Vec::new())
}

fn parts(flags: &[&str]) -> Parts {
    let folder = tempfile::tempdir().unwrap();
    let mut arguments = vec![format!("--data-dir={}", folder.path().join("data").display())];
    arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
    let Ok(Wanted::Member(config)) = read(&arguments, &[]).wanted else { panic!("{arguments:?}") };
    let metrics = Metrics::new();
    let opened = open(&config, &logger(), Box::new(Fsyncs::new(&metrics)), 7).unwrap();
    let ((raft, inbox), (to_apply, work)) = (mpsc::channel(), mpsc::channel());
    let store = opened.store.handle();
    let wires = Wires {
        chores: Chores::start(raft.clone(), logger()).unwrap().0,
        raft,
        work: to_apply,
        view: Arc::new(RaftView::new(opened.term, opened.committed)),
        applied: Arc::new(Applied::at(opened.snapshot_index)),
        identities: Arc::new(Identities::new("simple", Duration::ZERO).unwrap()),
        watching: Watching::start(store.clone(), |_| {}).unwrap().0,
        waits: Waits::new(),
        figures: super::figures(&metrics, &store).unwrap(),
        slow: slow(&config, &opened, &logger(), &metrics),
        begun: Instant::now(),
    };
    Parts { config: *config, opened, wires, inbox, work, _folder: folder }
}

impl Parts {
    fn handle(&self) -> Handle {
        Handle { inner: Arc::new(inner(&self.config, &self.opened, &self.wires)) }
    }
}

/// What the health service says, asked as a client does.
async fn health(services: &Services) -> ServingStatus {
    let frame = [&[0; 5], &HealthCheckRequest::default().encode_to_vec()[..]].concat();
    let request = http::Request::post("/grpc.health.v1.Health/Check")
        .header("content-type", "application/grpc")
        .body(Body::new(Full::new(Bytes::from(frame)).map_err(|never| match never {})))
        .unwrap();
    let response = services.routes.clone().call(request).await.unwrap();
    let answer = response.into_body().collect().await.unwrap().to_bytes();
    HealthCheckResponse::decode(&answer[5..]).unwrap().status()
}

async fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "it never comes");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn health_is_told_while_a_defragmentation_is_under_way() {
    use ServingStatus::{NotServing, Serving};
    for (gate, meanwhile) in [("true", NotServing), ("false", Serving)] {
        let parts = parts(&[&format!("--feature-gates=StopGRPCServiceOnDefrag={gate}")]);
        let handle = parts.handle();
        let services = services(&handle, &logger(), 1 << 20);
        assert_eq!(health(&services).await, Serving);
        for outcome in [Ok(()), Err("no room".to_owned())] {
            let of = |handle: Handle| async move { handle.defragment().await };
            let asked = [tokio::spawn(of(handle.clone())), tokio::spawn(of(handle.clone()))];
            for _ in 0..2 {
                let Work::Defragment(done) = until(|| parts.work.try_recv().ok()).await else {
                    panic!("something else is asked for");
                };
                assert_eq!(health(&services).await, meanwhile, "{gate}");
                assert!(parts.work.try_recv().is_err(), "one at a time");
                done.send(outcome.clone()).unwrap();
            }
            for asked in asked {
                let told = asked.await.unwrap().map_err(|status| status.message().to_owned());
                assert_eq!(told, outcome);
            }
            assert_eq!(health(&services).await, Serving);
        }
    }
}

/// The request that the member proposes next.
fn proposed(parts: &Parts) -> InternalRaftRequest {
    let Input::Propose(data) = parts.inbox.recv_timeout(PATIENCE).unwrap() else {
        panic!("something else is asked for");
    };
    InternalRaftRequest::decode(data).unwrap()
}

/// As entries do: a user root with that role, and authentication on.
fn switch_authentication_on(parts: &Parts) {
    let add = |name: &str| holdfast_api::etcdserverpb::AuthUserAddRequest {
        name: name.to_owned(),
        options: Some(holdfast_api::authpb::UserAddOptions { no_password: true }),
        ..Default::default()
    };
    let grant = holdfast_api::etcdserverpb::AuthUserGrantRoleRequest {
        user: "root".to_owned(),
        role: "root".to_owned(),
    };
    let requests = [
        InternalRaftRequest { auth_user_add: Some(add("root")), ..Default::default() },
        InternalRaftRequest { auth_user_grant_role: Some(grant), ..Default::default() },
        InternalRaftRequest { auth_enable: Some(Default::default()), ..Default::default() },
    ];
    let mut auth = crate::engine::locks::write(&parts.opened.shared.auth);
    for request in requests {
        auth.apply(&Identity::default(), &request).unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_members_own_alarms_are_raised_in_its_own_right() {
    let parts = parts(&[]);
    let handle = parts.handle();
    for (is_on, user) in [(false, ""), (true, "root")] {
        if is_on {
            switch_authentication_on(&parts);
        }
        for kind in [AlarmType::Nospace, AlarmType::Corrupt] {
            let raising = handle.raise_alarm(kind);
            let mut raising = std::pin::pin!(raising);
            assert!(raising.as_mut().now_or_never().is_none(), "it waits for the entry");
            let request = proposed(&parts);
            let (header, own) = (request.header.clone().unwrap(), parts.opened.wal.metadata());
            assert_eq!(header.username, user);
            let alarm = AlarmRequest { action: 1, member_id: own.node_id, alarm: kind as i32 };
            assert_eq!(request.alarm, Some(alarm));
            let who = Identity { user: header.username, revision: header.auth_revision };
            crate::engine::locks::read(&handle.inner.shared.auth).check_admin(&who).unwrap();
            parts.wires.waits.answer(header.id, (Ok(Answer::Alarms(Vec::new())), 1));
            assert!(raising.await.is_ok());
        }
    }
}

/// Somebody else with a vote.
const OTHER: u64 = 1;

/// The next entries that are committed.
fn committed(work: &Receiver<Work>) -> Vec<Entry> {
    match work.recv_timeout(PATIENCE).unwrap() {
        Work::Committed(entries) => entries,
        _ => panic!("something else is asked for"),
    }
}

fn changes(entries: &[Entry]) -> Vec<ConfChange> {
    let changes = entries.iter().filter(|entry| entry.kind == EntryKind::ConfChange);
    changes.map(|entry| ConfChange::decode(&entry.data).unwrap()).collect()
}

#[test]
fn who_decides_alone_does_so_until_another_hears_of_its_vote() {
    let Parts { config, opened, wires, inbox, work, _folder } =
        parts(&["--heartbeat-interval=10", "--election-timeout=100"]);
    let own = opened.wal.metadata().node_id;
    let (sent, hears) = mpsc::channel::<(Vec<PeerMessage>, Option<u64>)>();
    let view = Arc::clone(&wires.view);
    let Opened { node, wal, dirs, .. } = opened;
    let mut thread = raft_thread(&config, (node, wal, &dirs), inbox, &wires).unwrap();
    let seen = Arc::clone(&view);
    thread.peers = Box::new(move |messages| {
        sent.send((messages, seen.read_index_alone())).unwrap();
    });
    let running = std::thread::spawn(move || thread.run());
    let raft = wires.raft.clone();
    let apply = |change: ConfChange| {
        let (answer, members) = mpsc::channel();
        raft.send(Input::MembersChanged(change, answer)).unwrap();
        members.recv_timeout(PATIENCE).unwrap().voters
    };
    // It does not lead before its founding is applied.
    let founding = changes(&committed(&work));
    assert_eq!(founding.len(), 1);
    assert_eq!(view.read_index_alone(), None);
    assert_eq!(apply(founding[0].clone()), [own]);
    let first = committed(&work);
    assert!(first[0].data.is_empty() && view.read_index_alone() == Some(first[0].index));
    let kind = ConfChangeKind::AddNode;
    let change = ConfChange { id: 5, kind, node_id: OTHER, context: Vec::new() };
    raft.send(Input::ChangeMembers(change.clone())).unwrap();
    assert_eq!(changes(&committed(&work)), std::slice::from_ref(&change));
    // It is not applied yet: entries behind it are committed as before, and nobody hears of them.
    raft.send(Input::Propose(Bytes::from_static(b"x"))).unwrap();
    let behind = committed(&work);
    assert_eq!(behind[0].data, "x");
    assert_eq!(view.read_index_alone(), Some(behind[0].index));
    assert!(hears.try_recv().is_err());
    assert_eq!(apply(change), [OTHER, own]);
    let (messages, alone) = hears.recv_timeout(PATIENCE).unwrap();
    assert!(messages.iter().all(|message| message.to == OTHER));
    assert_eq!(alone, None, "before the first message leaves");
    raft.send(Input::Propose(Bytes::from_static(b"y"))).unwrap();
    raft.send(Input::Stop).unwrap();
    running.join().unwrap().unwrap();
    assert!(work.try_recv().is_err(), "nothing more is committed without the other");
}
