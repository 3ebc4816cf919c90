//! Upstream's binaries as oracles: an etcd on loopback ports, its etcdctl, and its JSON gateway.
//!
//! Processes are killed by their id
//! when their handle is dropped. Every wait is for a condition, with a deadline.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use holdfast_bolt::{BuildOptions, Builder, Db, FileDisk, MappedFile};
use holdfast_core::compaction::{LivenessBuilder, TombstoneRule};
use holdfast_core::database::{DatabaseFacts, DatabaseRecords, read_small};
use holdfast_core::datadir;
use holdfast_core::disk::FileSystem;
use holdfast_core::hashkv::RecordSource;
use holdfast_core::membership::Founding;
use holdfast_core::rebuilt::{Bump, RebuildPlan, RebuiltBuckets, rebuild};
use holdfast_core::versions::EtcdVersion;
use serde_json::{Value, json};

pub(crate) use holdfast_peers::{VERSIONS, peer};

const DEADLINE: Duration = Duration::from_secs(120);

/// A running etcd, a cluster of one.
pub(crate) struct Etcd {
    child: Child,
    pub(crate) client_port: u16,
    pub(crate) version: &'static str,
    log: PathBuf,
}

/// Where a member will listen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) client: u16,
    pub(crate) peer: u16,
}

impl Ports {
    pub(crate) fn free() -> Self {
        let [client, peer] = holdfast_peers::free_ports();
        Ports { client, peer }
    }

    pub(crate) fn peer_url(self) -> String {
        format!("http://127.0.0.1:{}", self.peer)
    }
}

impl Etcd {
    /// Starts an etcd on a directory and waits until it is healthy.
    pub(crate) fn start(
        version: &'static str,
        data_dir: &Path,
        ports: Ports,
        extra: &[&str],
    ) -> Etcd {
        let mut etcd = Etcd::spawn(version, data_dir, ports, extra);
        etcd.wait_until_healthy();
        etcd
    }

    /// Starts an etcd that must end by itself: what it says, and its status.
    pub(crate) fn refused(
        version: &'static str,
        data_dir: &Path,
        ports: Ports,
    ) -> (String, ExitStatus) {
        let mut etcd = Etcd::spawn(version, data_dir, ports, &[]);
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = etcd.child.try_wait().unwrap() {
                return (etcd.log(), status);
            }
            assert!(Instant::now() < end, "etcd {version} does not end:\n{}", etcd.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn spawn(version: &'static str, data_dir: &Path, ports: Ports, extra: &[&str]) -> Etcd {
        let log = data_dir.with_extension(format!("{version}.log"));
        let (client, peer_url) = (format!("http://127.0.0.1:{}", ports.client), ports.peer_url());
        let child = Command::new(peer(&format!("etcd-{version}")))
            .args(["--name", "n", "--log-level", "warn", "--initial-cluster-token", "source"])
            .args(["--heartbeat-interval", "20", "--election-timeout", "200"])
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("n={peer_url}"), "--unsafe-no-fsync"])
            .args(extra)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Etcd { child, client_port: ports.client, version, log }
    }

    fn wait_until_healthy(&mut self) {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("etcd {} ended with {status}:\n{}", self.version, self.log());
            }
            if self.http("GET", "/health", "").is_some_and(|body| body.contains("\"true\"")) {
                return;
            }
            let late = Instant::now() > end;
            assert!(!late, "etcd {} is not healthy:\n{}", self.version, self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the cluster has agreed on its version: a member does so a moment after it is
    /// healthy.
    pub(crate) fn wait_for_version(&self) {
        let end = Instant::now() + DEADLINE;
        let undecided =
            |body: String| !body.contains("etcdcluster") || body.contains("not_decided");
        while self.http("GET", "/version", "").is_none_or(undecided) {
            assert!(Instant::now() < end, "etcd {} has no version:\n{}", self.version, self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks etcd to end and waits for it.
    pub(crate) fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        let end = Instant::now() + DEADLINE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "etcd {} does not end", self.version);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn http(&self, method: &str, path: &str, body: &str) -> Option<String> {
        self.http_as(None, method, path, body)
    }

    fn http_as(&self, token: Option<&str>, method: &str, path: &str, body: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.client_port)).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        let who = token.map(|token| format!("Authorization: {token}\r\n")).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n{who}Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(body.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// One call through the JSON gateway.
    pub(crate) fn call(&self, path: &str, body: &Value) -> Value {
        let answer = self.http("POST", path, &body.to_string()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "{path}: {answer}");
        serde_json::from_str(body).unwrap()
    }

    /// One call through the JSON gateway with a token, whatever the answer: an error has `code` and
    /// `message`.
    pub(crate) fn call_as(&self, token: Option<&str>, path: &str, body: &Value) -> Value {
        let answer = self.http_as(token, "POST", path, &body.to_string()).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"))
    }

    /// One call through the JSON gateway, answered or refused.
    pub(crate) fn answer(&self, path: &str, body: &Value) -> Value {
        self.call_as(None, path, body)
    }

    /// All events of all keys from a revision on, until one of the revision `last` was read.
    pub(crate) fn events(&self, start: i64, last: i64) -> Vec<Value> {
        let create = json!({"key": "AA==", "range_end": "AA==", "start_revision": start});
        let body = json!({"create_request": create}).to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.client_port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let length = body.len();
        let head = "POST /v3/watch HTTP/1.0\r\nHost: 127.0.0.1\r\n";
        write!(stream, "{head}Content-Length: {length}\r\n\r\n{body}").unwrap();
        let mut events: Vec<Value> = Vec::new();
        let lines = BufReader::new(stream).lines().map(Result::unwrap);
        for line in lines.filter(|line| line.starts_with('{')) {
            let message: Value = serde_json::from_str(&line).unwrap();
            let batch = message["result"]["events"].as_array().cloned();
            events.extend(batch.unwrap_or_default());
            let at = events.last().and_then(|event| event["kv"]["mod_revision"].as_str());
            if at == Some(&last.to_string()) {
                return events;
            }
        }
        panic!("the watch ended at {:?}", events.last());
    }

    pub(crate) fn put(&self, key: &str, value: &str, lease: i64) {
        let body = json!({"key": base64(key), "value": base64(value), "lease": lease.to_string()});
        self.call("/v3/kv/put", &body);
    }

    pub(crate) fn delete(&self, key: &str) {
        self.call("/v3/kv/deleterange", &json!({"key": base64(key)}));
    }

    pub(crate) fn compact(&self, revision: i64) {
        let body = json!({"revision": revision.to_string(), "physical": true});
        self.call("/v3/kv/compaction", &body);
    }

    pub(crate) fn grant(&self, id: i64, ttl_seconds: i64) {
        let body = json!({"ID": id.to_string(), "TTL": ttl_seconds.to_string()});
        self.call("/v3/lease/grant", &body);
    }

    /// The store's revision.
    pub(crate) fn revision(&self) -> i64 {
        let answer = self.call("/v3/kv/range", &json!({"key": base64("none")}));
        answer["header"]["revision"].as_str().unwrap().parse().unwrap()
    }

    /// Output of etcdctl, which must succeed.
    pub(crate) fn ctl(&self, args: &[&str]) -> String {
        let endpoint = format!("http://127.0.0.1:{}", self.client_port);
        let mut command = Command::new(peer("etcdctl-3.6"));
        holdfast_peers::run(command.args(["--endpoints", &endpoint]).args(args))
    }

    /// HashKV at a revision (0: the current one): (revision, compaction revision, hash).
    pub(crate) fn hashkv(&self, revision: i64) -> (i64, i64, u32) {
        let rev = revision.to_string();
        let out = self.ctl(&["endpoint", "hashkv", "--rev", &rev, "-w", "json"]);
        let answer: Value = serde_json::from_str(&out).unwrap();
        let hashkv = &answer[0]["HashKV"];
        let current = hashkv["header"]["revision"].as_i64().unwrap();
        let revision = if revision == 0 { current } else { revision };
        let hash = u32::try_from(hashkv["hash"].as_u64().unwrap()).unwrap();
        (revision, hashkv["compact_revision"].as_i64().unwrap_or(0), hash)
    }

    /// Waits until the store names its storage version, which 3.6 and 3.7 do some seconds after
    /// boot.
    pub(crate) fn wait_for_storage_version(&self) {
        let end = Instant::now() + DEADLINE;
        let named = || {
            let out = self.ctl(&["endpoint", "status", "-w", "json"]);
            let answer: Value = serde_json::from_str(&out).unwrap();
            answer[0]["Status"]["storageVersion"].as_str() == Some(&format!("{}.0", self.version))
        };
        while self.version != "3.5" && !named() {
            assert!(Instant::now() < end, "etcd {} names no storage version", self.version);
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    pub(crate) fn snapshot(&self, to: &Path) {
        self.ctl(&["snapshot", "save", to.to_str().unwrap()]);
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // One that was stopped is reaped already: then both do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.as_ref().chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let six = (bits >> (18 - 6 * at)) & 63;
            out.push(if at > chunk.len() { '=' } else { char::from(ALPHABET[six as usize]) });
        }
    }
    out
}

/// Puts in a store what makes formats differ: versions, tombstones, leases, empty and binary
/// values, a key put and deleted within one transaction, and a compaction in the midst of it.
/// Returns revisions.
pub(crate) fn fill(etcd: &Etcd, seed: u64) -> Vec<i64> {
    etcd.grant(0x1234, 100_000);
    etcd.grant(0x4321, 100_000);
    let mut marks = Vec::new();
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    for step in 0..120u32 {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = format!("key-{}", (state >> 33) % 17);
        match (state >> 40) % 10 {
            0..=5 => etcd.put(&key, &"v".repeat((state >> 50) as usize % 300), 0),
            6 => etcd.put(&key, "", 0x1234),
            7 | 8 => etcd.delete(&key),
            _ => deep_txn(etcd, &key),
        }
        if step % 40 == 25 {
            etcd.delete(&key);
            etcd.put(&key, "again", 0);
            etcd.delete(&key);
            marks.push(etcd.revision());
            etcd.put("after", &step.to_string(), 0);
        }
    }
    marks
}

/// Puts a key in one nested transaction and deletes it in the next.
fn deep_txn(etcd: &Etcd, key: &str) {
    let put = json!({"requestPut": {"key": base64(key), "value": base64("deep")}});
    let more = json!({"requestPut": {"key": base64("deep"), "value": base64(key)}});
    let delete = json!({"requestDeleteRange": {"key": base64(key)}});
    let nested = |ops: Value| json!({"requestTxn": {"success": ops}});
    let body = json!({"success": [nested(json!([put, more])), nested(json!([delete]))]});
    etcd.call("/v3/kv/txn", &body);
}

pub(crate) fn open(path: &Path) -> Db<MappedFile> {
    Db::open(MappedFile::open(path).unwrap()).unwrap()
}

/// Rebuilds a database for a new cluster, live records only, and writes the member beside it.
pub(crate) fn restore(
    source: &Path,
    data_dir: &Path,
    founding: &Founding,
    target: EtcdVersion,
    bump_by: Option<i64>,
) -> RebuiltBuckets {
    let db = open(source);
    let facts = DatabaseFacts::read(&db).unwrap();
    let bump = bump_by.map(|by| Bump { from: facts.revision, by });
    let plan = RebuildPlan { founding, target, bump, made_up_leases: &[] };
    let rebuilt = rebuild(&read_small(&db).unwrap(), &plan).unwrap();
    datadir::create_dirs(&FileSystem, data_dir).unwrap();
    let disk = FileDisk::create_new(&datadir::db_path(data_dir)).unwrap();
    let mut builder = Builder::new(disk, BuildOptions::default()).unwrap();
    for (name, entries) in rebuilt.small.iter() {
        builder.begin_bucket(name).unwrap();
        for (key, value) in entries {
            builder.push(key, value).unwrap();
        }
        builder.end_bucket().unwrap();
    }
    let records = DatabaseRecords::new(&db);
    let compacted = facts.meta.marks.effective();
    let mut learn = LivenessBuilder::new(compacted, TombstoneRule::KeepAtCompaction);
    records.scan(&mut |record| learn.observe(&record)).unwrap();
    let liveness = learn.finish();
    let mut judge = liveness.judge();
    builder.begin_bucket(b"key").unwrap();
    let mut live = |record: holdfast_core::record::Record<'_>| {
        if judge.next(&record)?.is_live() {
            builder.push(record.raw_key, record.raw_value).unwrap();
        }
        Ok(())
    };
    records.scan(&mut live).unwrap();
    if let Some(bump) = &rebuilt.bump_record {
        builder.push(&bump.raw_key, b"").unwrap();
    }
    judge.finish().unwrap();
    builder.end_bucket().unwrap();
    builder.finish().unwrap();
    datadir::write_member(&FileSystem, data_dir, founding).unwrap();
    rebuilt
}

/// The real cluster's snapshot, unpacked.
pub(crate) fn kubernetes(to: &Path) {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/k8s/k8s.db.zst");
    let mut file = File::create(to).unwrap();
    zstd::stream::copy_decode(File::open(packed).unwrap(), &mut file).unwrap();
}
