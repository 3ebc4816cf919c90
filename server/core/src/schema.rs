//! Checks a database's content: what a member's buckets must hold.
//!
//! The pages are `holdfast_bolt::check`'s. This goes on above them and after a finding: a damaged
//! record is reported and the rest still read. A *fault* keeps a server from booting or means that
//! data is lost or altered; a *warning* is legal but would surprise; a *note* is worth knowing.

use std::collections::BTreeSet;
use std::fmt;

use holdfast_bolt::{Db, PageSource};

use crate::buckets::{self, Alarm, Lease, SmallBuckets};
use crate::compaction::{Liveness, LivenessBuilder, ScanError, TombstoneRule, Verdict};
use crate::database::{DatabaseError, DatabaseRecords, read_small};
use crate::hashkv::RecordSource;
use crate::ids;
use crate::membership::Member;
use crate::meta::{self, CompactionMarks, Meta};
use crate::rebuilt::{CLUSTER_VERSION, DOWNGRADE};
use crate::record::{KeyValue, Record};
use crate::revision::Revision;
use crate::versions::EtcdVersion;

/// Findings that are kept; more are only counted.
const MAX_FINDINGS: usize = 200;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Legal, but it would surprise.
    Warning,
    /// It keeps a server from booting, or data is lost or altered.
    Fault,
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where, printable: a file, or bucket and key.
    pub place: String,
    /// What, printable.
    pub what: String,
}

/// All things found, the first 200 in full.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// In the order found.
    pub all: Vec<Finding>,
    /// Findings beyond those.
    pub more: u64,
    /// Faults among all of them.
    pub faults: u64,
}

impl Findings {
    /// True without a fault; warnings and notes may be there.
    pub fn is_sound(&self) -> bool {
        self.faults == 0
    }

    /// Adds a finding.
    pub fn push(&mut self, severity: Severity, place: impl fmt::Display, what: impl fmt::Display) {
        self.faults += u64::from(severity == Severity::Fault);
        if self.all.len() == MAX_FINDINGS {
            self.more += 1;
            return;
        }
        let (place, what) = (place.to_string(), what.to_string());
        self.all.push(Finding { severity, place, what });
    }

    pub(crate) fn fault(&mut self, place: impl fmt::Display, what: impl fmt::Display) {
        self.push(Severity::Fault, place, what);
    }

    pub(crate) fn warn(&mut self, place: impl fmt::Display, what: impl fmt::Display) {
        self.push(Severity::Warning, place, what);
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Fault => "FAULT",
        };
        write!(f, "{severity}: {}: {}", self.place, self.what)
    }
}

/// Checks every bucket of a database, with two scans over its records.
pub fn check_schema<S: PageSource>(db: &Db<S>) -> Findings {
    let mut out = Findings::default();
    let small = match read_small(db) {
        Ok(small) => small,
        Err(error) => {
            out.fault("database", error);
            return out;
        }
    };
    check_small(&small, &mut out);
    let marks = CompactionMarks::read(&small).unwrap_or_default();
    if let Err(error) = check_records(db, &small, marks, &mut out) {
        out.fault("key", error);
    }
    out
}

/// Checks every bucket but `key`.
pub fn check_small(small: &SmallBuckets, out: &mut Findings) {
    for name in buckets::ALL.into_iter().filter(|name| *name != buckets::KEY) {
        if !small.contains(name) {
            out.warn(name.escape_ascii(), "the bucket is missing");
        }
    }
    for name in small.unknown() {
        out.warn(name.escape_ascii(), "a bucket that no known etcd has");
    }
    check_meta(small, out);
    check_members(small, out);
    check_leases(small, out);
    for (key, _) in small.entries(buckets::ALARM) {
        match Alarm::decode(key) {
            Ok(alarm) => {
                let (name, id) = (alarm.name(), ids::hex(alarm.member_id));
                out.warn("alarm", format_args!("{name} is raised by member {id}"));
            }
            Err(error) => out.fault("alarm", error),
        }
    }
    check_version(small, buckets::CLUSTER, CLUSTER_VERSION, out);
    if let Some(json) = small.get(buckets::CLUSTER, DOWNGRADE) {
        match serde_json::from_slice::<serde_json::Value>(json) {
            Ok(value) if value["enabled"] == true => {
                let to = &value["target-version"];
                out.warn("cluster/downgrade", format_args!("a downgrade to {to} is under way"));
            }
            Ok(_) => {}
            Err(error) => out.fault("cluster/downgrade", error),
        }
    }
}

fn check_meta(small: &SmallBuckets, out: &mut Findings) {
    for (key, _) in small.entries(buckets::META) {
        if !meta::ALL_KEYS.contains(&key) {
            out.warn(format_args!("meta/{}", key.escape_ascii()), "a key that no known etcd has");
        }
    }
    match Meta::read(small) {
        Ok(meta) => {
            let CompactionMarks { scheduled, finished } = meta.marks;
            if finished > scheduled {
                out.warn("meta", "finishedCompactRev is above scheduledCompactRev");
            }
            if meta.marks.is_running() {
                out.push(Severity::Note, "meta", "a compaction is not finished");
            }
            if meta.consistent_index == 0 {
                out.warn("meta/consistent_index", "missing or zero: no entry was ever applied");
            }
        }
        Err(error) => out.fault("meta", error),
    }
    check_version(small, buckets::META, meta::STORAGE_VERSION, out);
}

fn check_version(small: &SmallBuckets, bucket: &[u8], key: &[u8], out: &mut Findings) {
    let Some(text) = small.get(bucket, key) else { return };
    let text = String::from_utf8_lossy(text);
    if let Err(error) = text.parse::<EtcdVersion>() {
        out.fault(format_args!("{}/{}", bucket.escape_ascii(), key.escape_ascii()), error);
    }
}

fn check_members(small: &SmallBuckets, out: &mut Findings) {
    let mut count = 0;
    for (key, json) in small.entries(buckets::MEMBERS) {
        count += 1;
        let place = format!("members/{}", key.escape_ascii());
        match Member::from_json(json) {
            Ok(member) if ids::hex(member.id).as_bytes() != key => {
                out.fault(place, format_args!("its JSON has the id {:x}", member.id));
            }
            Ok(member) if member.peer_urls.is_empty() => out.warn(place, "it has no peer URL"),
            Ok(_) => {}
            Err(error) => out.fault(place, error),
        }
    }
    if count == 0 {
        out.warn("members", "there are no members: a server older than 3.6 may have made this");
    }
}

fn check_leases(small: &SmallBuckets, out: &mut Findings) {
    for (key, value) in small.entries(buckets::LEASE) {
        let place = format!("lease/{}", key.escape_ascii());
        match Lease::decode(value) {
            Ok(lease) if Lease::bucket_key(lease.id) != *key => {
                out.fault(place, format_args!("its value has the id {:x}", lease.id));
            }
            Ok(lease) if lease.ttl_seconds <= 0 => out.warn(place, "it has no time to live"),
            Ok(_) => {}
            Err(error) => out.fault(place, error),
        }
    }
}

fn check_records<S: PageSource>(
    db: &Db<S>,
    small: &SmallBuckets,
    marks: CompactionMarks,
    out: &mut Findings,
) -> Result<(), DatabaseError> {
    let records = DatabaseRecords::new(db);
    let compacted = marks.effective();
    let mut builder = LivenessBuilder::new(compacted, TombstoneRule::KeepAtCompaction);
    let mut steps = Steps { compacted, last: None };
    let mut encoded = Vec::new();
    records.scan(&mut |record| {
        steps.check(record.at.revision, out);
        check_record(&record, &mut encoded, out);
        builder.observe(&record)
    })?;
    check_lease_ids(&records, small, &builder.finish(), out)
}

/// Revisions above the compaction revision have no gaps.
struct Steps {
    compacted: i64,
    last: Option<Revision>,
}

impl Steps {
    fn check(&mut self, at: Revision, out: &mut Findings) {
        let before = self.last.replace(at).unwrap_or(Revision::new(1, 0));
        // Everything above C is complete; C itself, and below it, may have been thinned out.
        if at.main <= self.compacted {
            return;
        }
        let floor = before.main.max(self.compacted);
        if at.main == before.main && before.main > self.compacted {
            if at.sub != before.sub + 1 {
                out.fault(place(at), format_args!("a gap: the record before it is {before}"));
            }
            return;
        }
        if at.sub != 0 {
            out.fault(place(at), "a gap: its transaction does not begin with sub revision 0");
        }
        if at.main > floor.saturating_add(1) && floor >= 1 {
            let what = format_args!("revisions {} to {} are missing", floor + 1, at.main - 1);
            out.warn(place(at), what);
        }
    }
}

fn check_record(record: &Record<'_>, encoded: &mut Vec<u8>, out: &mut Findings) {
    let at = record.at.revision;
    let kv = match record.key_value() {
        Ok(kv) => kv,
        Err(error) => return out.fault(place(at), error),
    };
    encoded.clear();
    kv.encode(encoded);
    if *encoded != record.raw_value {
        out.fault(place(at), "its message is not as etcd writes it: HashKV cannot be rebuilt");
    }
    if record.is_bump() {
        return out.push(Severity::Note, place(at), "the record of a revision bump");
    }
    if record.at.tombstone {
        if kv != (KeyValue { key: kv.key, ..KeyValue::default() }) {
            out.fault(place(at), "a tombstone with more than a key");
        }
    } else if kv.mod_revision != at.main {
        let what = format_args!("its message has the mod revision {}", kv.mod_revision);
        out.fault(place(at), what);
    } else if kv.version < 1 || kv.create_revision < 1 || kv.create_revision > kv.mod_revision {
        let (version, create) = (kv.version, kv.create_revision);
        out.fault(place(at), format_args!("version {version}, created at {create}"));
    }
    if kv.key.is_empty() {
        out.fault(place(at), "it has no key");
    }
}

/// Every lease that the newest record of a key names should exist.
fn check_lease_ids<S: PageSource>(
    records: &DatabaseRecords<'_, S>,
    small: &SmallBuckets,
    liveness: &Liveness,
    out: &mut Findings,
) -> Result<(), DatabaseError> {
    let mut unknown: BTreeSet<i64> = BTreeSet::new();
    let mut keys = 0u64;
    let mut judge = liveness.judge();
    records.scan(&mut |record| {
        let newest = judge.next(&record)? == Verdict::Live { superseded: false };
        if !newest || record.at.tombstone {
            return Ok(());
        }
        let lease = record.key_value().map_err(ScanError::from)?.lease;
        let known = || small.get(buckets::LEASE, &Lease::bucket_key(lease)).is_some();
        if lease != 0 && !known() {
            keys += 1;
            if unknown.len() < MAX_FINDINGS {
                unknown.insert(lease);
            }
        }
        Ok(())
    })?;
    judge.finish()?;
    if keys > 0 {
        let ids: Vec<String> =
            unknown.iter().take(5).map(|id| ids::hex(id.cast_unsigned())).collect();
        let what = format_args!("{keys} live keys name unknown leases ({}…)", ids.join(", "));
        out.warn("lease", what);
    }
    Ok(())
}

fn place(at: Revision) -> impl fmt::Display {
    format!("key/{at}")
}

#[cfg(test)]
mod tests;
