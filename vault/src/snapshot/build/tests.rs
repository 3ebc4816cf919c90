//! What goes into which segment, without a store.

use super::*;
use crate::access::AccessParts;
use crate::chain::rules::ChainLimits;
use crate::clock::SystemClock;
use crate::format::{ClusterId, SeededEntropy, VaultId};
use crate::keys::{EncryptionConfig, ProviderConfig, Providers, Sealing};
use crate::store::{Store, StoreOptions};
use object_store::memory::InMemory;

fn builders(group_ends: BTreeMap<u32, Rev>) -> Builders {
    let mut entropy = SeededEntropy::new(7);
    let identity =
        EncryptionConfig { resources: vec![], providers: vec![ProviderConfig::Identity] };
    let providers = Providers::from_config(&identity, Sealing::None, &mut |_| unreachable!());
    let (data, index) = (DataSeed::random(&mut entropy), IndexSeed::random(&mut entropy));
    let tag_key = TagKey::random(&mut entropy);
    let access = Access::new(AccessParts {
        store: Store::over(Arc::new(InMemory::new()), "memory", StoreOptions::default()),
        vault: VaultId::random(&mut entropy),
        cluster: ClusterId::random(&mut entropy),
        clock: Arc::new(SystemClock),
        entropy: Box::new(entropy),
        providers,
        unsealed: true,
        limits: ChainLimits::default(),
    });
    let segment = SegmentSettings { frame_bytes: 4096, zstd_level: 1 };
    let target_bytes = 1 << 20;
    let settings = BuildSettings { segment, target_bytes, tag_key, group_ends };
    Builders::new(Arc::new(access), data, index, settings)
}

/// Copies records of these groups, from the first to the last revision each; gives the ranges of
/// what was built, and how many were in the making at a time.
fn copied(groups: &[(i64, i64)]) -> (Vec<(i64, i64)>, usize) {
    let numbered = || (0u32..).zip(groups);
    let mut builders = builders(numbered().map(|(group, ends)| (group, (ends.1, 0))).collect());
    let mut most = 0;
    for main in 1..=groups.iter().map(|ends| ends.1).max().unwrap() {
        // Each revision is of one of the groups that span it.
        let spanning: Vec<u32> = numbered()
            .filter(|(_, ends)| (ends.0..=ends.1).contains(&main))
            .map(|(group, _)| group)
            .collect();
        let Some(of) = spanning.get(usize::try_from(main).unwrap() % spanning.len().max(1)) else {
            continue;
        };
        let (key, value) = (&b"key"[..], &b"value"[..]);
        let (sub, tombstone, superseded, sensitive) = (0, false, false, false);
        let record = SourceRecord { main, sub, tombstone, key, value, superseded, sensitive };
        builders.emit(Target::Copied(*of), &record).unwrap();
        most = most.max(builders.open.len());
    }
    builders.close().unwrap();
    let range = |segment: SegmentRef| (segment.first.unwrap().main, segment.last.unwrap().main);
    (builders.done().into_iter().map(|(_, segment)| range(segment)).collect(), most)
}

#[test]
fn a_copied_segment_spans_no_more_than_its_group() {
    let groups = [(1, 100), (90, 300), (1000, 1100), (400, 420)];
    let (ranges, most) = copied(&groups);
    assert_eq!(ranges.len(), groups.len());
    for range in ranges {
        assert!(groups.iter().any(|ends| ends.0 <= range.0 && range.1 <= ends.1), "{range:?}");
    }
    assert_eq!(most, 2, "a group that has ended is closed");
}

#[test]
fn few_segments_are_in_the_making_at_a_time() {
    let (ranges, most) = copied(&[(1, 100); 20]);
    assert_eq!((ranges.len(), most), (OPEN_GROUPS, OPEN_GROUPS));
}
