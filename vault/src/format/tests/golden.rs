//! The format's past: what was written once must be written and read the same for ever.
//!
//! `tests/golden/*.bin` hold one object of each kind, made from a fixed seed of chance. If only the
//! compressor changed, the stored files still must open; then write new ones beside the old under
//! other names. To make a missing file: run this test with HOLDFAST_WRITE_GOLDEN=1 (it never
//! overwrites).

use super::fixture::{Fixture, Stored};
use crate::format::seal::sha256;
use crate::proto::ObjectRef;
use std::path::PathBuf;

/// Kind and SHA-256 of the object that [`Fixture`] makes of it.
const GOLDEN: [(&str, &str); 7] = [
    ("segment", "388011adf26acd7fbc8b90814c3a12907aefb27ab3a616bc0aefa6f617196dee"),
    ("spill", "7e31415b47e224d0d25086c167e94693ab7604330a4f596bc448366db3aace5d"),
    ("body", "d0e6305d6ae7fa3587b4c0bc156791fca5aa8bdb9d48ac7d9aa0032ac6804d65"),
    ("commit", "ca6b8c6a083e1cffee5642fd291f10f5bf5099049baa17bf8a391d4c506c8339"),
    ("page", "4a29a59d7c6e9b6c5df186efcdcc88aed7a854d5cc2d87fab0945ce2ea318d2e"),
    ("ledger", "f859380501cb0a6d8add302c22f0babb06d37c7fc7bee975e5684a9bdba02f96"),
    ("report", "822f2851cbc8a3df168e3a95bbe550af46df87c674ff9502503ecbee165b1ab3"),
];

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.bin"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn objects_are_written_as_they_always_were() {
    let all = Fixture::new().one_of_each();
    let written: Vec<String> = all.iter().map(|stored| hex(&sha256(&stored.bytes))).collect();
    let recorded: Vec<String> = GOLDEN.iter().map(|golden| golden.1.to_owned()).collect();
    if std::env::var_os("HOLDFAST_WRITE_GOLDEN").is_some() {
        for (stored, (name, _)) in all.iter().zip(GOLDEN) {
            if !file(name).exists() {
                std::fs::write(file(name), &stored.bytes).unwrap();
            }
        }
    }
    assert_eq!(written, recorded);
}

#[test]
fn stored_objects_are_read_as_they_always_were() {
    let mut fixture = Fixture::new();
    let all = fixture.one_of_each();
    for (stored, (name, digest)) in all.into_iter().zip(GOLDEN) {
        let bytes = std::fs::read(file(name)).unwrap();
        assert_eq!(hex(&sha256(&bytes)), digest, "{name}: the golden file itself changed");
        let today = fixture.read_all(&stored, &stored.bytes, true).unwrap();
        // The reference is today's: were it another object by now, only its digest would differ.
        let reference = ObjectRef {
            size_bytes: bytes.len() as u64,
            sha256: sha256(&bytes).to_vec().into(),
            ..stored.reference.clone()
        };
        let old = Stored { reference, ..stored };
        assert_eq!(fixture.read_all(&old, &bytes, true).unwrap(), today, "{name}");
    }
}
