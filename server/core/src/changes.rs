//! Which records somebody else does not have: the comparison behind the service Records.
//!
//! A vault names the records that it holds by revision and keyed digest; a pass over the records
//! of a database, in order, tells what is to be sent: records that were not named, or that have
//! other bytes than the vault's, whole; those that were named and are not alive by their
//! revision.
//!
//! What must hold: every record that is alive is either found equal by its digest or sent whole,
//! and every one that is named and not alive is told, so that both sides have the same set
//! afterwards; memory is one message of names and one piece of answers, whatever the counts; the
//! codec has one spelling, and what is read is checked: order, bounds, key numbers.

mod compare;
#[cfg(test)]
mod tests;
mod wire;

pub use compare::{Comparison, DIGEST_KEY_BYTES, DigestKey, Names, Totals};
pub use wire::{
    EntryReader, Item, ItemReader, ItemWriter, Known, KnownWriter, PayloadError, put_entry,
    read_known,
};
