//! The member's threads: how they start, how the first one's failure becomes known, how they end.
//!
//! What must hold: the end goes against the data's way. Calls end first, then raft (its WAL is
//! closed), then apply (all that is applied is frozen), then commit (all that is frozen is in the
//! file). A thread that fails ends the member with its reason; its files are touched no more.

use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::apply_thread::Work;
use super::raft_thread::Input;
use super::watching::Watching;

/// The threads, in the order in which they end.
pub(super) struct Threads {
    pub(super) raft: Sender<Input>,
    pub(super) work: Sender<Work>,
    pub(super) watching: Watching,
    pub(super) raft_thread: JoinHandle<()>,
    pub(super) apply_thread: JoinHandle<()>,
    pub(super) rest: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Ends them in order, and waits.
    pub(super) fn stop(self) {
        let _ = self.raft.send(Input::Stop);
        let _ = self.raft_thread.join();
        let _ = self.work.send(Work::Stop);
        let _ = self.apply_thread.join();
        self.watching.stop();
        // They end when nobody can hand them anything: the threads before were the last.
        drop((self.raft, self.work, self.watching));
        let patience = Instant::now() + Duration::from_secs(5);
        for thread in self.rest {
            while !thread.is_finished() && Instant::now() < patience {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Tells the first reason for which a thread ended.
#[derive(Clone)]
pub(super) struct Fate(watch::Sender<Option<String>>);

impl Fate {
    pub(super) fn new() -> Fate {
        Fate(watch::Sender::new(None))
    }

    /// Notes how a thread ended; the first failure is the one that counts.
    pub(super) fn ended<E: std::fmt::Display>(&self, outcome: Result<(), E>) {
        if let Err(why) = outcome {
            self.0.send_if_modified(|known| {
                let is_first = known.is_none();
                known.get_or_insert_with(|| why.to_string());
                is_first
            });
        }
    }

    /// Waits until a thread fails; tells why.
    pub(super) fn reason(&self) -> impl Future<Output = String> + Send + use<> {
        let mut fate = self.0.subscribe();
        async move {
            let known = fate.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
            match known {
                Some(why) => why,
                // Nobody is left who could fail.
                None => std::future::pending().await,
            }
        }
    }

    /// Starts a thread whose end by an error, or a panic, ends the member.
    pub(super) fn spawn<E: std::fmt::Display>(
        &self,
        name: &str,
        work: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) -> Result<JoinHandle<()>, String> {
        let (fate, title) = (self.clone(), name.to_owned());
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                match outcome {
                    Ok(outcome) => fate.ended(outcome),
                    Err(_) => fate.ended(Err(format!("thread {title} panicked; this is a defect"))),
                }
            })
            .map_err(|error| format!("cannot start a thread: {error}"))
    }
}
