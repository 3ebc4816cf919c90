//! The catalogue: every snapshot that exists. What is not in it does not exist, whatever a listing
//! shows.
//!
//! The newest entries stand in the head; 1,024 of them at a time move to a page, an object of its
//! own. Holds: numbers ascend over pages and head; no number twice; a page is never empty.

use crate::proto::{CatalogueEntry, PageRef};
use std::collections::{BTreeMap, BTreeSet};

/// Most entries that a head or a page holds.
pub const PAGE_ENTRIES: usize = 1024;

/// A page as it stands, or as it must be written.
#[derive(Debug, Clone, PartialEq)]
pub enum Page {
    /// Stored and unchanged.
    Stored {
        /// Where it is.
        reference: PageRef,
        /// What is in it.
        entries: Vec<CatalogueEntry>,
    },
    /// To be written before the commit that names it.
    Unwritten {
        /// The stored page that it replaces.
        replaces: Option<PageRef>,
        /// What is in it.
        entries: Vec<CatalogueEntry>,
    },
}

impl Page {
    /// What is in it.
    pub fn entries(&self) -> &[CatalogueEntry] {
        match self {
            Page::Stored { entries, .. } | Page::Unwritten { entries, .. } => entries,
        }
    }
}

/// All snapshots: pages, then the head's own entries.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalogue {
    pages: Vec<Page>,
    newest: Vec<CatalogueEntry>,
    dropped: Vec<PageRef>,
}

/// What a commit changes in the catalogue.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CatalogueEdit {
    /// A new snapshot, newer than all.
    pub insert: Option<CatalogueEntry>,
    /// Snapshots that no longer exist from here on.
    pub forget: BTreeSet<u64>,
    /// Proven levels to raise: snapshot to (level, when in milliseconds).
    pub proven: BTreeMap<u64, (u32, i64)>,
}

impl CatalogueEdit {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.insert.is_none() && self.forget.is_empty() && self.proven.is_empty()
    }
}

impl Catalogue {
    /// Puts together what a head names; `pages` are the contents of `references`, in order.
    ///
    /// # Errors
    /// A sentence that says which page contradicts its reference or which number is out of order.
    pub fn new(
        references: &[PageRef],
        pages: Vec<Vec<CatalogueEntry>>,
        newest: Vec<CatalogueEntry>,
    ) -> Result<Catalogue, String> {
        if references.len() != pages.len() {
            return Err(format!("{} pages for {} references", pages.len(), references.len()));
        }
        let pages = references
            .iter()
            .zip(pages)
            .map(|(reference, entries)| Page::Stored { reference: reference.clone(), entries })
            .collect();
        let catalogue = Catalogue { pages, newest, dropped: Vec::new() };
        catalogue.check_invariants()?;
        Ok(catalogue)
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &CatalogueEntry> {
        self.pages.iter().flat_map(|page| page.entries()).chain(&self.newest)
    }

    /// The numbers of all snapshots.
    pub fn numbers(&self) -> BTreeSet<u64> {
        self.entries().map(|entry| entry.number).collect()
    }

    /// The entry of snapshot `number`.
    pub fn get(&self, number: u64) -> Option<&CatalogueEntry> {
        self.entries().find(|entry| entry.number == number)
    }

    /// The newest snapshot.
    pub fn latest(&self) -> Option<&CatalogueEntry> {
        self.entries().next_back()
    }

    /// How many snapshots there are.
    pub fn len(&self) -> usize {
        self.newest.len() + self.pages.iter().map(|page| page.entries().len()).sum::<usize>()
    }

    /// Whether there is no snapshot.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries that stand in the head itself.
    pub fn newest(&self) -> &[CatalogueEntry] {
        &self.newest
    }

    /// The pages, oldest first.
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// The stored pages that are no longer named after an edit: replaced or emptied ones.
    pub fn removed_pages(&self) -> Vec<PageRef> {
        let replaced = self.pages.iter().filter_map(|page| match page {
            Page::Unwritten { replaces, .. } => replaces.clone(),
            Page::Stored { .. } => None,
        });
        replaced.chain(self.dropped.iter().cloned()).collect()
    }

    /// The catalogue after `edit`; pages that change stand as unwritten. A head that holds
    /// `page_entries` moves them to a page before it takes one more.
    pub fn edited(&self, edit: &CatalogueEdit, page_entries: usize) -> Catalogue {
        let mut after = Catalogue::default();
        for page in &self.pages {
            let entries = changed(page.entries(), edit);
            let reference = match page {
                Page::Stored { reference, .. } => Some(reference.clone()),
                Page::Unwritten { replaces, .. } => replaces.clone(),
            };
            if entries.is_empty() {
                after.dropped.extend(reference);
            } else if entries == page.entries() {
                after.pages.push(page.clone());
            } else {
                after.pages.push(Page::Unwritten { replaces: reference, entries });
            }
        }
        after.newest = changed(&self.newest, edit);
        if let Some(entry) = &edit.insert {
            assert!(
                self.latest().is_none_or(|latest| latest.number < entry.number),
                "a new snapshot is newer than all"
            );
            if after.newest.len() >= page_entries {
                let entries = std::mem::take(&mut after.newest);
                after.pages.push(Page::Unwritten { replaces: None, entries });
            }
            after.newest.push(entry.clone());
        }
        after
    }

    /// The same catalogue after its unwritten pages were stored under `references`, in order.
    pub fn stored(mut self, references: Vec<PageRef>) -> Catalogue {
        let mut references = references.into_iter();
        for page in &mut self.pages {
            if let Page::Unwritten { entries, .. } = page
                && let Some(reference) = references.next()
            {
                *page = Page::Stored { reference, entries: std::mem::take(entries) };
            }
        }
        self.dropped.clear();
        self
    }

    /// The references that a head must carry; only once every page is stored.
    pub fn references(&self) -> Vec<PageRef> {
        let stored = self.pages.iter().filter_map(|page| match page {
            Page::Stored { reference, .. } => Some(reference.clone()),
            Page::Unwritten { .. } => None,
        });
        stored.collect()
    }

    /// Numbers ascend, pages are as their references say, nothing is larger than allowed.
    pub fn check_invariants(&self) -> Result<(), String> {
        let mut last = 0;
        for entry in self.entries() {
            if entry.number <= last {
                return Err(format!("catalogue: {} follows {last}", entry.number));
            }
            last = entry.number;
        }
        for page in &self.pages {
            let entries = page.entries();
            let (Some(first), Some(newest)) = (entries.first(), entries.last()) else {
                return Err("catalogue: an empty page".to_owned());
            };
            if let Page::Stored { reference, .. } = page {
                let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
                let said = (reference.first_number, reference.last_number, reference.count);
                if said != (first.number, newest.number, count) {
                    return Err(format!(
                        "catalogue: the page of {}..={} holds {}..={}",
                        said.0, said.1, first.number, newest.number
                    ));
                }
            }
            if entries.len() > PAGE_ENTRIES {
                return Err(format!("catalogue: a page of {} entries", entries.len()));
            }
        }
        if self.newest.len() > PAGE_ENTRIES {
            return Err(format!("catalogue: {} entries in the head", self.newest.len()));
        }
        Ok(())
    }
}

fn changed(entries: &[CatalogueEntry], edit: &CatalogueEdit) -> Vec<CatalogueEntry> {
    let kept = entries.iter().filter(|entry| !edit.forget.contains(&entry.number));
    kept.map(|entry| {
        let mut entry = entry.clone();
        if let Some((level, when)) = edit.proven.get(&entry.number)
            && *level >= entry.proven_level
        {
            (entry.proven_level, entry.proven_ms) = (*level, *when);
        }
        entry
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(number: u64) -> CatalogueEntry {
        CatalogueEntry { number, ..Default::default() }
    }

    fn store(catalogue: Catalogue) -> Catalogue {
        let references = catalogue
            .pages()
            .iter()
            .filter(|page| matches!(page, Page::Unwritten { .. }))
            .map(|page| PageRef {
                object: None,
                first_number: page.entries().first().unwrap().number,
                last_number: page.entries().last().unwrap().number,
                count: u32::try_from(page.entries().len()).unwrap(),
            })
            .collect();
        catalogue.stored(references)
    }

    #[test]
    fn the_entry_after_a_full_head_begins_a_new_one() {
        let mut catalogue = Catalogue::default();
        for number in 1..=2049 {
            let edit = CatalogueEdit { insert: Some(entry(number)), ..Default::default() };
            catalogue = store(catalogue.edited(&edit, PAGE_ENTRIES));
            catalogue.check_invariants().unwrap();
        }
        assert_eq!((catalogue.pages().len(), catalogue.newest().len()), (2, 1));
        let edit = CatalogueEdit { forget: (1..=1024).collect(), ..Default::default() };
        let after = catalogue.edited(&edit, PAGE_ENTRIES);
        assert_eq!(after.removed_pages().len(), 1);
        assert_eq!(store(after).len(), 1025);
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_map(ops in prop::collection::vec((0u8..4, 1u64..40), 0..80)) {
            let mut model = BTreeMap::new();
            let mut catalogue = Catalogue::default();
            let mut next = 1;
            for (op, number) in ops {
                let mut edit = CatalogueEdit::default();
                match op {
                    0 | 1 => {
                        next += number;
                        model.insert(next, 0);
                        edit.insert = Some(entry(next));
                    }
                    2 => {
                        model.remove(&number);
                        edit.forget.insert(number);
                    }
                    _ => {
                        if let Some(level) = model.get_mut(&number) {
                            *level = 5;
                        }
                        edit.proven.insert(number, (5, 1));
                    }
                }
                catalogue = store(catalogue.edited(&edit, PAGE_ENTRIES));
                catalogue.check_invariants().unwrap();
            }
            let found: Vec<(u64, u32)> =
                catalogue.entries().map(|entry| (entry.number, entry.proven_level)).collect();
            prop_assert_eq!(found, model.into_iter().collect::<Vec<_>>());
        }
    }
}
