//! Keeps revisions as sealed, verifiable objects in object stores, and gives them back.
