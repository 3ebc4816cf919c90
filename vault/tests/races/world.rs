//! One cluster, its history, the vault's store, and what every actor shares.

use crate::recorder::{Notes, Recorder};
use crate::support::{Etcd, Plain, options_with, providers};
use bytes::Bytes;
use holdfast_vault::chain::Witness;
use holdfast_vault::chain::rules::ChainLimits;
use holdfast_vault::clock::Clock;
use holdfast_vault::init::VaultOptions;
use holdfast_vault::store::faults::{Clocked, Weather, WeatherOptions};
use holdfast_vault::vault::Vault;
use holdfast_vault::{Store, StoreOptions};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Two keys, known to everybody; the operator has them in the other order, so its rewraps and
/// those seeds that writers make go on being wrapped anew.
const KEYS: &str = "
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: ['*.*']
    providers:
      - aesgcm: {keys: [{name: one, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}
      - aesgcm: {keys: [{name: two, secret: QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=}]}
";

fn turned(keys: &str) -> String {
    let mut lines: Vec<&str> = keys.lines().collect();
    let last = lines.len() - 1;
    lines.swap(last, last - 1);
    lines.join("\n")
}

/// The actor that makes new keys.
pub(super) const OPERATOR: u64 = 5;
const START_MS: i64 = 1_750_000_000_000;
pub(super) const HOUR: u64 = 3_600_000;
pub(super) const DAY: u64 = 24 * HOUR;
/// Small, so that numbers are deleted within a few dozen commits.
pub(super) const LIMITS: ChainLimits =
    ChainLimits { kept_commits: 5, ledger_every: 4, page_entries: 1024 };

#[derive(Clone, Copy)]
pub(super) struct Virtual(Instant);

impl Clock for Virtual {
    fn now_ms(&self) -> i64 {
        START_MS + self.boot_ms()
    }
    fn boot_ms(&self) -> i64 {
        i64::try_from(self.0.elapsed().as_millis()).unwrap()
    }
}

pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
    }
    pub(super) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit.max(1)
    }
}

/// What the actors saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rounds {
    pub(super) tried: u64,
    pub(super) committed: u64,
    pub(super) covered: u64,
    pub(super) crashed: u64,
    pub(super) too_old: u64,
    pub(super) read: u64,
}

/// One cluster, its history by raft index, and what every actor shares.
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) inner: Arc<dyn ObjectStore>,
    pub(super) notes: Notes,
    pub(super) clock: Virtual,
    etcd: Mutex<Etcd>,
    pub(super) expected: Mutex<BTreeMap<(u64, i64), Vec<Plain>>>,
    /// Number and body of each snapshot that a writer was told of.
    pub(super) acknowledged: Mutex<BTreeMap<u64, Bytes>>,
    /// Every head that any actor saw.
    pub(super) witnesses: Mutex<BTreeMap<u64, Witness>>,
    pub(super) rounds: Mutex<Rounds>,
    weather: WeatherOptions,
    patience: Duration,
    /// An actor whose machine sleeps for weeks between a decision and its put; 0: none.
    sleeper: u64,
    processes: AtomicU64,
}

impl World {
    pub(super) fn new(seed: u64) -> Arc<World> {
        let clock = Virtual(Instant::now());
        let notes = Notes::default();
        let stamped = Arc::new(Clocked::new(Arc::new(InMemory::new()), Arc::new(clock)));
        let inner = Arc::new(Recorder::new(stamped, Arc::new(clock), notes.clone()));
        let mut dice = Dice::new(seed);
        let weather = WeatherOptions {
            delay_ms: 1 + dice.below(2000),
            long: dice.below(60),
            long_delay_ms: dice.pick(&[60_000, HOUR, 8 * HOUR, 80 * HOUR, 9 * DAY, 30 * DAY]),
            lose_request: dice.below(60),
            lose_answer: dice.below(60),
            late: dice.below(400),
            stale_list: dice.below(300),
            ..WeatherOptions::CALM
        };
        let patience = Duration::from_secs(dice.pick(&[150, 3600, 40 * 86_400]));
        Arc::new(World {
            seed,
            inner,
            notes,
            clock,
            etcd: Mutex::new(Etcd::new()),
            expected: Mutex::default(),
            acknowledged: Mutex::default(),
            witnesses: Mutex::default(),
            rounds: Mutex::default(),
            weather,
            patience,
            sleeper: dice.below(8),
            processes: AtomicU64::new(0),
        })
    }

    pub(super) fn calm(&self, inner: &Arc<dyn ObjectStore>, process: u64) -> Store {
        self.store(inner.clone(), process, (WeatherOptions::CALM, self.patience))
    }

    /// The store as this actor reaches it.
    fn reached_by(&self, actor: u64, process: u64) -> Store {
        let sleepy = WeatherOptions { suspended: 250, suspended_ms: 60 * DAY, ..self.weather };
        let way = match actor == self.sleeper {
            true => (sleepy, Duration::from_millis(200 * DAY)),
            false => (self.weather, self.patience),
        };
        self.store(self.inner.clone(), process, way)
    }

    fn store(
        &self,
        inner: Arc<dyn ObjectStore>,
        process: u64,
        (weather, patience): (WeatherOptions, Duration),
    ) -> Store {
        let seed = self.seed * 1000 + process;
        let way = Weather::new(inner, weather, seed);
        let options = StoreOptions {
            call_timeout: patience,
            jitter_seed: Some(seed),
            ..StoreOptions::default()
        };
        Store::over(Arc::new(way), "memory", options)
    }

    pub(super) fn options(&self, process: u64) -> VaultOptions {
        let seed = self.seed * 1000 + process;
        let clock = Arc::new(self.clock);
        VaultOptions { limits: LIMITS, providers: providers(KEYS), ..options_with(seed, clock) }
    }

    /// A new process, with the memory that the last one left.
    pub(super) async fn start(&self, actor: u64, memory: &Option<Witness>) -> Option<Vault> {
        for _ in 0..20 {
            let process = self.processes.fetch_add(1, Ordering::Relaxed) + 1;
            let mut options = VaultOptions { witness: memory.clone(), ..self.options(process) };
            if actor == OPERATOR {
                options.providers = providers(&turned(KEYS));
            }
            let store = self.reached_by(actor, process);
            if let Ok(vault) = Vault::open(store, options).await {
                return Some(vault);
            }
        }
        None
    }

    /// The head that an actor sees: one number is one commit for everybody, and for nobody the
    /// head falls.
    pub(super) fn saw(&self, vault: &Vault, memory: &mut Option<Witness>) {
        let (seed, witness) = (self.seed, vault.witness());
        let mut all = self.witnesses.lock().unwrap();
        let first = all.entry(witness.number).or_insert_with(|| witness.clone());
        assert_eq!(first.sha256, witness.sha256, "seed {seed}: two commits {}", witness.number);
        let last = memory.as_ref().map_or(0, |memory| memory.number);
        assert!(last <= witness.number, "seed {seed}: the head fell below {last}");
        *memory = Some(witness);
    }

    /// The cluster goes on, and a member gives a snapshot: sometimes a late one.
    pub(super) fn serve(&self, dice: &mut Dice) -> Etcd {
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
