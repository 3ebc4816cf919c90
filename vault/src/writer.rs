//! The keys of one writer's run: a data seed of its own, wrapped and stored before it seals
//! anything.
//!
//! Holds: a seed that a prune has retired, or that waited for its first commit for longer than 6
//! hours, is not used again; its wraps are in the store, read back, before a commit names it.

use crate::access::{Access, AccessError};
use crate::chain::Chain;
use crate::chain::rules::{RECHECK_AFTER_MS, ROUND_LIMIT_MS};
use crate::keys::DataSeed;
use crate::proto;
use std::sync::atomic::{AtomicBool, Ordering};

/// The data seed of a run.
#[derive(Debug)]
pub struct WriterKeys {
    data: DataSeed,
    seed: proto::Seed,
    made_boot_ms: i64,
    committed: AtomicBool,
}

impl WriterKeys {
    /// Makes a data seed and stores its wrap.
    pub async fn create(access: &Access) -> Result<WriterKeys, AccessError> {
        // Counted from before its wrap is stored: an answer may take longer than an orphan lives.
        let made_boot_ms = access.clock().boot_ms();
        let data = DataSeed::random(&mut **access.entropy());
        let seed = access.store_seed(data.seed()).await?;
        access.add_seed(data.seed().clone());
        Ok(WriterKeys { data, seed, made_boot_ms, committed: AtomicBool::new(false) })
    }

    /// The seed.
    pub fn data(&self) -> &DataSeed {
        &self.data
    }

    /// As a commit lists it.
    pub fn seed(&self) -> &proto::Seed {
        &self.seed
    }

    /// A commit that names it stands.
    pub fn committed(&self) {
        self.committed.store(true, Ordering::Relaxed);
    }

    /// Whether it may seal more beside `chain`'s head.
    pub fn usable(&self, chain: &Chain) -> bool {
        let listed = chain.head().seeds.iter().find(|seed| seed.seed_id == self.seed.seed_id);
        match listed {
            Some(seed) => !seed.wraps.is_empty(),
            None => {
                let age = chain.access().clock().boot_ms() - self.made_boot_ms;
                !self.committed.load(Ordering::Relaxed) && (0..ROUND_LIMIT_MS).contains(&age)
            }
        }
    }

    /// Before a commit: its wraps are there, if no commit names them yet and they are older than an
    /// hour.
    pub async fn recheck(&self, chain: &Chain) -> Result<(), AccessError> {
        let access = chain.access();
        let age = access.clock().boot_ms() - self.made_boot_ms;
        if self.committed.load(Ordering::Relaxed) || age <= RECHECK_AFTER_MS {
            return Ok(());
        }
        for wrap in &self.seed.wraps {
            for name in access.wrap_names(&self.seed, wrap) {
                access.store().head(&name).await?;
            }
        }
        Ok(())
    }
}
