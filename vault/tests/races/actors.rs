//! Who works on the vault: writers, a pruner, a reader and an operator, each of whom may die in the
//! middle of anything.

use crate::support::read_inline;
use crate::world::{DAY, Dice, HOUR, World};
use holdfast_policies::retention::RetentionPolicy;
use holdfast_vault::StoreError;
use holdfast_vault::chain::ChainError;
use holdfast_vault::clock::Clock;
use holdfast_vault::format::SegmentSettings;
use holdfast_vault::proto::Report;
use holdfast_vault::prune::PruneOptions;
use holdfast_vault::snapshot::{Outcome, SnapshotError, SnapshotOptions};
use std::sync::Arc;
use std::time::Duration;

fn small() -> SnapshotOptions {
    SnapshotOptions {
        segment: SegmentSettings { frame_bytes: 300, zstd_level: 1 },
        target_bytes: Some(1500),
        inline: true,
        ..SnapshotOptions::default()
    }
}

async fn nap(dice: &mut Dice) {
    let longest = dice.pick(&[1000, 60_000, HOUR, 30 * HOUR, 9 * DAY, 40 * DAY]);
    tokio::time::sleep(Duration::from_millis(dice.below(longest))).await;
}

/// Runs `work`; now and then the process dies in the middle: `None`.
async fn mortal<T>(dice: &mut Dice, work: impl Future<Output = T>) -> Option<T> {
    if dice.below(6) > 0 {
        return Some(work.await);
    }
    let longest = dice.pick(&[2000, 60_000, 10 * HOUR]);
    tokio::time::timeout(Duration::from_millis(dice.below(longest)), work).await.ok()
}

pub(super) async fn writer(world: Arc<World>, actor: u64) {
    let mut dice = Dice::new(world.seed * 31 + actor);
    let mut memory = None;
    let Some(mut vault) = world.start(actor, &memory).await else { return };
    for _ in 0..4 + dice.below(6) {
        nap(&mut dice).await;
        let given = world.serve(&mut dice);
        world.rounds.lock().unwrap().tried += 1;
        let Some(outcome) = mortal(&mut dice, vault.snapshot(given.source(), &small())).await
        else {
            world.rounds.lock().unwrap().crashed += 1;
            let Some(next) = world.start(actor, &memory).await else { return };
            vault = next;
            continue;
        };
        world.saw(&vault, &mut memory);
        let mut rounds = world.rounds.lock().unwrap();
        match outcome {
            Ok(Outcome::Committed(summary)) => {
                rounds.committed += 1;
                let mut acknowledged = world.acknowledged.lock().unwrap();
                acknowledged.insert(summary.number, summary.entry.body_id.clone());
                assert!(summary.findings.is_empty(), "{:?}", summary.findings);
            }
            Ok(Outcome::Covered { .. }) => rounds.covered += 1,
            Err(SnapshotError::Chain(ChainError::RoundTooOld)) => rounds.too_old += 1,
            _ => {}
        }
    }
}

fn pruning() -> PruneOptions {
    let policy = RetentionPolicy {
        last: 2,
        hourly: 0,
        daily: 0,
        weekly: 0,
        monthly: 0,
        ..RetentionPolicy::default()
    };
    PruneOptions { orphans: true, ..PruneOptions::new(policy) }
}

pub(super) async fn pruner(world: Arc<World>, actor: u64) {
    let mut dice = Dice::new(world.seed * 31 + actor);
    let mut memory = None;
    let Some(mut vault) = world.start(actor, &memory).await else { return };
    for _ in 0..4 + dice.below(6) {
        nap(&mut dice).await;
        match mortal(&mut dice, vault.prune(&pruning())).await {
            Some(_) => world.saw(&vault, &mut memory),
            None => {
                world.rounds.lock().unwrap().crashed += 1;
                let Some(next) = world.start(actor, &memory).await else { return };
                vault = next;
            }
        }
    }
}

pub(super) async fn reader(world: Arc<World>, actor: u64) {
    let mut dice = Dice::new(world.seed * 31 + actor);
    let mut memory = None;
    let Some(mut vault) = world.start(actor, &memory).await else { return };
    for _ in 0..6 {
        nap(&mut dice).await;
        let began = world.clock.boot_ms();
        if vault.refresh().await.is_err() {
            continue;
        }
        world.saw(&vault, &mut memory);
        let snapshots = vault.snapshots();
        if snapshots.is_empty() {
            continue;
        }
        let place = dice.below(snapshots.len() as u64);
        let entry = snapshots[usize::try_from(place).unwrap()].clone();
        match read_inline(&mut vault, entry.number).await {
            Ok((records, _)) => {
                world.rounds.lock().unwrap().read += 1;
                let expected = world.expected.lock().unwrap();
                assert_eq!(&records, &expected[&(entry.raft_index, entry.revision)]);
            }
            // What was there when the head was read stays for the grace.
            Err(error) => {
                let quick = world.clock.boot_ms() - began < 71 * HOUR as i64;
                let gone = matches!(
                    &error,
                    SnapshotError::NoSnapshot { .. }
                        | SnapshotError::Chain(ChainError::Store(StoreError::NotFound { .. }))
                        | SnapshotError::Merge { .. }
                        | SnapshotError::Contradiction { .. }
                        | SnapshotError::Base { .. }
                );
                assert!(!(quick && gone), "snapshot {}: {error}", entry.number);
            }
        }
    }
}

/// Says small things about snapshots, stores reports, and makes new keys.
pub(super) async fn operator(world: Arc<World>, actor: u64) {
    let mut dice = Dice::new(world.seed * 31 + actor);
    let mut memory = None;
    let Some(mut vault) = world.start(actor, &memory).await else { return };
    for _ in 0..dice.below(7) {
        nap(&mut dice).await;
        let newest = vault.snapshots().last().map_or(0, |entry| entry.number);
        let now_ms = world.clock.now_ms();
        let what = dice.below(5);
        let work = async {
            match what {
                0 => drop(vault.pin(newest, "because", now_ms + days_ms(3)).await),
                1 => drop(vault.hold(newest, "a drill", now_ms + days_ms(9)).await),
                2 => {
                    let report =
                        Report { snapshot: newest, passed: true, level: 2, ..Report::default() };
                    drop(vault.report(&report).await);
                }
                3 => drop(vault.rotate_index_seed().await),
                _ => drop(vault.rewrap().await),
            }
        };
        if mortal(&mut Dice::new(world.seed ^ now_ms.unsigned_abs()), work).await.is_some() {
            world.saw(&vault, &mut memory);
            continue;
        }
        world.rounds.lock().unwrap().crashed += 1;
        let Some(next) = world.start(actor, &memory).await else { return };
        vault = next;
    }
}

fn days_ms(days: i64) -> i64 {
    days * DAY as i64
}
