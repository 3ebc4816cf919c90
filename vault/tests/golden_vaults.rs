//! Whole vaults of the past: what a released version wrote, every later one restores.
//!
//! `tests/golden/vaults/<name>/` is a store as it lay on a disk, `<name>.txt` beside it what its
//! snapshots must give: a digest of the records and of the small buckets, and whether it is
//! contested. `golden_vaults/scenes.rs` says how each was made. Holds: each opens under its own
//! keys, checks sound to level L2, gives what is written down, and takes a further commit.
//!
//! To make a missing one: run this test with HOLDFAST_WRITE_GOLDEN=1. It never overwrites: what is
//! there was released.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

#[path = "golden_vaults/scenes.rs"]
mod scenes;
mod support;

use holdfast_vault::check::{CheckOptions, Level};
use holdfast_vault::vault::Vault;
use holdfast_vault::{Store, StoreOptions};
use scenes::{SCENES, Scene, Stage};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use support::read_inline;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/vaults")
}

fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A line for the chain and one for each snapshot.
async fn describe(vault: &mut Vault) -> String {
    let head = vault.head();
    let lineages = head.lineage.as_ref().map_or(0, |lineage| lineage.since_number);
    let (pins, holds) = (head.pins.len(), head.holds.len());
    let mut text = format!(
        "head {} floor {} epoch {} lineage since {lineages} pins {pins} holds {holds}\n",
        head.number, head.floor, head.epoch
    );
    for entry in vault.snapshots() {
        let (records, verified) = read_inline(vault, entry.number).await.unwrap();
        assert_eq!(verified.digest_compared, !entry.contested, "snapshot {}", entry.number);
        let mut digest = Sha256::new();
        for record in &records {
            digest.update(record.rev.0.to_be_bytes());
            digest.update(record.rev.1.to_be_bytes());
            digest.update([u8::from(record.tombstone)]);
            digest.update((record.value.len() as u64).to_be_bytes());
            digest.update(&record.value);
        }
        let reader = vault.reader(entry.number).await.unwrap();
        let mut buckets = Sha256::new();
        for bucket in reader.buckets() {
            buckets.update(&bucket.name);
            for entry in reader.bucket(bucket).await.unwrap() {
                buckets.update((entry.key.len() as u64).to_be_bytes());
                buckets.update(&entry.key);
                buckets.update((entry.value.len() as u64).to_be_bytes());
                buckets.update(&entry.value);
            }
        }
        let spilled = reader.buckets().iter().filter(|bucket| bucket.spill.is_some()).count();
        let classes: BTreeSet<i32> =
            reader.body().segments.iter().map(|segment| segment.class).collect();
        writeln!(
            text,
            "snapshot {} revision {} compacted {} proven {} contested {} classes {classes:?} spilled {spilled} \
             records {} {} buckets {}",
            entry.number,
            entry.revision,
            entry.compact_revision,
            entry.proven_level,
            entry.contested,
            records.len(),
            hex(&digest.finalize()),
            hex(&buckets.finalize()),
        )
        .unwrap();
    }
    text
}

/// Puts what a scene left in memory into a folder.
async fn write_down(scene: &Scene) {
    let stage = Stage::new();
    let mut vault = (scene.play)(stage.clone()).await;
    let text = describe(&mut vault).await;
    let store = stage.store();
    for object in store.list_all("", 10_000).await.unwrap() {
        let bytes = store.get(&object.name, 1 << 24).await.unwrap();
        let path = folder().join(scene.name).join(&object.name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    std::fs::write(folder().join(format!("{}.txt", scene.name)), text).unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy(&item.path(), &target);
        } else {
            std::fs::copy(item.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn what_was_released_restores() {
    if std::env::var_os("HOLDFAST_WRITE_GOLDEN").is_some() {
        for scene in SCENES.iter().filter(|scene| !folder().join(scene.name).exists()) {
            write_down(scene).await;
        }
    }
    for scene in SCENES {
        let name = scene.name;
        let copied = tempfile::tempdir().unwrap();
        copy(&folder().join(name), copied.path());
        let address = copied.path().display().to_string();
        let store = Store::open(&address, StoreOptions::default()).unwrap();
        let mut vault = Vault::open(store, (scene.options)(99)).await.unwrap();
        let expected = std::fs::read_to_string(folder().join(format!("{name}.txt"))).unwrap();
        assert_eq!(describe(&mut vault).await, expected, "{name}");

        let options = CheckOptions { level: Level::L2, snapshots: BTreeSet::new() };
        let report = vault.check(&options).await.unwrap();
        assert!(report.findings.is_empty(), "{name}: {:?}", report.findings);
        assert_eq!(report.sound.len(), vault.snapshots().len(), "{name}");

        let newest = vault.snapshots().last().unwrap().number;
        let number = vault.pin(newest, "still written to", 0).await.unwrap();
        assert_eq!(vault.head().number, number, "{name}");
    }
}

/// What each scene is there for is in its golden vault, and still comes about today.
#[tokio::test]
async fn the_scenes_show_what_they_should() {
    for scene in SCENES {
        let today = describe(&mut (scene.play)(Stage::new()).await).await;
        let then = std::fs::read_to_string(folder().join(format!("{}.txt", scene.name))).unwrap();
        for text in [then, today] {
            assert!((scene.shows)(&text), "{}: {text}", scene.name);
        }
    }
}
