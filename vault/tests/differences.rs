//! A source that tells only what the vault does not have, beside one that gives every record: the
//! same records, the same digest, the same findings.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod support;

use hmac::{Hmac, KeyInit, Mac};
use holdfast_vault::proto::Facts;
use holdfast_vault::snapshot::{
    Differences, Finding, LiveTotals, Outcome, SnapshotError, SnapshotOptions, Source,
    SourceBucket, SourceError, SourceItem, SourceRecord, Summary, WalkResult,
};
use holdfast_vault::vault::Vault;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use support::{Etcd, Plain, options, over, read_inline};

type Rev = (i64, i64);
/// A revision: a record with its key and whether it is superseded, or gone.
type Told = (Rev, Option<(Vec<u8>, Plain, bool)>);

/// As the protocol has it, written down once more: HMAC-SHA-256, its first four bytes.
fn digest(key: &[u8; 32], record: &Plain) -> u32 {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(&record.rev.0.to_le_bytes());
    mac.update(&record.rev.1.to_le_bytes());
    mac.update(&[u8::from(record.tombstone)]);
    mac.update(&record.value);
    let full = mac.finalize().into_bytes();
    u32::from_le_bytes([full[0], full[1], full[2], full[3]])
}

fn totals(records: &[Plain]) -> LiveTotals {
    let mut sha256 = Sha256::new();
    for record in records {
        sha256.update(record.rev.0.to_le_bytes());
        sha256.update(record.rev.1.to_le_bytes());
        sha256.update([u8::from(record.tombstone)]);
        sha256.update((record.value.len() as u64).to_le_bytes());
        sha256.update(&record.value);
    }
    LiveTotals {
        record_count: records.len() as u64,
        tombstone_count: records.iter().filter(|record| record.tombstone).count() as u64,
        live_bytes: records.iter().map(|record| record.value.len() as u64).sum(),
        live_sha256: sha256.finalize().into(),
    }
}

type Hook = Box<dyn FnOnce() + Send>;

/// Everything but the records is told by the source of all records.
struct Telling {
    all: Box<dyn Source>,
    differences: Differences,
    told: Vec<Told>,
    next: usize,
    /// Happens when the walk is through.
    hook: Option<Hook>,
}

impl Source for Telling {
    fn rewind(&mut self) -> Result<(), SourceError> {
        self.next = 0;
        self.all.rewind()
    }
    fn facts(&self) -> Facts {
        self.all.facts()
    }
    fn next_record(&mut self) -> Result<Option<SourceRecord<'_>>, SourceError> {
        panic!("only differences are told")
    }
    fn differences(&self) -> Option<Differences> {
        Some(self.differences.clone())
    }
    fn next_item(&mut self) -> Result<Option<SourceItem<'_>>, SourceError> {
        let Some((rev, told)) = self.told.get(self.next) else { return Ok(None) };
        self.next += 1;
        let Some((key, record, superseded)) = told else { return Ok(Some(SourceItem::Gone(*rev))) };
        Ok(Some(SourceItem::Record(SourceRecord {
            main: rev.0,
            sub: rev.1,
            tombstone: record.tombstone,
            key,
            value: &record.value,
            superseded: *superseded,
            sensitive: false,
        })))
    }
    fn next_bucket(&mut self) -> Result<Option<SourceBucket>, SourceError> {
        self.all.next_bucket()
    }
    fn next_entry(&mut self) -> Result<Option<(&[u8], &[u8])>, SourceError> {
        self.all.next_entry()
    }
    fn finish(&mut self, walk: &WalkResult, facts: &mut Facts) -> Result<(), SourceError> {
        if let Some(hook) = self.hook.take() {
            hook();
        }
        self.all.finish(walk, facts)
    }
}

/// What `etcd` tells a vault that names what it has.
async fn tell(vault: &Vault, etcd: &Etcd) -> Telling {
    let mut naming = vault.naming(&BTreeSet::new()).await.unwrap().unwrap();
    let number = naming.number();
    let (mut names, mut keys, mut last) = (BTreeMap::new(), Vec::new(), (0, -1));
    loop {
        let batch = naming.next(7).await.unwrap();
        keys.extend(naming.fresh_keys());
        for name in &batch {
            assert!(name.rev > last, "names ascend");
            last = name.rev;
            names.insert(name.rev, (name.key, name.digest));
        }
        if batch.len() < 7 {
            break;
        }
    }
    let mut told: BTreeMap<Rev, Option<(Vec<u8>, Plain, bool)>> = BTreeMap::new();
    for (key, record, superseded) in etcd.alive() {
        let named = names.remove(&record.rev);
        if named.is_none_or(|(key, known)| digest(&keys[key as usize], &record) != known) {
            told.insert(record.rev, Some((key, record, superseded)));
        }
    }
    told.extend(names.into_keys().map(|rev| (rev, None)));
    let totals = totals(&etcd.plain());
    let differences = Differences { number, named: Arc::new(naming.finish()), totals };
    let told = told.into_iter().collect();
    Telling { all: etcd.source(), differences, told, next: 0, hook: None }
}

async fn vault(seed: u64) -> (Vault, Arc<InMemory>) {
    let store = Arc::new(InMemory::new());
    (Vault::init(over(store.clone()), options(seed)).await.unwrap(), store)
}

async fn take(vault: &mut Vault, source: Box<dyn Source>) -> Result<Summary, SnapshotError> {
    let taking = SnapshotOptions { inline: true, target_bytes: Some(4_000), ..Default::default() };
    match vault.snapshot(source, &taking).await? {
        Outcome::Committed(summary) => Ok(*summary),
        other => panic!("{other:?}"),
    }
}

async fn changed(vault: &mut Vault, etcd: &Etcd) -> Result<(Summary, usize), SnapshotError> {
    let telling = tell(vault, etcd).await;
    let told = telling.told.len();
    Ok((take(vault, Box::new(telling)).await?, told))
}

async fn assert_holds(vault: &mut Vault, number: u64, etcd: &Etcd) {
    let (records, verified) = read_inline(vault, number).await.unwrap();
    assert_eq!(records, etcd.plain());
    assert!(verified.digest_compared, "the digest over all live records is there and equal");
}

fn work(etcd: &mut Etcd, writes: u64) {
    for _ in 0..writes {
        let key = format!("k{}", etcd.random(30));
        match etcd.random(5) {
            0 => etcd.delete(&key),
            _ => etcd.put(&key, 100),
        }
    }
    if etcd.random(3) > 0 {
        let behind = i64::try_from(etcd.random(20)).unwrap();
        etcd.compact(etcd.revision - behind);
    }
}

#[tokio::test]
async fn rounds_of_differences_equal_rounds_of_everything() {
    for seed in 1..6 {
        let mut etcd = Etcd::new();
        etcd.noise = seed;
        work(&mut etcd, 60);
        let (mut all, _) = vault(seed).await;
        let (mut few, _) = vault(seed + 100).await;
        take(&mut all, etcd.source()).await.unwrap();
        take(&mut few, etcd.source()).await.unwrap();
        for _ in 0..12 {
            let writes = etcd.random(40);
            work(&mut etcd, writes);
            let whole = take(&mut all, etcd.source()).await.unwrap();
            let (part, _) = changed(&mut few, &etcd).await.unwrap();
            assert!(part.findings.is_empty() && whole.findings.is_empty());
            assert_eq!(part.counts, whole.counts, "kinship is judged by the same figures");
            assert_eq!(part.entry.record_count, whole.entry.record_count);
            assert_holds(&mut few, part.number, &etcd).await;
        }
    }
}

#[tokio::test]
async fn little_more_than_the_new_records_is_told() {
    let (mut vault, _) = vault(1).await;
    let mut etcd = Etcd::new();
    (0..400).for_each(|key| etcd.put(&format!("k{key}"), 100));
    take(&mut vault, etcd.source()).await.unwrap();
    // Segments that are small are copied forward, and so are told whole: in one of these rounds.
    let mut least = usize::MAX;
    for _ in 0..4 {
        (0..5).for_each(|key| etcd.put(&format!("k{key}"), 100));
        let (summary, told) = changed(&mut vault, &etcd).await.unwrap();
        least = least.min(told);
        assert_holds(&mut vault, summary.number, &etcd).await;
    }
    assert!((5..=10).contains(&least), "{least} of {} were told", etcd.records.len());
}

/// As beside a source of everything: whoever names all of them never joins any.
#[tokio::test]
async fn small_segments_join_in_rounds_of_differences_too() {
    let (mut vault, _) = vault(7).await;
    let mut etcd = Etcd::new();
    (0..400).for_each(|key| etcd.put(&format!("k{key}"), 100));
    take(&mut vault, etcd.source()).await.unwrap();
    let (mut copied, mut most) = (0, 0);
    for _ in 0..30 {
        (0..3).for_each(|key| etcd.put(&format!("k{key}"), 100));
        let (summary, _) = changed(&mut vault, &etcd).await.unwrap();
        copied += u64::from(summary.copied_bytes > 0);
        most = most.max(summary.segments);
    }
    assert!((1..15).contains(&copied), "{copied} of 30 rounds copied forward");
    assert!(most < 30, "{most} segments");
    let latest = newest(&vault);
    assert_holds(&mut vault, latest, &etcd).await;
}

fn newest(vault: &Vault) -> u64 {
    vault.snapshots().iter().map(|entry| entry.number).max().unwrap()
}

#[tokio::test]
async fn what_is_wrong_with_an_old_record_is_found_as_ever() {
    let (mut vault, _) = vault(2).await;
    let mut etcd = Etcd::new();
    (0..60).for_each(|key| etcd.put(&format!("k{key}"), 100));
    let good = take(&mut vault, etcd.source()).await.unwrap();
    etcd.put("new", 10);
    let mut bad = etcd.clone();
    bad.records[20].1.value[30] ^= 1;
    bad.records.remove(40);
    bad.raft_index += 1;
    let (summary, _) = changed(&mut vault, &bad).await.unwrap();
    assert_eq!(summary.findings, [Finding::Changed((21, 0)), Finding::Vanished((41, 0))]);
    assert!(summary.entry.contested && summary.number > good.number);
    let (records, verified) = read_inline(&mut vault, summary.number).await.unwrap();
    assert_eq!(records, etcd.plain(), "the versions that were there before stay");
    assert!(!verified.digest_compared);
    etcd.raft_index += 9;
    let (healed, _) = changed(&mut vault, &etcd).await.unwrap();
    assert!(healed.findings.is_empty());
    assert_holds(&mut vault, healed.number, &etcd).await;
}

#[tokio::test]
async fn differences_from_another_snapshot_are_refused() {
    let (mut vault, _) = vault(3).await;
    let mut etcd = Etcd::new();
    (0..20).for_each(|key| etcd.put(&format!("k{key}"), 100));
    take(&mut vault, etcd.source()).await.unwrap();
    etcd.put("new", 10);
    let mut stale = tell(&vault, &etcd).await;
    take(&mut vault, etcd.source()).await.unwrap();
    etcd.put("newer", 10);
    stale.all = etcd.source();
    let before = vault.snapshots().len();
    let error = take(&mut vault, Box::new(stale)).await.unwrap_err();
    assert!(matches!(error, SnapshotError::Unfit { .. }), "{error}");
    // One that leaves a record out which it should tell.
    let mut telling = tell(&vault, &etcd).await;
    telling.told.pop().unwrap();
    let error = take(&mut vault, Box::new(telling)).await.unwrap_err();
    assert!(matches!(error, SnapshotError::Unfit { .. }), "{error}");
    // And one that tells of a record that was not named.
    let mut telling = tell(&vault, &etcd).await;
    telling.told.push(((etcd.revision + 5, 0), None));
    let error = take(&mut vault, Box::new(telling)).await.unwrap_err();
    assert!(matches!(error, SnapshotError::NotNamed(_)), "{error}");
    assert_eq!(vault.snapshots().len(), before, "nothing was committed");
    changed(&mut vault, &etcd).await.unwrap();
    // A record that the vault has, and that a former round turned off, is not named either.
    etcd.put("k0", 10);
    etcd.compact(etcd.revision);
    changed(&mut vault, &etcd).await.unwrap();
    let mut telling = tell(&vault, &etcd).await;
    telling.told.insert(0, ((1, 0), None));
    let error = take(&mut vault, Box::new(telling)).await.unwrap_err();
    assert!(matches!(error, SnapshotError::NotNamed(ref it) if it.0 == (1, 0)), "{error}");
}

#[tokio::test]
async fn what_is_lost_in_the_store_is_told_whole() {
    let (mut vault, store) = vault(4).await;
    let mut etcd = Etcd::new();
    (0..200).for_each(|key| etcd.put(&format!("k{key}"), 100));
    let first = take(&mut vault, etcd.source()).await.unwrap();
    let largest = first.uploaded.iter().max_by_key(|object| object.size_bytes).unwrap();
    store.delete(&object_store::path::Path::from(largest.name.as_str())).await.unwrap();
    etcd.put("new", 10);
    let (summary, told) = changed(&mut vault, &etcd).await.unwrap();
    assert!(matches!(summary.findings[..], [Finding::Lost(_)]), "{:?}", summary.findings);
    assert!(told > 1);
    assert_holds(&mut vault, summary.number, &etcd).await;
}

/// Another writer, of this seed, that takes a snapshot of `etcd` when the walk is through.
fn overtaking(seed: u64, store: &Arc<InMemory>, etcd: &Etcd) -> Hook {
    let (store, etcd) = (store.clone(), etcd.clone());
    let commit = async move || {
        let mut other = Vault::open(over(store), options(seed)).await.unwrap();
        take(&mut other, etcd.source()).await.unwrap();
    };
    Box::new(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        std::thread::spawn(move || runtime.unwrap().block_on(commit())).join().unwrap();
    })
}

#[tokio::test]
async fn who_is_overtaken_before_its_commit_does_not_use_its_differences_again() {
    let (mut vault, store) = vault(5).await;
    let mut etcd = Etcd::new();
    (0..40).for_each(|key| etcd.put(&format!("k{key}"), 100));
    take(&mut vault, etcd.source()).await.unwrap();
    etcd.put("new", 10);
    let behind = etcd.clone();
    etcd.put("newer", 10);
    // What the other stores is older, so ours is still wanted; but not as it was told.
    let mut telling = tell(&vault, &etcd).await;
    telling.hook = Some(overtaking(77, &store, &behind));
    let error = take(&mut vault, Box::new(telling)).await.unwrap_err();
    assert!(matches!(error, SnapshotError::Unfit { .. }), "{error}");
    assert_eq!(vault.snapshots().len(), 2, "the first and the other's");
    let latest = newest(&vault);
    assert_holds(&mut vault, latest, &behind).await;
    let (summary, _) = changed(&mut vault, &etcd).await.unwrap();
    assert_holds(&mut vault, summary.number, &etcd).await;
    // What the other stores is as new: there is nothing left to do.
    etcd.put("newest", 10);
    let mut telling = tell(&vault, &etcd).await;
    telling.hook = Some(overtaking(78, &store, &etcd));
    let taking = SnapshotOptions { inline: true, ..SnapshotOptions::default() };
    let outcome = vault.snapshot(Box::new(telling), &taking).await.unwrap();
    let Outcome::Covered { number } = outcome else { panic!("{outcome:?}") };
    assert_holds(&mut vault, number, &etcd).await;
}

#[tokio::test]
async fn what_is_lost_after_it_was_named_is_read_again() {
    let (mut vault, store) = vault(6).await;
    let mut etcd = Etcd::new();
    (0..200).for_each(|key| etcd.put(&format!("k{key}"), 100));
    let first = take(&mut vault, etcd.source()).await.unwrap();
    etcd.put("new", 10);
    let telling = tell(&vault, &etcd).await;
    let largest = first.uploaded.iter().max_by_key(|object| object.size_bytes).unwrap();
    store.delete(&object_store::path::Path::from(largest.name.as_str())).await.unwrap();
    let error = take(&mut vault, Box::new(telling)).await.unwrap_err();
    assert!(matches!(error, SnapshotError::Unfit { .. }), "{error}");
    assert_eq!(vault.snapshots().len(), 1, "nothing was committed");
    let summary = take(&mut vault, etcd.source()).await.unwrap();
    assert!(matches!(summary.findings[..], [Finding::Lost(_)]), "{:?}", summary.findings);
    assert_holds(&mut vault, summary.number, &etcd).await;
}
