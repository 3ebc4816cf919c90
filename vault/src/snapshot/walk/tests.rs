//! The walk against a model: a map of records, with segments that are plain lists.

use super::*;
use crate::format::Record;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::convert::Infallible;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Plain {
    rev: Rev,
    tombstone: bool,
    key: Vec<u8>,
    value: Vec<u8>,
}

#[derive(Debug, Clone)]
struct List {
    id: ObjectId,
    records: Vec<Plain>,
    live: RoaringBitmap,
    contested: bool,
}

struct Index(Vec<Plain>);

fn digest(tombstone: bool, value: &[u8]) -> u32 {
    value.iter().fold(u32::from(tombstone), |sum, byte| sum.wrapping_mul(31) + u32::from(*byte))
}

impl BaseIndex for Index {
    fn len(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap()
    }
    fn entry(&self, ordinal: u32) -> BaseEntry {
        let record = &self.0[ordinal as usize];
        BaseEntry {
            ordinal,
            rev: record.rev,
            tombstone: record.tombstone,
            length: record.value.len() as u64,
            digest: digest(record.tombstone, &record.value),
            tag: digest(false, &record.key),
        }
    }
    fn digest(&self, record: &SourceRecord<'_>) -> u32 {
        digest(record.tombstone, record.value)
    }
}

#[derive(Default)]
struct Sink(BTreeMap<Target, Vec<Plain>>);

impl Emit for Sink {
    type Error = Infallible;
    fn emit(&mut self, target: Target, record: &SourceRecord<'_>) -> Result<(), Infallible> {
        self.0.entry(target).or_default().push(Plain {
            rev: record.rev(),
            tombstone: record.tombstone,
            key: record.key.to_vec(),
            value: record.value.to_vec(),
        });
        Ok(())
    }
}

fn walk(base: &[List], give_up: &[bool], source: &[Plain], mode: Mode) -> (WalkResult, Sink) {
    let segments = base.iter().enumerate().map(|(place, list)| BaseSegment {
        id: list.id,
        contested: list.contested,
        range: (list.records[0].rev, list.records[list.records.len() - 1].rev),
        live: list.live.clone(),
        implied: false,
        give_up: give_up.get(place).copied().unwrap_or(false).then_some(0),
    });
    let mut walk = Walk::new(segments.collect(), mode);
    let mut sink = Sink::default();
    for record in source {
        while let Some(place) = walk.wants(Some(record.rev)) {
            walk.give(place, Box::new(Index(base[place].records.clone())));
        }
        let record = SourceRecord {
            main: record.rev.0,
            sub: record.rev.1,
            tombstone: record.tombstone,
            key: &record.key,
            value: &record.value,
            superseded: false,
            sensitive: false,
        };
        walk.take(&record, &mut sink).unwrap().unwrap();
    }
    while let Some(place) = walk.wants(None) {
        walk.give(place, Box::new(Index(base[place].records.clone())));
    }
    (walk.finish(), sink)
}

/// The base after a walk: what stays, and a list for each target.
fn after(base: &[List], result: &WalkResult, sink: Sink, next_id: &mut u8) -> Vec<List> {
    let mut lists: Vec<List> = base
        .iter()
        .zip(&result.segments)
        .filter(|(_, walked)| !walked.live.is_empty())
        .map(|(list, walked)| List { live: walked.live.clone(), ..list.clone() })
        .collect();
    for (target, records) in sink.0 {
        *next_id += 1;
        let live = (0..u32::try_from(records.len()).unwrap()).collect();
        let id = ObjectId::from_bytes(&[*next_id; 16]).unwrap();
        lists.push(List { id, records, live, contested: target == Target::Contested });
    }
    lists
}

fn alive(base: &[List]) -> Vec<Plain> {
    let mut all: Vec<Plain> = base
        .iter()
        .filter(|list| !list.contested)
        .flat_map(|list| list.live.iter().map(|ordinal| list.records[ordinal as usize].clone()))
        .collect();
    all.sort_by_key(|record| record.rev);
    all
}

/// etcd as a list of transactions, with what is alive at (R, C).
#[derive(Debug, Default)]
struct Etcd {
    records: Vec<Plain>,
    revision: i64,
    compacted: i64,
}

impl Etcd {
    fn write(&mut self, key: u8, tombstone: bool) {
        self.revision += 1;
        let value = vec![key, u8::try_from(self.revision % 251).unwrap(), u8::from(tombstone)];
        self.records.push(Plain { rev: (self.revision, 0), tombstone, key: vec![key], value });
    }

    fn alive(&self) -> Vec<Plain> {
        let newest: BTreeMap<&[u8], Rev> = self
            .records
            .iter()
            .filter(|record| record.rev.0 <= self.compacted)
            .map(|record| (&record.key[..], record.rev))
            .collect();
        let alive = |record: &&Plain| {
            record.rev.0 > self.compacted
                || (newest.get(&record.key[..]) == Some(&record.rev)
                    && (!record.tombstone || record.rev.0 == self.compacted))
        };
        self.records.iter().filter(alive).cloned().collect()
    }
}

fn same(etcd: &Etcd, base_revision: i64) -> Mode {
    Mode::Same { compact_revision: etcd.compacted, base_revision }
}

proptest! {
    #[test]
    fn snapshots_equal_the_source_and_bits_only_turn_off(
        rounds in prop::collection::vec(
            (
                prop::collection::vec((0u8..12, prop::bool::weighted(0.2)), 0..30),
                0i64..30,
                any::<u64>(),
            ),
            1..8,
        ),
    ) {
        let mut etcd = Etcd::default();
        let mut base: Vec<List> = Vec::new();
        let mut next_id = 0;
        let mut base_revision = 0;
        for (writes, keep, give_up) in rounds {
            for (key, tombstone) in writes {
                etcd.write(key, tombstone);
            }
            etcd.compacted = etcd.compacted.max(etcd.revision - keep);
            let source = etcd.alive();
            let bits = (0..base.len()).map(|place| give_up >> (place % 64) & 1 == 1);
            let give_up: Vec<bool> = bits.collect();
            let before = base.clone();
            let (result, sink) = walk(&base, &give_up, &source, same(&etcd, base_revision));
            prop_assert!(result.findings.is_empty(), "{:?}", result.findings);
            for (list, walked) in before.iter().zip(&result.segments) {
                prop_assert!(walked.live.is_subset(&list.live));
            }
            for (place, walked) in result.segments.iter().enumerate() {
                prop_assert!(!give_up[place] || walked.live.is_empty());
            }
            base = after(&base, &result, sink, &mut next_id);
            prop_assert_eq!(alive(&base), source.clone());
            prop_assert_eq!(result.record_count, source.len() as u64);
            let mut hash = LiveHash::new();
            for record in &source {
                let ((main, sub), tombstone) = (record.rev, record.tombstone);
                hash.update(&Record { main, sub, tombstone, value: &record.value });
            }
            prop_assert_eq!(result.live_sha256, Some(hash.finish()));
            base_revision = etcd.revision;
        }
    }
}

fn three() -> (Etcd, Vec<List>) {
    let mut etcd = Etcd::default();
    for key in 1..=3 {
        etcd.write(key, false);
    }
    let (result, sink) = walk(&[], &[], &etcd.alive(), same(&etcd, 0));
    let mut next_id = 0;
    let base = after(&[], &result, sink, &mut next_id);
    (etcd, base)
}

#[test]
fn a_record_lost_above_c_is_found_and_kept() {
    let (etcd, base) = three();
    let mut source = etcd.alive();
    source.remove(1);
    let (result, sink) = walk(&base, &[], &source, same(&etcd, 3));
    assert_eq!(result.findings, [Finding::Vanished((2, 0))]);
    assert_eq!((result.counts.vanished, result.counts.lowest_vanished), (1, 2));
    assert_eq!(result.live_sha256, None);
    assert_eq!(result.record_count, 3);
    assert_eq!(alive(&after(&base, &result, sink, &mut 9)), etcd.alive());
}

#[test]
fn a_changed_record_is_kept_twice_and_stored_once() {
    let (etcd, base) = three();
    let mut source = etcd.alive();
    source[1].value[0] ^= 1;
    let (result, sink) = walk(&base, &[true], &source, same(&etcd, 3));
    assert_eq!(result.findings, [Finding::Changed((2, 0))]);
    assert_eq!(sink.0[&Target::Contested], [source[1].clone()]);
    let base = after(&base, &result, sink, &mut 9);
    assert_eq!(alive(&base), etcd.alive(), "the old version is the one alive");
    let (again, sink) = walk(&base, &[], &source, same(&etcd, 3));
    assert!(sink.0.is_empty());
    assert!(matches!(again.contested[..], [((2, 0), _, Some(_))]));
    let (healed, sink) = walk(&base, &[], &etcd.alive(), same(&etcd, 3));
    assert!(healed.findings.is_empty() && sink.0.is_empty());
}

#[test]
fn an_old_record_that_comes_back_is_found() {
    let (mut etcd, base) = three();
    etcd.write(1, false);
    etcd.compacted = 4;
    let (result, sink) = walk(&base, &[], &etcd.alive(), same(&etcd, 3));
    let base = after(&base, &result, sink, &mut 9);
    etcd.compacted = 0;
    let (result, sink) = walk(&base, &[], &etcd.alive(), same(&etcd, 4));
    assert_eq!(result.findings, [Finding::Appeared((1, 0))]);
    assert_eq!(alive(&after(&base, &result, sink, &mut 19)), etcd.alive());
}

#[test]
fn a_new_lineage_follows_the_source() {
    let (etcd, base) = three();
    let mut source = etcd.alive();
    source.remove(0);
    source[0].value[0] ^= 1;
    let (result, sink) = walk(&base, &[], &source, Mode::NewLineage);
    assert!(result.findings.is_empty());
    let counts = result.counts;
    assert_eq!((counts.common, counts.changed, counts.vanished), (1, 1, 1));
    assert_eq!(alive(&after(&base, &result, sink, &mut 9)), source);
}

#[test]
fn an_unsorted_source_is_refused() {
    let mut walk = Walk::new(vec![], Mode::NewLineage);
    let record = SourceRecord {
        main: 5,
        sub: 0,
        tombstone: false,
        key: b"k",
        value: b"v",
        superseded: false,
        sensitive: false,
    };
    let mut sink = Sink::default();
    walk.take(&record, &mut sink).unwrap().unwrap();
    let error = walk.take(&record, &mut sink).unwrap().unwrap_err();
    assert_eq!((error.last, error.next), ((5, 0), (5, 0)));
}
