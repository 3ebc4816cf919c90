//! Answers put together: what is whole is believed, and nothing else.

use super::assembly::Assembly;
use super::*;
use holdfast_api::holdfast::{Bucket, Header, Kind, Trailer};
use holdfast_core::changes::{Item, ItemReader, ItemWriter, put_entry};
use holdfast_core::revision::BucketKey;
use prost::Message;
use sha2::{Digest, Sha256};

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

fn sealed(list: Vec<(Kind, Vec<u8>)>) -> Vec<ChangesResponse> {
    let mut sha256 = Sha256::new();
    let message = |(kind, payload): (Kind, Vec<u8>)| {
        sha256.update([u8::try_from(i32::from(kind)).unwrap()]);
        sha256.update((payload.len() as u64).to_le_bytes());
        sha256.update(&payload);
        let digest = sha256.clone().finalize().to_vec();
        let sha256 = if kind == Kind::Trailer { digest } else { Vec::new() };
        ChangesResponse { kind: kind.into(), payload: payload.into(), sha256 }
    };
    list.into_iter().map(message).collect()
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
