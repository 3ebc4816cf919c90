//! Bytes that are not those written: always an error that names the object and the part.

use super::fixture::{Fixture, Stored, read_segment};
use crate::format::*;
use crate::proto::ObjectKind;

/// The part of an object that a byte is in.
fn part_at(stored: &Stored, offset: usize, fixture: &Fixture) -> Part {
    let expected = fixture.expected(stored.kind, Some(&stored.reference));
    let opened = open_object(&stored.bytes, &expected, &fixture.keyring).unwrap();
    let frame =
        opened.frames.iter().find(|frame| (frame.offset..frame.end()).contains(&(offset as u64)));
    match frame {
        Some(frame) => Part::Frame(frame.number),
        None if offset < HEADER_BYTES => Part::Header,
        None if offset >= stored.bytes.len() - TRAILER_BYTES => Part::Trailer,
        None => Part::Index,
    }
}

#[test]
fn every_flipped_byte_is_found_and_its_part_is_named() {
    let mut fixture = Fixture::new();
    for stored in fixture.one_of_each() {
        let good = fixture.read_all(&stored, &stored.bytes, true).unwrap();
        assert!(!good.is_empty());
        let parts: Vec<Part> = {
            let part = |at| part_at(&stored, at, &fixture);
            (0..stored.bytes.len()).map(part).collect()
        };
        for (at, part) in parts.into_iter().enumerate() {
            for (mask, by_reference) in [(0x01, true), (0x80, false)] {
                let mut bytes = stored.bytes.clone();
                bytes[at] ^= mask;
                let error = fixture.read_all(&stored, &bytes, by_reference).unwrap_err();
                let FormatError::Damaged { object, part: named, .. } = &error else {
                    panic!("{:?} byte {at}: {error}", stored.kind);
                };
                assert_eq!(object.kind, stored.kind, "byte {at}: {error}");
                // Another seed id, and nothing that says which it was: no part can be opened.
                // Commits are read by number, segments by reference always.
                let commit = stored.kind == ObjectKind::Commit;
                let known = (by_reference && !commit) || stored.segment.is_some();
                let blind = !known && (96..112).contains(&at);
                let part = if blind { Part::Whole } else { part };
                assert_eq!(*named, part, "{:?} byte {at}: {error}", stored.kind);
            }
        }
    }
}

#[test]
fn every_flipped_byte_is_found_in_range_reads() {
    let mut fixture = Fixture::new();
    let (bytes, reference) = fixture.small_segment();
    let index_at = reference.index_offset as usize;
    let index_end = index_at + reference.index_length as usize;
    for at in 0..index_end {
        let mut other = bytes.clone();
        other[at] ^= 0x10;
        let read = SegmentIndex::open_ranges(
            &other[..HEADER_BYTES],
            &other[index_at..index_end],
            &reference,
            fixture.owner(),
            &fixture.keyring,
        )
        .and_then(|index| read_segment(&index, &other, &fixture.keyring));
        let error = read.expect_err("a flipped byte");
        assert!(error.to_string().starts_with("segment "), "byte {at}: {error}");
    }
}

#[test]
fn every_cut_and_every_tail_is_found() {
    let mut fixture = Fixture::new();
    for stored in fixture.one_of_each() {
        for length in 0..stored.bytes.len() {
            for by_reference in [true, false] {
                let cut = &stored.bytes[..length];
                let error = fixture.read_all(&stored, cut, by_reference).unwrap_err();
                assert!(error.is_damage(), "{:?} cut at {length}: {error}", stored.kind);
            }
        }
        for extra in [1, 16, 64, 400] {
            let longer = [&stored.bytes[..], &vec![0; extra]].concat();
            assert!(
                fixture.read_all(&stored, &longer, false).is_err(),
                "{:?} {extra}",
                stored.kind
            );
        }
    }
}

#[test]
fn an_object_in_the_place_of_another_is_exchanged_not_damaged() {
    let mut fixture = Fixture::new();
    let first = fixture.one_of_each();
    let second = fixture.one_of_each();
    for (a, b) in first.iter().zip(&second) {
        if a.kind == ObjectKind::Commit {
            continue; // read by number: below
        }
        let error = fixture.read_all(a, &b.bytes, true).unwrap_err();
        assert!(matches!(error, FormatError::Exchanged { .. }), "{:?}: {error}", a.kind);
    }
    let commit = first.iter().find(|stored| stored.kind == ObjectKind::Commit).unwrap();
    let renamed = open_commit(&commit.bytes, fixture.owner(), (0, 3), &fixture.keyring);
    assert!(matches!(renamed, Err(FormatError::Exchanged { .. })));
    let other =
        Fixture { cluster: ClusterId::random(&mut SeededEntropy::new(5)), ..Fixture::new() };
    for stored in &first {
        let expected = other.expected(stored.kind, None);
        let error = open_object(&stored.bytes, &expected, &fixture.keyring).unwrap_err();
        assert!(error.to_string().contains("another cluster"), "{error}");
        let expected = fixture.expected(ObjectKind::Status, None);
        let error = open_object(&stored.bytes, &expected, &fixture.keyring).unwrap_err();
        assert!(error.to_string().contains("another kind"), "{error}");
    }
}
