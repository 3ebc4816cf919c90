//! The format against models, damage, forgeries, garbage and its own past.

mod damage;
mod fixture;
mod forgery;
mod garbage;
mod golden;
mod roundtrip;
