//! Snapshot files as sources of a vault, and vaults in temporary directories.

use std::path::Path;
use std::sync::Arc;

use holdfast_bolt::{Db, MappedFile};
use holdfast_core::buckets::{AUTH_ROLES, AUTH_USERS, LEASE, SmallBuckets};
use holdfast_core::compaction::{LivenessBuilder, TombstoneRule, Verdict};
use holdfast_core::database::{DatabaseFacts, DatabaseRecords, read_small};
use holdfast_core::hashkv::RecordSource;
use holdfast_vault::init::{VaultError, VaultOptions};
use holdfast_vault::keys::{Providers, Sealing, parse_encryption_config};
use holdfast_vault::proto::{Facts, HashKv};
use holdfast_vault::snapshot::{
    Outcome, SnapshotOptions, Source, SourceBucket, SourceError, SourceRecord, WalkResult,
};
use holdfast_vault::store::{Store, StoreOptions};
use holdfast_vault::vault::Vault;

/// The vaults' key, as the configuration has it.
pub(crate) const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const CONFIG: &str = "
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers:
      - aesgcm:
          keys:
            - name: test
              secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=
";

/// One record, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) main: i64,
    pub(crate) sub: i64,
    pub(crate) tombstone: bool,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    superseded: bool,
}

/// A snapshot file in memory, canonical.
#[derive(Debug, Clone)]
pub(crate) struct FileSource {
    pub(crate) records: Arc<Vec<Stored>>,
    pub(crate) small: SmallBuckets,
    pub(crate) facts: Facts,
    at: usize,
    buckets: Vec<Vec<u8>>,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    bucket: usize,
    entry: usize,
}

/// The canonical records and the small buckets of a database file.
pub(crate) fn canonical(path: &Path) -> (Vec<Stored>, SmallBuckets, Facts) {
    let db = Db::open(MappedFile::open(path).unwrap()).unwrap();
    let facts = DatabaseFacts::read(&db).unwrap();
    let compacted = facts.meta.marks.effective();
    let source = DatabaseRecords::new(&db);
    let mut builder = LivenessBuilder::new(compacted, TombstoneRule::KeepAtCompaction);
    source.scan(&mut |record| builder.observe(&record)).unwrap();
    let liveness = builder.finish();
    let mut judge = liveness.judge();
    let mut records = Vec::new();
    source
        .scan(&mut |record| {
            if let Verdict::Live { superseded } = judge.next(&record)? {
                records.push(Stored {
                    main: record.at.revision.main,
                    sub: record.at.revision.sub,
                    tombstone: record.at.tombstone,
                    key: record.user_key()?.to_vec(),
                    value: record.raw_value.to_vec(),
                    superseded,
                });
            }
            Ok(())
        })
        .unwrap();
    let small = read_small(&db).unwrap();
    let count = |bucket| small.entries(bucket).count() as u64;
    let facts = Facts {
        revision: facts.revision,
        last_record_revision: facts.key.last.map_or(0, |last| last.main),
        scheduled_compact_revision: facts.meta.marks.scheduled.unwrap_or(-1),
        finished_compact_revision: facts.meta.marks.finished.unwrap_or(-1),
        compact_revision: compacted,
        tombstone_rule: "keep-at-c".to_owned(),
        raft_index: facts.meta.consistent_index,
        raft_term: facts.meta.term,
        key_count: liveness.alive_keys(),
        lease_count: count(LEASE),
        user_count: count(AUTH_USERS),
        role_count: count(AUTH_ROLES),
        auth_enabled: facts.auth_enabled,
        server_version: "3.6.16".to_owned(),
        taken_ms: 1_700_000_000_000,
        ..Facts::default()
    };
    (records, small, facts)
}

impl FileSource {
    /// From a file, with what the source itself said of its hash.
    pub(crate) fn open(path: &Path, hash: Option<(i64, i64, u32)>) -> FileSource {
        let (records, small, mut facts) = canonical(path);
        facts.hash_kv = hash.map(|(revision, compact_revision, hash)| HashKv {
            revision,
            compact_revision: if compact_revision == 0 { -1 } else { compact_revision },
            hash,
        });
        let buckets = small.iter().map(|(name, _)| name.to_vec()).collect();
        let records = Arc::new(records);
        let entries = Vec::new();
        FileSource { records, small, facts, at: 0, buckets, entries, bucket: 0, entry: 0 }
    }
}

impl Source for FileSource {
    fn rewind(&mut self) -> Result<(), SourceError> {
        (self.at, self.bucket, self.entry) = (0, 0, 0);
        Ok(())
    }

    fn facts(&self) -> Facts {
        self.facts.clone()
    }

    fn next_record(&mut self) -> Result<Option<SourceRecord<'_>>, SourceError> {
        let record = self.records.get(self.at);
        self.at += 1;
        Ok(record.map(|stored| SourceRecord {
            main: stored.main,
            sub: stored.sub,
            tombstone: stored.tombstone,
            key: &stored.key,
            value: &stored.value,
            superseded: stored.superseded,
            sensitive: stored.key.starts_with(b"key-3"),
        }))
    }

    fn next_bucket(&mut self) -> Result<Option<SourceBucket>, SourceError> {
        let Some(name) = self.buckets.get(self.bucket).cloned() else { return Ok(None) };
        self.bucket += 1;
        self.entry = 0;
        let entries = self.small.entries(&name);
        self.entries = entries.map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        Ok(Some(SourceBucket { name, sequence: 0 }))
    }

    fn next_entry(&mut self) -> Result<Option<(&[u8], &[u8])>, SourceError> {
        let entry = self.entries.get(self.entry);
        self.entry += 1;
        Ok(entry.map(|(key, value)| (key.as_slice(), value.as_slice())))
    }

    fn finish(&mut self, _: &WalkResult, facts: &mut Facts) -> Result<(), SourceError> {
        let ours = &self.facts;
        facts.hash_kv = ours.hash_kv;
        facts.key_count = ours.key_count;
        facts.lease_count = ours.lease_count;
        facts.user_count = ours.user_count;
        facts.role_count = ours.role_count;
        facts.auth_enabled = ours.auth_enabled;
        Ok(())
    }
}

/// A new vault in a directory.
pub(crate) async fn vault(folder: &Path) -> Vault {
    let options = StoreOptions { create: true, ..StoreOptions::default() };
    let store = Store::open(folder.to_str().unwrap(), options).unwrap();
    Vault::init(store, options_of_vault()).await.unwrap()
}

/// The vault in a directory, opened anew.
pub(crate) async fn reopen(folder: &Path) -> Result<Vault, VaultError> {
    let store = Store::open(folder.to_str().unwrap(), StoreOptions::default()).unwrap();
    Vault::open(store, options_of_vault()).await
}

fn options_of_vault() -> VaultOptions {
    let config = parse_encryption_config(CONFIG).unwrap();
    let none = &mut |_: &_| unreachable!("no plugin is configured");
    VaultOptions::new(Providers::from_config(&config, Sealing::Required, none))
}

/// Puts a source into a vault; the snapshot's number.
pub(crate) async fn store(vault: &mut Vault, source: &FileSource) -> u64 {
    let options = SnapshotOptions { linearizable: true, ..SnapshotOptions::default() };
    match vault.snapshot(Box::new(source.clone()), &options).await.unwrap() {
        Outcome::Committed(summary) => summary.number,
        other => panic!("{other:?}"),
    }
}
