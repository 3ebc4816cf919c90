//! The spool against plain bytes: any pieces in, any ranges out; what lies on the disk.

use super::*;
use holdfast_bolt::PageSource;
use proptest::prelude::*;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]).collect()
}

fn spool_of(bytes: &[u8], piece: usize) -> Spool {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = SpoolWriter::create(directory.path(), 1 << 30).unwrap();
    for part in bytes.chunks(piece.max(1)) {
        writer.write(part).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn the_file_has_no_name_and_no_plain_byte() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = SpoolWriter::create(directory.path(), 1 << 30).unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let secret = b"a secret that repeats; ".repeat(20_000);
    writer.write(&secret).unwrap();
    let spool = writer.finish().unwrap();
    let stride = BLOCK_BYTES + TAG_BYTES;
    let mut stored = vec![0; secret.len().div_ceil(BLOCK_BYTES) * TAG_BYTES + secret.len()];
    assert_eq!(spool.file.metadata().unwrap().len(), stored.len() as u64);
    spool.file.read_exact_at(&mut stored, 0).unwrap();
    assert!(stored.len() > stride);
    assert!(stored.len() > secret.len());
    assert!(!stored.windows(8).any(|window| window == &secret[..8]));
    assert_eq!(&*spool.read_at(0, secret.len()).unwrap(), &secret[..]);
}

#[test]
fn two_spools_have_two_keys() {
    let (one, two) = (spool_of(&[7; 100], 100), spool_of(&[7; 100], 100));
    let (mut a, mut b) = ([0; 116], [0; 116]);
    one.file.read_exact_at(&mut a, 0).unwrap();
    two.file.read_exact_at(&mut b, 0).unwrap();
    assert_ne!(a, b);
}

#[test]
fn a_changed_or_moved_block_is_an_error_and_stays_one() {
    let bytes = pattern(3 * BLOCK_BYTES);
    let spool = spool_of(&bytes, 1 << 20);
    let stride = (BLOCK_BYTES + TAG_BYTES) as u64;
    let mut byte = [0];
    spool.file.read_exact_at(&mut byte, stride + 5).unwrap();
    spool.file.write_all_at(&[byte[0] ^ 1], stride + 5).unwrap();
    for _ in 0..2 {
        let error = spool.read_at(BLOCK_BYTES as u64 + 100, 10).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("block 1"), "{error}");
    }
    assert!(spool.read_at(0, BLOCK_BYTES).is_ok());
    let mut third = vec![0; BLOCK_BYTES + TAG_BYTES];
    spool.file.read_exact_at(&mut third, 2 * stride).unwrap();
    spool.file.write_all_at(&third, stride).unwrap();
    assert!(spool.read_at(BLOCK_BYTES as u64, 1).is_err(), "a block in another's place");
}

#[test]
fn a_block_that_does_not_open_leaves_no_wrong_bytes_behind() {
    // Blocks of one set: the fifth takes the place of the first.
    let same_set = |nth: usize| (nth * SETS * BLOCK_BYTES) as u64;
    let bytes = pattern((WAYS * SETS + 1) * BLOCK_BYTES);
    let spool = spool_of(&bytes, 1 << 20);
    for nth in 0..WAYS {
        spool.read_at(same_set(nth), 10).unwrap();
    }
    let place = (WAYS * SETS * (BLOCK_BYTES + TAG_BYTES)) as u64;
    spool.file.write_all_at(&[0xff; 64], place).unwrap();
    assert!(spool.read_at(same_set(WAYS), 10).is_err());
    assert_eq!(&*spool.read_at(0, 10).unwrap(), &bytes[..10]);
}

#[test]
fn limits_are_errors_that_say_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = SpoolWriter::create(directory.path(), 10).unwrap();
    writer.write(&[0; 10]).unwrap();
    assert!(matches!(writer.write(&[0]), Err(SpoolError::TooLarge { limit_bytes: 10 })));
    let missing = directory.path().join("none");
    let error = SpoolWriter::create(&missing, 10).unwrap_err().to_string();
    assert!(error.contains("none") && error.contains("writable"), "{error}");
}

#[test]
fn a_full_disk_is_told_apart() {
    // /dev/full answers every write with ENOSPC.
    let full = std::fs::OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut writer = SpoolWriter::create(directory.path(), 1 << 30).unwrap();
    writer.file = full;
    let error = writer.write(&pattern(BLOCK_BYTES)).unwrap_err();
    assert!(matches!(error, SpoolError::DiskFull { .. }), "{error}");
    assert!(error.to_string().contains("spool.directory"));
}

#[test]
fn the_cache_is_bounded_and_given_back() {
    let bytes = pattern((CACHE_BLOCKS + 10) * BLOCK_BYTES);
    let spool = spool_of(&bytes, 1 << 20);
    assert_eq!(&*spool.read_at(0, bytes.len()).unwrap(), &bytes[..]);
    let held = |spool: &Spool| {
        let cache = spool.cache.lock().unwrap();
        cache.slots.iter().map(|slot| slot.bytes.capacity()).sum::<usize>()
    };
    assert!(held(&spool) <= CACHE_BLOCKS * (BLOCK_BYTES + TAG_BYTES));
    spool.release_cache();
    assert_eq!(held(&spool), 0);
    assert_eq!(&*spool.read_at(70_000, 9).unwrap(), &bytes[70_000..70_009]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn ranges_are_those_of_the_bytes(
        len in 0usize..5 * BLOCK_BYTES,
        piece in 1usize..2 * BLOCK_BYTES,
        ranges in proptest::collection::vec(
            (0usize..6 * BLOCK_BYTES, 0usize..3 * BLOCK_BYTES),
            1..30,
        ),
    ) {
        let bytes = pattern(len);
        let spool = spool_of(&bytes, piece);
        prop_assert_eq!(spool.size_bytes(), len as u64);
        for (offset, count) in ranges {
            let want = bytes.get(offset..offset.saturating_add(count));
            match (want, spool.read_at(offset as u64, count)) {
                (Some(want), Ok(got)) => prop_assert_eq!(want, &*got),
                (None, Err(error)) => prop_assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof),
                (want, got) => prop_assert!(false, "{:?} {:?}", want.is_some(), got.is_ok()),
            }
        }
    }
}
