//! Tests of alarms.

use super::*;
use holdfast_api::etcdserverpb::{
    AuthEnableRequest, CompactionRequest, DeleteRangeRequest, LeaseCheckpointRequest,
    LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RangeRequest,
};

const NOSPACE: i32 = AlarmType::Nospace as i32;
const CORRUPT: i32 = AlarmType::Corrupt as i32;
const NONE: i32 = AlarmType::None as i32;

#[test]
fn raised_once_listed_and_cleared() {
    let mut alarms = Alarms::default();
    assert_eq!(alarms.activate(7, NONE), (None, None));
    let (member, change) = alarms.activate(7, NOSPACE);
    assert_eq!(member, Some(AlarmMember { member_id: 7, alarm: NOSPACE }));
    let change = change.unwrap();
    assert_eq!(change, BucketChange::put(buckets::ALARM, [8, 7, 16, 1], []));
    let again = alarms.activate(7, NOSPACE);
    assert_eq!((again.0, again.1), (member, None), "answered, and not stored again");
    alarms.activate(9, CORRUPT);
    assert_eq!(alarms.list(NONE).len(), 2);
    assert_eq!(alarms.list(CORRUPT), [AlarmMember { member_id: 9, alarm: CORRUPT }]);
    assert!(alarms.deactivate(8, NOSPACE).is_none() && alarms.deactivate(7, NONE).is_none());
    let (_, change) = alarms.deactivate(7, NOSPACE).unwrap();
    assert_eq!(change, BucketChange::delete(buckets::ALARM, [8, 7, 16, 1]));
    assert!(!alarms.is_raised(AlarmType::Nospace) && alarms.is_raised(AlarmType::Corrupt));
}

#[test]
fn a_request_reads_raises_or_clears() {
    let mut alarms = Alarms::default();
    let mut apply = |action: i32, member_id, alarm| {
        let (listed, change) = alarms.apply(&AlarmRequest { action, member_id, alarm });
        (listed.len(), change.map(|change| change.value.is_some()))
    };
    let (get, raise, clear) =
        (AlarmAction::Get as i32, AlarmAction::Activate as i32, AlarmAction::Deactivate as i32);
    assert_eq!(apply(get, 0, NONE), (0, None));
    assert_eq!(apply(raise, 1, NOSPACE), (1, Some(true)));
    assert_eq!(apply(raise, 1, NOSPACE), (1, None));
    assert_eq!(apply(raise, 1, NONE), (0, None));
    assert_eq!(apply(get, 77, NONE), (1, None), "whoever raised it");
    assert_eq!(apply(get, 1, CORRUPT), (0, None));
    assert_eq!(apply(9, 1, NOSPACE), (0, None), "an action of the future");
    assert_eq!(apply(clear, 2, NOSPACE), (0, None));
    assert_eq!(apply(clear, 1, NOSPACE), (1, Some(false)));
    assert_eq!(apply(get, 0, NONE), (0, None));
}

#[test]
fn alarms_come_back_from_their_bucket() {
    let mut alarms = Alarms::default();
    let mut stored = Vec::new();
    for (member, kind) in [(1, NOSPACE), (u64::MAX, CORRUPT), (0, NOSPACE), (3, 7)] {
        stored.push(alarms.activate(member, kind).1.unwrap().key);
    }
    let restored = Alarms::restore(stored.iter().map(Vec::as_slice)).unwrap();
    assert_eq!(restored, alarms);
    assert!(Alarms::restore([&b"\x08"[..]]).is_err());
    let member = crate::buckets::Alarm::decode(&stored[1]).unwrap();
    assert_eq!((member.member_id, member.name()), (u64::MAX, "CORRUPT"));
}

fn request(fill: impl FnOnce(&mut InternalRaftRequest)) -> InternalRaftRequest {
    let mut request = InternalRaftRequest::default();
    fill(&mut request);
    request
}

fn txn(success: Vec<Request>, failure: Vec<Request>) -> TxnRequest {
    let ops = |ops: Vec<Request>| {
        ops.into_iter().map(|request| RequestOp { request: Some(request) }).collect()
    };
    TxnRequest { compare: Vec::new(), success: ops(success), failure: ops(failure) }
}

#[test]
fn what_each_refuses() {
    let put = || Request::RequestPut(PutRequest::default());
    let read = || Request::RequestRange(RangeRequest::default());
    let delete = || Request::RequestDeleteRange(DeleteRangeRequest::default());
    let deep = txn(vec![read()], vec![Request::RequestTxn(txn(vec![], vec![delete(), put()]))]);
    let no_put = txn(vec![delete()], vec![Request::RequestTxn(txn(vec![read()], vec![]))]);
    // (entry, refused for NOSPACE, refused for CORRUPT)
    let table = [
        (request(|r| r.put = Some(PutRequest::default())), true, true),
        (request(|r| r.txn = Some(txn(vec![], vec![put()]))), true, true),
        (request(|r| r.txn = Some(deep)), true, true),
        (request(|r| r.txn = Some(no_put)), false, true),
        (request(|r| r.lease_grant = Some(LeaseGrantRequest::default())), true, true),
        (request(|r| r.lease_revoke = Some(LeaseRevokeRequest::default())), false, true),
        (request(|r| r.range = Some(RangeRequest::default())), false, true),
        (request(|r| r.delete_range = Some(DeleteRangeRequest::default())), false, true),
        (request(|r| r.compaction = Some(CompactionRequest::default())), false, true),
        (request(|r| r.alarm = Some(AlarmRequest::default())), false, false),
        (request(|r| r.auth_enable = Some(AuthEnableRequest::default())), false, false),
        (request(|r| r.lease_checkpoint = Some(LeaseCheckpointRequest::default())), false, false),
    ];
    let (mut full, mut corrupt) = (Alarms::default(), Alarms::default());
    full.activate(1, NOSPACE);
    corrupt.activate(1, CORRUPT);
    let mut both = full.clone();
    both.activate(2, CORRUPT);
    for (entry, no_space, data_loss) in table {
        assert_eq!(Alarms::default().check(&entry), Ok(()));
        let expected = if no_space { Err(AlarmRefusal::NoSpace) } else { Ok(()) };
        assert_eq!(full.check(&entry), expected, "{entry:?}");
        let expected = if data_loss { Err(AlarmRefusal::Corrupt) } else { Ok(()) };
        assert_eq!(corrupt.check(&entry), expected, "{entry:?}");
        assert_eq!(both.check(&entry), expected, "CORRUPT comes first: {entry:?}");
    }
    assert_eq!((AlarmRefusal::NoSpace.code(), AlarmRefusal::Corrupt.code()), (8, 15));
}
