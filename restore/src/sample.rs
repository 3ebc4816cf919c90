//! A sample of records, drawn while they stream by, to be compared with what a booted server
//! answers.
//!
//! Reservoir sampling: each readable record has the same chance, however many there are. Left out
//! are what the API cannot show: tombstones, records of a revision bump, and a record that a
//! later one of the same transaction covers. Values are held as digests.

use holdfast_core::record::KeyValue;
use sha2::{Digest, Sha256};

use crate::rebuild::SourceRecord;

/// A remembered record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sampled {
    /// The user's key.
    pub key: Vec<u8>,
    /// Read the key at this revision to see the record: its own, or the compaction's if that is
    /// higher.
    pub read_at: i64,
    /// Its create revision.
    pub create_revision: i64,
    /// Its own revision.
    pub mod_revision: i64,
    /// Its version.
    pub version: i64,
    /// Its lease, or 0.
    pub lease: i64,
    /// SHA-256 of its value.
    pub value_sha256: [u8; 32],
}

#[derive(Debug)]
pub(crate) struct Sampler {
    size: usize,
    chance: u64,
    compacted: i64,
    seen: u64,
    sample: Vec<Sampled>,
}

impl Sampler {
    pub(crate) fn new(size: usize, seed: u64, compacted: i64) -> Sampler {
        Sampler { size, chance: seed, compacted, seen: 0, sample: Vec::new() }
    }

    /// Takes the next record, in revision order.
    pub(crate) fn observe(&mut self, record: &SourceRecord<'_>, content: &KeyValue<'_>) {
        if self.size == 0 {
            return;
        }
        let covered = |one: &Sampled| one.mod_revision == record.main && one.key == content.key;
        self.sample.retain(|one| !covered(one));
        if record.tombstone || content.key.is_empty() {
            return;
        }
        self.seen += 1;
        if self.sample.len() < self.size {
            self.sample.push(self.remember(record, content));
            return;
        }
        let at = usize::try_from(self.draw() % self.seen).unwrap_or(usize::MAX);
        if at < self.size {
            self.sample[at] = self.remember(record, content);
        }
    }

    pub(crate) fn finish(self) -> Vec<Sampled> {
        self.sample
    }

    fn remember(&self, record: &SourceRecord<'_>, content: &KeyValue<'_>) -> Sampled {
        Sampled {
            key: content.key.to_vec(),
            read_at: record.main.max(self.compacted),
            create_revision: content.create_revision,
            mod_revision: record.main,
            version: content.version,
            lease: content.lease,
            value_sha256: Sha256::digest(content.value).into(),
        }
    }

    /// splitmix64: even and repeatable, nothing more is needed.
    fn draw(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(sampler: &mut Sampler, main: i64, sub: i64, key: &[u8], tombstone: bool) {
        let content = KeyValue { key, mod_revision: main, version: 1, ..KeyValue::default() };
        let value = content.to_bytes();
        sampler.observe(&SourceRecord { main, sub, tombstone, value: &value }, &content);
    }

    #[test]
    fn every_record_has_its_chance_and_seeds_repeat() {
        let draw = |seed| {
            let mut sampler = Sampler::new(10, seed, 40);
            (2..1002).for_each(|main| feed(&mut sampler, main, 0, &main.to_be_bytes(), false));
            sampler.finish()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let all: Vec<i64> = (0..400).flat_map(draw).map(|one| one.mod_revision).collect();
        assert_eq!(all.len(), 4000);
        let late = all.iter().filter(|main| **main > 501).count();
        assert!((1850..2150).contains(&late), "{late} of 4000 from the later half");
        assert!(draw(3).iter().all(|one| one.read_at == one.mod_revision.max(40)));
    }

    #[test]
    fn what_the_api_cannot_show_is_left_out() {
        let mut sampler = Sampler::new(10, 1, -1);
        feed(&mut sampler, 2, 0, b"a", false);
        feed(&mut sampler, 3, 0, b"b", false);
        feed(&mut sampler, 3, 1, b"b", true);
        feed(&mut sampler, 4, 0, b"a", true);
        feed(&mut sampler, 5, 0, b"", false);
        let left: Vec<i64> = sampler.finish().iter().map(|one| one.mod_revision).collect();
        assert_eq!(left, [2]);
    }
}
