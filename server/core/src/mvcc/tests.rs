//! The store against a model that keeps every state whole.

mod histories;
mod model;
mod points;
