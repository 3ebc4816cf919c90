//! A synthetic etcd as a source, and vaults over any store.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use holdfast_vault::clock::{Clock, SystemClock};
use holdfast_vault::format::{Entropy, Record, SeededEntropy};
use holdfast_vault::init::VaultOptions;
use holdfast_vault::keys::{Providers, Sealing, parse_encryption_config};
use holdfast_vault::proto::Facts;
use holdfast_vault::snapshot::{ReadOptions, SnapshotError};
use holdfast_vault::snapshot::{
    Source, SourceBucket, SourceError, SourceRecord, VerifiedSnapshot, WalkResult,
};
use holdfast_vault::vault::Vault;
use holdfast_vault::{Store, StoreOptions};
use object_store::ObjectStore;
use std::collections::BTreeMap;
use std::sync::Arc;

pub const CONFIG: &str = "
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: ['*.*']
    providers:
      - aesgcm:
          keys:
            - name: key1
              secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=
";

pub fn providers(config: &str) -> Providers {
    let config = parse_encryption_config(config).unwrap();
    Providers::from_config(&config, Sealing::Required, &mut |_| panic!("no kms here"))
}

pub fn options(seed: u64) -> VaultOptions {
    options_with(seed, Arc::new(SystemClock))
}

pub fn options_with(seed: u64, clock: Arc<dyn Clock>) -> VaultOptions {
    VaultOptions {
        clock,
        entropy: Box::new(SeededEntropy::new(seed)),
        ..VaultOptions::new(providers(CONFIG))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    pub rev: (i64, i64),
    pub tombstone: bool,
    pub value: Vec<u8>,
}

/// An etcd as a list of records; what is alive at (R, C) is computed as etcd does.
#[derive(Debug, Clone, Default)]
pub struct Etcd {
    pub records: Vec<(Vec<u8>, Plain)>,
    pub revision: i64,
    pub compacted: i64,
    pub raft_index: u64,
    pub raft_term: u64,
    pub buckets: BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>>,
    pub noise: u64,
}

impl Etcd {
    pub fn new() -> Etcd {
        let mut etcd = Etcd { compacted: -1, raft_term: 2, noise: 1, ..Etcd::default() };
        etcd.buckets.entry(b"auth".to_vec()).or_default().insert(b"authRevision".to_vec(), vec![1]);
        etcd.buckets.entry(b"lease".to_vec()).or_default();
        etcd.buckets.entry(b"meta".to_vec()).or_default().insert(b"term".to_vec(), vec![2; 8]);
        etcd
    }

    pub fn random(&mut self, below: u64) -> u64 {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        (self.noise >> 8) % below
    }

    pub fn put(&mut self, key: &str, size: usize) {
        let mut value = format!("{key}={};", self.revision).into_bytes();
        while value.len() < size {
            let word = self.random(1000);
            value.extend_from_slice(format!("{{\"name\":\"{word}\"}},").as_bytes());
        }
        self.write(key, false, value);
    }

    pub fn delete(&mut self, key: &str) {
        self.write(key, true, key.as_bytes().to_vec());
    }

    fn write(&mut self, key: &str, tombstone: bool, value: Vec<u8>) {
        self.revision += 1;
        self.raft_index += 1;
        let rev = (self.revision, 0);
        self.records.push((key.as_bytes().to_vec(), Plain { rev, tombstone, value }));
    }

    pub fn compact(&mut self, revision: i64) {
        self.compacted = self.compacted.max(revision);
        self.raft_index += 1;
    }

    /// Records alive, with whether each is superseded.
    pub fn alive(&self) -> Vec<(Vec<u8>, Plain, bool)> {
        let mut kept: BTreeMap<&[u8], (i64, i64)> = BTreeMap::new();
        let mut newest: BTreeMap<&[u8], (i64, i64)> = BTreeMap::new();
        for (key, record) in &self.records {
            if record.rev.0 <= self.compacted {
                kept.insert(key, record.rev);
            }
            newest.insert(key, record.rev);
        }
        self.records
            .iter()
            .filter(|(key, record)| {
                record.rev.0 > self.compacted
                    || (kept.get(&key[..]) == Some(&record.rev)
                        && (!record.tombstone || record.rev.0 == self.compacted))
            })
            .map(|(key, record)| (key.clone(), record.clone(), newest[&key[..]] != record.rev))
            .collect()
    }

    pub fn plain(&self) -> Vec<Plain> {
        self.alive().into_iter().map(|(_, record, _)| record).collect()
    }

    pub fn source(&self) -> Box<dyn Source> {
        let alive = self.alive();
        Box::new(EtcdSource { etcd: self.clone(), alive, next: 0, bucket: None, entry: 0 })
    }
}

struct EtcdSource {
    etcd: Etcd,
    alive: Vec<(Vec<u8>, Plain, bool)>,
    next: usize,
    bucket: Option<usize>,
    entry: usize,
}

impl EtcdSource {
    fn entries(&self, place: usize) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        self.etcd.buckets.values().nth(place).unwrap()
    }
}

impl Source for EtcdSource {
    fn rewind(&mut self) -> Result<(), SourceError> {
        (self.next, self.bucket, self.entry) = (0, None, 0);
        Ok(())
    }

    fn facts(&self) -> Facts {
        Facts {
            revision: self.etcd.revision.max(self.etcd.compacted),
            last_record_revision: self.etcd.revision,
            scheduled_compact_revision: self.etcd.compacted,
            finished_compact_revision: self.etcd.compacted,
            compact_revision: self.etcd.compacted,
            raft_index: self.etcd.raft_index,
            raft_term: self.etcd.raft_term,
            server_version: "3.6.0".to_owned(),
            taken_ms: 1,
            ..Facts::default()
        }
    }

    fn next_record(&mut self) -> Result<Option<SourceRecord<'_>>, SourceError> {
        let Some((key, record, superseded)) = self.alive.get(self.next) else { return Ok(None) };
        self.next += 1;
        Ok(Some(SourceRecord {
            main: record.rev.0,
            sub: record.rev.1,
            tombstone: record.tombstone,
            key,
            value: &record.value,
            superseded: *superseded,
            sensitive: key.starts_with(b"/registry/secrets/"),
        }))
    }

    fn next_bucket(&mut self) -> Result<Option<SourceBucket>, SourceError> {
        let place = self.bucket.map_or(0, |place| place + 1);
        (self.bucket, self.entry) = (Some(place), 0);
        let name = self.etcd.buckets.keys().nth(place).cloned();
        Ok(name.map(|name| SourceBucket { name, sequence: 0 }))
    }

    fn next_entry(&mut self) -> Result<Option<(&[u8], &[u8])>, SourceError> {
        let entry = self.entry;
        self.entry += 1;
        let place = self.bucket.unwrap();
        Ok(self.entries(place).iter().nth(entry).map(|(key, value)| (&key[..], &value[..])))
    }

    fn finish(&mut self, _: &WalkResult, facts: &mut Facts) -> Result<(), SourceError> {
        facts.key_count = 1;
        Ok(())
    }
}

pub fn plain(record: &Record<'_>) -> Plain {
    Plain {
        rev: (record.main, record.sub),
        tombstone: record.tombstone,
        value: record.value.to_vec(),
    }
}

/// Reads a snapshot with threads.
pub async fn read(
    vault: &mut Vault,
    number: u64,
) -> Result<(Vec<Plain>, VerifiedSnapshot), SnapshotError> {
    let reader = vault.reader(number).await?;
    tokio::task::spawn_blocking(move || {
        let mut records = Vec::new();
        let mut stream = reader.records(ReadOptions::default());
        while let Some(record) = stream.next()? {
            records.push(plain(&record));
        }
        Ok((records, stream.finish()?))
    })
    .await
    .unwrap()
}

/// Reads a snapshot on this task.
pub async fn read_inline(
    vault: &mut Vault,
    number: u64,
) -> Result<(Vec<Plain>, VerifiedSnapshot), SnapshotError> {
    let reader = vault.reader(number).await?;
    let mut records = Vec::new();
    let verified = reader
        .for_each(|record| {
            records.push(plain(record));
            Ok::<(), SnapshotError>(())
        })
        .await?;
    Ok((records, verified))
}

/// A store whose calls are tried once.
pub fn over(inner: Arc<dyn ObjectStore>) -> Store {
    let pause = std::time::Duration::from_millis(1);
    let options = StoreOptions {
        attempts: 1,
        first_pause: pause,
        max_pause: pause,
        jitter_seed: Some(1),
        ..StoreOptions::default()
    };
    Store::over(inner, "memory", options)
}

pub struct NoEntropy;

impl Entropy for NoEntropy {
    fn fill(&mut self, buffer: &mut [u8]) {
        buffer.fill(7);
    }
}
