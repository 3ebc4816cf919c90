//! How fast snapshots are taken and read back: `cargo run --release --example throughput -p
//! holdfast-vault DIR MIB`.
//!
//! Prints seconds, bytes and the highest anonymous memory of taking and of reading, over records
//! shaped like Kubernetes objects that are made on the fly.

use holdfast_vault::init::VaultOptions;
use holdfast_vault::keys::{Providers, Sealing, parse_encryption_config};
use holdfast_vault::proto::Facts;
use holdfast_vault::snapshot::{
    Outcome, ReadOptions, SnapshotError, SnapshotOptions, Source, SourceBucket, SourceError,
    SourceRecord, WalkResult,
};
use holdfast_vault::vault::Vault;
use holdfast_vault::{Store, StoreOptions};
use std::time::Instant;

const CONFIG: &str = "
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: ['*.*']
    providers:
      - aesgcm: {keys: [{name: k, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}
";

/// `count` records of about 4 KiB; those whose revision is a multiple of `changed` are dead in the
/// second round.
struct Made {
    count: i64,
    round: i64,
    next: i64,
    key: Vec<u8>,
    value: Vec<u8>,
    noise: Vec<u8>,
}

impl Made {
    fn new(count: i64, round: i64) -> Made {
        let mut state = 88_172_645_463_325_252u64;
        let noise = (0..1 << 20)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[3]
            })
            .collect();
        Made { count, round, next: 1, key: vec![], value: vec![], noise }
    }

    fn fill(&mut self, main: i64) {
        self.key = format!("/registry/pods/default/pod-{main:08}").into_bytes();
        self.value.clear();
        let at = usize::try_from(main).unwrap_or(0) * 7919 % (self.noise.len() - 600);
        while self.value.len() < 4000 {
            self.value.extend_from_slice(&self.noise[at..at + 60]);
            self.value.extend_from_slice(
                b"{\"metadata\":{\"labels\":{\"app\":\"demo\",\"pod-template-hash\":\"5d69\"},\"ownerReferences\":[]},\
                  \"status\":{\"phase\":\"Running\",\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}}",
            );
        }
    }
}

impl Source for Made {
    fn rewind(&mut self) -> Result<(), SourceError> {
        self.next = 1;
        Ok(())
    }
    fn facts(&self) -> Facts {
        let revision = self.count + self.round;
        let raft_index = revision.unsigned_abs();
        let source_bytes = self.count.unsigned_abs() * 4200;
        Facts { revision, compact_revision: revision, raft_index, source_bytes, ..Facts::default() }
    }
    fn next_record(&mut self) -> Result<Option<SourceRecord<'_>>, SourceError> {
        if self.round > 0 && self.next % 100 == 0 {
            self.next += 1;
        }
        let main = self.next;
        if main > self.count + self.round {
            return Ok(None);
        }
        self.next += 1;
        self.fill(main);
        let (key, value) = (&self.key[..], &self.value[..]);
        Ok(Some(SourceRecord {
            main,
            sub: 0,
            tombstone: false,
            key,
            value,
            superseded: false,
            sensitive: false,
        }))
    }
    fn next_bucket(&mut self) -> Result<Option<SourceBucket>, SourceError> {
        Ok(None)
    }
    fn next_entry(&mut self) -> Result<Option<(&[u8], &[u8])>, SourceError> {
        Ok(None)
    }
    fn finish(&mut self, _: &WalkResult, _: &mut Facts) -> Result<(), SourceError> {
        Ok(())
    }
}

/// Anonymous memory now, KiB.
fn anonymous_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("RssAnon"));
    line.and_then(|line| line.split_whitespace().nth(1))
        .and_then(|kib| kib.parse().ok())
        .unwrap_or(0)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("a directory")?;
    let mib: i64 = arguments.next().unwrap_or_else(|| "256".into()).parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let peak = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let watch = peak.clone();
    std::thread::spawn(move || {
        loop {
            watch.fetch_max(anonymous_kib(), std::sync::atomic::Ordering::Relaxed);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    });
    let highest = || peak.swap(0, std::sync::atomic::Ordering::Relaxed) / 1024;
    runtime.block_on(async {
        let options = StoreOptions { create: true, ..StoreOptions::default() };
        let store = Store::open(&directory, options)?;
        let config = parse_encryption_config(CONFIG)?;
        let providers =
            Providers::from_config(&config, Sealing::Required, &mut |_| unreachable!("no kms"));
        let mut vault = Vault::init(store, VaultOptions::new(providers)).await?;
        let count = mib * 256;
        for round in [0, 1000] {
            let start = Instant::now();
            let source = Box::new(Made::new(count, round));
            let outcome = vault.snapshot(source, &SnapshotOptions::default()).await?;
            let Outcome::Committed(summary) = outcome else { return Err("not committed".into()) };
            println!(
                "take: {:.2} s, {} MiB alive, {} MiB uploaded, {} segments, peak {} MiB",
                start.elapsed().as_secs_f64(),
                summary.entry.live_bytes >> 20,
                summary.uploaded_bytes >> 20,
                summary.segments,
                highest()
            );
        }
        for _ in 0..3 {
            let start = Instant::now();
            let number = vault.snapshots().last().map_or(0, |entry| entry.number);
            let reader = vault.reader(number).await?;
            let opened = start.elapsed();
            let verified = tokio::task::spawn_blocking(move || {
                let mut stream = reader.records(ReadOptions::default());
                while stream.next()?.is_some() {}
                stream.finish()
            })
            .await?
            .map_err(|error: SnapshotError| error.to_string())?;
            let seconds = start.elapsed().as_secs_f64();
            println!(
                "read: {seconds:.2} s (plan {:.2} s), {:.0} MiB/s, peak {} MiB",
                opened.as_secs_f64(),
                (verified.live_bytes >> 20) as f64 / seconds,
                highest()
            );
        }
        Ok::<(), Box<dyn std::error::Error>>(())
    })
}
