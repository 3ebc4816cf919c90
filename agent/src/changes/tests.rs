//! Answers put together: what is whole is believed, and nothing else. And how long is waited.

#[path = "../../tests/support/sealed.rs"]
mod sealed;

use super::assembly::Assembly;
use super::*;
use holdfast_api::holdfast::{Bucket, Header, Kind, Trailer};
use holdfast_api::mvccpb::KeyValue;
use holdfast_core::changes::{Item, ItemReader, ItemWriter, put_entry};
use holdfast_core::revision::BucketKey;
use holdfast_vault::proto::{Facts, HashKv};
use holdfast_vault::snapshot::{Source, SourceItem, WalkResult};
use prost::Message;
use sealed::sealed;
use std::time::Duration;

/// The messages of an answer with `records` payloads of `size` bytes each.
fn messages(records: usize, size: usize) -> Vec<ChangesResponse> {
    let mut entries = Vec::new();
    put_entry(&mut entries, b"term", &[1; 8]);
    let bucket = Bucket { name: b"meta".to_vec(), sequence: 3 };
    let header = Header { cluster_id: 7, ..Header::default() };
    let mut list = vec![
        (Kind::Header, header.encode_to_vec()),
        (Kind::Bucket, bucket.encode_to_vec()),
        (Kind::Entries, entries.clone()),
        (Kind::Bucket, Bucket { name: b"other".to_vec(), sequence: 0 }.encode_to_vec()),
        (Kind::Entries, entries),
    ];
    for number in 0..records {
        let mut writer = ItemWriter::default();
        let main = i64::try_from(number).unwrap() * 2 + 1;
        writer.push(&Item::Gone(Revision::new(main, 0)));
        let at = BucketKey { revision: Revision::new(main + 1, 0), tombstone: false };
        let value = vec![7; size];
        writer.push(&Item::Record { at, superseded: true, value: &value });
        list.push((Kind::Records, writer.take()));
    }
    list.push((Kind::Trailer, Trailer { records: 5, ..Trailer::default() }.encode_to_vec()));
    sealed(list)
}

fn assemble(messages: Vec<ChangesResponse>) -> Result<Answer, ChangesError> {
    let folder = tempfile::tempdir().unwrap();
    let mut assembly = Assembly::new(folder.path().to_owned(), 1 << 30);
    for message in messages {
        assembly.take(message)?;
    }
    assembly.finish()
}

#[test]
fn a_whole_answer_is_believed_from_memory_and_from_a_spool() {
    for (records, size, spooled) in [(5, 1_000, false), (12, 1 << 20, true)] {
        let answer = assemble(messages(records, size)).unwrap();
        assert_eq!(answer.is_spooled(), spooled);
        assert_eq!((answer.header.cluster_id, answer.trailer.records), (7, 5));
        assert_eq!(answer.small.get(b"other", b"term"), Some(&[1u8; 8][..]));
        assert_eq!(answer.sequences[&b"meta"[..]], 3);
        let (mut number, mut last, mut items) = (0, None, 0);
        while let Some(payload) = answer.payload(number).unwrap() {
            for item in ItemReader::new(&payload, last) {
                last = Some(item.unwrap().revision());
                items += 1;
            }
            number += 1;
        }
        assert_eq!((number, items), (records, 2 * records));
    }
}

#[test]
fn every_cut_is_a_cut_and_every_flipped_byte_is_refused() {
    let whole = messages(3, 40);
    for end in 0..whole.len() {
        let error = assemble(whole[..end].to_vec()).unwrap_err();
        assert!(matches!(error, ChangesError::Cut { .. }), "{end}: {error}");
    }
    for (at, message) in whole.iter().enumerate() {
        for byte in 0..message.payload.len() {
            let mut changed = whole.clone();
            let mut payload = message.payload.to_vec();
            payload[byte] ^= 4;
            changed[at].payload = payload.into();
            assert!(assemble(changed).is_err(), "message {at}, byte {byte}");
        }
    }
}

#[test]
fn messages_are_believed_in_their_order_only() {
    let whole = messages(3, 40);
    let mut behind = whole.clone();
    behind.push(whole[5].clone());
    let mut swapped = whole.clone();
    swapped.swap(5, 6);
    let mut missing = whole.clone();
    missing.remove(6);
    let mut twice = whole.clone();
    twice.insert(0, whole[0].clone());
    for (name, changed) in
        [("behind", behind), ("swapped", swapped), ("missing", missing), ("twice", twice)]
    {
        assert!(assemble(changed).is_err(), "{name}");
    }
    // With a digest that fits, order is all that is left to check.
    let list = |kinds: &[usize]| {
        let part = |at: &usize| (whole[*at].kind(), whole[*at].payload.to_vec());
        sealed(kinds.iter().map(part).collect())
    };
    let end = whole.len() - 1;
    assert!(assemble(list(&[0, 1, 2, 5, 6, end])).is_ok());
    for wrong in [&[0, 2, end][..], &[1, 2, end], &[0, 6, 5, end], &[0, 5, 1, end], &[0, 0, end]] {
        assert!(assemble(list(wrong)).is_err(), "{wrong:?}");
    }
}

const DEADLINES: Deadlines =
    Deadlines { stall: Duration::from_secs(60), whole: Duration::from_secs(1_800) };

/// How draining these messages ends, each so long after the one before, and when.
async fn drained(
    pauses: impl IntoIterator<Item = Duration>,
    after: Option<Status>,
) -> (Result<(), ChangesError>, Duration, u64) {
    let began = Instant::now();
    let (messages, mut queue) = mpsc::channel(1);
    let taking = tokio::spawn(async move {
        let mut count = 0;
        while queue.recv().await.is_some() {
            count += 1;
        }
        count
    });
    let each = |pause| async move {
        tokio::time::sleep(pause).await;
        Ok(ChangesResponse { payload: vec![0; 10].into(), ..ChangesResponse::default() })
    };
    let told = futures::stream::iter(pauses).then(each);
    let end = futures::stream::iter(after.map(Err));
    let outcome = drain(
        Box::pin(told.chain(end).chain(futures::stream::pending())),
        messages,
        DEADLINES,
        began + DEADLINES.whole,
    );
    (outcome.await, began.elapsed(), taking.await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_member_that_falls_silent_is_left_after_a_minute() {
    let pause = Duration::from_secs(59);
    for before in [0, 1, 5] {
        let (outcome, elapsed, _) = drained(std::iter::repeat_n(pause, before), None).await;
        let Err(ChangesError::Stalled { seconds: 60, received_bytes }) = outcome else {
            panic!("{outcome:?}")
        };
        let count = u32::try_from(before).unwrap();
        assert_eq!(received_bytes, u64::from(count) * 10);
        assert_eq!(elapsed, pause * count + DEADLINES.stall);
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_goes_on_for_ever_is_left_after_half_an_hour() {
    let (outcome, elapsed, _) = drained(std::iter::repeat(Duration::from_secs(59)), None).await;
    let Err(ChangesError::TooSlow { seconds: 1_800, received_bytes: 300 }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(elapsed, DEADLINES.whole);
    // Also one that leaves no moment between two messages.
    let (outcome, elapsed, _) = drained(std::iter::repeat(Duration::from_millis(1)), None).await;
    assert!(matches!(outcome, Err(ChangesError::TooSlow { .. })), "{outcome:?}");
    assert_eq!(elapsed, DEADLINES.whole);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_with_what_came_before_it() {
    let pauses = std::iter::repeat_n(Duration::from_secs(1), 3);
    let (outcome, _, count) = drained(pauses, Some(Status::internal("disk gone"))).await;
    let Err(error @ ChangesError::Failed { received_bytes: 30, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(error.to_string().contains("disk gone"), "{error}");
    assert_eq!(count, 3);
}

/// An answer of three payloads: a record gone, one that is new; every third is a tombstone. And the
/// same as the vault is to read it: revision, key; no key: it is gone.
fn changed(asked: Option<HashKv>, computed: HashKv) -> (Arc<Changed>, Vec<(Told, Vec<u8>)>) {
    let (mut expected, mut list) = (Vec::new(), vec![(Kind::Header, Vec::new())]);
    for number in 0..3i64 {
        let mut writer = ItemWriter::default();
        let (gone, new) = (number * 1_000 + 1, number * 1_000 + 900);
        writer.push(&Item::Gone(Revision::new(gone, 2)));
        let (key, value) =
            (format!("k{number}").into_bytes(), format!("k8s:enc:aescbc:v1:n{number}:"));
        let kv = KeyValue { key: key.clone().into(), value: value.into(), ..KeyValue::default() };
        let at = BucketKey { revision: Revision::new(new, 1), tombstone: number == 2 };
        writer.push(&Item::Record { at, superseded: number == 1, value: &kv.encode_to_vec() });
        list.push((Kind::Records, writer.take()));
        expected.push(((gone, 2, false, false), Vec::new()));
        expected.push(((new, 1, number == 2, number == 1), key));
    }
    let trailer = Trailer { live_sha256: vec![5; 32], records: 7, ..Trailer::default() };
    list.push((Kind::Trailer, trailer.encode_to_vec()));
    let answer = assemble(sealed(list)).unwrap();
    let answered = Answered { answer, named: Arc::default(), names: 3 };
    let differences = answered.differences(4).unwrap();
    assert_eq!((differences.number, differences.totals.record_count), (4, 7));
    let encryption_key_ids = vec!["aescbc:v1:old".to_owned()];
    let before = Facts { encryption_key_ids, kubernetes: true, ..Facts::default() };
    let (facts, sensitive_prefixes) = (Facts::default(), Vec::new());
    let changed =
        Changed { answered, differences, facts, before, asked, computed, sensitive_prefixes };
    (Arc::new(changed), expected)
}

/// Revisions, tombstone, superseded.
type Told = (i64, i64, bool, bool);

#[test]
fn the_vault_reads_what_was_told_as_often_as_it_likes() {
    let computed = HashKv { revision: 9, compact_revision: 4, hash: 77 };
    let (changed, expected) = changed(None, computed);
    let mut reader = ChangesReader::new(Arc::clone(&changed));
    for _ in 0..2 {
        let mut read = Vec::new();
        while let Some(item) = reader.next_item().unwrap() {
            read.push(match item {
                SourceItem::Gone((main, sub)) => ((main, sub, false, false), Vec::new()),
                SourceItem::Record(record) => {
                    assert!(record.sensitive, "an encrypted value");
                    let told = (record.main, record.sub, record.tombstone, record.superseded);
                    (told, record.key.to_vec())
                }
            });
        }
        assert_eq!(read, expected);
        let mut facts = Facts::default();
        reader.finish(&WalkResult::default(), &mut facts).unwrap();
        let ids = ["aescbc:v1:n0", "aescbc:v1:n1", "aescbc:v1:n2", "aescbc:v1:old"];
        assert_eq!(facts.encryption_key_ids, ids, "old values still need theirs");
        assert!(facts.kubernetes);
        assert_eq!((facts.hash_kv, facts.restored_hash_kv), (Some(computed), None));
        reader.rewind().unwrap();
    }
    // One of its records, for those who compare versions; a tombstone is none.
    assert_eq!(changed.record((900, 1)).unwrap().key, b"k0");
    assert_eq!(changed.record((1_900, 1)).unwrap().key, b"k1");
    assert!(changed.record((2_900, 1)).is_none() && changed.record((1, 2)).is_none());
}

#[test]
fn a_hash_that_the_member_answers_otherwise_is_told_beside_ours() {
    let computed = HashKv { revision: 9, compact_revision: 4, hash: 77 };
    let asked = HashKv { hash: 78, ..computed };
    let mut reader = ChangesReader::new(changed(Some(asked), computed).0);
    let mut facts = Facts::default();
    reader.finish(&WalkResult::default(), &mut facts).unwrap();
    assert_eq!((facts.hash_kv, facts.restored_hash_kv), (Some(asked), Some(computed)));
    // What the values showed before stands, although no new one shows it.
    assert!(facts.kubernetes);
    assert_eq!(facts.encryption_key_ids, ["aescbc:v1:old"]);
}
