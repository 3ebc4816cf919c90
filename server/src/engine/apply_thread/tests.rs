//! The apply and the commit thread beside a disk that writes when it is told to.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use holdfast_api::etcdserverpb::{
    CompactionRequest, InternalRaftRequest, PutRequest, RangeRequest, RequestHeader,
};
use holdfast_bolt::StoreOptions;
use holdfast_core::backend::{Backend, Base, BaseRead, Change, MemoryBase, SizeBytes};
use holdfast_core::buckets::{KEY, SmallBuckets};
use holdfast_core::membership::ClusterConfig;
use holdfast_core::versions::NEWEST_TAKEN_OVER;
use prost::Message;

use super::*;
use crate::engine::commit_thread::{CommitEnd, CommitFigures, CommitThread};
use crate::engine::database::Database;
use crate::engine::machine::tests::empty;
use crate::engine::room::{PENDING, PendingLimits};
use crate::log::{Format, Level};
use crate::metrics::Metrics;

const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than any test.
const NEVER: Duration = Duration::from_secs(24 * 3_600);

/// Lets layers through, and notes them when they come.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<GateState>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    is_open: bool,
    /// So many layers may pass.
    passes: usize,
    came: Vec<Layer>,
}

/// What a layer held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layer {
    records_put: usize,
    records_deleted: usize,
    bytes: usize,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap()
    }

    fn open(&self) {
        self.lock().is_open = true;
        self.moved.notify_all();
    }

    fn let_one_pass(&self) {
        self.lock().passes += 1;
        self.moved.notify_all();
    }

    fn pass(&self, layer: Layer) {
        let mut state = self.lock();
        state.came.push(layer);
        self.moved.notify_all();
        while !state.is_open && state.passes == 0 {
            state = self.moved.wait(state).unwrap();
        }
        state.passes = state.passes.saturating_sub(1);
    }

    /// Waits until so many layers have come; the last of them.
    fn layer(&self, number: usize) -> Layer {
        let wait = self.moved.wait_timeout_while(self.lock(), PATIENCE, |s| s.came.len() < number);
        wait.unwrap().0.came[number - 1]
    }
}

/// A disk behind a gate.
#[derive(Debug)]
struct Gated(MemoryBase, Arc<Gate>);

impl Base for Gated {
    fn read(&self) -> Result<Arc<dyn BaseRead>, BackendError> {
        self.0.read()
    }

    fn write(&self, buckets: &[Arc<[u8]>], changes: &[Change]) -> Result<(), BackendError> {
        let of = |is_put: bool| {
            let mine =
                |change: &&Change| *change.bucket == *KEY && change.value.is_some() == is_put;
            changes.iter().filter(mine).count()
        };
        let bytes = |change: &Change| change.value.as_ref().map_or(0, bytes::Bytes::len);
        let bytes = changes.iter().map(bytes).sum();
        self.1.pass(Layer { records_put: of(true), records_deleted: of(false), bytes });
        self.0.write(buckets, changes)
    }

    fn size(&self) -> Result<SizeBytes, BackendError> {
        self.0.size()
    }
}

/// How the threads run.
#[derive(Clone, Copy)]
struct Pace {
    compaction: CompactionPace,
    commit_interval: Duration,
    commit_changes: usize,
    limits: PendingLimits,
    consistent_index: u64,
}

impl Default for Pace {
    /// Nothing happens by itself.
    fn default() -> Pace {
        Pace {
            compaction: CompactionPace { batch: 7, pause: NEVER },
            commit_interval: NEVER,
            commit_changes: usize::MAX,
            limits: PENDING,
            consistent_index: 0,
        }
    }
}

/// Both threads, and what is around them.
struct Bench {
    work: mpsc::Sender<Work>,
    raft: Receiver<Input>,
    waits: Waits<Reply>,
    applied: Arc<Applied>,
    backend: Backend,
    base: MemoryBase,
    gate: Arc<Gate>,
    chores: Chores,
    rewriting: Arc<AtomicBool>,
    last: u64,
    applying: Option<JoinHandle<Result<(), ApplyEnd>>>,
    committing: Option<JoinHandle<Result<(), CommitEnd>>>,
    _folder: tempfile::TempDir,
}

fn cluster() -> Cluster {
    let config = ClusterConfig {
        local_id: 1,
        cluster_id: 2,
        server_version: NEWEST_TAKEN_OVER,
        max_learners: 1,
    };
    Cluster::load(config, &SmallBuckets::empty(), None).unwrap().0
}

impl Bench {
    /// The threads, once `first` is at hand for them.
    fn start(pace: Pace, first: impl FnOnce(&mut Bench)) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let (base, gate) = (MemoryBase::new(), Arc::new(Gate::default()));
        let backend = Backend::new(Box::new(Gated(base.clone(), gate.clone()))).unwrap();
        let logger = Logger::new(Level::Fatal, Format::Json, Vec::new());
        let ((work, to_apply), (to_raft, raft)) = (mpsc::channel(), mpsc::channel());
        let (chores, _) = Chores::start(to_raft.clone(), logger.clone()).unwrap();
        let (commits, orders) = mpsc::channel();
        let (tell_written, written) = mpsc::sync_channel(1);
        let rewriting = Arc::new(AtomicBool::new(false));
        let room = Room { limits: pace.limits, rewriting: rewriting.clone(), written };
        let snapshots =
            Snapshots::new(u64::MAX, 0, folder.path().to_owned(), chores.clone(), to_raft.clone());
        let (waits, applied) = (Waits::new(), Arc::new(Applied::default()));
        let apply_thread = ApplyThread {
            machine: empty(&backend),
            cluster: Arc::new(RwLock::new(cluster())),
            work: to_apply,
            raft: to_raft,
            commits,
            chores: chores.clone(),
            own: work.clone(),
            publish: Box::new(|_, _| {}),
            waits: waits.clone(),
            applied: applied.clone(),
            snapshots,
            consistent_index: pace.consistent_index,
            lowered_at: 0,
            compaction: pace.compaction,
            slow: Slow::new(NEVER, (2, 1), logger.clone(), &Metrics::new()),
            logger: logger.clone(),
            commit_interval: pace.commit_interval,
            commit_changes: pace.commit_changes,
            begun: Instant::now(),
        };
        let database = Database::open(&folder.path().join("db"), StoreOptions::default()).unwrap();
        let commit_thread = CommitThread {
            orders,
            written: tell_written,
            rewriting: rewriting.clone(),
            backend: backend.clone(),
            database: Arc::new(database),
            logger,
            figures: CommitFigures::new(&Metrics::new()),
        };
        let mut bench = Bench {
            work,
            raft,
            waits,
            applied,
            backend,
            base,
            gate,
            chores,
            rewriting,
            last: 0,
            applying: None,
            committing: None,
            _folder: folder,
        };
        first(&mut bench);
        bench.applying = Some(std::thread::spawn(move || apply_thread.run(&room)));
        bench.committing = Some(std::thread::spawn(move || commit_thread.run()));
        bench
    }

    fn entry(&mut self, request: InternalRaftRequest) -> Entry {
        self.last += 1;
        let header = Some(RequestHeader { id: self.last, ..RequestHeader::default() });
        let data = InternalRaftRequest { header, ..request }.encode_to_vec();
        let entry = Entry::proposal(EntryKind::Normal, data.into());
        Entry { index: self.last, term: 1, ..entry }
    }

    fn put(&mut self, key: &str, bytes: usize) -> Entry {
        let put = PutRequest { key: key.into(), value: vec![7; bytes], ..PutRequest::default() };
        self.entry(InternalRaftRequest { put: Some(put), ..Default::default() })
    }

    /// Commits these, one after the other.
    fn commit(&self, entries: Vec<Entry>) {
        self.work.send(Work::Committed(entries)).unwrap();
    }

    /// So many records of one key.
    fn put_records(&mut self, count: usize) {
        let entries = (0..count).map(|_| self.put("k", 1)).collect();
        self.commit(entries);
    }

    /// A compaction at the newest revision; its request's id.
    fn compact(&mut self, physical: bool) -> u64 {
        let compaction = CompactionRequest { revision: self.last as i64 + 1, physical };
        let entry =
            self.entry(InternalRaftRequest { compaction: Some(compaction), ..Default::default() });
        self.commit(vec![entry]);
        self.last
    }

    fn reaches(&self, index: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.applied.index() < index {
            assert!(Instant::now() < deadline, "entry {index} is not applied");
            std::thread::yield_now();
        }
    }

    /// Waits until all that is applied is in the file. What cannot be frozen while a layer is
    /// written is frozen when its time comes, which here is never: so it is asked for again.
    fn flush(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (done, mut flushed) = oneshot::channel();
            self.work.send(Work::Flush(done)).unwrap();
            for _ in 0..20 {
                if flushed.try_recv().is_ok() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(Instant::now() < deadline, "it never is in the file");
        }
    }

    /// Records in the file when all that is applied is there.
    fn records(&self) -> usize {
        self.flush();
        let mut records = 0;
        let mut count = |_: &[u8], _: &[u8]| {
            records += 1;
            std::ops::ControlFlow::Continue(())
        };
        self.base.read().unwrap().scan(KEY, &[], None, &mut count).unwrap();
        records
    }

    /// Records once there are others than so many.
    fn records_after(&self, before: usize) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.records();
            if now != before {
                return now;
            }
            assert!(Instant::now() < deadline, "there are {before} records for ever");
        }
    }

    /// Whatever chore was given before is done, and what came of it is applied.
    fn chores_are_done(&self) {
        let (done, is_done) = mpsc::channel();
        assert!(self.chores.give(move || done.send(()).unwrap()));
        is_done.recv_timeout(PATIENCE).unwrap();
        self.records();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.gate.open();
        let _ = self.work.send(Work::Stop);
        if let (Some(applying), Some(committing)) = (self.applying.take(), self.committing.take()) {
            let ended = (applying.join(), committing.join());
            assert!(std::thread::panicking() || matches!(ended, (Ok(Ok(())), Ok(Ok(())))));
        }
    }
}

#[test]
fn a_compaction_takes_so_many_records_and_pauses() {
    let mut bench = Bench::start(Pace::default(), |_| {});
    bench.gate.open();
    bench.put_records(50);
    assert_eq!(bench.records(), 50);
    let id = bench.compact(true);
    let _waiting = bench.waits.register(id);
    assert_eq!(bench.records_after(50), 50 - 7);
    // A step without a pause behind it would have given the next one to the chores by now.
    bench.chores_are_done();
    assert_eq!(bench.records(), 50 - 7);
    assert!(bench.waits.is_waited_for(id), "the compaction has not ended");
    bench.put_records(3);
    assert_eq!(bench.records(), 50 - 7 + 3, "writers go on");
}

#[test]
fn a_compaction_goes_on_after_each_pause() {
    let pause = Duration::from_millis(20);
    let compaction = CompactionPace { batch: 7, pause };
    let mut bench = Bench::start(Pace { compaction, ..Pace::default() }, |_| {});
    bench.gate.open();
    bench.put_records(50);
    assert_eq!(bench.records(), 50);
    let began = Instant::now();
    let waiting = bench.waits.register(bench.last + 1);
    let id = bench.compact(true);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let answered = runtime.block_on(waiting.answer());
    assert!(matches!(answered, Some((Ok(Answer::Compaction), 51))), "of entry {id}");
    // Eight steps, seven pauses.
    assert!(began.elapsed() >= 7 * pause, "{:?}", began.elapsed());
    assert_eq!(bench.records(), 1);
}

#[test]
fn a_compaction_that_finds_no_place_among_the_chores_begins_later() {
    let mut bench = Bench::start(Pace::default(), |_| {});
    bench.gate.open();
    bench.put_records(50);
    let (go_on, may_go_on) = mpsc::channel::<()>();
    assert!(bench.chores.give(move || may_go_on.recv().unwrap()));
    while bench.chores.give(|| {}) {}
    bench.compact(false);
    bench.reaches(51);
    assert_eq!(bench.records(), 50);
    go_on.send(()).unwrap();
    assert_eq!(bench.records_after(50), 50 - 7);
}

#[test]
fn a_compaction_does_not_pile_up_before_a_disk_that_is_behind() {
    let mut bench = Bench::start(Pace::default(), |_| {});
    bench.put_records(10_000);
    bench.compact(false);
    bench.put_records(1);
    bench.reaches(10_002);
    let (done, is_done) = mpsc::channel();
    assert!(bench.chores.give(move || done.send(()).unwrap()));
    is_done.recv_timeout(PATIENCE).unwrap();
    bench.gate.open();
    assert_eq!(bench.records_after(10_001), 10_001 - 7);
    let first = bench.gate.layer(1);
    assert_eq!((first.records_put, first.records_deleted), (10_001, 0));
}

#[test]
fn what_is_due_is_frozen_also_where_work_never_ceases() {
    let pace = Pace { commit_interval: Duration::ZERO, ..Pace::default() };
    let bench = Bench::start(pace, |bench| {
        for _ in 0..100 {
            bench.put_records(1);
        }
    });
    assert_eq!(bench.gate.layer(1).records_put, 1, "and not all of them");
    bench.reaches(100);
    bench.gate.open();
    assert_eq!(bench.records(), 100);
}

#[test]
fn so_many_changes_are_frozen_before_their_time() {
    let mut bench = Bench::start(Pace { commit_changes: 20, ..Pace::default() }, |_| {});
    bench.put_records(99);
    bench.reaches(99);
    let first = bench.gate.layer(1);
    assert_eq!(first.records_put, 20);
    bench.gate.let_one_pass();
    assert!(matches!(bench.raft.recv_timeout(PATIENCE), Ok(Input::Stored(20, _))));
    assert_eq!(stored_index(&bench), 20, "they and their place in the log are there together");
    bench.gate.open();
    assert_eq!(bench.records(), 99);
}

/// What the file says of how far it is.
fn stored_index(bench: &Bench) -> u64 {
    let stored = bench.base.read().unwrap().get(META, CONSISTENT_INDEX).unwrap().unwrap();
    u64::from_be_bytes(stored[..].try_into().unwrap())
}

#[test]
fn an_entry_that_the_file_has_is_not_applied_again() {
    // The database has five of the entries that the log gives once more.
    let pace = Pace { consistent_index: 5, ..Pace::default() };
    let mut bench = Bench::start(pace, |_| {});
    bench.gate.open();
    bench.put_records(5);
    bench.reaches(5);
    assert_eq!((bench.records(), stored_index(&bench)), (0, 5));
    bench.put_records(3);
    bench.reaches(8);
    assert_eq!((bench.records(), stored_index(&bench)), (3, 8));
}

#[test]
fn an_entry_is_applied_where_nobody_waits_unless_it_only_reads() {
    let mut bench = Bench::start(Pace::default(), |_| {});
    bench.gate.open();
    let range = |bench: &mut Bench| {
        let range = RangeRequest { key: b"k".to_vec(), ..RangeRequest::default() };
        bench.entry(InternalRaftRequest { range: Some(range), ..Default::default() })
    };
    let entries = vec![range(&mut bench), bench.put("k", 1), range(&mut bench)];
    let waiting = bench.waits.register(3);
    bench.commit(entries);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(runtime.block_on(waiting.answer()).is_some());
    assert_eq!(bench.records(), 1);
}

#[test]
fn what_follows_a_commit_waits_for_the_disk() {
    let mut bench = Bench::start(Pace::default(), |_| {});
    bench.put_records(1);
    let (done, mut flushed) = oneshot::channel();
    bench.work.send(Work::Flush(done)).unwrap();
    bench.gate.layer(1);
    assert!(flushed.try_recv().is_err() && bench.raft.try_recv().is_err());
    bench.gate.open();
    flushed.blocking_recv().unwrap();
    assert!(matches!(bench.raft.recv_timeout(PATIENCE), Ok(Input::Stored(1, _))));
}

#[test]
fn more_may_wait_from_a_defragmentations_begin_to_its_end() {
    let mut bench = Bench::start(Pace::default(), |_| {});
    bench.put_records(1);
    let (done, defragmented) = oneshot::channel();
    bench.work.send(Work::Defragment(done)).unwrap();
    bench.gate.layer(1);
    let until = |wanted: bool| {
        let deadline = Instant::now() + PATIENCE;
        while bench.rewriting.load(Ordering::Acquire) != wanted {
            assert!(Instant::now() < deadline, "never {wanted}");
            std::thread::yield_now();
        }
    };
    until(true);
    bench.gate.open();
    defragmented.blocking_recv().unwrap().unwrap();
    until(false);
}

/// Large values, and a disk that takes one layer when it is told to.
#[test]
fn with_large_values_and_a_slow_disk_so_much_is_in_memory_and_no_more() {
    const VALUE_BYTES: usize = 1 << 20;
    const VALUES: u64 = 288;
    let held = |bench: &Bench| bench.backend.pending_bytes();
    let most = PENDING.beside_commits;
    let mut bench = Bench::start(Pace::default(), |_| {});
    let entries = (0..VALUES).map(|at| bench.put(&format!("k{}", at % 50), VALUE_BYTES)).collect();
    bench.commit(entries);
    let (mut layers, mut written) = (0, 0);
    while written < VALUES {
        layers += 1;
        let at_the_disk = bench.gate.layer(layers);
        assert!(at_the_disk.bytes < most + 2 * VALUE_BYTES, "{at_the_disk:?}");
        written += at_the_disk.records_put as u64;
        // While the disk writes that, so much more is applied, or all there is.
        let deadline = Instant::now() + PATIENCE;
        while held(&bench) < most && bench.applied.index() < VALUES {
            assert!(Instant::now() < deadline, "{} held, {written} written", held(&bench));
            std::thread::sleep(Duration::from_millis(1));
        }
        // Who did not wait would be far by now.
        std::thread::sleep(Duration::from_millis(20));
        assert!(held(&bench) < most + 2 * VALUE_BYTES, "{} bytes wait", held(&bench));
        if bench.applied.index() == VALUES && written + pending(&bench) == VALUES {
            break;
        }
        bench.gate.let_one_pass();
        // The log in memory may forget what the file has.
        let stored = bench.raft.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(stored, Input::Stored(index, _) if index == written));
    }
    assert!(layers > 6, "{layers} layers for 288 MiB");
    bench.gate.open();
    assert_eq!(bench.records() as u64, VALUES);
}

/// Values that wait.
fn pending(bench: &Bench) -> u64 {
    (bench.backend.pending_bytes() >> 20) as u64
}
