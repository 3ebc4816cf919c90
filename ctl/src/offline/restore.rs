//! snapshot restore: a member's data directory out of a snapshot file.
//!
//! Must hold: the directory has its name only when all in it is on the disk; the snapshot is only
//! read; the file's SHA-256 is right unless the check is switched off.

use super::digest::{self, Trailer};
use super::{at, copy};
use crate::args::Given;
use crate::console::Console;
use crate::failure::Failure;
use crate::go::quote;
use holdfast_bolt::{BuildOptions, Builder, Db, FileDisk, MappedFile, sync_directory};
use holdfast_core::buckets::{CLUSTER, KEY, META, SmallBuckets};
use holdfast_core::database::{DatabaseRecords, KeyFacts, read_small};
use holdfast_core::datadir::{WriteError, write_member};
use holdfast_core::datadir::{create_dirs, db_path, founding_log, founding_snapshot, snap_dir};
use holdfast_core::disk::{FileSystem, MemberDisk};
use holdfast_core::hashkv::RecordSource;
use holdfast_core::membership::Founding;
use holdfast_core::meta::{CompactionMarks, STORAGE_VERSION};
use holdfast_core::rebuilt::{
    Bump, CLUSTER_VERSION, ChangeKind, FOUNDING_TERM, RebuildPlan, RebuiltBuckets, rebuild,
};
use holdfast_core::versions::{EtcdVersion, V3_5};
use holdfast_core::{snap, wal};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// `snapshot restore`
pub(super) fn run(given: &Given, console: &Console) -> Result<(), Failure> {
    let [snapshot] = given.arguments() else {
        return Err(Failure::arguments("snapshot restore requires exactly one argument"));
    };
    let bump = given.uint("bump-revision");
    if (bump == 0) == given.truth("mark-compacted") {
        return Err(Failure::arguments("--mark-compacted required if --revision-bump > 0"));
    }
    let bump = i64::try_from(bump)
        .map_err(|_| Failure::arguments(format!("--bump-revision={bump} is too large")))?;
    let founding = founding(given)?;
    let name = given.text("name");
    let data_dir = match given.text("data-dir") {
        "" => PathBuf::from(format!("{name}.etcd")),
        given => PathBuf::from(given),
    };
    let wal_dir = Some(given.text("wal-dir")).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    refuse_used(&data_dir, wal_dir.as_deref())?;
    let snapshot = Path::new(snapshot);
    let db = open(snapshot, given.truth("skip-hash-check"))?;
    let job = Job { db, snapshot, founding, bump, wal_dir };
    job.run(&data_dir, console)
}

/// The new cluster, with upstream's words where it does not fit together.
fn founding(given: &Given) -> Result<Founding, Failure> {
    let (list, name) = (given.text("initial-cluster"), given.text("name"));
    let founding = Founding::parse(list, name, given.text("initial-cluster-token"));
    let founding = founding.map_err(|why| Failure::error(why.to_string()))?;
    let advertised = given.text("initial-advertise-peer-urls");
    let own: BTreeSet<&str> = founding.local().peer_urls.iter().map(String::as_str).collect();
    let told: BTreeSet<&str> = advertised.split(',').map(str::trim).collect();
    if own != told {
        return Err(Failure::error(format!(
            "--initial-cluster has {name}={} but missing from --initial-advertise-peer-urls={advertised}",
            founding.local().peer_urls.join(&format!(",{name}="))
        )));
    }
    Ok(founding)
}

fn refuse_used(data_dir: &Path, wal_dir: Option<&Path>) -> Result<(), Failure> {
    let is_free = match std::fs::read_dir(data_dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(why) => why.kind() == std::io::ErrorKind::NotFound,
    };
    if !is_free {
        let shown = quote::text(&data_dir.display().to_string());
        return Err(Failure::error(format!("data-dir {shown} not empty or could not be read")));
    }
    match wal_dir {
        Some(dir) if dir.exists() => {
            let shown = quote::text(&dir.display().to_string());
            Err(Failure::error(format!("wal-dir {shown} exists")))
        }
        _ => Ok(()),
    }
}

/// Opens the snapshot, whose digest must be right.
fn open(path: &Path, skips_check: bool) -> Result<Db<MappedFile>, Failure> {
    super::there(path)
        .map_err(|failure| Failure::error(failure.words.replacen("stat ", "open ", 1)))?;
    let file = MappedFile::open(path).map_err(|why| Failure::error(why.to_string()))?;
    file.advise_sequential();
    if !skips_check {
        match digest::judge(file.as_slice()) {
            Trailer::Good => {}
            Trailer::Wrong => return Err(digest::wrong(path)),
            Trailer::Missing => {
                return Err(Failure::error("snapshot missing hash but --skip-hash-check=false"));
            }
        }
    }
    Db::open(file).map_err(|why| at(path, why))
}

struct Job<'a> {
    db: Db<MappedFile>,
    snapshot: &'a Path,
    founding: Founding,
    bump: i64,
    wal_dir: Option<PathBuf>,
}

impl Job<'_> {
    /// Builds aside, then gives the directory its name.
    fn run(&self, data_dir: &Path, console: &Console) -> Result<(), Failure> {
        let rebuilt = self.small()?;
        let parent = match data_dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(parent).map_err(|why| at(parent, why))?;
        let mut aside = data_dir.as_os_str().to_owned();
        aside.push(".restoring");
        let aside = PathBuf::from(aside);
        if aside.exists() {
            let words = "left by a restore that did not end, or one is running: remove it first";
            return Err(at(&aside, words));
        }
        let built = self.build(&aside, &rebuilt).and_then(|()| {
            std::fs::rename(&aside, data_dir).map_err(|why| at(data_dir, why))?;
            sync_directory(parent).map_err(|why| Failure::error(why.to_string()))
        });
        if let Err(failure) = built {
            let _ = std::fs::remove_dir_all(&aside);
            if let Some(wal_dir) = &self.wal_dir {
                let _ = std::fs::remove_dir_all(wal_dir);
            }
            return Err(failure);
        }
        let dropped = rebuilt.changes.iter().filter(|change| {
            change.kind == ChangeKind::Dropped && !change.place.starts_with("members")
        });
        dropped.for_each(|change| {
            console.complain(format!("dropped {}: {}", change.place, change.what));
        });
        for member in self.founding.members() {
            let urls = member.peer_urls.join(",");
            console.complain(format!("added member {:x} with peer URLs {urls}", member.id));
        }
        let (from, to) = (self.snapshot.display(), data_dir.display());
        console.complain(format!("restored {from} to {to}"));
        Ok(())
    }

    /// All buckets but `key`, for the new cluster. Versions stay as they are.
    fn small(&self) -> Result<RebuiltBuckets, Failure> {
        let wrong = |why: String| at(self.snapshot, why);
        let source = read_small(&self.db).map_err(|why| wrong(why.to_string()))?;
        let target = version_of(&source).check_target().map_err(|why| wrong(why.to_string()))?;
        let bump = if self.bump > 0 { Some(self.bump_from(&source)?) } else { None };
        let plan = RebuildPlan { founding: &self.founding, target, bump, made_up_leases: &[] };
        rebuild(&source, &plan).map_err(|why| wrong(why.to_string()))
    }

    fn bump_from(&self, source: &SmallBuckets) -> Result<Bump, Failure> {
        let marks = CompactionMarks::read(source).map_err(|why| at(self.snapshot, why))?;
        let mut facts = KeyFacts::default();
        let counted = DatabaseRecords::new(&self.db).scan(&mut |record| {
            facts.add(&record);
            Ok(())
        });
        counted.map_err(|why| at(self.snapshot, why))?;
        let from = marks.logical_revision(facts.last.map(|last| last.main));
        Ok(Bump { from, by: self.bump })
    }

    fn build(&self, aside: &Path, rebuilt: &RebuiltBuckets) -> Result<(), Failure> {
        let failed = |why: WriteError| Failure::error(why.to_string());
        create_dirs(&FileSystem, aside).map_err(failed)?;
        let path = db_path(aside);
        let disk = FileDisk::create_new(&path).map_err(|why| Failure::error(why.to_string()))?;
        let written = self.write_database(disk, rebuilt);
        written.map_err(|why| at(self.snapshot, why))?;
        match &self.wal_dir {
            None => write_member(&FileSystem, aside, &self.founding).map_err(failed),
            Some(wal_dir) => self.write_apart(aside, wal_dir),
        }
    }

    fn write_database(&self, disk: FileDisk, rebuilt: &RebuiltBuckets) -> Result<(), String> {
        let options = BuildOptions { page_size: self.db.page_size(), ..copy::options(&self.db) };
        let mut builder = Builder::new(disk, options).map_err(|why| why.to_string())?;
        let key = self.db.bucket(KEY).map_err(|why| why.to_string())?;
        let key = key.ok_or("there is no bucket `key`: this is not an etcd database")?;
        builder.begin_bucket(KEY).map_err(|why| why.to_string())?;
        let mut cursor = key.cursor();
        while let Some(entry) = cursor.next().map_err(|why| why.to_string())? {
            builder.push(entry.key, entry.value).map_err(|why| why.to_string())?;
        }
        if let Some(record) = &rebuilt.bump_record {
            builder.push(&record.raw_key, b"").map_err(|why| why.to_string())?;
        }
        builder.end_bucket().map_err(|why| why.to_string())?;
        rebuilt.small.write(&mut builder).map_err(|why| why.to_string())?;
        builder.finish().map(|_| ()).map_err(|why| why.to_string())
    }

    /// As [`write_member`], with the log in a directory of its own.
    fn write_apart(&self, aside: &Path, wal_dir: &Path) -> Result<(), Failure> {
        let disk = FileSystem;
        let index = self.founding.members().len() as u64;
        let snap_dir = snap_dir(aside);
        let snap = snap_dir.join(snap::file_name(FOUNDING_TERM, index));
        disk.write_new(&snap, &founding_snapshot(&self.founding), 0)
            .map_err(|why| at(&snap, why))?;
        std::fs::create_dir_all(wal_dir).map_err(|why| at(wal_dir, why))?;
        let segment = wal_dir.join(wal::segment_name(0, 0));
        let log = founding_log(&self.founding);
        disk.write_new(&segment, &log, wal::SEGMENT_BYTES).map_err(|why| at(&segment, why))?;
        for dir in [wal_dir, &snap_dir, &aside.join("member"), aside] {
            disk.sync_dir(dir).map_err(|why| at(dir, why))?;
        }
        Ok(())
    }
}

/// The highest version that the snapshot speaks of; 3.5 speaks of none.
fn version_of(small: &SmallBuckets) -> EtcdVersion {
    let read = |bucket: &[u8], key: &[u8]| {
        std::str::from_utf8(small.get(bucket, key)?).ok()?.parse::<EtcdVersion>().ok()
    };
    let (storage, cluster) = (read(META, STORAGE_VERSION), read(CLUSTER, CLUSTER_VERSION));
    storage.max(cluster).map_or(V3_5, |version| version.max(V3_5))
}
