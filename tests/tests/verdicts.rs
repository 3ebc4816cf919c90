//! What a drill found stands in the vault, and whoever prunes heeds it.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use holdfast_tests::contents;
use holdfast_tests::etcd::Etcd;
use holdfast_tests::objects::object;
use holdfast_tests::peers::peer;
use holdfast_tests::site::{Login, Site};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn segments(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { segments(&path) } else { BTreeSet::from([path]) })
        .filter(|path| path.parent().is_some_and(|folder| folder.ends_with("seg")))
        .collect()
}

#[tokio::test]
async fn a_snapshot_that_a_drill_found_broken_pushes_no_good_one_out() {
    let etcd = Etcd::start("3.6").await;
    let site = Site::on_disk();
    site.watch(&etcd, Login::default());
    site.init().await;
    let put = |from, to| (from..to).map(|index| object(51, index, 1));
    contents::put(&etcd.client(), put(0, 100), 1).await.unwrap();
    site.back_up().await;
    let before = segments(&site.path("vault"));
    contents::put(&etcd.client(), put(100, 200), 1).await.unwrap();
    site.back_up().await;
    let number = |at: usize, all: &[serde_json::Value]| all[at]["number"].as_u64().unwrap();
    let all = site.snapshots().await;
    let (good, rotten) = (number(0, &all), number(1, &all));
    assert!(good < rotten);

    let after = segments(&site.path("vault"));
    for path in after.difference(&before) {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[400] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
    // Nobody knows yet: the newer one pushes the older one out.
    let prune = site.on_vault(&["vault", "prune", "--keep-last", "1"]);
    let plan = [&prune[..], &["--plan-only".to_owned()]].concat();
    let planned = site.succeed(&plan).await.out;
    assert!(planned.contains("forget") && !planned.contains("known to be broken"), "{planned}");

    let server = peer("etcd-3.6").display().to_string();
    let drill = site.on_vault(&["drill", "--server", &server]);
    let drilled = site.run(&drill).await;
    assert!(!drilled.succeeded && drilled.out.contains("FAILED"), "{}", drilled.out);
    let planned = site.succeed(&plan).await.out;
    let told = format!("known to be broken, so that they fill no place: snapshot {rotten}\n");
    assert!(planned.contains(&told) && !planned.contains("forget"), "{planned}");
    site.succeed(&prune).await;
    assert_eq!(site.snapshots().await.len(), 2, "the good one stays");
    let restored = site.restore("restored", "3.6", &["--snapshot", &good.to_string()]).await;
    assert!(restored.join("member/snap/db").is_file());

    // Somebody brings the bytes back: the report is looked behind.
    for path in after.difference(&before) {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[400] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
    let planned = site.succeed(&plan).await.out;
    assert!(planned.contains("forget") && !planned.contains("known to be broken"), "{planned}");
}
