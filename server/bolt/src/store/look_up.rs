//! Looking things up in a tree that is partly in memory, partly as it is in the file: one key, the
//! next one, the last one.

use std::borrow::Cow;
use std::ops::Bound;

use super::Item;
use super::arena::Arena;
use super::node::{Entry, Kind, To, search_children, search_entries};
use crate::bucket::Place as StoredPlace;
use crate::cursor::{Cursor, Entry as StoredEntry};
use crate::db::Db;
use crate::error::{Damage, ReadError};
use crate::source::PageSource;

/// The value of an entry.
pub(super) struct Found<'t> {
    pub(super) value: Cow<'t, [u8]>,
    pub(super) is_bucket: bool,
}

/// The entry of exactly `key`.
pub(super) fn find<'t, P: PageSource>(
    root: &'t To,
    db: &'t Db<P>,
    arena: &'t Arena,
    key: &[u8],
) -> Result<Option<Found<'t>>, ReadError> {
    let mut to = root;
    loop {
        let node = match to {
            To::Stored(page) => return find_stored(db, *page, key),
            To::Loaded(node) => node,
        };
        match &node.kind {
            Kind::Leaf(entries) => {
                let (index, equal) = search_entries(entries, key, arena);
                return Ok(equal.then(|| {
                    let value = Cow::Borrowed(entries[index].value(arena));
                    Found { value, is_bucket: entries[index].is_bucket }
                }));
            }
            Kind::Branch(children) => to = &children[search_children(children, key, arena)].to,
        }
    }
}

fn find_stored<'t, P: PageSource>(
    db: &'t Db<P>,
    page: u64,
    key: &[u8],
) -> Result<Option<Found<'t>>, ReadError> {
    let mut cursor = Cursor::new(db, StoredPlace::Page(page));
    let found = cursor.find(key)?;
    Ok(found.map(|(leaf, index)| {
        let is_bucket = leaf.leaf(index).is_bucket;
        Found { value: leaf.leaf_value(index), is_bucket }
    }))
}

/// The first entry from `from` on. It never lies before that, so that a loop of such calls ends.
pub(super) fn seek<P: PageSource>(
    root: &To,
    db: &Db<P>,
    arena: &Arena,
    from: Bound<&[u8]>,
) -> Result<Option<Item>, ReadError> {
    let found = seek_below(root, db, arena, from)?;
    let behind = |item: &Item| match from {
        Bound::Unbounded => false,
        Bound::Included(key) => item.key.as_slice() < key,
        Bound::Excluded(key) => item.key.as_slice() <= key,
    };
    if found.as_ref().is_some_and(behind) {
        let page = match root {
            To::Stored(page) => *page,
            To::Loaded(node) => node.run.page,
        };
        return Err(ReadError::damaged(page, Damage::KeyOrder));
    }
    Ok(found)
}

fn seek_below<P: PageSource>(
    to: &To,
    db: &Db<P>,
    arena: &Arena,
    from: Bound<&[u8]>,
) -> Result<Option<Item>, ReadError> {
    let node = match to {
        To::Stored(page) => return seek_stored(db, *page, from),
        To::Loaded(node) => node,
    };
    match &node.kind {
        Kind::Leaf(entries) => {
            let index = match from {
                Bound::Unbounded => 0,
                Bound::Included(key) => search_entries(entries, key, arena).0,
                Bound::Excluded(key) => {
                    let (index, equal) = search_entries(entries, key, arena);
                    index + usize::from(equal)
                }
            };
            Ok(entries.get(index).map(|entry| item(entry, arena)))
        }
        Kind::Branch(children) => {
            let first = match from {
                Bound::Unbounded => 0,
                Bound::Included(key) | Bound::Excluded(key) => {
                    search_children(children, key, arena)
                }
            };
            for child in &children[first..] {
                if let Some(item) = seek_below(&child.to, db, arena, from)? {
                    return Ok(Some(item));
                }
            }
            Ok(None)
        }
    }
}

fn seek_stored<P: PageSource>(
    db: &Db<P>,
    page: u64,
    from: Bound<&[u8]>,
) -> Result<Option<Item>, ReadError> {
    let mut cursor = Cursor::new(db, StoredPlace::Page(page));
    let found = match from {
        Bound::Unbounded => cursor.first()?,
        Bound::Included(key) | Bound::Excluded(key) => cursor.seek(key)?,
    };
    let passed = match (found, from) {
        (Some(entry), Bound::Excluded(key)) => entry.key == key,
        _ => false,
    };
    let found = if passed { cursor.next()? } else { cursor.current()? };
    Ok(found.map(stored_item))
}

/// The last entry.
pub(super) fn last<P: PageSource>(
    to: &To,
    db: &Db<P>,
    arena: &Arena,
) -> Result<Option<Item>, ReadError> {
    let node = match to {
        To::Stored(page) => {
            let mut cursor = Cursor::new(db, StoredPlace::Page(*page));
            return Ok(cursor.last()?.map(stored_item));
        }
        To::Loaded(node) => node,
    };
    match &node.kind {
        Kind::Leaf(entries) => Ok(entries.last().map(|entry| item(entry, arena))),
        // Leaves that deletions emptied stand until the transaction is written.
        Kind::Branch(children) => {
            for child in children.iter().rev() {
                if let Some(item) = last(&child.to, db, arena)? {
                    return Ok(Some(item));
                }
            }
            Ok(None)
        }
    }
}

fn item(entry: &Entry, arena: &Arena) -> Item {
    let (key, value) = (entry.key(arena).to_vec(), entry.value(arena).to_vec());
    Item { key, value, is_bucket: entry.is_bucket }
}

fn stored_item(entry: StoredEntry<'_>) -> Item {
    let (key, value) = (entry.key.to_vec(), entry.value.to_vec());
    Item { key, value, is_bucket: entry.is_bucket }
}
