//! The comparison beside a model, and the codec beside garbage.

use super::*;
use crate::record::Record;
use crate::revision::{BucketKey, Revision};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

type Model = BTreeMap<(i64, i64), (bool, Vec<u8>)>;

struct List {
    names: std::vec::IntoIter<Known>,
    keys: Vec<DigestKey>,
}

impl Names for List {
    type Error = PayloadError;

    fn next(&mut self) -> Result<Option<Known>, PayloadError> {
        Ok(self.names.next())
    }

    fn is_same(&self, known: &Known, record: &Record<'_>) -> Result<bool, PayloadError> {
        let key = self.keys.get(known.key as usize).ok_or(PayloadError::Cut)?;
        Ok(key.digest(record) == known.digest)
    }
}

fn keys() -> Vec<DigestKey> {
    (0..3u8).map(|byte| DigestKey::new(&[byte; DIGEST_KEY_BYTES])).collect()
}

fn with_record<T>(
    at: (i64, i64),
    (tombstone, value): &(bool, Vec<u8>),
    then: impl FnOnce(&Record<'_>) -> T,
) -> T {
    let at = BucketKey { revision: Revision::new(at.0, at.1), tombstone: *tombstone };
    let raw_key = at.encode();
    then(&Record { at, raw_key: &raw_key, raw_value: value })
}

/// Whether a newer record of the key exists: here anything that is told and comes back.
fn is_superseded((main, sub): (i64, i64)) -> bool {
    (main + sub) % 3 == 0
}

/// What the caller has after it applied the answer, through the codec in payloads of about `piece`
/// bytes: a name has about eight. And what the server counted and hashed.
fn exchange(have: &Model, server: &Model, piece: usize) -> (Model, Totals, [u8; 32]) {
    let keys = keys();
    let mut writer = KnownWriter::default();
    let (mut names, mut last) = (Vec::new(), None);
    let mut flush = |writer: &mut KnownWriter| {
        let read = read_known(&writer.take(), last).unwrap();
        last = read.last().map(|known| known.at).or(last);
        names.extend(read);
    };
    for (count, ((main, sub), content)) in have.iter().enumerate() {
        if count > 0 && count % piece.div_ceil(8) == 0 {
            flush(&mut writer);
        }
        let key = u32::try_from(main % 3).unwrap();
        let digest =
            with_record((*main, *sub), content, |record| keys[key as usize].digest(record));
        writer.push(&Known { at: Revision::new(*main, *sub), key, digest });
    }
    flush(&mut writer);
    let mut comparison = Comparison::new(List { names: names.into_iter(), keys }).unwrap();
    let (mut out, mut payloads) = (ItemWriter::default(), Vec::new());
    let mut tell = |item: &Item<'_>| {
        out.push(item);
        if out.size_bytes() >= piece {
            payloads.push(out.take());
        }
        Ok(())
    };
    for (at, content) in server {
        with_record(*at, content, |record| comparison.take(record, is_superseded(*at), &mut tell))
            .unwrap();
    }
    let (totals, sha256) = comparison.finish(&mut tell).unwrap();
    payloads.push(out.take());
    let (mut after, mut last) = (have.clone(), None);
    for payload in &payloads {
        for item in ItemReader::new(payload, last) {
            let item = item.unwrap();
            let at = item.revision();
            last = Some(at);
            match item {
                Item::Gone(_) => {
                    assert!(after.remove(&(at.main, at.sub)).is_some(), "it was named");
                }
                Item::Record { at, superseded, value } => {
                    let place = (at.revision.main, at.revision.sub);
                    assert_eq!(superseded, is_superseded(place));
                    let content = (at.tombstone, value.to_vec());
                    assert_ne!(have.get(&place), Some(&content), "sent for nothing");
                    after.insert(place, content);
                }
            }
        }
    }
    (after, totals, sha256)
}

/// The digest over all records, as docs/FORMAT.md has it, written down once more.
fn live_sha256(records: &Model) -> [u8; 32] {
    let mut sha256 = Sha256::new();
    for ((main, sub), (tombstone, value)) in records {
        sha256.update(main.to_le_bytes());
        sha256.update(sub.to_le_bytes());
        sha256.update([u8::from(*tombstone)]);
        sha256.update((value.len() as u64).to_le_bytes());
        sha256.update(value);
    }
    sha256.finalize().into()
}

fn model() -> impl Strategy<Value = Model> {
    let content = (any::<bool>(), prop::collection::vec(0u8..3, 0..6));
    prop::collection::btree_map((1i64..60, 0i64..3), content, 0..60)
}

proptest! {
    #[test]
    fn both_sides_have_the_same_afterwards(
        have in model(),
        server in model(),
        piece in 1usize..200,
    ) {
        let (after, totals, sha256) = exchange(&have, &server, piece);
        prop_assert_eq!(&after, &server);
        let same = server.iter().filter(|(at, content)| have.get(at) == Some(content)).count();
        prop_assert_eq!(totals.equal, same as u64);
        prop_assert_eq!(totals.records, server.len() as u64);
        let tombstones = server.values().filter(|(tombstone, _)| *tombstone).count();
        prop_assert_eq!(totals.tombstones, tombstones as u64);
        let bytes: usize = server.values().map(|(_, value)| value.len()).sum();
        prop_assert_eq!(totals.live_bytes, bytes as u64);
        prop_assert_eq!(sha256, live_sha256(&server));
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_known(&bytes, None);
        let items: Vec<_> = ItemReader::new(&bytes, None).collect();
        let revisions: Vec<_> = items.iter().flatten().map(Item::revision).collect();
        prop_assert!(revisions.is_sorted_by(|a, b| a < b));
        let _ = EntryReader::new(&bytes).count();
    }
}

#[test]
fn what_is_out_of_order_is_refused() {
    let mut writer = KnownWriter::default();
    writer.push(&Known { at: Revision::new(5, 1), key: 0, digest: 7 });
    let payload = writer.take();
    assert_eq!(read_known(&payload, Some(Revision::new(5, 0))).unwrap().len(), 1);
    assert_eq!(read_known(&payload, Some(Revision::new(5, 1))), Err(PayloadError::Order));
    assert_eq!(read_known(&payload[..4], None), Err(PayloadError::Cut));
    let mut items = ItemWriter::default();
    items.push(&Item::Gone(Revision::new(5, 1)));
    let payload = items.take();
    let read: Vec<_> = ItemReader::new(&payload, Some(Revision::new(5, 1))).collect();
    assert_eq!(read, [Err(PayloadError::Order)]);
    let unknown: Vec<_> = ItemReader::new(&[5, 1, 8], None).collect();
    assert_eq!(unknown, [Err(PayloadError::Flags)]);
}

#[test]
fn entries_are_read_as_they_were_put() {
    let mut payload = Vec::new();
    put_entry(&mut payload, b"key", b"");
    put_entry(&mut payload, b"", b"value");
    let read: Vec<_> = EntryReader::new(&payload).collect();
    assert_eq!(read, [Ok((&b"key"[..], &b""[..])), Ok((&b""[..], &b"value"[..]))]);
    assert_eq!(EntryReader::new(&payload[..3]).next(), Some(Err(PayloadError::Cut)));
}
