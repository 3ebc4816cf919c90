//! What a compaction keeps, against models and by hand.

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
