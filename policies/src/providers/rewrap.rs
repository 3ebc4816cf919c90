//! What a rewrap must do: the wraps to add, and those that may go afterwards.
//!
//! Holds: a step is done in its order: add under the first provider, read back, open, on every
//! store, and only then condemn. A crash anywhere leaves a seed that opens. A rewrap does not
//! revoke: see [`REVOKES_NOTHING`].

use super::{Consent, Id, OpenError, Provider, SealError, SeedFact, WrapFact, openings, sealer};

/// What a rewrap prints at its end.
pub const REVOKES_NOTHING: &str = "old wraps live on in bucket versions, locks, replicas and copies: after a stolen key, \
     make new seeds, copy everything forward and wait out the locks";

/// The whole plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewrapPlan {
    /// For each seed that is not as it should be; ascending by the order of seeds.
    pub steps: Vec<RewrapStep>,
    /// Seeds that nothing opens now: left as they are.
    pub blocked: Vec<BlockedSeed>,
    /// Seeds that have just the wrap they should have.
    pub settled: usize,
}

/// What to do with one seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewrapStep {
    /// The seed.
    pub seed: Id,
    /// A wrap under the first provider is missing; false where an earlier rewrap was cut off after
    /// adding it.
    pub add: bool,
    /// The wraps that may be condemned once the seed's wrap under the first provider was read back
    /// and opened.
    pub condemn_after: Vec<Id>,
}

/// A seed that nothing opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockedSeed {
    /// The seed.
    pub seed: Id,
    /// What each of its wraps needs.
    pub needs: Vec<OpenError>,
}

/// Plans a rewrap to the first provider and its first key.
pub fn plan_rewrap(
    seeds: &[SeedFact],
    providers: &[Provider],
    consent: Consent,
) -> Result<RewrapPlan, SealError> {
    let first = sealer(providers, consent)?;
    let mut plan = RewrapPlan { steps: Vec::new(), blocked: Vec::new(), settled: 0 };
    for seed in seeds {
        if let Err(needs) = openings(&seed.wraps, providers, consent) {
            plan.blocked.push(BlockedSeed { seed: seed.id, needs });
            continue;
        }
        let (wanted, others): (Vec<&WrapFact>, Vec<&WrapFact>) =
            seed.wraps.iter().partition(|wrap| is_wanted(wrap, first));
        if !wanted.is_empty() && others.is_empty() {
            plan.settled += 1;
            continue;
        }
        plan.steps.push(RewrapStep {
            seed: seed.id,
            add: wanted.is_empty(),
            condemn_after: others.iter().map(|wrap| wrap.id).collect(),
        });
    }
    assert_eq!(plan.steps.len() + plan.blocked.len() + plan.settled, seeds.len());
    Ok(plan)
}

/// Whether a wrap is the one that the first provider would make today.
fn is_wanted(wrap: &WrapFact, first: &Provider) -> bool {
    wrap.kind == first.kind
        && wrap.name == first.name
        && first.key_ids.first().is_none_or(|key| *key == wrap.key_id)
}
