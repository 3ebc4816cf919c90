//! Everything that must hold once the dust has settled.

use crate::judge::{Judge, Seen};
use crate::support::read_inline;
use crate::world::{DAY, Dice, LIMITS, World};
use holdfast_vault::check::{CheckOptions, Level};
use holdfast_vault::format::{Header, ObjectName};
use holdfast_vault::proto::ObjectKind;
use holdfast_vault::vault::Vault;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Everything that must hold once the dust has settled.
pub(super) async fn settled(world: &World) -> (Vec<u64>, Seen) {
    tokio::time::sleep(Duration::from_millis(100 * DAY)).await;
    let store = world.calm(&world.inner, 901);
    let mut vault = Vault::open(store, world.options(901)).await.expect("a vault that opens");
    vault.chain().state().check_invariants().unwrap();
    let all = CheckOptions { level: Level::L2, snapshots: BTreeSet::new() };
    let numbers = everything_restores(world, &mut vault, &all).await;
    let access = vault.access().clone();
    let notes = world.notes.lock().unwrap().clone();
    for change in &*notes {
        let bytes = change.bytes.as_ref().filter(|bytes| bytes.starts_with(b"HOLDFAST"));
        if let Some(bytes) = bytes {
            let name = ObjectName { kind: ObjectKind::Commit, id: None };
            let seed = Header::parse(bytes, name).unwrap().index_seed;
            // Of what was never committed the seed may be gone.
            drop(access.ensure_seed(seed).await);
        }
    }
    let owner = (access.vault(), access.cluster());
    let mut judge = Judge::new(access.names().clone(), owner, access.keyring(), LIMITS);
    let notes = world.notes.lock().unwrap().clone();
    // Cut off after so many changes: where a judge says that all is well, it also restores.
    let cuts: BTreeSet<u64> = {
        let mut dice = Dice::new(world.seed * 77);
        (0..2).map(|_| dice.below(notes.len() as u64)).collect()
    };
    let copy: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    for (place, change) in notes.iter().enumerate() {
        judge.take(change).unwrap_or_else(|text| panic!("{text}"));
        let path = object_store::path::Path::from(change.name.as_str());
        match &change.bytes {
            Some(bytes) => drop(copy.put(&path, bytes.clone().into()).await.unwrap()),
            None => copy.delete(&path).await.unwrap(),
        }
        if cuts.contains(&(place as u64)) && judge.commit(1).is_some() {
            let store = world.calm(&copy, 902);
            let mut vault = Vault::open(store, world.options(902)).await.unwrap();
            everything_restores(world, &mut vault, &all).await;
        }
    }
    judge.finish().unwrap();
    judge.exchange(usize::try_from(world.seed).unwrap()).unwrap();
    for (number, witness) in &*world.witnesses.lock().unwrap() {
        let (_, sha256) = judge.commit(*number).expect("whoever saw a head saw a commit");
        let sha256: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(sha256, witness.sha256, "commit {number}");
    }
    for (entry, alive) in judge.snapshots().unwrap() {
        let expected = world.expected.lock().unwrap();
        let records = &expected[&(entry.raft_index, entry.revision)];
        let expected: Vec<(i64, i64)> = records.iter().map(|record| record.rev).collect();
        assert_eq!(alive, expected, "snapshot {}", entry.number);
    }
    for (number, body) in &*world.acknowledged.lock().unwrap() {
        let (commit, _) = judge.commit(*number).expect("an acknowledged commit exists");
        let entry = commit.catalogue.last();
        assert!(entry.is_some_and(|entry| entry.body_id == body), "snapshot {number} is lost");
    }
    (numbers, judge.seen)
}

async fn everything_restores(world: &World, vault: &mut Vault, all: &CheckOptions) -> Vec<u64> {
    let report = vault.check(all).await.unwrap();
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    for entry in &vault.snapshots() {
        let (records, _) = read_inline(vault, entry.number).await.unwrap();
        let expected = world.expected.lock().unwrap();
        assert_eq!(&records, &expected[&(entry.raft_index, entry.revision)]);
    }
    vault.snapshots().iter().map(|entry| entry.number).collect()
}
