//! Records of every shape come back as they went in.

use super::fixture::{Fixture, Owned, by_revision};
use crate::format::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn shapes() -> impl Strategy<Value = Vec<Owned>> {
    let delta = prop_oneof![4 => 0i64..3, 2 => 0i64..1000, 1 => 0i64..1 << 55];
    let value = prop_oneof![
        1 => Just(Vec::new()),
        6 => proptest::collection::vec(any::<u8>(), 0..60),
        2 => (any::<u8>(), 0usize..2000).prop_map(|(byte, length)| vec![byte; length]),
    ];
    let one = (delta, any::<bool>(), value, any::<bool>(), 0u8..20, any::<u32>());
    proptest::collection::vec(one, 1..60).prop_map(|all| {
        let (mut main, mut sub) = (1i64, 0i64);
        let mut records = Vec::new();
        for (delta, tombstone, value, sensitive, key, sub_step) in all {
            if delta == 0 {
                sub += 1 + i64::from(sub_step % 3);
            } else {
                main += delta;
                sub = if sub_step % 9 == 0 { i64::from(sub_step) << 20 } else { 0 };
            }
            let key = format!("/registry/{key}").into_bytes();
            records.push(Owned { main, sub, tombstone, value, key, sensitive });
        }
        records
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn a_segment_gives_back_its_records(
        records in shapes(),
        frame_bytes in prop_oneof![Just(1usize), 20usize..400, Just(1 << 20)],
        level in 1i32..5,
    ) {
        let mut fixture = Fixture::new();
        let settings = SegmentSettings { frame_bytes, zstd_level: level };
        let (bytes, reference) = fixture.segment(&records, settings);
        prop_assert_eq!(padme(bytes.len() as u64), bytes.len() as u64);
        prop_assert_eq!(reference.record_count, records.len() as u64);
        let (owner, keyring) = (fixture.owner(), &fixture.keyring);
        let whole = SegmentIndex::open(&bytes, &reference, owner, keyring).unwrap();
        let start = reference.index_offset as usize;
        let sealed = &bytes[start..start + reference.index_length as usize];
        let ranged = SegmentIndex::open_ranges(
            &bytes[..HEADER_BYTES], sealed, &reference, fixture.owner(), &fixture.keyring,
        ).unwrap();
        prop_assert!(whole.records().eq(ranged.records()));

        let model = by_revision(&records);
        let entries: Vec<IndexRecord> = whole.ordered().collect();
        prop_assert!(entries.iter().map(IndexRecord::revision).eq(model.keys().copied()));
        for (entry, record) in entries.iter().zip(model.values()) {
            prop_assert_eq!(entry.tombstone, record.tombstone);
            prop_assert_eq!(entry.value_len as usize, record.value.len());
            prop_assert_eq!(entry.digest, whole.digest(&record.record()));
            prop_assert_eq!(entry.tag, fixture.tag_key.tag(&record.key));
        }
        let ordinals: Vec<u32> = whole.records().map(|record| record.ordinal).collect();
        prop_assert!(ordinals.into_iter().eq(0..records.len() as u32));

        let opener = whole.frames_opener(&fixture.keyring).unwrap();
        let mut buffer = FrameBuffer::new();
        let mut found = BTreeMap::new();
        for frame in whole.frames() {
            let sealed = frame.entry.slice(&bytes).unwrap();
            let plain = opener.open(sealed, &frame.entry, Bound::ByFrame, &mut buffer).unwrap();
            whole.check_frame(frame, plain).unwrap();
            for record in FrameRecords::new(plain) {
                let record = record.unwrap();
                let model = &model[&record.revision()];
                // Sensitive records share no frame with others and are not compressed.
                prop_assert_eq!(model.sensitive, frame.entry.class == FrameClass::Sensitive);
                prop_assert!(!model.sensitive || frame.entry.codec == Codec::None);
                prop_assert_eq!(model.record(), record);
                found.insert(record.revision(), record.value.len());
            }
        }
        prop_assert_eq!(found.len(), model.len());
        prop_assert!(live_of(&reference).unwrap().len() == model.len() as u64);
    }

    #[test]
    fn a_bucket_gives_back_its_entries(
        entries in proptest::collection::btree_map(
            proptest::collection::vec(any::<u8>(), 0..20),
            proptest::collection::vec(any::<u8>(), 0..50),
            1..50,
        ),
        spill in any::<bool>(),
    ) {
        let mut fixture = Fixture::new();
        let new = fixture.fresh();
        let context = fixture.context();
        let mut bucket = Bucket::new(b"lease", 5, Compression::Zstd(3));
        let mut writer =
            SpillWriter::new(&context, &new, (b"lease", 5), Compression::Zstd(3), Vec::new())
                .unwrap();
        for (key, value) in &entries {
            bucket.push(key, value);
            writer.push(key, value).unwrap();
        }
        let (described, bytes) = writer.finish().unwrap();
        let read = if spill {
            let kind = crate::proto::ObjectKind::Spill;
            let expected = fixture.expected(kind, described.spill.as_ref());
            open_spill(&bytes, &expected, &described, &fixture.keyring).unwrap()
        } else {
            let body = fixture.body(None, described);
            let new = fixture.fresh();
            let body = crate::proto::Body { buckets: Vec::new(), ..body };
            let sealed = seal_body(&fixture.context(), &new, body, vec![bucket]).unwrap();
            let reference = &sealed.object.reference;
            let expected = fixture.expected(crate::proto::ObjectKind::Body, Some(reference));
            let opened = open_body(&sealed.bytes, &expected, &fixture.keyring).unwrap();
            opened.bucket(&sealed.bytes, &opened.body.buckets[0], &fixture.keyring).unwrap()
        };
        let read: BTreeMap<Vec<u8>, Vec<u8>> =
            read.into_iter().map(|entry| (entry.key.to_vec(), entry.value.to_vec())).collect();
        prop_assert_eq!(read, entries);
    }
}

#[test]
fn large_records_have_frames_of_their_own_and_larger_ones_are_refused() {
    let mut fixture = Fixture::new();
    let record = |main, length| Owned {
        main,
        sub: 0,
        tombstone: false,
        value: vec![b'v'; length],
        key: b"k".to_vec(),
        sensitive: false,
    };
    let all = [record(1, 10), record(2, 3 << 20), record(3, 10), record(4, 10)];
    let (bytes, reference) = fixture.segment(&all, SegmentSettings::default());
    let index = SegmentIndex::open(&bytes, &reference, fixture.owner(), &fixture.keyring).unwrap();
    let counts: Vec<usize> = index.frames().iter().map(|frame| frame.ordinals.len()).collect();
    assert_eq!(counts, [1, 1, 2]);

    let new = fixture.fresh();
    let context = fixture.context();
    let class = crate::proto::segment_ref::Class::Live;
    let settings = SegmentSettings::default();
    let mut writer =
        SegmentWriter::new(&context, &new, &fixture.tag_key, class, settings, std::io::sink())
            .unwrap();
    let refused = writer.push(&record(9, MAX_FRAME_BYTES).record(), b"k", false).unwrap_err();
    assert!(refused.to_string().contains("record 9.0 of 67108864 bytes"), "{refused}");
    writer.push(&record(9, 1).record(), b"k", false).unwrap();
    for (main, sub) in [(9, 0), (8, 7), (-1, 0), (10, -1)] {
        let record = Record { main, sub, tombstone: false, value: b"" };
        let refused = writer.push(&record, b"k", false).unwrap_err();
        assert!(matches!(refused, FormatError::Refused { .. }), "{refused}");
    }
}

#[test]
fn an_empty_segment_and_an_empty_spill_are_refused() {
    let mut fixture = Fixture::new();
    let new = fixture.fresh();
    let context = fixture.context();
    let class = crate::proto::segment_ref::Class::Live;
    let settings = SegmentSettings::default();
    let writer = SegmentWriter::new(&context, &new, &fixture.tag_key, class, settings, Vec::new());
    assert!(matches!(writer.unwrap().finish(), Err(FormatError::Refused { .. })));
    let writer = SpillWriter::new(&context, &new, (b"b", 0), Compression::Never, Vec::new());
    assert!(matches!(writer.unwrap().finish(), Err(FormatError::Refused { .. })));
}

#[test]
fn a_sink_that_fails_is_an_error_of_its_own() {
    struct Full(usize);
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 =
                self.0.checked_sub(bytes.len()).ok_or_else(|| std::io::Error::other("full"))?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let fixture = Fixture::new();
    for room in [0, 271, 272, 300, 600] {
        let new = NewObject::random(&mut SeededEntropy::new(4));
        let written = ObjectWriter::new(
            crate::proto::ObjectKind::Spill,
            &fixture.context(),
            &new,
            Full(room),
        )
        .and_then(|mut writer| {
            writer.frame(FrameClass::Bucket, Compression::Never, &[1; 300], true)?;
            writer.finish(&[]).map(|_| ())
        });
        assert!(matches!(written, Err(FormatError::Sink { .. })), "{room}");
    }
}
