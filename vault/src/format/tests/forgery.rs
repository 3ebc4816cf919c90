//! Objects that someone made who holds some of the keys, or who exchanges sound parts.

use super::fixture::Fixture;
use crate::format::frame::put_table;
use crate::format::seal::{KeyClass, ObjectKey, Place, TAG_BYTES, sha256};
use crate::format::varint::put_varint;
use crate::format::*;
use crate::keys::{Keyring, Seed};
use crate::proto::{ObjectKind, SeedKind, Signature};
use zeroize::Zeroizing;

/// Puts an object together from any parts; only the index key is needed, not the data key.
fn assemble(
    header: &[u8],
    frames: &[(FrameEntry, Vec<u8>)],
    index: &ObjectKey,
    rest: &[u8],
) -> Vec<u8> {
    let mut table = Vec::new();
    let entries: Vec<FrameEntry> = frames.iter().map(|frame| frame.0).collect();
    put_table(&mut table, &entries);
    assemble_raw(header, frames, index, &[&table[..], rest].concat())
}

fn assemble_raw(
    header: &[u8],
    frames: &[(FrameEntry, Vec<u8>)],
    index: &ObjectKey,
    content: &[u8],
) -> Vec<u8> {
    let mut out = header.to_vec();
    frames.iter().for_each(|frame| out.extend_from_slice(&frame.1));
    let offset = out.len();
    let mut plain = [&(content.len() as u64).to_le_bytes()[..], content].concat();
    let bare = (offset + plain.len() + TAG_BYTES + TRAILER_BYTES) as u64;
    plain.resize(plain.len() + (padme(bare) - bare) as usize, 0);
    let place = Place::index(sha256(header), plain.len() as u64);
    index.seal_in_place(&place, &mut plain);
    out.extend_from_slice(&plain);
    out.extend_from_slice(&(offset as u64).to_le_bytes());
    out.extend_from_slice(&(plain.len() as u64).to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(b"HFTRAIL1");
    let digest = sha256(&out);
    out.extend_from_slice(&digest);
    out
}

fn with_digest(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.len() - 32;
    let digest = sha256(&bytes[..end]);
    bytes[end..].copy_from_slice(&digest);
    bytes
}

/// A spill of three frames that hold 100 bytes each, uncompressed.
fn three_frames(fixture: &mut Fixture) -> (Vec<u8>, OpenedObject) {
    let new = fixture.fresh();
    let mut writer =
        ObjectWriter::new(ObjectKind::Spill, &fixture.context(), &new, Vec::new()).unwrap();
    for n in 0..3u8 {
        writer.frame(FrameClass::Bucket, Compression::Never, &[n; 100], n == 2).unwrap();
    }
    let bytes = writer.finish(b"").unwrap().1;
    let opened = open(fixture, &bytes).unwrap();
    (bytes, opened)
}

fn open(fixture: &Fixture, bytes: &[u8]) -> Result<OpenedObject, FormatError> {
    open_object(bytes, &fixture.expected(ObjectKind::Spill, None), &fixture.keyring)
}

fn parts(bytes: &[u8], opened: &OpenedObject) -> Vec<(FrameEntry, Vec<u8>)> {
    let part = |frame: &FrameEntry| (*frame, frame.slice(bytes).unwrap().to_vec());
    opened.frames.iter().map(part).collect()
}

fn keys(fixture: &Fixture, header: &[u8]) -> (ObjectKey, ObjectKey) {
    let header = header[..HEADER_BYTES].try_into().unwrap();
    (
        ObjectKey::derive(fixture.data.seed(), KeyClass::Data, header),
        ObjectKey::derive(fixture.index.seed(), KeyClass::Index, header),
    )
}

/// Opens every frame; the first error.
fn read_frames(fixture: &Fixture, bytes: &[u8]) -> Result<Vec<Vec<u8>>, FormatError> {
    let opened = open(fixture, bytes)?;
    let opener = opened.frames_opener(&fixture.keyring)?;
    let mut buffer = FrameBuffer::new();
    let mut read = |frame: &FrameEntry| {
        let plain = opener.open(frame.slice(bytes).unwrap(), frame, Bound::ByFrame, &mut buffer)?;
        Ok(plain.to_vec())
    };
    opened.frames.iter().map(&mut read).collect()
}

#[test]
fn what_is_assembled_by_the_rules_opens() {
    let mut fixture = Fixture::new();
    let (bytes, opened) = three_frames(&mut fixture);
    let header = &bytes[..HEADER_BYTES];
    let again = assemble(header, &parts(&bytes, &opened), &keys(&fixture, header).1, b"");
    assert_eq!(again, bytes);
    assert_eq!(read_frames(&fixture, &bytes).unwrap(), [[0; 100], [1; 100], [2; 100]]);
}

#[test]
fn a_missing_last_frame_is_noticed() {
    let mut fixture = Fixture::new();
    let (bytes, opened) = three_frames(&mut fixture);
    let header = &bytes[..HEADER_BYTES];
    let mut frames = parts(&bytes, &opened);
    frames.pop();
    let forged = assemble(header, &frames, &keys(&fixture, header).1, b"");
    let error = read_frames(&fixture, &forged).unwrap_err();
    assert!(error.to_string().contains("frame 1 is damaged: it does not open"), "{error}");
}

#[test]
fn frames_exchanged_within_an_object_do_not_open() {
    let mut fixture = Fixture::new();
    let (bytes, opened) = three_frames(&mut fixture);
    let header = &bytes[..HEADER_BYTES];
    let index = keys(&fixture, header).1;
    let original = parts(&bytes, &opened);
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        let mut frames = original.clone();
        frames.swap(a, b);
        let forged = assemble(header, &frames, &index, b"");
        let error = read_frames(&fixture, &forged).unwrap_err();
        assert!(error.to_string().contains(&format!("frame {a} is damaged")), "{error}");
    }
}

#[test]
fn frames_and_headers_of_another_object_do_not_open() {
    let mut fixture = Fixture::new();
    let (a, opened_a) = three_frames(&mut fixture);
    let (b, opened_b) = three_frames(&mut fixture);
    let mut frames = parts(&a, &opened_a);
    frames[1] = parts(&b, &opened_b)[1].clone();
    let forged = assemble(&a[..HEADER_BYTES], &frames, &keys(&fixture, &a).1, b"");
    let error = read_frames(&fixture, &forged).unwrap_err();
    assert!(error.to_string().contains("frame 1 is damaged: it does not open"), "{error}");

    let moved = with_digest([&b[..HEADER_BYTES], &a[HEADER_BYTES..]].concat());
    let error = read_frames(&fixture, &moved).unwrap_err();
    assert!(error.to_string().contains("index section is damaged: it does not open"), "{error}");
    // Only ids taken over, salt and commitments kept: the keys are others.
    for field in [32..48, 48..64, 64..80] {
        let mut forged = a.clone();
        forged[field.start] ^= 1;
        let bytes = with_digest(forged);
        let header = Header::parse(&bytes, opened_a.name).unwrap();
        let expected = Expected {
            kind: ObjectKind::Spill,
            vault: header.vault,
            cluster: header.cluster,
            reference: None,
        };
        let error = open_object(&bytes, &expected, &fixture.keyring).unwrap_err();
        assert!(matches!(error, FormatError::WrongSeed { .. }), "{field:?}: {error}");
    }
}

#[test]
fn a_wrong_seed_and_a_missing_seed_are_not_damage() {
    let mut fixture = Fixture::new();
    let (bytes, opened) = three_frames(&mut fixture);
    let expected = fixture.expected(ObjectKind::Spill, None);
    let other = |kind, id| Seed::from_secret(id, kind, &Zeroizing::new([3; 32]));

    let mut keyring = fixture.keyring.clone();
    keyring.insert(other(SeedKind::Index, fixture.index.id()));
    let error = open_object(&bytes, &expected, &keyring).unwrap_err();
    assert!(matches!(error, FormatError::WrongSeed { kind: SeedKind::Index, .. }), "{error}");
    keyring = fixture.keyring.clone();
    keyring.insert(other(SeedKind::Data, fixture.data.id()));
    let error =
        open_object(&bytes, &expected, &keyring).unwrap().frames_opener(&keyring).unwrap_err();
    assert!(matches!(error, FormatError::WrongSeed { kind: SeedKind::Data, .. }), "{error}");

    let error = open_object(&bytes, &expected, &Keyring::new()).unwrap_err();
    assert!(error.to_string().contains(&fixture.index.id().to_string()), "{error}");
    let mut blind = Keyring::new();
    blind.insert(fixture.index.seed().clone());
    let error = open_object(&bytes, &expected, &blind).unwrap().frames_opener(&blind).unwrap_err();
    assert!(matches!(error, FormatError::MissingSeed { kind: SeedKind::Data, .. }), "{error}");
    assert!(error.to_string().contains(&fixture.data.id().to_string()), "{error}");
    assert_eq!(opened.frames.len(), 3);
}

#[test]
fn a_decompression_bomb_stays_within_the_stated_length() {
    let mut fixture = Fixture::new();
    let (bytes, opened) = three_frames(&mut fixture);
    let header = &bytes[..HEADER_BYTES];
    let (data, index) = keys(&fixture, header);
    let bomb = zstd::bulk::compress(&vec![0; 32 << 20], 3).unwrap();
    for (stated, fits) in
        [(5000u32, false), ((32 << 20) - 1, false), ((32 << 20) + 1, false), (32 << 20, true)]
    {
        let sealed_len = (bomb.len() + TAG_BYTES) as u32;
        let mut frame = FrameEntry {
            codec: Codec::Zstd,
            last: true,
            plain_len: stated,
            sealed_len,
            ..opened.frames[0]
        };
        let mut sealed = bomb.clone();
        data.seal_in_place(&frame.place(sha256(header)), &mut sealed);
        frame.sha256 = sha256(&sealed);
        let forged = assemble(header, &[(frame, sealed.clone())], &index, b"");
        let opener = open(&fixture, &forged).unwrap().frames_opener(&fixture.keyring).unwrap();
        let mut buffer = FrameBuffer::new();
        let read = opener.open(&sealed, &frame, Bound::ByFrame, &mut buffer);
        assert_eq!(read.is_ok(), fits, "{stated}");
        let memory = buffer.take().capacity();
        assert!(memory <= stated as usize + 64, "{stated}: {memory} bytes allocated");
    }
}

#[test]
fn absurd_counts_and_lengths_are_errors_before_memory() {
    let mut fixture = Fixture::new();
    let (bytes, opened) = three_frames(&mut fixture);
    let header = &bytes[..HEADER_BYTES];
    let index = keys(&fixture, header).1;
    let frames = parts(&bytes, &opened);
    let raw = |content: &[u8]| open(&fixture, &assemble_raw(header, &frames, &index, content));
    for count in [4, 1000, u64::from(u32::MAX), 1 << 32, u64::MAX] {
        let mut content = Vec::new();
        put_varint(&mut content, count);
        content.extend_from_slice(&[1; 400]);
        let error = raw(&content).unwrap_err();
        assert!(error.to_string().contains("frame"), "{count}: {error}");
    }
    let entry = |change: &dyn Fn(&mut FrameEntry)| {
        let mut all = frames.clone();
        change(&mut all[1].0);
        open(&fixture, &assemble(header, &all, &index, b""))
    };
    assert!(entry(&|_| ()).is_ok());
    assert!(entry(&|frame| frame.plain_len = 0).is_err());
    assert!(entry(&|frame| frame.plain_len = u32::MAX).is_err());
    assert!(entry(&|frame| frame.sealed_len += 1).is_err());
    assert!(entry(&|frame| frame.sealed_len = 16).is_err());
    assert!(entry(&|frame| frame.class = FrameClass::Index).is_err());
    let error = entry(&|frame| (frame.class, frame.codec) = (FrameClass::Sensitive, Codec::Zstd));
    assert!(error.unwrap_err().to_string().contains("a sensitive frame is compressed"));
    // A true length beyond the plaintext, and padding that is not zero.
    let mut content = Vec::new();
    put_table(&mut content, &opened.frames);
    let forged = assemble_raw(header, &frames, &index, &content);
    assert!(open(&fixture, &forged).is_ok());
}

#[test]
fn what_a_newer_format_needs_is_refused_by_name() {
    let mut fixture = Fixture::new();
    let (bytes, _) = three_frames(&mut fixture);
    let change = |at: usize, to: &[u8]| {
        let mut other = bytes.clone();
        other[at..at + to.len()].copy_from_slice(to);
        let error = open(&fixture, &with_digest(other)).unwrap_err();
        assert!(matches!(error, FormatError::TooNew { .. }), "{error}");
        error.to_string()
    };
    let newer = change(8, &[2, 0, 2, 0]);
    assert!(newer.contains("asks for a reader of format 2, this one reads 1"), "{newer}");
    assert!(change(16, &[0b100]).contains("feature bit 2"));
    assert!(change(23, &[0x80]).contains("feature bit 63"));
    assert!(change(13, &[2]).contains("cipher suite 2"));
    assert!(change(12, &[77]).contains("kind 77"));
    // Format 2 that a format 1 reader may read: refused for another reason only (the keys differ).
    let mut other = bytes.clone();
    other[8] = 2;
    assert!(!matches!(open(&fixture, &with_digest(other)), Err(FormatError::TooNew { .. })));
}

#[test]
fn a_commit_in_an_envelope_that_is_not_its_own_is_refused() {
    let mut fixture = Fixture::new();
    let all = fixture.one_of_each();
    let commit = fixture.commit(&all[2].reference);
    let new = fixture.fresh();
    let refused = seal_commit(&fixture.context(), &new, &commit, Vec::new()).unwrap_err();
    assert!(refused.to_string().contains("attempt id"), "{refused}");
    let signed = crate::proto::SignedCommit {
        commit: prost::Message::encode_to_vec(&commit).into(),
        signatures: vec![Signature::default()],
    };
    let sealed = seal_message(ObjectKind::Commit, &fixture.context(), &new, &signed).unwrap();
    let error = open_commit(&sealed.1, fixture.owner(), (0, 2), &fixture.keyring).unwrap_err();
    assert!(error.to_string().contains("attempt id"), "{error}");
}

/// What a later format wrote for readers of format 1 is read: all of it again under another format
/// number, and bits that only later writers know.
#[test]
fn what_a_later_format_wrote_for_us_opens() {
    for (at, value) in [(8, 1), (8, 2), (24, 1), (29, 1)] {
        let mut fixture = Fixture::new();
        let (bytes, opened) = three_frames(&mut fixture);
        let mut header = bytes[..HEADER_BYTES].to_vec();
        header[at] = value;
        let (data, index) = keys(&fixture, &header);
        header[144..176].copy_from_slice(&data.commitment);
        header[176..208].copy_from_slice(&index.commitment);
        let header_sha256 = sha256(&header);
        let again = |(frame, _): (FrameEntry, Vec<u8>)| {
            let place = Place {
                header_sha256,
                class: frame.class,
                codec: frame.codec,
                last: frame.last,
                counter: u64::from(frame.number),
                plain_len: u64::from(frame.plain_len),
            };
            let mut sealed = vec![1; usize::try_from(frame.plain_len).unwrap()];
            data.seal_in_place(&place, &mut sealed);
            (FrameEntry { sha256: sha256(&sealed), ..frame }, sealed)
        };
        let frames: Vec<_> = parts(&bytes, &opened).into_iter().map(again).collect();
        let opened = open(&fixture, &assemble(&header, &frames, &index, b"")).unwrap();
        let guard = (at == 29).then_some(40);
        assert_eq!(opened.header.write_guard(), guard, "byte {at}");
    }
}
