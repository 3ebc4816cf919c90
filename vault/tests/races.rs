//! Two writers, a pruner and a reader on one vault, by seed: pauses of any length, requests and
//! answers lost, late or doubled, stale listings. One thread and a paused clock: one seed is one
//! schedule.
//!
//! HOLDFAST_RACES sets how many schedules run (default 300), HOLDFAST_RACES_SEED where they begin.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod support;

use holdfast_policies::prune::Grace;
use holdfast_policies::retention::RetentionPolicy;
use holdfast_vault::check::{CheckOptions, Level};
use holdfast_vault::clock::Clock;
use holdfast_vault::format::SegmentSettings;
use holdfast_vault::prune::PruneOptions;
use holdfast_vault::snapshot::SnapshotOptions;
use holdfast_vault::store::faults::{Clocked, Weather, WeatherOptions};
use holdfast_vault::vault::Vault;
use holdfast_vault::{Store, StoreOptions};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Etcd, Plain, options_with, read_inline};
use tokio::time::Instant;

const START_MS: i64 = 1_750_000_000_000;
const HOUR: u64 = 3_600_000;

#[derive(Clone, Copy)]
struct Virtual(Instant);

impl Clock for Virtual {
    fn now_ms(&self) -> i64 {
        START_MS + self.boot_ms()
    }
    fn boot_ms(&self) -> i64 {
        i64::try_from(self.0.elapsed().as_millis()).unwrap()
    }
}

struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
    }
    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit.max(1)
    }
}

/// One cluster, its history by raft index, and what every actor shares.
struct World {
    seed: u64,
    inner: Arc<dyn ObjectStore>,
    clock: Virtual,
    etcd: Mutex<Etcd>,
    expected: Mutex<BTreeMap<(u64, i64), Vec<Plain>>>,
    acknowledged: Mutex<BTreeSet<u64>>,
    rounds: Mutex<(u64, u64)>,
    weather: WeatherOptions,
    patience: Duration,
}

impl World {
    fn new(seed: u64) -> Arc<World> {
        let clock = Virtual(Instant::now());
        let inner: Arc<dyn ObjectStore> =
            Arc::new(Clocked::new(Arc::new(InMemory::new()), Arc::new(clock)));
        let mut dice = Dice::new(seed);
        let weather = WeatherOptions {
            delay_ms: 1 + dice.below(2000),
            long: dice.below(60),
            long_delay_ms: dice.pick(&[60_000, HOUR, 8 * HOUR, 80 * HOUR]),
            lose_request: dice.below(60),
            lose_answer: dice.below(60),
            late: dice.below(400),
            stale_list: dice.below(300),
        };
        let patience = Duration::from_secs(dice.pick(&[150, 3600, 40 * 86_400]));
        Arc::new(World {
            seed,
            inner,
            clock,
            etcd: Mutex::new(Etcd::new()),
            expected: Mutex::default(),
            acknowledged: Mutex::default(),
            rounds: Mutex::default(),
            weather,
            patience,
        })
    }

    fn store(&self, actor: u64, weather: WeatherOptions) -> Store {
        let seed = self.seed * 16 + actor;
        let way = Weather::new(self.inner.clone(), weather, seed);
        let options = StoreOptions {
            call_timeout: self.patience,
            jitter_seed: Some(seed),
            ..StoreOptions::default()
        };
        Store::over(Arc::new(way), "memory", options)
    }

    async fn open(&self, actor: u64, weather: WeatherOptions) -> Option<Vault> {
        for attempt in 0..20 {
            let options =
                options_with(self.seed * 1000 + actor * 50 + attempt, Arc::new(self.clock));
            if let Ok(vault) = Vault::open(self.store(actor, weather), options).await {
                return Some(vault);
            }
        }
        None
    }

    /// The cluster goes on, and a member gives a snapshot: sometimes a late one.
    fn serve(&self, dice: &mut Dice) -> Etcd {
        let mut etcd = self.etcd.lock().unwrap();
        let late = etcd.clone();
        for _ in 0..dice.below(6) {
            let key = format!("k{}", dice.below(8));
            if dice.below(5) == 0 { etcd.delete(&key) } else { etcd.put(&key, 40) }
        }
        if dice.below(3) == 0 {
            let at = etcd.revision - dice.below(8) as i64;
            etcd.compact(at);
        }
        let given = if dice.below(5) == 0 { late } else { etcd.clone() };
        let key = (given.raft_index, given.revision.max(given.compacted));
        self.expected.lock().unwrap().insert(key, given.plain());
        given
    }
}

fn small() -> SnapshotOptions {
    SnapshotOptions {
        segment: SegmentSettings { frame_bytes: 300, zstd_level: 1 },
        target_bytes: Some(1500),
        inline: true,
        ..SnapshotOptions::default()
    }
}

async fn nap(dice: &mut Dice) {
    let longest = dice.pick(&[1000, 60_000, HOUR, 30 * HOUR, 200 * HOUR]);
    tokio::time::sleep(Duration::from_millis(dice.below(longest))).await;
}

async fn writer(world: Arc<World>, actor: u64) {
    let mut dice = Dice::new(world.seed * 31 + actor);
    let Some(mut vault) = world.open(actor, world.weather).await else { return };
    for _ in 0..3 + dice.below(4) {
        nap(&mut dice).await;
        let given = world.serve(&mut dice);
        let outcome = vault.snapshot(given.source(), &small()).await;
        let mut rounds = world.rounds.lock().unwrap();
        rounds.0 += 1;
        if let Ok(holdfast_vault::snapshot::Outcome::Committed(summary)) = outcome {
            rounds.1 += 1;
            world.acknowledged.lock().unwrap().insert(summary.number);
            assert!(summary.findings.is_empty(), "seed {}: {:?}", world.seed, summary.findings);
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
    PruneOptions { orphans: true, grace: Grace::default(), ..PruneOptions::new(policy) }
}

async fn pruner(world: Arc<World>, actor: u64) {
    let mut dice = Dice::new(world.seed * 31 + actor);
    let Some(mut vault) = world.open(actor, world.weather).await else { return };
    for _ in 0..3 + dice.below(4) {
        nap(&mut dice).await;
        let _ = vault.prune(&pruning()).await;
    }
}

async fn reader(world: Arc<World>, actor: u64) {
    let mut dice = Dice::new(world.seed * 31 + actor);
    let Some(mut vault) = world.open(actor, world.weather).await else { return };
    for _ in 0..4 {
        nap(&mut dice).await;
        if vault.refresh().await.is_err() {
            continue;
        }
        let snapshots = vault.snapshots();
        if snapshots.is_empty() {
            continue;
        }
        let place = dice.below(snapshots.len() as u64);
        let entry = snapshots[usize::try_from(place).unwrap()].clone();
        if let Ok((records, _)) = read_inline(&mut vault, entry.number).await {
            let expected = world.expected.lock().unwrap();
            assert_eq!(
                &records,
                &expected[&(entry.raft_index, entry.revision)],
                "seed {}",
                world.seed
            );
        }
    }
}

/// Everything that must hold once the dust has settled.
async fn settled(world: &World) -> Vec<u64> {
    let seed = world.seed;
    tokio::time::sleep(Duration::from_secs(100 * 86_400)).await;
    let mut vault = world.open(9, WeatherOptions::CALM).await.expect("a vault that opens");
    vault.chain().state().check_invariants().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let all = CheckOptions { level: Level::L2, snapshots: BTreeSet::new() };
    let report = vault.check(&all).await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    assert!(report.findings.is_empty(), "seed {seed}: {:#?}", report.findings);
    let snapshots = vault.snapshots();
    for entry in &snapshots {
        let (records, _) = read_inline(&mut vault, entry.number)
            .await
            .unwrap_or_else(|error| panic!("seed {seed}, snapshot {}: {error}", entry.number));
        let expected = world.expected.lock().unwrap();
        assert_eq!(&records, &expected[&(entry.raft_index, entry.revision)], "seed {seed}");
    }
    // What was acknowledged is in the chain: it exists, or a later commit forgot it.
    let newest = snapshots.last().map_or(0, |entry| entry.number);
    let acknowledged = world.acknowledged.lock().unwrap().clone();
    assert!(acknowledged.iter().all(|number| *number <= newest), "seed {seed}: lost a snapshot");
    snapshots.iter().map(|entry| entry.number).collect()
}

async fn schedule(seed: u64) -> (Vec<u64>, (u64, u64)) {
    let world = World::new(seed);
    let options = options_with(seed, Arc::new(world.clock));
    drop(Vault::init(world.store(0, WeatherOptions::CALM), options).await.unwrap());
    let actors = [
        tokio::spawn(writer(world.clone(), 1)),
        tokio::spawn(writer(world.clone(), 2)),
        tokio::spawn(pruner(world.clone(), 3)),
        tokio::spawn(reader(world.clone(), 4)),
    ];
    for actor in actors {
        actor.await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    let numbers = settled(&world).await;
    let rounds = *world.rounds.lock().unwrap();
    (numbers, rounds)
}

fn run(seed: u64) -> (Vec<u64>, (u64, u64)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(schedule(seed))
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn schedules_keep_every_invariant() {
    let (count, first) = (setting("HOLDFAST_RACES", 300), setting("HOLDFAST_RACES_SEED", 1));
    let next = Arc::new(std::sync::atomic::AtomicU64::new(first));
    let threads = (0..2).map(|_| {
        let next = next.clone();
        std::thread::spawn(move || {
            let mut total = (0, 0);
            loop {
                let seed = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                if seed >= first + count {
                    return total;
                }
                let (_, rounds) = run(seed);
                total = (total.0 + rounds.0, total.1 + rounds.1);
            }
        })
    });
    let totals: Vec<(u64, u64)> =
        threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect();
    let rounds: u64 = totals.iter().map(|total| total.0).sum();
    let committed: u64 = totals.iter().map(|total| total.1).sum();
    println!("{count} schedules, {rounds} rounds, {committed} committed");
    assert!(committed * 4 > rounds, "the weather is so bad that nothing is tested");
}

#[test]
fn one_seed_is_one_schedule() {
    for seed in [5, 6, 7] {
        assert_eq!(run(seed), run(seed));
    }
}
