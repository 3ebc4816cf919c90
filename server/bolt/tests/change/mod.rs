//! Changes of a store, and the same changes of the model.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::ops::Bound;

use crate::tree::{Item, Tree};
use holdfast_bolt::{PageSource, StoreDisk, WriteBucket, WriteTx};
use proptest::prelude::*;

/// One change; `path` leads to the bucket, whose missing parts are made.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Put { path: Vec<u8>, keys: Keys, value: usize },
    Delete { path: Vec<u8>, keys: Keys },
    DeleteBucket { path: Vec<u8>, name: u8 },
    Sequence { path: Vec<u8>, sequence: u64 },
}

/// `count` keys from `first` on, `step` apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys {
    first: u16,
    count: u16,
    step: u16,
    /// Bytes behind the number.
    tail: usize,
}

impl Keys {
    fn all(self) -> impl Iterator<Item = Vec<u8>> {
        (0..self.count).map(move |n| {
            let number = self.first.wrapping_add(n.wrapping_mul(self.step));
            let mut key = b"k".to_vec();
            key.extend_from_slice(&number.to_be_bytes());
            key.resize(3 + self.tail, b'.');
            key
        })
    }
}

fn keys() -> impl Strategy<Value = Keys> {
    let counts = prop_oneof![4 => 1_u16..4, 4 => 1_u16..60, 1 => 500_u16..3000];
    let tails = prop_oneof![12 => Just(0_usize), 3 => Just(20), 1 => Just(700), 1 => Just(5000)];
    (0_u16..4000, counts, prop::sample::select(vec![1_u16, 1, 7, 4001]), tails).prop_map(
        |(first, count, step, tail)| {
            // Long keys are few, so that the test is quick.
            let count = if tail > 100 { count.min(40) } else { count };
            Keys { first, count, step, tail }
        },
    )
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    let path = || {
        prop_oneof![
            6 => prop::sample::select(vec![vec![1_u8], vec![2], vec![3]]),
            2 => prop::sample::select(vec![vec![1_u8, 1], vec![1, 2], vec![2, 1, 1], vec![3, 1]]),
        ]
    };
    let value = prop_oneof![6 => 0_usize..200, 2 => 0_usize..2000, 1 => 0_usize..40_000];
    prop_oneof![
        8 => (path(), keys(), value).prop_map(|(path, keys, value)| {
            let most = if value > 1000 { 30 } else { keys.count };
            Change::Put { path, keys: Keys { count: keys.count.min(most), ..keys }, value }
        }),
        6 => (path(), keys()).prop_map(|(path, keys)| Change::Delete { path, keys }),
        1 => (path(), 1_u8..4).prop_map(|(path, name)| Change::DeleteBucket { path, name }),
        1 => (path(), any::<u64>()).prop_map(|(path, n)| Change::Sequence { path, sequence: n }),
    ]
}

/// Changes of a few keys: histories of them write few pages.
pub(crate) fn few_changes() -> impl Strategy<Value = Vec<Change>> {
    let few = change().prop_map(|mut change| {
        match &mut change {
            Change::Put { keys, value, .. } => {
                keys.count = keys.count.min(12);
                *value = (*value).min(3000);
                keys.tail = keys.tail.min(20);
            }
            Change::Delete { keys, .. } => keys.tail = keys.tail.min(20),
            _ => {}
        }
        change
    });
    proptest::collection::vec(few, 1..6)
}

pub(crate) fn changes() -> impl Strategy<Value = Vec<Change>> {
    proptest::collection::vec(change(), 0..8)
}

fn name(part: u8) -> Vec<u8> {
    // Among the keys, before them and after them.
    match part {
        1 => b"a bucket".to_vec(),
        2 => b"k\x02\0 between".to_vec(),
        _ => b"z".to_vec(),
    }
}

fn value_of(key: &[u8], len: usize) -> Vec<u8> {
    let mut value = key.to_vec();
    value.resize(len, 7);
    value
}

/// Changes the model.
pub(crate) fn model(root: &mut Tree, change: &Change) {
    let (Change::Put { path, .. }
    | Change::Delete { path, .. }
    | Change::DeleteBucket { path, .. }
    | Change::Sequence { path, .. }) = change;
    let mut bucket = root;
    for part in path {
        let inner = bucket.items.entry(name(*part)).or_insert(Item::Bucket(Tree::default()));
        let Item::Bucket(inner) = inner else { panic!("names of buckets are no keys") };
        bucket = inner;
    }
    match change {
        Change::Put { keys, value, .. } => {
            for key in keys.all() {
                let value = Item::Value(value_of(&key, *value));
                bucket.items.insert(key, value);
            }
        }
        Change::Delete { keys, .. } => {
            for key in keys.all() {
                bucket.items.remove(&key);
            }
        }
        Change::DeleteBucket { name: inner, .. } => {
            bucket.items.remove(&name(*inner));
        }
        Change::Sequence { sequence, .. } => bucket.sequence = *sequence,
    }
}

/// Changes the store.
pub(crate) fn apply<D: StoreDisk>(tx: &mut WriteTx<'_, D>, change: &Change) {
    let (Change::Put { path, .. }
    | Change::Delete { path, .. }
    | Change::DeleteBucket { path, .. }
    | Change::Sequence { path, .. }) = change;
    let (first, rest) = path.split_first().unwrap();
    let mut bucket = tx.create_bucket_if_missing(&name(*first)).unwrap();
    within(&mut bucket, rest, change);
}

fn within<P: PageSource>(bucket: &mut WriteBucket<'_, P>, path: &[u8], change: &Change) {
    if let Some((part, rest)) = path.split_first() {
        let mut inner = bucket.create_bucket_if_missing(&name(*part)).unwrap();
        within(&mut inner, rest, change);
        return;
    }
    match change {
        Change::Put { keys, value, .. } => {
            for key in keys.all() {
                let value = value_of(&key, *value);
                bucket.put(&key, &value).unwrap();
                assert_eq!(bucket.get(&key).unwrap().as_deref(), Some(&value[..]));
            }
        }
        Change::Delete { keys, .. } => {
            for key in keys.all() {
                let was = bucket.get(&key).unwrap().is_some();
                assert_eq!(bucket.delete(&key).unwrap(), was);
                assert!(bucket.get(&key).unwrap().is_none());
            }
            in_order(bucket);
        }
        Change::DeleteBucket { name: inner, .. } => {
            let was = bucket.bucket(&name(*inner)).unwrap().is_some();
            assert_eq!(bucket.delete_bucket(&name(*inner)).unwrap(), was);
        }
        Change::Sequence { sequence, .. } => {
            bucket.set_sequence(*sequence);
            assert_eq!(bucket.sequence(), *sequence);
        }
    }
}

/// Seeks give all keys in order, and end with the last one.
fn in_order<P: PageSource>(bucket: &WriteBucket<'_, P>) {
    let mut last = None::<Vec<u8>>;
    for _ in 0..50 {
        let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let Some(item) = bucket.seek(from).unwrap() else {
            assert_eq!(bucket.last().unwrap().map(|item| item.key), last);
            return;
        };
        assert!(last.is_none_or(|last| last < item.key));
        let again = bucket.seek(Bound::Included(&item.key)).unwrap().unwrap();
        assert_eq!(again, item);
        last = Some(item.key);
    }
}
