//! Builds a database of about 1 GB shaped like Kubernetes objects, scans it through the map, checks
//! it, and prints the rates. `cargo run --release -p holdfast-bolt --example rates DIRECTORY`

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use holdfast_bolt::{BuildOptions, Builder, Db, FileDisk, MappedFile, check};

const ENTRIES: u64 = 300_000;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).ok_or("a directory for the file is needed")?;
    let path = Path::new(&directory).join("throughput.db");
    let values: Vec<u8> =
        (0..8192_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();

    let start = Instant::now();
    let mut builder = Builder::new(FileDisk::create_new(&path)?, BuildOptions::default())?;
    builder.begin_bucket(b"key")?;
    let mut bytes = 0;
    for revision in 2..ENTRIES + 2 {
        let mut key = [b'_'; 17];
        key[..8].copy_from_slice(&revision.to_be_bytes());
        key[9..].copy_from_slice(&[0; 8]);
        let len = 1024 + usize::try_from(revision * 2_654_435_761 % 5120)?;
        builder.push(&key, &values[..len])?;
        bytes += key.len() + len;
    }
    builder.end_bucket()?;
    let pushed = start.elapsed();
    let (disk, summary) = builder.finish()?;
    drop(disk);
    rate("pushed", bytes, pushed.as_secs_f64());
    rate("built and synced", bytes, start.elapsed().as_secs_f64());
    println!("{summary:?}");

    let start = Instant::now();
    let db = Db::open(MappedFile::open(&path)?)?;
    db.source().advise_sequential();
    let bucket = db.bucket(b"key")?.ok_or("the bucket that was built")?;
    let (mut cursor, mut sum) = (bucket.cursor(), 0_u64);
    while let Some(entry) = cursor.next()? {
        // A word of each 64 bytes: the memory is touched, the sum costs nothing.
        sum += entry.value.iter().step_by(64).map(|byte| u64::from(*byte)).sum::<u64>();
    }
    rate("scanned", bytes, start.elapsed().as_secs_f64());
    let start = Instant::now();
    let report = check(&db)?;
    rate("checked", bytes, start.elapsed().as_secs_f64());
    println!("sum {sum}, {} entries, {} faults", report.entries, report.fault_count);
    std::fs::remove_file(&path)?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "printed with two digits")]
fn rate(what: &str, bytes: usize, seconds: f64) {
    println!(
        "{what}: {:.2} GB in {seconds:.2} s, {:.2} GB/s",
        bytes as f64 / 1e9,
        bytes as f64 / 1e9 / seconds
    );
}
