//! Which pages may be written: those that no reader can see, and that the state on the disk does
//! not need.
//!
//! A page is *born* by the transaction that allocates it and *dies* by the one that frees it. A
//! reader on the state of transaction r sees it if born <= r < died. Pages that a reader sees wait
//! under the newest such reader; when that is gone they are looked at again. So a transaction costs
//! what it frees and what the readers that left held, never the number of free pages.
//!
//! What must hold: a page is used, available or waiting, and one of them only; what a transaction
//! that did not commit allocated is available again.

use std::collections::{BTreeMap, HashMap};

use super::spans::Spans;
use crate::error::{Damage, ReadError};
use crate::pageset::PageSet;

/// A node's pages. Inline and new nodes have none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) page: u64,
    pub(super) pages: u64,
}

/// A freed run and the transactions that its content lived through.
#[derive(Debug, Clone, Copy)]
struct Freed {
    run: Run,
    born: u64,
    died: u64,
}

/// The pages of a file by their use.
#[derive(Debug)]
pub(super) struct Freelist {
    used: PageSet,
    available: Spans,
    /// By the reader that they wait for.
    waiting: BTreeMap<u64, Vec<Freed>>,
    /// Freed by commits, and not sorted by readers yet.
    fresh: Vec<Freed>,
    waiting_pages: u64,
    /// When runs were allocated, by first page; only while there are readers who did not see it.
    born: HashMap<u64, u64>,
    /// What the present transaction did.
    allocated: Vec<Run>,
    freed: Vec<Freed>,
}

impl Freelist {
    /// All pages below `high_water` that are not used are available.
    pub(super) fn new(used: PageSet, high_water: u64) -> Freelist {
        let mut available = Spans::default();
        for (start, len) in used.gaps(2, high_water) {
            available.insert(start, len);
        }
        Freelist {
            used,
            available,
            waiting: BTreeMap::new(),
            fresh: Vec::new(),
            waiting_pages: 0,
            born: HashMap::new(),
            allocated: Vec::new(),
            freed: Vec::new(),
        }
    }

    /// Number of pages that can be written to.
    pub(super) fn available_pages(&self) -> u64 {
        self.available.pages()
    }

    /// Number of pages that readers may still see, or did until the last transaction began.
    pub(super) fn waiting_pages(&self) -> u64 {
        self.waiting_pages
    }

    /// Makes available what no reader sees. `readers`: the states that are being read, counted.
    pub(super) fn release(&mut self, readers: &BTreeMap<u64, usize>) {
        let mut loose = std::mem::take(&mut self.fresh);
        let left: Vec<u64> =
            self.waiting.keys().filter(|reader| !readers.contains_key(reader)).copied().collect();
        for reader in left {
            loose.extend(self.waiting.remove(&reader).unwrap_or_default());
        }
        for freed in loose {
            match readers.range(..freed.died).next_back() {
                Some((&reader, _)) if reader >= freed.born => {
                    self.waiting.entry(reader).or_default().push(freed);
                }
                _ => {
                    self.waiting_pages -= freed.run.pages;
                    self.available.insert(freed.run.page, freed.run.pages);
                }
            }
        }
        if readers.is_empty() {
            self.born.clear();
        }
    }

    /// A run of `pages` for transaction `txid`: from what is available, else at the high water
    /// mark, which it moves.
    pub(super) fn allocate(&mut self, pages: u64, txid: u64, high_water: &mut u64) -> u64 {
        let page = self.place(pages, high_water);
        self.take(Run { page, pages }, txid);
        page
    }

    /// Runs one after the other, of these numbers of pages, as [`Freelist::allocate`].
    pub(super) fn allocate_row(
        &mut self,
        sizes: &[u64],
        txid: u64,
        high_water: &mut u64,
    ) -> Vec<Run> {
        let total: u64 = sizes.iter().sum();
        let mut next = self.place(total, high_water);
        let mut run = |pages: &u64| {
            let run = Run { page: next, pages: *pages };
            next += pages;
            self.take(run, txid);
            run
        };
        sizes.iter().map(&mut run).collect()
    }

    /// Where a run of `pages` goes.
    fn place(&mut self, pages: u64, high_water: &mut u64) -> u64 {
        self.available.take(pages).unwrap_or_else(|| {
            *high_water += pages;
            self.used.grow(*high_water);
            *high_water - pages
        })
    }

    fn take(&mut self, run: Run, txid: u64) {
        for page in run.page..run.page + run.pages {
            let new = self.used.insert(page);
            assert!(new, "what is available is not used");
        }
        self.allocated.push(run);
        self.born.insert(run.page, txid);
    }

    /// A run of `pages` that is available, if there is one.
    pub(super) fn has_run(&self, pages: u64) -> bool {
        self.available.has(pages)
    }

    /// Frees a run that transaction `txid` no longer refers to.
    ///
    /// # Errors
    /// Damage if a page of it is not in use: the file refers to it twice.
    pub(super) fn free(&mut self, run: Run, txid: u64) -> Result<(), ReadError> {
        for page in run.page..run.page + run.pages {
            if !self.used.remove(page) {
                for freed in run.page..page {
                    self.used.insert(freed);
                }
                return Err(ReadError::damaged(page, Damage::Shared));
            }
        }
        let born = self.born.get(&run.page).copied().unwrap_or(0);
        self.freed.push(Freed { run, born, died: txid });
        Ok(())
    }

    /// The present transaction is on the disk.
    pub(super) fn commit(&mut self) {
        self.allocated.clear();
        for freed in self.freed.drain(..) {
            self.born.remove(&freed.run.page);
            self.waiting_pages += freed.run.pages;
            self.fresh.push(freed);
        }
    }

    /// The present transaction is not to be. `high_water`: as it was before.
    pub(super) fn roll_back(&mut self, high_water: u64) {
        for freed in self.freed.drain(..) {
            for page in freed.run.page..freed.run.page + freed.run.pages {
                self.used.insert(page);
            }
        }
        for run in self.allocated.drain(..) {
            self.born.remove(&run.page);
            for page in run.page..run.page + run.pages {
                self.used.remove(page);
            }
            if run.page < high_water {
                self.available.insert(run.page, run.pages);
            }
        }
    }

    /// All pages that are not in use below the high water mark, as they are stored: those that
    /// wait for readers, too, since no reader outlives the process.
    pub(super) fn unused(&self, high_water: u64) -> impl Iterator<Item = u64> + '_ {
        self.used.gaps(2, high_water).flat_map(|(start, len)| start..start + len)
    }

    /// Number of pages that [`Freelist::unused`] gives.
    pub(super) fn unused_pages(&self, high_water: u64) -> u64 {
        high_water - self.used.len()
    }
}
