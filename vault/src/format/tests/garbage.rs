//! Any bytes at all, given to every reader: an error, never a panic, never much memory.

use super::fixture::{Fixture, small_buckets};
use crate::format::*;
use crate::proto::ObjectKind;
use proptest::prelude::*;

const KINDS: [ObjectKind; 7] = [
    ObjectKind::Segment,
    ObjectKind::Body,
    ObjectKind::Commit,
    ObjectKind::Page,
    ObjectKind::Ledger,
    ObjectKind::Spill,
    ObjectKind::Report,
];

/// Reads sealed content as if it were of this kind.
fn read(fixture: &Fixture, kind: ObjectKind, bytes: &[u8]) -> Result<(), FormatError> {
    let expected = fixture.expected(kind, None);
    match kind {
        ObjectKind::Body => open_body(bytes, &expected, &fixture.keyring).map(drop),
        ObjectKind::Commit => {
            open_commit(bytes, fixture.owner(), (0, 2), &fixture.keyring).map(drop)
        }
        ObjectKind::Spill => {
            let bucket = crate::proto::SmallBucket::default();
            open_spill(bytes, &expected, &bucket, &fixture.keyring).map(drop)
        }
        ObjectKind::Segment => {
            let reference = crate::proto::SegmentRef::default();
            SegmentIndex::open(bytes, &reference, fixture.owner(), &fixture.keyring).map(drop)
        }
        _ => open_message::<crate::proto::Ledger>(bytes, &expected, &fixture.keyring).map(drop),
    }
}

/// A sound envelope around any payload; segments get one frame of any plaintext.
fn seal(fixture: &mut Fixture, kind: ObjectKind, payload: &[u8], plain: &[u8]) -> Vec<u8> {
    let new = fixture.fresh();
    let framed = matches!(kind, ObjectKind::Segment | ObjectKind::Spill);
    let context = fixture.context();
    let context = ObjectContext { data: context.data.filter(|_| framed), ..context };
    let mut writer = ObjectWriter::new(kind, &context, &new, Vec::new()).unwrap();
    if framed {
        let spill = kind == ObjectKind::Spill;
        let class = if spill { FrameClass::Bucket } else { FrameClass::Normal };
        writer.frame(class, Compression::Zstd(3), plain, true).unwrap();
    }
    writer.finish(payload).unwrap().1
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn garbage_is_no_object(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..700),
        plausible in any::<bool>(),
    ) {
        let fixture = Fixture::new();
        if plausible && bytes.len() > 400 {
            bytes[..14].copy_from_slice(b"HOLDFAST\x01\x00\x01\x00\x02\x01");
            bytes[14..24].fill(0);
            let end = bytes.len();
            bytes[end - 40..end - 32].copy_from_slice(b"HFTRAIL1");
        }
        for kind in KINDS {
            prop_assert!(read(&fixture, kind, &bytes).is_err());
        }
        let name = ObjectName { kind: ObjectKind::Segment, id: None };
        let _ = Header::parse(&bytes, name);
        let _ = Trailer::parse(&bytes, bytes.len() as u64, name);
    }

    #[test]
    fn sealed_garbage_is_an_error(
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        plain in proptest::collection::vec(any::<u8>(), 1..200),
    ) {
        let mut fixture = Fixture::new();
        for kind in KINDS {
            let bytes = seal(&mut fixture, kind, &payload, &plain);
            // Messages without rules of their own may decode by chance.
            let loose = [ObjectKind::Page, ObjectKind::Ledger, ObjectKind::Report].contains(&kind);
            prop_assert!(read(&fixture, kind, &bytes).is_err() || loose, "{:?}", kind);
        }
    }

    #[test]
    fn messages_changed_under_their_seal_do_not_panic(
        at in any::<prop::sample::Index>(),
        to in proptest::collection::vec(any::<u8>(), 0..4),
        cut in 0usize..4,
        pick in 0usize..3,
    ) {
        let mut fixture = Fixture::new();
        let all = fixture.one_of_each();
        let stored = &all[[0, 2, 3][pick]];
        let expected = fixture.expected(stored.kind, None);
        let opened = open_object(&stored.bytes, &expected, &fixture.keyring).unwrap();
        let mut payload = opened.payload().to_vec();
        let at = at.index(payload.len());
        let end = (at + cut).min(payload.len());
        payload.splice(at..end, to);
        let plain = b"\x02\x00\x00\x01x";
        let bytes = seal(&mut fixture, stored.kind, &payload, plain);
        let _ = read(&fixture, stored.kind, &bytes);
    }

    #[test]
    fn garbage_records_end_and_ascend(plain in proptest::collection::vec(any::<u8>(), 0..200)) {
        let read: Vec<_> = FrameRecords::new(&plain).collect();
        prop_assert!(read.len() <= plain.len() + 1);
        let good: Vec<_> = read.iter().flatten().map(Record::revision).collect();
        prop_assert!(good.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert!(read.iter().rev().skip(1).all(Result::is_ok), "an error is the last item");
    }
}

#[test]
fn a_body_with_broken_rules_is_not_written() {
    let mut fixture = Fixture::new();
    let (_, segment) = fixture.small_segment();
    let spilled = crate::proto::SmallBucket {
        name: "lease".into(),
        sha256: bytes::Bytes::from_static(&[0; 32]),
        ..Default::default()
    };
    let good = fixture.body(Some(segment.clone()), spilled);
    type Change = fn(&mut crate::proto::Body);
    let changes: [(&str, Change); 7] = [
        ("vault id", |body| body.vault_id = "".into()),
        ("facts", |body| body.facts = None),
        ("digest of its base", |body| body.base_sha256 = "x".into()),
        ("live bitmap", |body| body.segments[0].live_count += 1),
        ("index does not end", |body| body.segments[0].index_length += 1),
        ("out of order", |body| {
            body.segments[0].first = Some(crate::proto::Rev { main: i64::MAX, sub: 0 });
        }),
        ("incomplete", |body| body.segments[0].object = Some(Default::default())),
    ];
    for (what, change) in changes {
        let mut body = good.clone();
        change(&mut body);
        let new = fixture.fresh();
        let refused = seal_body(&fixture.context(), &new, body, small_buckets()).unwrap_err();
        assert!(matches!(refused, FormatError::Refused { .. }));
        assert!(refused.to_string().contains(what), "{what}: {refused}");
    }
    let new = fixture.fresh();
    assert!(seal_body(&fixture.context(), &new, good, small_buckets()).is_ok());
}
