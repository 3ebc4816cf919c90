//! Puts in transactions, ours beside Go's bbolt (`make peers`), one after the other, several times:
//! `cargo run --release -p holdfast-bolt --example commits DIRECTORY [COUNT BATCH VALUE ROUNDS]`

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use holdfast_bolt::{Store, StoreOptions, check};

/// What is put.
#[derive(Clone, Copy)]
struct Load {
    count: u64,
    batch: u64,
    value_bytes: usize,
    fill_percent: u8,
    is_random: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let directory = args.next().ok_or("a directory for the files is needed")?;
    let numbers: Vec<u64> = args.map(|arg| arg.parse()).collect::<Result<_, _>>()?;
    let number = |at: usize, usual| numbers.get(at).copied().unwrap_or(usual);
    let (count, batch) = (number(0, 100_000), number(1, 1000));
    let value_bytes = usize::try_from(number(2, 256))?;
    let rounds = number(3, 5).max(1);
    for is_random in [false, true] {
        let fill_percent = if is_random { 50 } else { 90 };
        let load = Load { count, batch, value_bytes, fill_percent, is_random };
        let (mut ours, mut go) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(puts(&Path::new(&directory).join("ours.db"), load)?);
            go.push(go_puts(&Path::new(&directory).join("go.db"), load)?);
        }
        let order = if is_random { "random" } else { "rising" };
        let (ours, go) = (median(ours), median(go));
        println!("{order}: ours {ours:.3} s, Go {go:.3} s, {:.2} times Go's speed", go / ours);
    }
    Ok(())
}

/// Seconds from the first transaction to the end of the last.
fn puts(path: &Path, load: Load) -> Result<f64, Box<dyn Error>> {
    let options = StoreOptions { initial_map_bytes: 10 << 30, ..StoreOptions::default() };
    let store = Store::open_path(path, options)?;
    let mut tx = store.write()?;
    tx.create_bucket_if_missing(b"key")?;
    tx.commit()?;
    let value: Vec<u8> = (0..=255).cycle().take(load.value_bytes).collect();
    let mut key = *b"........_........";
    key[9..].fill(0);
    let start = Instant::now();
    let mut done = 0_u64;
    while done < load.count {
        let mut tx = store.write()?;
        let mut bucket = tx.bucket(b"key")?.ok_or("the bucket that was made")?;
        bucket.set_fill_percent(load.fill_percent);
        for _ in 0..load.batch.min(load.count - done) {
            done += 1;
            // Odd times anything permutes 2^64: each key comes once.
            let factor = if load.is_random { 0x9e37_79b9_7f4a_7c15 } else { 1 };
            key[..8].copy_from_slice(&done.wrapping_mul(factor).to_be_bytes());
            bucket.put(&key, &value)?;
        }
        tx.commit()?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let report = check(&*store.read())?;
    assert!(report.is_ok() && report.entries == load.count, "{report:?}");
    drop(store);
    std::fs::remove_file(path)?;
    Ok(seconds)
}

fn go_puts(path: &Path, load: Load) -> Result<f64, Box<dyn Error>> {
    let numbers = [load.count, load.batch, load.value_bytes as u64, u64::from(load.fill_percent)];
    let mut command = Command::new(holdfast_peers::peer("bolt-peer"));
    command.arg("bench").arg(path).args(numbers.map(|number| number.to_string()));
    command.arg(if load.is_random { "random" } else { "rising" });
    let said = holdfast_peers::run(&mut command);
    std::fs::remove_file(path)?;
    Ok(said.trim().parse()?)
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
