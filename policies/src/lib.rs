//! What to keep, when to run, which provider seals: pure functions.
