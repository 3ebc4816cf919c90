//! The store against a model that keeps every state whole.

mod beside;
mod crashes;
mod histories;
mod model;
mod points;

pub(crate) use histories::{Both as TestStores, Op, op};
pub(crate) use model::Model;
