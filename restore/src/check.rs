//! Level L3: is this file a sound bolt database, and does what is in it follow etcd's schema?
//!
//! Looks at every page and every record once, and goes on after a fault where it can. Holds: no input
//! makes it fail other than by faults; at most [`MAX_FAULTS`] of them are kept, all are counted.

use std::collections::BTreeSet;
use std::fmt;

use holdfast_bolt::PageSource;
use holdfast_core::buckets::{self, Alarm, Lease, SmallBuckets};
use holdfast_core::membership::Member;
use holdfast_core::meta::Meta;
use holdfast_core::record::Record;
use holdfast_core::revision::Revision;

use crate::built::{Built, BuiltError};

/// Faults that are kept.
pub const MAX_FAULTS: usize = 100;

/// What a look at a database gave.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct StructureReport {
    /// Pages of the file.
    pub pages: u64,
    /// Records in the bucket `key`.
    pub records: u64,
    /// Leases.
    pub leases: u64,
    /// Records that name a lease that is not there. Upstream boots with them; their keys never expire.
    pub unknown_leases: u64,
    /// Buckets that no known etcd has.
    pub unknown_buckets: Vec<String>,
    /// The first faults.
    pub faults: Vec<String>,
    /// All faults.
    pub fault_count: u64,
}

impl StructureReport {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.fault_count == 0
    }

    fn fault(&mut self, text: String) {
        self.fault_count += 1;
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(text);
        }
    }
}

impl fmt::Display for StructureReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StructureReport { pages, records, fault_count, .. } = self;
        write!(f, "{pages} pages, {records} records, {fault_count} faults")?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))?;
        if *fault_count > self.faults.len() as u64 {
            write!(f, "\n  and {} more", fault_count - self.faults.len() as u64)?;
        }
        Ok(())
    }
}

/// Looks at a whole database.
pub fn check_database<S: PageSource>(built: &Built<S>) -> StructureReport {
    let mut report = StructureReport::default();
    match holdfast_bolt::check(built.db()) {
        Ok(structure) => {
            report.pages = structure.pages;
            for fault in &structure.faults {
                report.fault(format!("page {}: {}", fault.page, fault.kind));
            }
            report.fault_count = report.fault_count.max(structure.fault_count);
        }
        Err(error) => report.fault(error.to_string()),
    }
    let small = match built.small_buckets() {
        Ok(small) => small,
        Err(error) => {
            report.fault(error.to_string());
            return report;
        }
    };
    let leases = check_small(&small, &mut report);
    if matches!(built.db().bucket(buckets::KEY), Ok(None)) {
        report.fault("bucket key is missing".to_owned());
    }
    check_records(built, &leases, &mut report);
    report
}

/// Checks every small bucket; the ids of all leases.
fn check_small(small: &SmallBuckets, report: &mut StructureReport) -> BTreeSet<i64> {
    for name in buckets::ALL {
        if name != buckets::KEY && !small.contains(name) {
            report.fault(format!("bucket {} is missing", name.escape_ascii()));
        }
    }
    report.unknown_buckets = small.unknown().map(|name| name.escape_ascii().to_string()).collect();
    if let Err(error) = Meta::read(small) {
        report.fault(error.to_string());
    }
    for (key, _) in small.entries(buckets::ALARM) {
        if let Err(error) = Alarm::decode(key) {
            report.fault(format!("alarm/{}: {error}", key.escape_ascii()));
        }
    }
    for (key, json) in small.entries(buckets::MEMBERS) {
        let id = std::str::from_utf8(key).ok().and_then(|hex| u64::from_str_radix(hex, 16).ok());
        match Member::from_json(json) {
            Ok(member) if Some(member.id) == id => {}
            Ok(member) => {
                report.fault(format!("members/{} holds member {:x}", key.escape_ascii(), member.id))
            }
            Err(error) => report.fault(format!("members/{}: {error}", key.escape_ascii())),
        }
    }
    let mut leases = BTreeSet::new();
    for (key, value) in small.entries(buckets::LEASE) {
        match Lease::decode(value) {
            Ok(lease) if key == Lease::bucket_key(lease.id) => {
                leases.insert(lease.id);
            }
            Ok(lease) => {
                report.fault(format!("lease/{} holds lease {:x}", key.escape_ascii(), lease.id));
            }
            Err(error) => report.fault(format!("lease/{}: {error}", key.escape_ascii())),
        }
    }
    report.leases = leases.len() as u64;
    leases
}

fn check_records<S: PageSource>(
    built: &Built<S>,
    leases: &BTreeSet<i64>,
    report: &mut StructureReport,
) {
    let mut previous: Option<Revision> = None;
    let walked = built.records(|record| -> Result<(), BuiltError> {
        report.records += 1;
        let revision = record.at.revision;
        // The bolt order is the order of bytes: a put and a tombstone of one revision would pass it.
        if previous.is_some_and(|previous| previous >= revision) {
            report.fault(format!("record {revision} stands twice or out of order"));
        }
        previous = Some(revision);
        check_record(&record, leases, report);
        Ok(())
    });
    if let Err(error) = walked {
        report.fault(format!("after {} records: {error}", report.records));
    }
}

fn check_record(record: &Record<'_>, leases: &BTreeSet<i64>, report: &mut StructureReport) {
    let revision = record.at.revision;
    let content = match record.key_value() {
        Ok(content) => content,
        Err(error) => return report.fault(error.to_string()),
    };
    if record.is_bump() {
        return;
    }
    if content.key.is_empty() {
        report.fault(format!("record {revision} has no key"));
    }
    if record.at.tombstone {
        return;
    }
    if content.mod_revision != revision.main {
        report.fault(format!("record {revision} says it was modified at {}", content.mod_revision));
    }
    if content.create_revision > revision.main || content.create_revision < 1 {
        report
            .fault(format!("record {revision} says it was created at {}", content.create_revision));
    }
    if content.version < 1 {
        report.fault(format!("record {revision} has version {}", content.version));
    }
    if content.lease != 0 && !leases.contains(&content.lease) {
        report.unknown_leases += 1;
    }
}
