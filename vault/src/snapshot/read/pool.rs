//! The threads behind a read: each takes the next frames of the plan, fetches and opens them, and
//! puts them where the consumer picks them up in order.
//!
//! Holds: at most `window_bytes` of plaintext are opened ahead, but always the frame that the
//! consumer waits for; a consumer that goes away stops the threads; the first error in order
//! reaches the consumer.

use super::{
    DecodeError, Proof, ReadOptions, Sealed, Segment, SnapshotReader, VerifiedSnapshot, decode,
    read_local,
};
use crate::format::{FrameBuffer, Record};
use crate::proto::{CatalogueEntry, Facts};
use crate::snapshot::SnapshotError;
use crate::snapshot::merge::{Decoded, Merge, PlannedFrame, Pull};
use crate::snapshot::replan::Progress;
use crate::store::Store;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Sealed bytes that one request to a remote store asks for, at most.
const REQUEST_BYTES: u64 = 8 << 20;
/// Dead bytes between two frames that one request may carry.
const GAP_BYTES: u64 = 64 << 10;

/// All live records of a snapshot in order of revision.
pub struct RecordStream {
    shared: Arc<Shared>,
    merge: Merge,
    proof: Proof,
    progress: Progress,
    options: ReadOptions,
    runtime: Option<tokio::runtime::Handle>,
    entry: CatalogueEntry,
    facts: Facts,
    ended: bool,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    frames: Arc<[PlannedFrame]>,
    segments: Arc<Vec<Segment>>,
    remote: Option<(Store, tokio::runtime::Handle)>,
    window_bytes: u64,
    threads: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The next frame that no thread has taken.
    next: usize,
    /// The frame that the consumer wants.
    wanted: usize,
    /// Plain bytes taken by threads or waiting.
    held_bytes: u64,
    done: BTreeMap<usize, Result<Decoded, SnapshotError>>,
    spent: Vec<Decoded>,
    stop: bool,
    /// Threads that ended, in order or by a panic.
    left: usize,
}

/// Counts a thread out, also when it panics, so that the consumer never waits for nobody.
struct Leaving<'a>(&'a Shared);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.lock().left += 1;
        self.0.changed.notify_all();
    }
}

impl RecordStream {
    pub(super) fn start(reader: &SnapshotReader, options: ReadOptions) -> RecordStream {
        let (shared, threads) = Shared::start(reader, options);
        RecordStream {
            shared,
            merge: Merge::new(reader.frames.clone()),
            proof: Proof::new(options.verify_digest),
            progress: Progress::new(reader.access.clone(), reader.entry.clone()),
            options,
            runtime: tokio::runtime::Handle::try_current().ok(),
            entry: reader.entry.clone(),
            facts: reader.facts(),
            ended: false,
            threads,
        }
    }

    /// The next record; `None` after the last.
    #[expect(clippy::should_implement_trait, reason = "a record borrows from the stream")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, SnapshotError> {
        loop {
            let number = self.entry.number;
            let pulled = self.merge.pull();
            match pulled.map_err(|source| SnapshotError::Merge { number, source })? {
                Pull::Need(place) => {
                    let spent = self.merge.spent();
                    match self.shared.wait(place, spent) {
                        Ok(frame) => self.merge.give(place, frame),
                        Err(SnapshotError::Merge { source, .. }) => {
                            return Err(SnapshotError::Merge { number, source });
                        }
                        Err(error) => self.replan(error)?,
                    }
                }
                Pull::Ready => {
                    let record = self.merge.record();
                    if record.is_some_and(|record| self.progress.wants(&record)) {
                        break;
                    }
                }
                Pull::End => {
                    self.ended = true;
                    return Ok(None);
                }
            }
        }
        let record = self.merge.record();
        if let Some(record) = &record {
            self.proof.add(record);
        }
        Ok(record)
    }

    /// After the last record: proves that what was given is what was backed up.
    ///
    /// # Errors
    /// `Contradiction` also when the stream was not read to its end.
    pub fn finish(mut self) -> Result<VerifiedSnapshot, SnapshotError> {
        if !self.ended {
            let number = self.entry.number;
            let detail = "it was not read to its end".to_owned();
            return Err(SnapshotError::Contradiction { number, detail });
        }
        let proof = std::mem::replace(&mut self.proof, Proof::new(false));
        self.progress.told(proof.verify(&self.entry, self.facts.clone()))
    }

    /// Goes on with another plan when an object is missing.
    fn replan(&mut self, error: SnapshotError) -> Result<(), SnapshotError> {
        let Some(runtime) = self.runtime.clone() else { return Err(error) };
        let reader = runtime.block_on(self.progress.replan(error))?;
        self.stop();
        let _inside = runtime.enter();
        (self.shared, self.threads) = Shared::start(&reader, self.options);
        self.merge = Merge::new(reader.frames.clone());
        Ok(())
    }

    fn stop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has been reported on its own.
            drop(thread.join());
        }
    }
}

impl Drop for RecordStream {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// Begins to fetch and open the frames of `reader`.
    fn start(reader: &SnapshotReader, options: ReadOptions) -> (Arc<Shared>, Vec<JoinHandle<()>>) {
        let local = reader.segments.iter().all(|segment| segment.file.is_some());
        let processors = std::thread::available_parallelism().map_or(2, |count| count.get());
        let threads = match options.threads {
            0 if local => processors.min(8),
            0 => processors.clamp(4, 8),
            given => given.min(64),
        };
        let remote =
            (!local).then(|| (reader.access.store().clone(), tokio::runtime::Handle::current()));
        let shared = Arc::new(Shared {
            frames: reader.frames.clone(),
            segments: reader.segments.clone(),
            remote,
            window_bytes: options.window_bytes,
            threads,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let threads = (0..threads)
            .map(|_| {
                let shared = shared.clone();
                std::thread::spawn(move || shared.work())
            })
            .collect();
        (shared, threads)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The consumer waits for frame `place` and gives a spent one back.
    fn wait(&self, place: usize, spent: Option<Decoded>) -> Result<Decoded, SnapshotError> {
        let mut state = self.lock();
        state.spent.extend(spent);
        state.wanted = place;
        self.changed.notify_all();
        loop {
            if let Some(done) = state.done.remove(&place) {
                state.held_bytes -= u64::from(self.frames[place].entry.plain_len);
                self.changed.notify_all();
                return done;
            }
            if state.left == self.threads {
                let detail = "the threads that read frames have ended".to_owned();
                return Err(SnapshotError::Base { detail });
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn work(&self) {
        let _leaving = Leaving(self);
        let mut buffer = FrameBuffer::new();
        let mut sealed = Vec::new();
        while let Some((first, end)) = self.take() {
            match &self.remote {
                None => self.local(first..end, &mut sealed, &mut buffer),
                Some((store, runtime)) => {
                    let fetched = runtime.block_on(self.fetch(store, first..end));
                    self.remote(first..end, fetched, &mut buffer);
                }
            }
        }
    }

    /// The next frames for one thread: one, or a run that one request fetches.
    fn take(&self) -> Option<(usize, usize)> {
        let mut state = self.lock();
        loop {
            let first = state.next;
            if state.stop || first >= self.frames.len() {
                return None;
            }
            // What the consumer waits for is taken whatever the window says.
            if state.held_bytes < self.window_bytes || first <= state.wanted {
                let end = self.run_end(first);
                state.next = end;
                let plain = |frame: &PlannedFrame| u64::from(frame.entry.plain_len);
                state.held_bytes += self.frames[first..end].iter().map(plain).sum::<u64>();
                return Some((first, end));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn run_end(&self, first: usize) -> usize {
        if self.remote.is_none() {
            return first + 1;
        }
        let start = &self.frames[first];
        let mut end = first + 1;
        while let Some(frame) = self.frames.get(end) {
            let before = &self.frames[end - 1];
            let follows = frame.segment == start.segment
                && frame.entry.offset >= before.entry.end()
                && frame.entry.offset - before.entry.end() <= GAP_BYTES
                && frame.entry.end() - start.entry.offset <= REQUEST_BYTES;
            if !follows {
                break;
            }
            end += 1;
        }
        end
    }

    async fn fetch(
        &self,
        store: &Store,
        run: std::ops::Range<usize>,
    ) -> Result<Sealed, SnapshotError> {
        let start = &self.frames[run.start];
        let end = self.frames[run.end - 1].entry.end();
        let name = &self.segments[start.segment].name;
        Ok(store.get_range(name, start.entry.offset..end).await?)
    }

    fn remote(
        &self,
        run: std::ops::Range<usize>,
        fetched: Result<Sealed, SnapshotError>,
        buffer: &mut FrameBuffer,
    ) {
        let start = self.frames[run.start].entry.offset;
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(error) => return self.put(run.start, Err(error)),
        };
        for place in run {
            let frame = &self.frames[place];
            let from = usize::try_from(frame.entry.offset - start);
            let from = from.expect("a run is at most one frame or `REQUEST_BYTES` long");
            let sealed = &fetched[from..from + frame.entry.sealed_len as usize];
            self.open(place, sealed, buffer);
        }
    }

    fn local(&self, run: std::ops::Range<usize>, sealed: &mut Vec<u8>, buffer: &mut FrameBuffer) {
        for place in run {
            let frame = &self.frames[place];
            let segment = &self.segments[frame.segment];
            let Some(file) = &segment.file else { continue };
            sealed.resize(frame.entry.sealed_len as usize, 0);
            match read_local(segment, file, frame.entry.offset, sealed) {
                Ok(()) => self.open(place, sealed, buffer),
                Err(error) => self.put(place, Err(error)),
            }
        }
    }

    fn open(&self, place: usize, sealed: &[u8], buffer: &mut FrameBuffer) {
        let frame = &self.frames[place];
        let spent = self.lock().spent.pop().unwrap_or_default();
        let decoded = decode(&self.segments[frame.segment], frame, sealed, (spent, buffer));
        let decoded = decoded.map_err(|error| match error {
            DecodeError::Merge(source) => SnapshotError::Merge { number: 0, source },
            DecodeError::Other(error) => error,
        });
        self.put(place, decoded);
    }

    fn put(&self, place: usize, decoded: Result<Decoded, SnapshotError>) {
        let mut state = self.lock();
        state.done.insert(place, decoded);
        self.changed.notify_all();
    }
}
