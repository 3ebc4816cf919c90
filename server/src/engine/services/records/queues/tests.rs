//! How long a caller is waited for, and what is refused of it. The waits are real, and no shorter
//! than a busy machine may let a thread stand; what must not end a wait stands at minutes.

use super::*;
use futures::stream;
use holdfast_core::changes::KnownWriter;
use tokio::runtime::Runtime;

const LONG: Duration = Duration::from_secs(300);
const SHORT: Duration = Duration::from_millis(500);
const STALL: Limits = Limits { stall: SHORT, whole: LONG };
const WHOLE: Limits = Limits { stall: LONG, whole: SHORT };

type Requested = Result<pb::ChangesRequest, Status>;

/// A runtime, and where answers go and arrive.
fn place(room: usize) -> (Runtime, mpsc::Sender<Answer>, mpsc::Receiver<Answer>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let (answers, taken) = mpsc::channel(room);
    (runtime.unwrap(), answers, taken)
}

/// What comes of taking names until there are no more.
fn named(requests: impl Requests, limits: Limits) -> Result<Vec<Known>, Status> {
    let (runtime, answers, _taken) = place(1);
    let deadlines = limits.from(Instant::now());
    let mut named = Named::new(requests, answers, runtime.handle().clone(), deadlines);
    let (mut names, mut all) = (&mut named, Vec::new());
    while let Some(known) = names.next()? {
        all.push(known);
    }
    assert_eq!(named.count, all.len() as u64);
    Ok(all)
}

fn request(mains: impl IntoIterator<Item = i64>, last: bool) -> Requested {
    let mut writer = KnownWriter::default();
    for main in mains {
        writer.push(&Known { at: Revision::new(main, 0), key: 0, digest: 9 });
    }
    Ok(pb::ChangesRequest { known: writer.take(), last, ..pb::ChangesRequest::default() })
}

fn told<T: std::fmt::Debug>(outcome: Result<T, Status>) -> (tonic::Code, String) {
    let status = outcome.unwrap_err();
    (status.code(), status.message().to_owned())
}

#[test]
fn every_caller_gets_a_minute_and_half_an_hour() {
    assert_eq!((LIMITS.stall.as_secs(), LIMITS.whole.as_secs()), (60, 30 * 60));
    let now = Instant::now();
    let patience = LIMITS.from(now).patience().unwrap();
    assert_eq!(patience, LIMITS.stall);
    // Near its end it is only what is left.
    let late = LIMITS.from(now.checked_sub(Duration::from_secs(1_790)).unwrap());
    assert!(late.patience().unwrap() <= Duration::from_secs(10));
    let over = LIMITS.from(now.checked_sub(LIMITS.whole).unwrap());
    assert_eq!(over.patience().unwrap_err().code(), tonic::Code::DeadlineExceeded);
}

#[test]
fn a_caller_that_names_nothing_is_given_up() {
    let began = Instant::now();
    let silent = stream::iter([request(1..4, false)]).chain(stream::pending());
    let (code, text) = told(named(silent, STALL));
    assert_eq!(code, tonic::Code::DeadlineExceeded);
    assert!(text.contains("sent no names for 500ms"), "{text}");
    assert!((SHORT..LONG).contains(&began.elapsed()));
    // One that names a little all the time.
    let slow = stream::unfold(1, |main| async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Some((request([main], false), main + 1))
    });
    let (code, text) = told(named(Box::pin(slow), WHOLE));
    assert_eq!(code, tonic::Code::DeadlineExceeded);
    assert!(text.contains("took more than 500ms"), "{text}");
    // And one whose silence lasts until the end.
    let (_, text) = told(named(stream::pending(), WHOLE));
    assert!(text.contains("took more than 500ms"), "{text}");
}

#[test]
fn a_caller_that_takes_nothing_is_given_up() {
    for (limits, says) in [(STALL, "took no answer for 500ms"), (WHOLE, "took more than 500ms")] {
        let (runtime, answers, mut taken) = place(1);
        let began = Instant::now();
        let mut out = Out::new(answers, runtime.handle().clone(), limits.from(began));
        out.send(pb::Kind::Header, vec![1]).unwrap();
        let (code, text) = told(out.send(pb::Kind::Bucket, vec![2]));
        assert_eq!(code, tonic::Code::DeadlineExceeded);
        assert!(text.contains(says), "{text}");
        assert!((SHORT..LONG).contains(&began.elapsed()));
        assert!(taken.blocking_recv().unwrap().is_ok(), "the first is still there");
        assert!(taken.try_recv().is_err(), "and the second is not");
    }
    // One that takes each at once, for too long.
    let (runtime, answers, mut taken) = place(1);
    let mut out = Out::new(answers, runtime.handle().clone(), WHOLE.from(Instant::now()));
    let taking = std::thread::spawn(move || while taken.blocking_recv().is_some() {});
    let error = loop {
        if let Err(error) = out.send(pb::Kind::Records, vec![3]) {
            break error;
        }
    };
    assert!(error.message().contains("took more than 500ms"), "{error}");
    drop(out);
    taking.join().unwrap();
}

#[test]
fn a_caller_that_went_away_is_not_waited_for() {
    let (runtime, answers, taken) = place(1);
    let deadlines = Limits { stall: LONG, whole: LONG }.from(Instant::now());
    let mut out = Out::new(answers.clone(), runtime.handle().clone(), deadlines);
    let mut named = Named::new(stream::pending(), answers, runtime.handle().clone(), deadlines);
    drop(taken);
    assert_eq!(out.send(pb::Kind::Header, vec![]).unwrap_err().code(), tonic::Code::Cancelled);
    assert_eq!((&mut named).next().unwrap_err().code(), tonic::Code::Cancelled);
}

#[test]
fn names_are_believed_to_their_last_and_not_beyond_a_cut() {
    let all = [request(1..4, false), request([], false), request(4..6, true)];
    let names = named(stream::iter(all), LIMITS).unwrap();
    let mains: Vec<i64> = names.iter().map(|known| known.at.main).collect();
    assert_eq!(mains, [1, 2, 3, 4, 5]);
    // What comes behind the last is not even looked at.
    let more = stream::iter([request(1..3, true), Err(Status::internal("never read"))]);
    assert_eq!(named(more, LIMITS).unwrap().len(), 2);
    let (code, text) = told(named(stream::iter([request(1..4, false)]), LIMITS));
    assert_eq!((code, &*text), (tonic::Code::Cancelled, "the caller's stream was cut"));
    let broken = stream::iter([request(1..4, false), Err(Status::internal("broken"))]);
    assert_eq!(told(named(broken, LIMITS)).1, "broken");
}

#[test]
fn what_a_vault_cannot_have_is_refused() {
    let keys = |count: usize, length: usize| {
        let digest_keys = vec![vec![0; length]; count];
        Ok(pb::ChangesRequest { digest_keys, last: true, ..pb::ChangesRequest::default() })
    };
    assert!(named(stream::iter([keys(MOST_KEYS, 32)]), LIMITS).is_ok());
    let behind = [request(5..6, false), request(5..6, true)];
    for (what, requests) in [
        ("too many keys", vec![keys(MOST_KEYS + 1, 32)]),
        ("a short key", vec![keys(1, 31)]),
        ("a long key", vec![keys(1, 33)]),
        ("the same revision again, in another message", behind.into()),
    ] {
        let (code, text) = told(named(stream::iter(requests), LIMITS));
        assert_eq!(code, tonic::Code::InvalidArgument, "{what}: {text}");
    }
}

#[test]
fn a_name_is_judged_by_the_key_that_it_says() {
    let (runtime, answers, _taken) = place(1);
    let digest_keys = vec![vec![1; 32], vec![2; 32]];
    let request = pb::ChangesRequest { digest_keys, last: true, ..pb::ChangesRequest::default() };
    let deadlines = LIMITS.from(Instant::now());
    let requests = stream::iter([Ok(request)]);
    let mut named = Named::new(requests, answers, runtime.handle().clone(), deadlines);
    let mut names = &mut named;
    assert!(names.next().unwrap().is_none());
    let at = holdfast_core::revision::BucketKey { revision: Revision::new(3, 0), tombstone: false };
    let record = Record { at, raw_key: &at.encode(), raw_value: b"value" };
    let digest = DigestKey::new(&[2; 32]).digest(&record);
    let known = |key| Known { at: at.revision, key, digest };
    assert!(names.is_same(&known(1), &record).unwrap());
    assert!(!names.is_same(&known(0), &record).unwrap());
    let (code, _) = told(names.is_same(&known(2), &record));
    assert_eq!(code, tonic::Code::InvalidArgument, "a key that was never sent");
}

#[test]
fn the_last_message_has_the_digest_of_all_and_no_other_has_one() {
    let (runtime, answers, mut taken) = place(4);
    let mut out = Out::new(answers, runtime.handle().clone(), LIMITS.from(Instant::now()));
    let all =
        [(pb::Kind::Header, vec![1; 3]), (pb::Kind::Records, vec![]), (pb::Kind::Trailer, vec![7])];
    let mut sha256 = Sha256::new();
    for (kind, payload) in &all {
        out.send(*kind, payload.clone()).unwrap();
        sha256.update([u8::try_from(*kind as i32).unwrap()]);
        sha256.update((payload.len() as u64).to_le_bytes());
        sha256.update(payload);
    }
    assert_eq!(out.sent_bytes, 4);
    let digests: Vec<Vec<u8>> =
        (0..3).map(|_| taken.blocking_recv().unwrap().unwrap().sha256).collect();
    assert_eq!(digests, [vec![], vec![], sha256.finalize().to_vec()]);
    out.refuse(Status::data_loss("rotten"));
    assert_eq!(taken.blocking_recv().unwrap().unwrap_err().code(), tonic::Code::DataLoss);
}
