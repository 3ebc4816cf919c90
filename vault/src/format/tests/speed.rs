//! A measurement in seconds of this thread's processor time, not a test: `cargo test --release -p
//! holdfast-vault speed -- --ignored --nocapture`.

use super::fixture::{Fixture, Owned};
use crate::format::*;
use rustix::time::{ClockId, clock_gettime};

/// Processor time of this thread, in seconds.
fn now() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[test]
#[ignore = "a measurement"]
fn speed_of_writing_and_opening() {
    let mut fixture = Fixture::new();
    let mut entropy = SeededEntropy::new(1);
    let mut noise = vec![0; 1 << 16];
    entropy.fill(&mut noise);
    let record = |n: usize| Owned {
        main: n as i64,
        sub: 0,
        tombstone: false,
        value: noise[(n * 37) % 60000..][..1500].to_vec(),
        key: format!("/registry/pods/{n}").into_bytes(),
        sensitive: true,
    };
    for sensitive in [true, false] {
        let records: Vec<Owned> = (1..100_000).map(|n| Owned { sensitive, ..record(n) }).collect();
        let start = now();
        let (bytes, reference) = fixture.segment(&records, SegmentSettings::default());
        let plain = reference.record_bytes as f64 / 1e6;
        let rate = |start: f64| plain / (now() - start);
        println!("sensitive {sensitive}: {plain:.0} MB in {} MB", bytes.len() / 1_000_000);
        println!("  write        {:6.0} MB/s", rate(start));
        let start = now();
        let index =
            SegmentIndex::open(&bytes, &reference, fixture.owner(), &fixture.keyring).unwrap();
        println!("  open, whole  {:6.0} MB/s", rate(start));
        let opener = index.frames_opener(&fixture.keyring).unwrap();
        let mut buffer = FrameBuffer::new();
        for bound in [Bound::ByFrame, Bound::ByObject] {
            let start = now();
            for frame in index.frames() {
                opener
                    .open(frame.entry.slice(&bytes).unwrap(), &frame.entry, bound, &mut buffer)
                    .unwrap();
            }
            println!("  {bound:?}     {:6.0} MB/s", rate(start));
        }
        let start = now();
        let sum: u64 = records.iter().map(|record| u64::from(index.digest(&record.record()))).sum();
        println!("  digests      {:6.0} MB/s ({})", rate(start), sum % 10);
    }
}
