//! How fast, beside `etcdutl snapshot restore`. Not part of the suite: `cargo test --release -p
//! holdfast-restore --test upstream speed -- --ignored --nocapture`.

use std::time::Instant;

use holdfast_bolt::{BuildOptions, Builder, FileDisk};
use holdfast_core::buckets::{KEY, META, SmallBuckets};
use holdfast_core::meta::CONSISTENT_INDEX;
use holdfast_core::record::KeyValue;
use holdfast_core::revision::{BucketKey, Revision};
use holdfast_restore::fetch::export;
use holdfast_restore::plan::BumpChoice;
use holdfast_restore::select::Question;
use holdfast_restore::server::Ports;
use holdfast_vault::snapshot::ReadOptions;

use crate::peers::run;
use crate::restores::restored;
use crate::sources::{FileSource, store, vault};

/// Records of about 4 KB, a tenth of them not compressible.
const RECORDS: i64 = 240_000;

/// A database as etcd would hold it, with made-up objects.
fn make_database(path: &std::path::Path) {
    let mut builder =
        Builder::new(FileDisk::create_new(path).unwrap(), BuildOptions::default()).unwrap();
    builder.begin_bucket(KEY).unwrap();
    let mut chance = 1u64;
    for number in 0..RECORDS {
        let key = format!("/registry/pods/namespace-{}/pod-{number}", number % 100);
        let mut value = Vec::with_capacity(5000);
        while value.len() < 4000 + usize::try_from(number % 700).unwrap() {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            match number % 10 {
                0 => value.extend((chance ^ (chance >> 29)).to_le_bytes()),
                _ => value.extend(format!("\"field-{}\":\"{key}\",", chance >> 58).into_bytes()),
            }
        }
        let main = number + 2;
        let content = KeyValue {
            key: key.as_bytes(),
            create_revision: main,
            mod_revision: main,
            version: 1,
            value: &value,
            lease: 0,
        };
        let at = BucketKey::put(Revision::new(main, 0)).encode();
        builder.push(&at, &content.to_bytes()).unwrap();
    }
    builder.end_bucket().unwrap();
    let mut small = SmallBuckets::empty();
    small.put(META, CONSISTENT_INDEX, 9u64.to_be_bytes());
    for (name, entries) in small.iter() {
        builder.begin_bucket(name).unwrap();
        entries.iter().for_each(|(key, value)| builder.push(key, value).unwrap());
        builder.end_bucket().unwrap();
    }
    builder.finish().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn speed_beside_etcdutl() {
    let root = tempfile::tempdir().unwrap();
    let made = root.path().join("made.db");
    make_database(&made);
    let mut vault = vault(&root.path().join("vault")).await;
    let began = Instant::now();
    let number = store(&mut vault, &FileSource::open(&made, None)).await;
    println!("backup {:.2} s", began.elapsed().as_secs_f64());
    let plain = root.path().join("plain.db");
    let began = Instant::now();
    let reader = vault.reader(number).await.unwrap();
    let exported = export(&reader, &plain, None, ReadOptions::default()).await.unwrap();
    println!("export {:.2} s, {} bytes", began.elapsed().as_secs_f64(), exported.size_bytes);
    for round in 0..5 {
        let to = root.path().join(format!("utl-{round}"));
        let began = Instant::now();
        run(
            "etcdutl-3.6",
            &["snapshot", "restore", plain.to_str().unwrap(), "--data-dir", to.to_str().unwrap()],
        );
        let theirs = began.elapsed().as_secs_f64();
        std::fs::remove_dir_all(&to).unwrap();
        let to = root.path().join(format!("ours-{round}"));
        let began = Instant::now();
        let bump = ("3.6", BumpChoice::None);
        let ports = Ports::free().unwrap();
        let report = restored(&mut vault, Question::Latest, &to, ports, bump).await.unwrap();
        let ours = began.elapsed().as_secs_f64();
        println!(
            "etcdutl {theirs:.2} s, ours {ours:.2} s, ratio {:.2} {:?}",
            ours / theirs,
            report.steps
        );
        std::fs::remove_dir_all(&to).unwrap();
    }
}
