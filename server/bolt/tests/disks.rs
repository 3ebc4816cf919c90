//! Writing: every failing call fails the build, and a crash at any moment leaves a whole file or
//! none.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod tree;

use holdfast_bolt::fault::{CrashDisk, FaultDisk, MemoryDisk};
use holdfast_bolt::{
    BuildError, BuildOptions, Builder, Db, Disk, DiskError, FileDisk, FilePages, Freelist,
    MapError, MappedFile, ReadTx, Store, StoreError, StoreOptions, check, sync_directory,
};
use tree::Tree;

fn sample() -> Tree {
    Tree::default()
        .with(b"large", Tree::numbered(3000, &[9; 1500]))
        .with(b"small", Tree::numbered(3, b"x"))
}

fn with_freelist() -> BuildOptions {
    BuildOptions { freelist: Freelist::Stored, ..Default::default() }
}

#[test]
fn every_failing_call_fails_the_build() {
    let root = sample();
    let (counted, _) =
        tree::build_on(FaultDisk::new(MemoryDisk::new(), u64::MAX), &root, with_freelist())
            .unwrap();
    let calls = counted.calls();
    assert!((8..40).contains(&calls), "{calls} calls: 5 MB in writes of 1 MiB, two syncs, a size");
    for fail_at in 0..calls {
        let disk = FaultDisk::new(MemoryDisk::new(), fail_at);
        let Err(error) = tree::build_on(disk, &root, with_freelist()) else {
            panic!("call {fail_at} of {calls} failed, and the build did not");
        };
        let failed = matches!(error, BuildError::Disk(DiskError::Failed { .. }));
        assert!(failed, "call {fail_at}: {error}");
    }
}

#[test]
fn after_a_failed_write_the_builder_refuses_to_go_on() {
    let disk = FaultDisk::new(MemoryDisk::new(), 1);
    let mut builder = Builder::new(disk, BuildOptions::default()).unwrap();
    builder.begin_bucket(b"b").unwrap();
    let mut results = (0..3000_u64).map(|n| builder.push(&n.to_be_bytes(), &[9; 1500]));
    assert!(results.any(|result| matches!(result, Err(BuildError::Disk(_)))));
    drop(results);
    assert!(matches!(builder.push(&[255; 9], b""), Err(BuildError::Failed)));
    assert!(matches!(builder.end_bucket(), Err(BuildError::Failed)));
    assert!(matches!(builder.begin_bucket(b"c"), Err(BuildError::Failed)));
    assert!(matches!(builder.finish(), Err(BuildError::Failed)));
}

#[test]
fn a_failed_sync_poisons() {
    for (name, sync) in
        [("data", FaultDisk::sync_data as fn(&mut FaultDisk<_>) -> _), ("all", FaultDisk::sync_all)]
    {
        let mut disk = FaultDisk::new(MemoryDisk::new(), 1);
        disk.write_at(0, b"bytes").unwrap();
        assert!(matches!(sync(&mut disk), Err(DiskError::Failed { .. })), "{name}");
        assert!(matches!(disk.sync_all(), Err(DiskError::Poisoned { .. })), "{name}");
        assert!(matches!(disk.write_at(0, b""), Err(DiskError::Poisoned { .. })), "{name}");
        assert!(matches!(disk.size_bytes(), Err(DiskError::Poisoned { .. })), "{name}");
        assert!(matches!(disk.read_at(0, &mut []), Err(DiskError::Poisoned { .. })), "{name}");
    }
}

/// Asks before each sync what a crash would leave.
struct Watched {
    disk: CrashDisk,
    expected: Tree,
    syncs: u32,
    opened: u32,
}

impl Watched {
    fn look(&mut self) {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..60 {
            let image = self.disk.after_crash(|number| match round {
                0 => false,
                1 => true,
                2 => number % 2 == 0,
                3 => number % 2 == 1,
                _ => {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(number as u64);
                    state >> 63 == 0
                }
            });
            let Ok(db) = Db::open(image.unwrap().into_bytes()) else { continue };
            assert!(self.syncs > 0, "a file opens before its data is durable");
            assert!(check(&db).unwrap().is_ok());
            assert_eq!(tree::read(&db), self.expected);
            self.opened += 1;
        }
        self.syncs += 1;
    }
}

impl Disk for Watched {
    fn size_bytes(&self) -> Result<u64, DiskError> {
        self.disk.size_bytes()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        self.disk.read_at(offset, out)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.disk.write_at(offset, bytes)
    }

    fn set_len(&mut self, len: u64) -> Result<(), DiskError> {
        self.disk.set_len(len)
    }

    fn sync_data(&mut self) -> Result<(), DiskError> {
        self.look();
        self.disk.sync_data()
    }

    fn sync_all(&mut self) -> Result<(), DiskError> {
        self.look();
        self.disk.sync_all()
    }
}

#[test]
fn a_crash_leaves_a_whole_file_or_one_that_does_not_open() {
    let expected = Tree::default()
        .with(b"b", Tree::numbered(400, &[9; 700]))
        .with(b"c", Tree::numbered(2, b"x"));
    let disk = Watched { disk: CrashDisk::new(), expected, syncs: 0, opened: 0 };
    let root = disk.expected.clone();
    let (disk, _) = tree::build_on(disk, &root, with_freelist()).unwrap();
    assert_eq!((disk.syncs, disk.disk.pending()), (2, 0), "data, metas; nothing after them");
    assert!((10..55).contains(&disk.opened), "{}: torn metas are seen both ways", disk.opened);
}

#[test]
fn files_are_locked_against_writers_and_readers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let (disk, _) =
        tree::build_on(FileDisk::create_new(&path).unwrap(), &sample(), with_freelist()).unwrap();
    assert!(matches!(MappedFile::open(&path), Err(MapError::InUse { .. })), "a writer is at it");
    assert!(matches!(FileDisk::open(&path), Err(DiskError::InUse { .. })));
    assert!(FileDisk::create_new(&path).is_err(), "it exists");
    drop(disk);
    sync_directory(directory.path()).unwrap();
    let map = MappedFile::open(&path).unwrap();
    let other = MappedFile::open(&path).unwrap();
    assert!(matches!(FileDisk::open(&path), Err(DiskError::InUse { .. })), "readers are at it");
    assert_eq!(tree::read(&Db::open(map).unwrap()), sample());
    drop(other);

    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend_from_slice(&[0xee; 32]);
    std::fs::write(&path, &bytes).unwrap();
    let db = Db::open(MappedFile::open(&path).unwrap()).unwrap();
    assert_eq!(tree::read(&db), sample(), "a digest at the end does no harm");

    std::fs::write(&path, b"").unwrap();
    assert!(Db::open(MappedFile::open(&path).unwrap()).is_err());
    assert!(matches!(MappedFile::open(directory.path()), Err(MapError::NotAFile { .. })));
    assert!(sync_directory(&directory.path().join("absent")).is_err());
}

#[test]
fn a_store_moves_over_another_file_and_both_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (place, aside) = (folder.path().join("db"), folder.path().join("aside"));
    let open = |path| Store::open_path(path, StoreOptions::default()).unwrap();
    let put = |store: &Store, value: &[u8]| {
        let mut change = store.write().unwrap();
        change.create_bucket_if_missing(b"b").unwrap().put(b"k", value).unwrap();
        change.commit().unwrap();
    };
    let value = |state: &ReadTx<FilePages>| {
        state.bucket(b"b").unwrap().unwrap().get(b"k").unwrap().unwrap().into_owned()
    };
    let (old, new) = (open(&place), open(&aside));
    put(&old, b"old");
    put(&new, b"new");
    let reader = old.read();
    new.move_to(&place).unwrap();
    assert!(!aside.exists());
    put(&new, b"newer");
    assert_eq!((value(&reader), value(&old.read())), (b"old".to_vec(), b"old".to_vec()));
    // The lock went along, and so did the name in what is said of it.
    let locked = Store::open_path(&place, StoreOptions::default()).unwrap_err();
    assert!(matches!(locked, StoreError::Disk(DiskError::InUse { .. })), "{locked}");
    let missing = new.move_to(&folder.path().join("no/such/folder")).unwrap_err().to_string();
    assert!(missing.starts_with(&format!("cannot rename {}", place.display())), "{missing}");
    put(&new, b"newest");
    drop((old, new, reader));
    assert_eq!(value(&open(&place).read()), b"newest");
}
