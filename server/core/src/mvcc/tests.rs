//! The store against a model that keeps every state whole.

mod crashes;
mod histories;
mod model;
mod points;
