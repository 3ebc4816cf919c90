//! The model of a database: nested BTreeMaps, how they are made, built and read back.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;

use holdfast_bolt::fault::MemoryDisk;
use holdfast_bolt::{
    Bucket, BuildError, BuildOptions, Builder, Db, Disk, Freelist, PageSource, Summary,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

/// A bucket and what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) sequence: u64,
    pub(crate) items: BTreeMap<Vec<u8>, Item>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Value(Vec<u8>),
    Bucket(Tree),
}

impl Tree {
    /// A bucket of `count` entries with eight-byte keys.
    pub(crate) fn numbered(count: u64, value: &[u8]) -> Tree {
        let item = |n: u64| (n.to_be_bytes().to_vec(), Item::Value(value.to_vec()));
        Tree { sequence: count, items: (0..count).map(item).collect() }
    }

    pub(crate) fn with(mut self, name: &[u8], bucket: Tree) -> Tree {
        self.items.insert(name.to_vec(), Item::Bucket(bucket));
        self
    }

    /// Entries and buckets, over all levels, the root itself not counted.
    pub(crate) fn totals(&self) -> (u64, u64) {
        self.items.values().fold((0, 0), |(entries, buckets), item| match item {
            Item::Value(_) => (entries + 1, buckets),
            Item::Bucket(inner) => {
                let (e, b) = inner.totals();
                (entries + e, buckets + b + 1)
            }
        })
    }
}

/// Pushes what is in a bucket into a builder.
pub(crate) fn fill<D: Disk>(builder: &mut Builder<D>, tree: &Tree) -> Result<(), BuildError> {
    for (key, item) in &tree.items {
        match item {
            Item::Value(value) => builder.push(key, value)?,
            Item::Bucket(inner) => {
                builder.begin_bucket(key)?;
                builder.set_sequence(inner.sequence)?;
                fill(builder, inner)?;
                builder.end_bucket()?;
            }
        }
    }
    Ok(())
}

/// Builds a file of a root that holds buckets only; the top-level ones in reverse order.
pub(crate) fn build_on<D: Disk>(
    disk: D,
    root: &Tree,
    options: BuildOptions,
) -> Result<(D, Summary), BuildError> {
    let mut builder = Builder::new(disk, options)?;
    for (name, item) in root.items.iter().rev() {
        let one = Tree { sequence: 0, items: BTreeMap::from([(name.clone(), item.clone())]) };
        fill(&mut builder, &one)?;
    }
    builder.finish()
}

pub(crate) fn build(root: &Tree, options: BuildOptions) -> (Vec<u8>, Summary) {
    let (disk, summary) = build_on(MemoryDisk::new(), root, options).unwrap();
    (disk.into_bytes(), summary)
}

/// Reads a whole database.
pub(crate) fn read<S: PageSource>(db: &Db<S>) -> Tree {
    read_bucket(&db.root())
}

fn read_bucket<S: PageSource>(bucket: &Bucket<'_, S>) -> Tree {
    let mut tree = Tree { sequence: bucket.sequence(), items: BTreeMap::new() };
    let mut cursor = bucket.cursor();
    while let Some(entry) = cursor.next().unwrap() {
        let (key, value) = (entry.key.to_vec(), entry.value.to_vec());
        let item = if entry.is_bucket {
            Item::Bucket(read_bucket(&cursor.bucket_here().unwrap()))
        } else {
            Item::Value(value)
        };
        assert!(tree.items.insert(key, item).is_none(), "each key comes once");
    }
    tree
}

pub(crate) fn options() -> impl Strategy<Value = BuildOptions> {
    let sizes = prop::sample::select(vec![1024, 2048, 4096, 4096, 16_384, 65_536]);
    let freelists = prop::sample::select(vec![Freelist::NotStored, Freelist::Stored]);
    (sizes, 10_u8..=100, freelists).prop_map(|(page_size, fill_percent, freelist)| BuildOptions {
        page_size,
        fill_percent,
        freelist,
    })
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => vec(any::<u8>(), 1..24),
        // Few letters: long common beginnings, neighbours that differ in the last byte.
        4 => vec(prop::sample::select(vec![0_u8, 1, b'a', 255]), 1..9),
        1 => (1_usize..=32_768, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![6 => 0_usize..64, 3 => 0_usize..3000, 1 => 0_usize..40_000];
    (len, any::<u8>()).prop_map(|(len, byte)| vec![byte; len])
}

/// A bucket: mostly a handful of entries, at times some hundred.
pub(crate) fn bucket() -> impl Strategy<Value = Tree> {
    let items = prop_oneof![
        2 => btree_map(key(), value().prop_map(Item::Value), 0..6),
        2 => btree_map(key(), value().prop_map(Item::Value), 0..60),
        1 => btree_map(key(), (0_usize..40, any::<u8>())
            .prop_map(|(len, byte)| Item::Value(vec![byte; len])), 200..900),
    ];
    let flat = (any::<u64>(), items).prop_map(|(sequence, items)| Tree { sequence, items });
    flat.prop_recursive(3, 4000, 3, |inner| {
        let values = btree_map(key(), value().prop_map(Item::Value), 0..30);
        let buckets = btree_map(key(), inner.prop_map(Item::Bucket), 0..4);
        (any::<u64>(), values, buckets).prop_map(|(sequence, mut items, buckets)| {
            items.extend(buckets);
            Tree { sequence, items }
        })
    })
}

/// A root: buckets only.
pub(crate) fn root() -> impl Strategy<Value = Tree> {
    btree_map(key(), bucket().prop_map(Item::Bucket), 0..6)
        .prop_map(|items| Tree { sequence: 0, items })
}
