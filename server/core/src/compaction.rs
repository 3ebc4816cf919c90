//! What a compaction keeps, and so which records of a database are alive.
//!
//! A compaction at main revision C keeps, of the records with main ≤ C, for each key the newest
//! one, unless that is a tombstone. A tombstone with main = C exactly is kept by etcd 3.5.16 /
//! 3.4.34 and later and dropped by older ones: [`TombstoneRule`]. Records with main > C are not
//! touched.
//!
//! The deletion runs in the background, batch after batch, at each member's own pace. So what lies
//! in a file is an accident; **alive** is the logical rule with C = the higher of the two
//! compaction marks: main > C, or kept by a compaction at C. [`Liveness`] learns it in one scan and
//! tells it in further ones over the same records in the same order:
//!
//! - first scan: [`LivenessBuilder::observe`] each record, then [`LivenessBuilder::finish`];
//! - later scans: [`Liveness::judge`], then [`Judge::next`] for each record, then
//!   [`Judge::finish`].
//!
//! Memory: 23 to 29 bytes per distinct key during the first scan (see `keytable.rs`), then two bits
//! per record. The answers are exact.
//!
//! Upstream cuts a key's history into generations, each ending in a tombstone. "The newest record ≤
//! C" is the same rule as long as no transaction puts a key after deleting it, which the API
//! refuses.

use crate::bitmap::Bitmap;
use crate::keytable::{KeyTable, Latest, MAX_RECORDS};
use crate::record::{Record, RecordError};
use crate::revision::{BucketKey, Revision};

/// What becomes of a tombstone whose main revision is the compaction's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TombstoneRule {
    /// Kept: etcd 3.4.34, 3.5.16, 3.6 and later. The canonical rule of a snapshot.
    KeepAtCompaction,
    /// Dropped: etcd up to 3.4.33 and 3.5.15.
    DropAtCompaction,
}

/// Why a record is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadReason {
    /// A newer record of the same key stands at or below the compaction revision.
    Superseded,
    /// A tombstone at or below the compaction revision, as the rule has it.
    Tombstone,
}

/// What a compaction at C makes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Compacted away, although it may still lie in the file.
    Dead(DeadReason),
    /// Part of the logical state.
    Live {
        /// True if the scan holds a newer record of the same key: the next compaction takes this
        /// one.
        superseded: bool,
    },
}

/// A scan that cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// A record that cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The records do not ascend by revision.
    #[error("record {found} stands behind {previous}: the bucket key is out of order")]
    OutOfOrder {
        /// The record before.
        previous: Revision,
        /// The record that should come later.
        found: Revision,
    },
    /// More records than ordinals.
    #[error("more than {MAX_RECORDS} records in the bucket key")]
    TooMany,
    /// A later scan saw other records than the first one.
    #[error("the records changed between two scans ({expected} then {found} records)")]
    Changed {
        /// Records in the first scan.
        expected: u64,
        /// Records in this one.
        found: u64,
    },
    /// HashKV was asked for a revision below its compaction revision.
    #[error("HashKV at revision {revision} is below the compaction revision {compact_revision}")]
    HashRange {
        /// The revision asked for.
        revision: i64,
        /// The compaction revision asked for.
        compact_revision: i64,
    },
}

/// The first scan: learns each key's newest record.
#[derive(Debug)]
pub struct LivenessBuilder {
    compacted: i64,
    rule: TombstoneRule,
    keys: KeyTable,
    alive_keys: u64,
    order: Order,
    dead: Bitmap,
    superseded: Bitmap,
}

/// Which records of one scan are alive, by their position in it.
#[derive(Debug)]
pub struct Liveness {
    compacted: i64,
    rule: TombstoneRule,
    keys: u64,
    alive_keys: u64,
    order: Order,
    dead: Bitmap,
    superseded: Bitmap,
}

/// A later scan over the same records. Finish it, so that a changed source is noticed.
#[derive(Debug)]
pub struct Judge<'a> {
    liveness: &'a Liveness,
    order: Order,
}

/// Counts and fingerprints a scan, and holds it to its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Order {
    last: Option<Revision>,
    count: u32,
    fingerprint: u64,
}

impl LivenessBuilder {
    /// Starts a scan of a store compacted at `compacted` (-1 if never: see
    /// [`crate::meta::CompactionMarks::effective`]).
    pub fn new(compacted: i64, rule: TombstoneRule) -> Self {
        LivenessBuilder {
            compacted,
            rule,
            keys: KeyTable::new(),
            alive_keys: 0,
            order: Order::default(),
            dead: Bitmap::default(),
            superseded: Bitmap::default(),
        }
    }

    /// Takes the next record, in revision order.
    ///
    /// # Errors
    /// A record that cannot be read or stands out of order, and more than 2^31 - 1 of them.
    pub fn observe(&mut self, record: &Record<'_>) -> Result<(), ScanError> {
        let key = record.user_key()?;
        let BucketKey { revision, tombstone } = record.at;
        let ordinal = self.order.advance(record.at)?;
        self.dead.push(self.tombstone_dies(record.at));
        self.superseded.push(false);
        let before = self.keys.replace(key, Latest { ordinal, tombstone });
        if let Some(before) = before {
            self.superseded.set(before.ordinal);
            if revision.main <= self.compacted {
                self.dead.set(before.ordinal);
            }
        }
        match (before.is_some_and(|before| !before.tombstone), tombstone) {
            (false, false) => self.alive_keys += 1,
            (true, true) => self.alive_keys -= 1,
            _ => {}
        }
        Ok(())
    }

    /// Ends the scan; the table of keys is given back, two bits per record stay.
    pub fn finish(self) -> Liveness {
        assert_eq!(self.dead.len(), self.order.count, "one bit per record");
        Liveness {
            compacted: self.compacted,
            rule: self.rule,
            keys: self.keys.len() as u64,
            alive_keys: self.alive_keys,
            order: self.order,
            dead: self.dead,
            superseded: self.superseded,
        }
    }

    fn tombstone_dies(&self, at: BucketKey) -> bool {
        let main = at.revision.main;
        at.tombstone
            && match self.rule {
                TombstoneRule::KeepAtCompaction => main < self.compacted,
                TombstoneRule::DropAtCompaction => main <= self.compacted,
            }
    }
}

impl Liveness {
    /// Starts a further scan over the same records.
    pub fn judge(&self) -> Judge<'_> {
        Judge { liveness: self, order: Order::default() }
    }

    /// The compaction revision the verdicts hold for.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// The tombstone rule the verdicts hold for.
    pub fn rule(&self) -> TombstoneRule {
        self.rule
    }

    /// Records seen, dead ones included.
    pub fn records(&self) -> u64 {
        u64::from(self.order.count)
    }

    /// Records alive.
    pub fn live_records(&self) -> u64 {
        self.records() - self.dead.count_ones()
    }

    /// Distinct keys seen, deleted ones included.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Keys whose newest record is not a tombstone.
    pub fn alive_keys(&self) -> u64 {
        self.alive_keys
    }

    /// The last record's revision, if there is any.
    pub fn last_revision(&self) -> Option<Revision> {
        self.order.last
    }

    /// True for a tombstone at the compaction revision itself: members that differ in their version
    /// may differ in it, so a comparison must not insist on it.
    pub fn is_optional(&self, at: BucketKey) -> bool {
        at.tombstone && at.revision.main == self.compacted
    }
}

impl Judge<'_> {
    /// The verdict on the next record.
    ///
    /// # Errors
    /// A record out of order, or more of them than in the first scan.
    pub fn next(&mut self, record: &Record<'_>) -> Result<Verdict, ScanError> {
        let ordinal = self.order.advance(record.at)?;
        if ordinal >= self.liveness.order.count {
            return Err(self.changed());
        }
        if !self.liveness.dead.get(ordinal) {
            return Ok(Verdict::Live { superseded: self.liveness.superseded.get(ordinal) });
        }
        let superseded = self.liveness.superseded.get(ordinal) && !record.at.tombstone;
        let reason = if superseded { DeadReason::Superseded } else { DeadReason::Tombstone };
        Ok(Verdict::Dead(reason))
    }

    /// Ends the scan.
    ///
    /// # Errors
    /// [`ScanError::Changed`] if these were not the records of the first scan: the verdicts given
    /// were then worthless.
    pub fn finish(self) -> Result<(), ScanError> {
        if self.order == self.liveness.order { Ok(()) } else { Err(self.changed()) }
    }

    fn changed(&self) -> ScanError {
        let (expected, found) = (self.liveness.order.count, self.order.count);
        ScanError::Changed { expected: u64::from(expected), found: u64::from(found) }
    }
}

impl Verdict {
    /// True if the record belongs to the logical state.
    pub fn is_live(self) -> bool {
        matches!(self, Verdict::Live { .. })
    }
}

impl Order {
    fn advance(&mut self, at: BucketKey) -> Result<u32, ScanError> {
        let found = at.revision;
        if let Some(previous) = self.last.filter(|previous| *previous >= found) {
            return Err(ScanError::OutOfOrder { previous, found });
        }
        if self.count == MAX_RECORDS {
            return Err(ScanError::TooMany);
        }
        let ordinal = self.count;
        self.last = Some(found);
        self.count += 1;
        for word in [found.main, found.sub, i64::from(at.tombstone)] {
            let mixed =
                (self.fingerprint ^ word.cast_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.fingerprint = mixed.rotate_left(29);
        }
        Ok(ordinal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hashkv::{HashScope, KvHasher, RecordSource, hashkv};
    use crate::record::KeyValue;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// What a naive store knows: every record, and per key its history cut into generations.
    #[derive(Debug, Default)]
    struct Model {
        records: BTreeMap<Vec<u8>, Vec<u8>>,
        generations: BTreeMap<Vec<u8>, Vec<Vec<Revision>>>,
        main: i64,
    }

    impl Model {
        /// One transaction: puts, then deletes, so that a key may be put and deleted in one.
        fn txn(&mut self, puts: &BTreeSet<u8>, deletes: &BTreeSet<u8>) {
            self.main = self.main.max(1) + 1;
            let mut sub = 0;
            for key in puts {
                self.record(*key, sub, false);
                sub += 1;
            }
            for key in deletes {
                let alive = self.generations.get(&vec![*key]);
                if alive.is_some_and(|generations| !generations.last().unwrap().is_empty()) {
                    self.record(*key, sub, true);
                    sub += 1;
                }
            }
            if sub == 0 {
                self.main -= 1;
            }
        }

        fn record(&mut self, key: u8, sub: i64, tombstone: bool) {
            let revision = Revision::new(self.main, sub);
            let generations = self.generations.entry(vec![key]).or_insert_with(|| vec![vec![]]);
            let generation = generations.last_mut().unwrap();
            generation.push(revision);
            let create = generation[0].main;
            let version = generation.len() as i64;
            let kv = KeyValue { key: &[key], ..KeyValue::default() };
            let full = KeyValue { create_revision: create, mod_revision: self.main, version, ..kv };
            let kv = if tombstone { kv } else { full };
            if tombstone {
                generations.push(vec![]);
            }
            self.records.insert(BucketKey { revision, tombstone }.encode().to_vec(), kv.to_bytes());
        }

        /// The generation that contains `at` and its newest revision ≤ `at`, as upstream's index
        /// walks.
        fn kept(&self, at: i64, old_rule: bool) -> BTreeSet<Revision> {
            let mut kept = BTreeSet::new();
            for generations in self.generations.values() {
                let (last, ended) = generations.split_last().unwrap();
                let containing = ended.iter().find(|generation| {
                    let end = generation.last().unwrap().main;
                    if old_rule { end > at } else { end >= at }
                });
                let generation = containing.unwrap_or(last);
                kept.extend(generation.iter().rev().find(|revision| revision.main <= at));
            }
            kept
        }

        fn tombstone(&self, revision: Revision) -> bool {
            self.records.contains_key(&*BucketKey::tombstone(revision).encode())
        }

        fn hashkv(&self, scope: HashScope) -> u32 {
            let mut keep = self.kept(scope.revision, false);
            keep.retain(|revision| !self.tombstone(*revision));
            let mut bytes = b"key".to_vec();
            for (raw, value) in &self.records {
                let at = BucketKey::decode(raw).unwrap();
                let main = at.revision.main;
                let low = main <= scope.compact_revision;
                let skipped = main > scope.revision
                    || (low && !keep.is_empty() && !keep.contains(&at.revision))
                    || (main == scope.compact_revision && at.tombstone);
                if !skipped {
                    bytes.extend(raw);
                    bytes.extend(value);
                }
            }
            crc32c::crc32c(&bytes)
        }

        /// Removes what a compaction at `at` removes, but only the first `batch` records of it.
        fn compact(&mut self, at: i64, old_rule: bool, batch: usize) {
            let kept = self.kept(at, old_rule);
            let dead = self.records.keys().filter(|raw| {
                let revision = BucketKey::decode(raw).unwrap().revision;
                revision.main <= at && !kept.contains(&revision)
            });
            for raw in dead.take(batch).cloned().collect::<Vec<_>>() {
                self.records.remove(&raw);
            }
        }
    }

    impl RecordSource for Model {
        type Error = ScanError;

        fn scan(
            &self,
            visit: &mut dyn FnMut(Record<'_>) -> Result<(), ScanError>,
        ) -> Result<(), ScanError> {
            self.records.iter().try_for_each(|(key, value)| visit(Record::parse(key, value)?))
        }
    }

    fn verdicts(model: &Model, compacted: i64, rule: TombstoneRule) -> Vec<(Revision, Verdict)> {
        let mut builder = LivenessBuilder::new(compacted, rule);
        model.scan(&mut |record| builder.observe(&record)).unwrap();
        let liveness = builder.finish();
        let mut judge = liveness.judge();
        let mut out = Vec::new();
        let mut visit = |record: Record<'_>| {
            out.push((record.at.revision, judge.next(&record)?));
            Ok(())
        };
        model.scan(&mut visit).unwrap();
        judge.finish().unwrap();
        let live = out.iter().filter(|(_, verdict)| verdict.is_live()).count();
        assert_eq!(liveness.live_records(), live as u64);
        let alive = model.generations.values().filter(|all| !all.last().unwrap().is_empty());
        assert_eq!(liveness.alive_keys(), alive.count() as u64);
        out
    }

    fn txns() -> impl Strategy<Value = Vec<(BTreeSet<u8>, BTreeSet<u8>)>> {
        let keys = || proptest::collection::btree_set(0u8..6, 0..4);
        proptest::collection::vec((keys(), keys()), 0..30)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]

        #[test]
        fn a_compaction_keeps_what_the_index_says(txns in txns(), at in 0i64..34, old: bool) {
            let mut model = Model::default();
            txns.iter().for_each(|(puts, deletes)| model.txn(puts, deletes));
            let rule =
                if old { TombstoneRule::DropAtCompaction } else { TombstoneRule::KeepAtCompaction };
            let kept = model.kept(at, old);
            for (revision, verdict) in verdicts(&model, at, rule) {
                let want = revision.main > at || kept.contains(&revision);
                prop_assert_eq!(verdict.is_live(), want, "{} at {}", revision, at);
                let newest = |all: &Vec<Vec<Revision>>| {
                    all.iter().flatten().max() == Some(&revision)
                };
                if let Verdict::Live { superseded } = verdict {
                    prop_assert_eq!(superseded, !model.generations.values().any(newest));
                }
            }
        }

        #[test]
        fn a_half_done_compaction_has_the_same_live_set_and_hash(
            txns in txns(), at in 1i64..34, old: bool, batch in 0usize..40, revision in 0i64..34,
        ) {
            let mut model = Model::default();
            txns.iter().for_each(|(puts, deletes)| model.txn(puts, deletes));
            let at = at.min(model.main);
            let live = |model: &Model| -> Vec<Revision> {
                let all = verdicts(model, at, TombstoneRule::DropAtCompaction);
                let live = all.into_iter().filter(|(_, verdict)| verdict.is_live());
                live.map(|(revision, _)| revision).collect()
            };
            let before = live(&model);
            let revision = revision.clamp(at, model.main.max(at));
            let scope = HashScope { revision, compact_revision: at };
            let hash = model.hashkv(scope);
            let kept = model.kept(revision, false);
            let any_alive = kept.iter().any(|one| !model.tombstone(*one));
            prop_assert_eq!(hashkv(&model, scope), Ok(hash));
            model.compact(at, old, batch);
            prop_assert_eq!(live(&model), before);
            if any_alive {
                prop_assert_eq!(hashkv(&model, scope), Ok(hash));
            }
            let later = HashScope { compact_revision: scope.revision, ..scope };
            prop_assert_eq!(hashkv(&model, later), Ok(model.hashkv(later)));
        }
    }

    #[test]
    fn a_changed_source_is_noticed() {
        let mut model = Model::default();
        let keys = |keys: &[u8]| keys.iter().copied().collect::<BTreeSet<u8>>();
        model.txn(&keys(&[1, 2, 3]), &keys(&[2]));
        let mut builder = LivenessBuilder::new(-1, TombstoneRule::KeepAtCompaction);
        model.scan(&mut |record| builder.observe(&record)).unwrap();
        let liveness = builder.finish();
        model.txn(&keys(&[1]), &keys(&[]));
        let mut judge = liveness.judge();
        let result = model.scan(&mut |record| judge.next(&record).map(|_| ()));
        assert_eq!(result, Err(ScanError::Changed { expected: 4, found: 5 }));
        assert!(liveness.judge().finish().is_err());
    }

    #[test]
    fn order_and_range_are_held() {
        let later = BucketKey::put(Revision::new(3, 1)).encode();
        let earlier = BucketKey::put(Revision::new(3, 0)).encode();
        let mut builder = LivenessBuilder::new(-1, TombstoneRule::KeepAtCompaction);
        builder.observe(&Record::parse(&later, b"").unwrap()).unwrap();
        let error = builder.observe(&Record::parse(&earlier, b"").unwrap()).unwrap_err();
        assert!(matches!(error, ScanError::OutOfOrder { .. }));
        let scope = HashScope { revision: 3, compact_revision: 4 };
        assert!(KvHasher::new(scope, &builder.finish()).is_err());
    }
}
