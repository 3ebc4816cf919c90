//! Crashes and failures at every call of a history: what is acknowledged is there afterwards, and
//! nothing is half there.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod change;
mod tree;

use change::{Change, apply, few_changes, model};
use holdfast_bolt::fault::{CrashDisk, FaultDisk, MemoryDisk, SharedDisk};
use holdfast_bolt::{
    BuildOptions, Db, Disk, DiskError, Freelist, Store, StoreError, StoreOptions, check, compact,
};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use tree::Tree;

const FREELISTS: [Freelist; 2] = [Freelist::NotStored, Freelist::Stored];

fn options(freelist: Freelist) -> StoreOptions {
    // Small steps: the file grows again and again.
    StoreOptions { page_size: 1024, freelist, growth_step_bytes: 32 << 10, ..Default::default() }
}

/// Transactions, and the states after each; state 0 is that of an empty store.
struct History {
    transactions: Vec<Vec<Change>>,
    states: Vec<Tree>,
}

fn history(seed: u64, len: usize) -> History {
    let rng_seed = RngSeed::Fixed(seed);
    let mut runner = TestRunner::new(Config { rng_seed, ..Config::default() });
    let mut history = History { transactions: Vec::new(), states: vec![Tree::default()] };
    for _ in 0..len {
        let changes = few_changes().new_tree(&mut runner).unwrap().current();
        let mut state = history.states.last().unwrap().clone();
        for change in &changes {
            model(&mut state, change);
        }
        history.transactions.push(changes);
        history.states.push(state);
    }
    history
}

/// Runs the history from state `from` on until something fails; the number of the last state that
/// was acknowledged.
fn run<D: Disk + Send + 'static>(
    disk: &SharedDisk<D>,
    options: StoreOptions,
    history: &History,
    from: usize,
) -> usize {
    let Ok(store) = Store::open(disk.clone(), options) else { return from };
    let mut reader = store.read();
    for (number, changes) in history.transactions.iter().enumerate().skip(from) {
        let mut tx = store.write().unwrap();
        for change in changes {
            apply(&mut tx, change);
        }
        if tx.commit().is_err() {
            return number;
        }
        // Every third state is held for three transactions.
        if number % 3 == 0 {
            reader = store.read();
        }
    }
    drop(reader);
    history.transactions.len()
}

/// What a crash may leave opens as state `least` or the next one, and goes on from there.
fn survives(image: &MemoryDisk, options: StoreOptions, history: &History, least: usize) -> usize {
    let db = Db::open(image.as_slice()).unwrap();
    let report = check(&db).unwrap();
    assert_eq!(report.faults, vec![]);
    let found = tree::read(&db);
    let states = &history.states;
    let number = (least..states.len().min(least + 2)).find(|number| states[*number] == found);
    let number = number.expect("the last acknowledged state, or the one that was being written");
    let disk = SharedDisk::new(image.clone());
    let store = Store::open(disk, options).unwrap();
    let mut tx = store.write().unwrap();
    tx.create_bucket_if_missing(b"after").unwrap().put(b"the crash", &[1; 3000]).unwrap();
    tx.commit().unwrap();
    assert_eq!(check(&store.read()).unwrap().faults, vec![]);
    let stats = store.stats();
    assert!(stats.size_bytes <= stats.file_bytes);
    number
}

/// Crashes at every changing call of a history, and looks at what may be left.
fn crash_everywhere(start: &MemoryDisk, options: StoreOptions, history: &History) {
    let disk = |fail_at| {
        let disk = CrashDisk::holding(start.clone());
        SharedDisk::new(FaultDisk::of_changes(disk, fail_at))
    };
    let counted = disk(u64::MAX);
    assert_eq!(run(&counted, options, history, 0), history.transactions.len());
    let calls = counted.with(|disk| disk.calls());
    let (mut lost, mut through) = (0, 0);
    for fail_at in 0..calls {
        let disk = disk(fail_at);
        let acknowledged = run(&disk, options, history, 0);
        let mut random = 0x9e37_79b9_7f4a_7c15_u64 ^ fail_at;
        for round in 0..6 {
            let image = disk.with(|disk| {
                disk.inner().after_crash(|number| match round {
                    0 => false,
                    1 => true,
                    _ => {
                        random = random.wrapping_mul(6_364_136_223_846_793_005);
                        random = random.wrapping_add(2 * number as u64 + 1);
                        random >> 62 != 0
                    }
                })
            });
            let image = image.unwrap();
            if start.size_bytes().unwrap() == 0 && Db::open(image.as_slice()).is_err() {
                assert_eq!(acknowledged, 0, "only a creation leaves nothing");
                Store::open(SharedDisk::new(image), options).unwrap();
                continue;
            }
            let found = survives(&image, options, history, acknowledged);
            assert!(round > 0 || found == acknowledged, "nothing unsynced is there");
            lost += u32::from(found == acknowledged);
            through += u32::from(found > acknowledged);
        }
    }
    println!("{calls} calls: {lost} images without what was being written, {through} with it");
    assert!(lost > 50 && through > 5, "both are seen: {lost} and {through}");
}

#[test]
fn a_crash_at_any_write_or_sync_loses_nothing_acknowledged() {
    for freelist in FREELISTS {
        crash_everywhere(&MemoryDisk::new(), options(freelist), &history(7, 18));
    }
}

#[test]
fn a_crash_on_a_snapshot_whose_newest_meta_is_in_the_other_page_loses_nothing() {
    for transactions in [2, 3] {
        let options = options(Freelist::NotStored);
        let mut history = history(8, 14);
        let disk = SharedDisk::new(MemoryDisk::new());
        let begun = History {
            transactions: history.transactions[..transactions].to_vec(),
            states: Vec::new(),
        };
        assert_eq!(run(&disk, options, &begun, 0), transactions);
        let store = Store::open(disk, options).unwrap();
        let state = store.read();
        let mut copy = vec![0; usize::try_from(state.size_bytes()).unwrap()];
        // In pieces of an odd length, as a stream would.
        for (number, piece) in copy.chunks_mut(700).enumerate() {
            state.copy_at(number as u64 * 700, piece).unwrap();
        }
        let end = state.size_bytes() - 10;
        assert!(state.copy_at(end, &mut [0; 11]).is_err());
        assert_eq!(tree::read(&Db::open(copy.as_slice()).unwrap()), history.states[transactions]);
        history.transactions.drain(..transactions);
        history.states.drain(..transactions);
        crash_everywhere(&MemoryDisk::holding(copy), options, &history);
    }
}

#[test]
fn crash_after_crash_leaks_nothing() {
    let (options, history) = (options(Freelist::NotStored), history(9, 8));
    let mut sizes = Vec::new();
    let mut image = MemoryDisk::new();
    for round in 0..60_u64 {
        let disk = SharedDisk::new(FaultDisk::of_changes(
            CrashDisk::holding(image.clone()),
            if round == 0 { u64::MAX } else { 3 + round % 5 },
        ));
        let from = if round == 0 { 0 } else { history.transactions.len() - 1 };
        run(&disk, options, &history, from);
        image = disk.with(|disk| disk.inner().after_crash(|number| number % 3 != 1)).unwrap();
        let db = Db::open(image.as_slice()).unwrap();
        assert_eq!(check(&db).unwrap().faults, vec![]);
        sizes.push(db.meta().high_water);
    }
    let (early, late) = (sizes[..20].iter().max(), sizes[40..].iter().max());
    assert!(late <= early, "{sizes:?}");
}

#[test]
fn a_call_that_fails_undoes_the_transaction_or_poisons_the_store() {
    let history = history(10, 12);
    for freelist in FREELISTS {
        let counted = SharedDisk::new(FaultDisk::of_changes(MemoryDisk::new(), u64::MAX));
        Store::open(counted.clone(), options(freelist)).unwrap();
        let opened = counted.with(|disk| disk.calls());
        run(&counted, options(freelist), &history, 0);
        let calls = counted.with(|disk| disk.calls());
        let (mut undone, mut poisoned) = (0, 0);
        for fail_at in opened..calls {
            let disk = SharedDisk::new(FaultDisk::of_changes(MemoryDisk::new(), fail_at));
            let store = Store::open(disk.clone(), options(freelist)).unwrap();
            let mut number = 0;
            while number < history.transactions.len() {
                let before = store.stats();
                let mut tx = match store.write() {
                    Ok(tx) => tx,
                    Err(StoreError::Poisoned) => break,
                    Err(error) => panic!("{error}"),
                };
                for change in &history.transactions[number] {
                    apply(&mut tx, change);
                }
                match tx.commit() {
                    Ok(()) => number += 1,
                    Err(StoreError::Disk(DiskError::Failed { .. })) => {
                        assert_eq!(store.stats(), before);
                        if store.write().is_ok() {
                            assert_eq!(tree::read(&store.read()), history.states[number]);
                        }
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            if number == history.transactions.len() {
                undone += 1;
                assert_eq!(tree::read(&store.read()), history.states[number]);
                assert_eq!(check(&store.read()).unwrap().faults, vec![]);
            } else {
                poisoned += 1;
                let bytes = disk.with(|disk| disk.inner().clone());
                assert!(survives(&bytes, options(freelist), &history, number) >= number);
            }
        }
        println!("{} calls: {undone} undone, {poisoned} poisoned", calls - opened);
        assert!(undone > 5 && poisoned > 5);
    }
}

#[test]
fn reads_that_fail_fail_the_transaction() {
    let history = history(11, 4);
    let disk = SharedDisk::new(FaultDisk::new(MemoryDisk::new(), u64::MAX));
    let store = Store::open(disk.clone(), options(Freelist::NotStored)).unwrap();
    let mut tx = store.write().unwrap();
    for change in changes_of_many(&history) {
        apply(&mut tx, change);
    }
    tx.commit().unwrap();
    let before = tree::read(&store.read());
    let mut failed = 0;
    for after in 0..200 {
        let next = disk.with(|disk| disk.calls());
        disk.with(|disk| disk.fail_at(next + after));
        let outcome = change_all(&store);
        disk.with(|disk| disk.fail_at(u64::MAX));
        match outcome {
            Ok(()) => break,
            Err(StoreError::Poisoned) => panic!("nothing was synced"),
            Err(_) => failed += 1,
        }
        if store.write().is_err() {
            // The sync or the meta's write was the one that failed.
            break;
        }
        assert_eq!(tree::read(&store.read()), before);
    }
    assert!(failed > 10, "{failed}");
}

fn changes_of_many(history: &History) -> impl Iterator<Item = &Change> {
    history.transactions.iter().flatten()
}

/// Deletes and sets something in every top-level bucket.
fn change_all<D: Disk + Send + 'static>(store: &Store<SharedDisk<D>>) -> Result<(), StoreError> {
    let mut tx = store.write()?;
    for name in tx.bucket_names()? {
        let Some(mut bucket) = tx.bucket(&name)? else { continue };
        let Some(last) = bucket.last()? else { continue };
        bucket.put(b"k\0\0!", &[3; 5000])?;
        if !last.is_bucket {
            bucket.delete(&last.key)?;
        }
    }
    tx.commit()
}

#[test]
fn a_file_that_was_cut_while_it_was_created_is_created_again_and_no_other() {
    let options = options(Freelist::NotStored);
    let zeros = SharedDisk::new(MemoryDisk::holding(vec![0; 4096]));
    Store::open(zeros, options).unwrap();
    for bytes in [vec![0; 4097], vec![1; 100]] {
        let other = SharedDisk::new(MemoryDisk::holding(bytes));
        assert!(matches!(Store::open(other, options), Err(StoreError::Read(_))));
    }
}

/// A defragmentation writes a copy under another name, opens it, and only then gives it the
/// database's name. Whatever stops it before, the old file is as it was; so what matters is that a
/// copy that was told to be good is on the disk whole, before its name can be.
#[test]
fn a_copy_takes_the_name_only_when_it_is_whole_and_durable() {
    for freelist in FREELISTS {
        let history = history(11, 14);
        let old = SharedDisk::new(CrashDisk::new());
        assert_eq!(run(&old, options(freelist), &history, 0), history.transactions.len());
        let store = Store::open(old.clone(), options(freelist)).unwrap();
        let state = store.read();
        let wanted = tree::read(&state);
        let before = old.with(|disk| disk.after_crash(|_| false)).unwrap();
        let copy = |fail_at| {
            let disk = FaultDisk::of_changes(CrashDisk::new(), fail_at);
            let disk = SharedDisk::new(disk);
            let build = BuildOptions { page_size: 1024, ..BuildOptions::default() };
            let copied = compact(&state, disk.clone(), build).map_err(|error| error.to_string());
            let opened = copied.and_then(|(disk, _)| {
                Store::open(disk, options(freelist)).map_err(|error| error.to_string())
            });
            (disk, opened)
        };
        let calls = copy(u64::MAX).0.with(|disk| disk.calls());
        assert!(calls > 3, "{calls} calls");
        for fail_at in 0..=calls {
            let (disk, opened) = copy(fail_at);
            assert_eq!(opened.is_ok(), fail_at == calls, "call {fail_at} of {calls}");
            if opened.is_ok() {
                let left = disk.with(|disk| disk.inner().after_crash(|_| false)).unwrap();
                let left = Db::open(left.as_slice()).unwrap();
                assert_eq!(check(&left).unwrap().faults, vec![]);
                assert_eq!(tree::read(&left), wanted, "power is lost right after the rename");
            }
            let now = old.with(|disk| disk.after_crash(|_| false)).unwrap();
            assert!(now == before, "the old file is not touched");
        }
    }
}
