//! How Go spells values: what upstream's tools print is compared byte by byte, so numbers, texts,
//! JSON and tables must come out as Go's libraries write them.

pub(crate) mod json;
pub(crate) mod number;
pub(crate) mod quote;
pub(crate) mod size;
pub(crate) mod table;
