//! Whether a restore lifts the revision, and to which.
//!
//! Clients remember revisions: a watch resumed at one that the restored store has
//! not reached yet waits for it, and then misses everything that happened in between under
//! re-used numbers. So `auto` never lets a revision come back that is known to have been served:
//! - Kubernetes data: lifted to the high-water mark + 1,000,000,000, as upstream advises. API
//!   servers cache by revision, always watch, and served revisions after the snapshot that nobody
//!   recorded.
//! - other data, and the high-water mark lies above the restored revision (an older snapshot, a
//!   trim): the same.
//! - other data restored at the high-water mark: none. History and HashKV stay as they were; the
//!   plan warns that writes after the snapshot may have been seen.

use std::str::FromStr;

use serde::Serialize;

use super::PlanError;

/// What `auto` adds to the high-water mark.
pub const BUMP_MARGIN: i64 = 1_000_000_000;

/// What was asked of the revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BumpChoice {
    /// Lift it where clients could otherwise see a revision twice.
    #[default]
    Auto,
    /// Leave it.
    None,
    /// Lift it by this much above the restored revision.
    By(i64),
}

/// What happens to the revision, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BumpDecision {
    /// The revision after it; `None` leaves it.
    pub to: Option<i64>,
    /// Why.
    pub reason: String,
}

/// A text that is no [`BumpChoice`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not `auto`, `none` or a number of at least 1")]
pub struct BadBump(String);

impl FromStr for BumpChoice {
    type Err = BadBump;

    fn from_str(text: &str) -> Result<Self, BadBump> {
        match text.trim() {
            "auto" => Ok(BumpChoice::Auto),
            "none" => Ok(BumpChoice::None),
            number => match number.parse() {
                Ok(by) if by > 0 => Ok(BumpChoice::By(by)),
                _ => Err(BadBump(text.to_owned())),
            },
        }
    }
}

impl BumpDecision {
    /// Decides what happens to the revision; see the head of this file.
    ///
    /// # Errors
    /// A lift that is none, or that leaves the numbers that revisions can have.
    pub fn decide(
        choice: BumpChoice,
        revision: i64,
        high_water: i64,
        kubernetes: bool,
    ) -> Result<BumpDecision, PlanError> {
        let mark = high_water.max(revision);
        let lift = |by: i64, from: i64| from.checked_add(by).filter(|to| by > 0 && *to < i64::MAX);
        let auto = lift(BUMP_MARGIN, mark);
        let (to, reason) = match choice {
            BumpChoice::None => (None, "asked for".to_owned()),
            BumpChoice::By(by) => {
                let to = lift(by, revision).ok_or(PlanError::Bump { by, revision })?;
                (Some(to), "asked for".to_owned())
            }
            BumpChoice::Auto if kubernetes => {
                let what = "Kubernetes data: API servers cache and watch by revision";
                (
                    auto,
                    format!(
                        "{what}; the highest revision known to be served is {mark}, plus \
                         {BUMP_MARGIN}"
                    ),
                )
            }
            BumpChoice::Auto if high_water > revision => {
                let what = "revisions above the restored one were served";
                (auto, format!("{what}, up to {mark}; plus {BUMP_MARGIN}"))
            }
            BumpChoice::Auto => {
                let what = "not Kubernetes data, and restored at the highest revision known to be \
                     served";
                (None, format!("{what} ({mark}); history stays readable"))
            }
        };
        if choice == BumpChoice::Auto && to.is_none() && (kubernetes || high_water > revision) {
            return Err(PlanError::Bump { by: BUMP_MARGIN, revision: mark });
        }
        Ok(BumpDecision { to, reason })
    }
}
