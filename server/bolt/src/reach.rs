//! Which pages a tree is made of, nested buckets included.
//!
//! What must hold: the walk ends on any input, because a page that was seen before ends it with an
//! error; it holds one word per page that waits to be read.

use crate::bucket::Place;
use crate::db::Db;
use crate::error::{Damage, ReadError};
use crate::node::Node;
use crate::pageset::PageSet;
use crate::source::PageSource;

/// Gives every run of pages (first page, length) of the tree at `root` to `visit`.
///
/// # Errors
/// I/O, damage on the way, or what `visit` objects to. It must object to a page it saw before.
pub(crate) fn runs<S: PageSource>(
    db: &Db<S>,
    root: u64,
    mut visit: impl FnMut(u64, u64) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut waiting = vec![root];
    while let Some(page) = waiting.pop() {
        let (header, bytes) = db.run(page)?;
        visit(page, u64::from(header.overflow) + 1)?;
        let node = Node::parse(page, bytes)?;
        let first = waiting.len();
        for index in 0..node.count() {
            if !node.is_leaf() {
                waiting.push(node.branch(index).1);
            } else if node.leaf(index).is_bucket {
                match Place::of(&node, index)?.0 {
                    Place::Page(root) => waiting.push(root),
                    inline @ Place::Inline { .. } => inline.node(db)?.refuse_buckets()?,
                }
            }
        }
        // The next one to be read is the first child: leaves come in the order of their keys.
        waiting[first..].reverse();
    }
    Ok(())
}

/// All pages that are in use: the metas and what is reachable from the root.
///
/// # Errors
/// I/O, or damage; a page that is referred to twice is damage, too.
pub(crate) fn used<S: PageSource>(db: &Db<S>) -> Result<PageSet, ReadError> {
    let mut used = PageSet::new(db.meta().high_water);
    used.insert(0);
    used.insert(1);
    runs(db, db.meta().root.root, |page, pages| {
        for page in page..page + pages {
            if !used.insert(page) {
                return Err(ReadError::damaged(page, Damage::Shared));
            }
        }
        Ok(())
    })?;
    Ok(used)
}
