//! Crashes: a bolt file on a disk that loses what was not synced, stopped at any call, amid commits
//! and compactions. What is there afterwards is the last committed point, or the one whose commit
//! was under way; and it goes on from there.

use super::histories::{Both, Op, op};
use super::model::Model;
use crate::backend::{Backend, BoltBase};
use crate::mvcc::Store;
use holdfast_bolt::fault::{CrashDisk, MemoryDisk, SharedDisk};
use holdfast_bolt::{Disk, DiskError, Store as Bolt, StoreDisk, StoreOptions};
use proptest::prelude::*;
use std::sync::Arc;

/// Takes an image of what a crash at the n-th call would leave.
#[derive(Debug)]
struct Stopped {
    disk: CrashDisk,
    calls_left: u64,
    seed: u64,
    image: Option<MemoryDisk>,
}

impl Stopped {
    fn count(&mut self) {
        if self.calls_left == 0 && self.image.is_none() {
            let seed = self.seed;
            let survives = |number: usize| {
                let mixed = (number as u64 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                mixed >> 62 != 0
            };
            self.image = Some(self.disk.after_crash(survives).unwrap());
        }
        self.calls_left = self.calls_left.saturating_sub(1);
    }
}

impl Disk for Stopped {
    fn size_bytes(&self) -> Result<u64, DiskError> {
        self.disk.size_bytes()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        self.disk.read_at(offset, out)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.disk.write_at(offset, bytes)?;
        self.count();
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> Result<(), DiskError> {
        self.disk.set_len(len)?;
        self.count();
        Ok(())
    }

    fn sync_data(&mut self) -> Result<(), DiskError> {
        self.count();
        self.disk.sync_data()
    }

    fn sync_all(&mut self) -> Result<(), DiskError> {
        self.count();
        self.disk.sync_all()
    }
}

fn open<D: StoreDisk>(disk: D) -> Store {
    let options = StoreOptions { page_size: 1024, ..StoreOptions::default() };
    let bolt = Arc::new(Bolt::open(disk, options).unwrap());
    let backend = Backend::new(Box::new(BoltBase::new(bolt))).unwrap();
    Store::open(backend).unwrap().0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn after_a_crash_a_committed_point_is_there(
        ops in proptest::collection::vec(op(), 20..80),
        calls_left in 0u64..120,
        seed: u64,
    ) {
        let stopped = Stopped { disk: CrashDisk::new(), calls_left: u64::MAX, seed, image: None };
        let disk = SharedDisk::new(stopped);
        let mut both = Both::of(open(disk.clone()), Model::new());
        both.store.backend().commit().unwrap();
        disk.with(|disk| disk.calls_left = calls_left);
        let mut committed = both.model.clone();
        let image = 'run: {
            for op in ops.iter().filter(|op| !matches!(op, Op::Reopen)) {
                both.apply(op);
                if let Some(image) = disk.with(|disk| disk.image.take()) {
                    break 'run image;
                }
                if matches!(op, Op::Commit) {
                    committed = both.model.clone();
                }
            }
            disk.with(|disk| {
                disk.calls_left = 0;
                disk.count();
                disk.image.take().unwrap()
            })
        };
        let store = open(SharedDisk::new(image));
        let found = (store.revision(), store.compacted());
        let point = |model: &Model| (model.revision(), model.compacted);
        prop_assert!([point(&committed), point(&both.model)].contains(&found), "{:?}", found);
        let model = if found == point(&committed) { committed } else { both.model };
        let mut both = Both::of(store, model);
        both.check_all();
        for op in ops.iter().filter(|op| !matches!(op, Op::Reopen)).take(20) {
            both.apply(op);
        }
        both.check_all();
    }
}
