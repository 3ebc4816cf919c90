//! migrate: the storage version of a stopped member, up or down.
//!
//! 3.5 stores none, 3.6 and 3.7 store theirs; nothing else differs between these schemas. A member
//! goes down below what its log needs only with `--force`: an older server would stop at an entry
//! it does not know.

use super::{at, copy, there};
use crate::args::Given;
use crate::console::Console;
use crate::failure::Failure;
use crate::go::{number, quote};
use holdfast_api::etcdserverpb::InternalRaftRequest;
use holdfast_bolt::{Builder, Db, FileDisk, MappedFile};
use holdfast_core::buckets::{KEY, META, SmallBuckets};
use holdfast_core::database::read_small;
use holdfast_core::datadir::{db_path, wal_dir};
use holdfast_core::meta::{Meta, STORAGE_VERSION};
use holdfast_core::raftpb::EntryKind;
use holdfast_core::versions::{EtcdVersion, V3_5, V3_6, V3_7};
use holdfast_core::wal::{Record, SegmentReader, parse_segment_name};
use prost::Message;
use std::path::Path;

/// `migrate`
pub(super) fn run(given: &Given, console: &Console) -> Result<(), Failure> {
    let target = target(given.text("target-version"))?;
    let data_dir = Path::new(given.text("data-dir"));
    let path = db_path(data_dir);
    there(&path)?;
    let db = copy::open(&path)?;
    let small = read_small(&db).map_err(|why| at(&path, why))?;
    let current = storage_version(&small).map_err(|why| at(&path, why))?;
    if current == target {
        let shown = short(target);
        console.complain(format!("storage version up-to-date: {shown}"));
        return Ok(());
    }
    match judge(data_dir, current, target) {
        Ok(()) => {}
        Err(failure) if given.truth("force") => {
            console.complain(format!("Warning: forced although: {}", failure.words));
        }
        Err(failure) => return Err(failure),
    }
    write(&path, &db, small, target)?;
    console.complain(format!("updated storage version: {target}"));
    Ok(())
}

/// Reads `X.Y`.
fn target(text: &str) -> Result<EtcdVersion, Failure> {
    let shown = quote::text(text);
    let Some((major, minor)) = text.split_once('.').filter(|(_, minor)| !minor.contains('.'))
    else {
        let words = format!("wrong target version format, expected \"X.Y\", got {shown}");
        return Err(Failure::arguments(words));
    };
    let part = |text: &str| {
        let number = number::int(text, 10)
            .map_err(|why| Failure::arguments(format!("failed to parse target version: {why}")))?;
        let wrong = || Failure::arguments(format!("failed to parse target version: {shown}"));
        u16::try_from(number).map_err(|_| wrong())
    };
    let version = EtcdVersion { major: part(major)?, minor: part(minor)? };
    if version < V3_5 {
        let shown = quote::text(&short(version));
        let words = format!("target version {shown} not supported. Minimal \"3.5\"");
        return Err(Failure::arguments(words));
    }
    Ok(version)
}

fn short(version: EtcdVersion) -> String {
    format!("{}.{}", version.major, version.minor)
}

/// What the database says, or 3.5 if it says nothing but was applied to.
fn storage_version(small: &SmallBuckets) -> Result<EtcdVersion, String> {
    let meta = Meta::read(small).map_err(|why| why.to_string())?;
    match meta.storage_version {
        Some(text) => text.parse::<EtcdVersion>().map_err(|why| why.to_string()),
        None if meta.term == 0 => Err("missing term information".to_owned()),
        None => Ok(V3_5),
    }
}

/// Whether the step can be made without harm.
fn judge(data_dir: &Path, current: EtcdVersion, target: EtcdVersion) -> Result<(), Failure> {
    if current.major != target.major {
        return Err(Failure::error("changing major storage version is not supported"));
    }
    if let Some(unknown) = [current, target].into_iter().find(|version| *version > V3_7) {
        let shown = quote::text(&unknown.to_string());
        let words = format!("cannot create migration plan: version {shown} is not supported");
        return Err(Failure::error(words));
    }
    if target > current {
        return Ok(());
    }
    let needed = needed_by_log(&wal_dir(data_dir))?;
    if target < needed {
        return Err(Failure::error(format!(
            "cannot downgrade storage, WAL contains newer entries, as the target version ({target}) \
             is lower than the version ({needed}) detected from WAL logs"
        )));
    }
    Ok(())
}

/// The lowest version that knows all entries behind the last snapshot. One kind of entry is newer
/// than 3.5: the test of a downgrade, which names its version.
fn needed_by_log(dir: &Path) -> Result<EtcdVersion, Failure> {
    let entries = std::fs::read_dir(dir).map_err(|why| at(dir, why))?;
    let mut segments = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|why| at(dir, why))?;
        let name = entry.file_name();
        if let Some(place) = name.to_str().and_then(parse_segment_name) {
            segments.push((place, entry.path()));
        }
    }
    segments.sort_unstable();
    // (index, version) of the entries that name one.
    let (mut named, mut snapshot) = (Vec::new(), 0);
    let mut chain = None;
    for (at_segment, (_, path)) in segments.iter().enumerate() {
        let bytes = std::fs::read(path).map_err(|why| at(path, why))?;
        let mut reader = SegmentReader::new(&bytes, chain, at_segment + 1 == segments.len());
        loop {
            match reader.next_record() {
                Ok(Some(Record::Entry(entry))) => {
                    if let (EntryKind::Normal, Some(version)) = (entry.kind, version_in(entry.data))
                    {
                        named.push((entry.index, version));
                    }
                }
                Ok(Some(Record::Snapshot(note))) => snapshot = note.index,
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(damage) if damage.torn => break,
                Err(damage) => return Err(at(path, damage)),
            }
        }
        chain = Some(reader.crc());
    }
    let behind = named.into_iter().filter(|(index, _)| *index > snapshot);
    Ok(behind.map(|(_, version)| version.max(V3_6)).max().unwrap_or(V3_5))
}

fn version_in(data: &[u8]) -> Option<EtcdVersion> {
    let request = InternalRaftRequest::decode(data).ok()?;
    request.downgrade_version_test.map(|test| test.ver.parse().unwrap_or(V3_6))
}

/// Writes the database anew with another storage version.
fn write(
    path: &Path,
    db: &Db<MappedFile>,
    mut small: SmallBuckets,
    target: EtcdVersion,
) -> Result<(), Failure> {
    if target < V3_6 {
        small.create(META).remove(STORAGE_VERSION);
    } else {
        small.put(META, STORAGE_VERSION, target.to_string());
    }
    copy::replace_with(path, |disk| write_all(db, &small, disk).map_err(|why| why.to_string()))
}

fn write_all(
    db: &Db<MappedFile>,
    small: &SmallBuckets,
    disk: FileDisk,
) -> Result<(), holdfast_bolt::CompactError> {
    let mut builder = Builder::new(disk, copy::options(db))?;
    if let Some(key) = db.bucket(KEY)? {
        builder.begin_bucket(KEY)?;
        let mut cursor = key.cursor();
        while let Some(entry) = cursor.next()? {
            builder.push(entry.key, entry.value)?;
        }
        builder.end_bucket()?;
    }
    small.write(&mut builder)?;
    builder.finish()?;
    Ok(())
}
