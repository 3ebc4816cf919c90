//! Puts under load, measured: what `check perf` and `check datascale` are made of.

use crate::failure::words;
use holdfast_api::client::Client;
use holdfast_api::etcdserverpb::PutRequest;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What is put, how often and by how many at once.
#[derive(Debug, Clone)]
pub(super) struct Load {
    /// Keys begin so.
    pub(super) prefix: String,
    /// How many puts are under way at once.
    pub(super) clients: u64,
    /// How many puts there are in all.
    pub(super) puts: u64,
    /// How many are begun in a second at most; 0 for no limit.
    pub(super) per_second: u64,
    /// Bytes of a key behind the prefix.
    pub(super) key_bytes: usize,
    /// Bytes of a value.
    pub(super) value_bytes: usize,
}

/// What was measured.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// How long each put took that was answered.
    pub(super) took: Vec<Duration>,
    /// How often each error came.
    pub(super) errors: BTreeMap<String, u64>,
    /// From the first to the last.
    pub(super) elapsed: Duration,
}

impl Measured {
    /// Answered puts in a second.
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown")]
    pub(super) fn per_second(&self) -> f64 {
        self.took.len() as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// The slowest put, in seconds.
    pub(super) fn slowest(&self) -> f64 {
        self.took.iter().max().map_or(0.0, Duration::as_secs_f64)
    }

    /// Standard deviation, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "a deviation is shown")]
    pub(super) fn deviation(&self) -> f64 {
        let count = self.took.len().max(1) as f64;
        let mean = self.took.iter().map(Duration::as_secs_f64).sum::<f64>() / count;
        let square = |took: &Duration| (took.as_secs_f64() - mean).powi(2);
        (self.took.iter().map(square).sum::<f64>() / count).sqrt()
    }
}

/// Runs a load to its end, or until `stop` says so; then all that was begun is answered. Calls of
/// one client share connections.
pub(super) async fn run(client: &Client, load: &Load, stop: watch::Receiver<bool>) -> Measured {
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let tasks: Vec<_> = (0..load.clients)
        .map(|_| {
            let (client, load) = (client.clone(), load.clone());
            tokio::spawn(puts(client, load, (Arc::clone(&next), start), stop.clone()))
        })
        .collect();
    let mut all = Measured::default();
    for task in tasks {
        match task.await {
            Ok(one) => {
                all.took.extend(one.took);
                one.errors.into_iter().for_each(|(why, count)| {
                    *all.errors.entry(why).or_default() += count;
                });
            }
            Err(why) => *all.errors.entry(why.to_string()).or_default() += 1,
        }
    }
    all.elapsed = start.elapsed();
    all
}

async fn puts(
    client: Client,
    load: Load,
    (next, start): (Arc<AtomicU64>, Instant),
    mut stop: watch::Receiver<bool>,
) -> Measured {
    let mut measured = Measured::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= load.puts || *stop.borrow() {
            return measured;
        }
        if let Some(nanos) = number.saturating_mul(1_000_000_000).checked_div(load.per_second) {
            let due = start + Duration::from_nanos(nanos);
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => {}
                _ = stop.wait_for(|stop| *stop) => return measured,
            }
        }
        // Spread over the keyspace, each once: an odd factor permutes the numbers.
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut key = format!("{}{spread:016x}", load.prefix).into_bytes();
        key.resize(load.prefix.len() + load.key_bytes, 0);
        let value = vec![0; load.value_bytes];
        let request = PutRequest { key, value, ..PutRequest::default() };
        let begun = Instant::now();
        match client.kv().put(request).await {
            Ok(_) => measured.took.push(begun.elapsed()),
            Err(status) => *measured.errors.entry(words(&status)).or_default() += 1,
        }
    }
}
