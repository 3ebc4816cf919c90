//! Provider order: the rules by example and over generated lists; the key report against the
//! experiment of taking each key away.

use super::*;
use ProviderKind::{AesCbc, AesGcm, Identity, Kms, Secretbox};
use proptest::prelude::*;
use std::collections::BTreeSet;

const SEALED: Consent = Consent { vault_unsealed: false, sealing_none: false };
const UNSEALED: Consent = Consent { vault_unsealed: true, sealing_none: true };

fn local(kind: ProviderKind, name: &str, check: u8) -> Provider {
    Provider { kind, name: name.into(), key_ids: vec![format!("{name}:{check:02x}")] }
}

fn plugin(name: &str, key_id: &str) -> Provider {
    Provider { kind: Kms, name: name.into(), key_ids: vec![key_id.into()] }
}

fn identity() -> Provider {
    Provider { kind: Identity, name: String::new(), key_ids: Vec::new() }
}

/// The wrap that a provider makes today.
fn wrap_by(provider: &Provider, id: u8) -> WrapFact {
    let key_id = provider.key_ids.first().cloned().unwrap_or_default();
    WrapFact { id: [id; 16], kind: provider.kind, name: provider.name.clone(), key_id }
}

#[test]
fn the_first_seals() {
    let providers = [plugin("vault", "k1"), local(AesGcm, "old", 1)];
    assert_eq!(sealer(&providers, SEALED), Ok(&providers[0]));
    assert_eq!(sealer(&[], SEALED), Err(SealError::NoProvider));
    let silent = [Provider { key_ids: Vec::new(), ..plugin("vault", "") }];
    assert_eq!(sealer(&silent, SEALED), Err(SealError::NoKey { name: "vault".into() }));
}

#[test]
fn identity_seals_and_opens_with_both_consents_only() {
    let wrap = wrap_by(&identity(), 1);
    for (vault_unsealed, sealing_none) in [(false, false), (false, true), (true, false)] {
        let consent = Consent { vault_unsealed, sealing_none };
        assert_eq!(sealer(&[identity()], consent), Err(SealError::IdentityRefused { consent }));
        let error = opener(&wrap, &[identity()], consent).unwrap_err();
        assert_eq!(error, OpenError::IdentityRefused { consent });
        let says = error.to_string();
        assert_eq!(says.contains("vault was not created unsealed"), !vault_unsealed, "{says}");
        assert_eq!(says.contains("`sealing: none`"), !sealing_none, "{says}");
    }
    assert!(sealer(&[identity()], UNSEALED).is_ok());
    let warning = Some(OpenWarning::NotSealed);
    let opening = Opening { wrap: 0, provider: 0, warning };
    assert_eq!(opener(&wrap, &[identity()], UNSEALED), Ok(opening));
    assert_eq!(
        opener(&wrap, &[local(AesGcm, "a", 1)], UNSEALED),
        Err(OpenError::IdentityNotListed)
    );
    let sealing = [local(AesGcm, "a", 1), identity()];
    assert!(matches!(sealer(&sealing, UNSEALED), Err(SealError::Contradiction { .. })));
}

#[test]
fn errors_say_which_key_id_is_needed() {
    let wrap = wrap_by(&local(AesGcm, "main", 1), 1);
    let error = opener(&wrap, &[local(AesCbc, "main", 1)], SEALED).unwrap_err().to_string();
    let needs =
        "needs key id \"main:01\" of aesgcm \"main\", which is not configured: add that provider";
    assert_eq!(error, needs);
    let error = opener(&wrap, &[local(AesGcm, "main", 2)], SEALED).unwrap_err().to_string();
    assert!(error.contains("needs key id \"main:01\"") && error.contains("main:02"), "{error}");
    assert_eq!(openings(&[], &[local(AesGcm, "main", 1)], SEALED), Err(vec![OpenError::NoWrap]));
}

#[test]
fn repeated_names_are_told_apart_by_the_key_id() {
    let providers = [local(AesGcm, "key1", 2), local(AesGcm, "key1", 1)];
    let opening = opener(&wrap_by(&providers[1], 1), &providers, SEALED).unwrap();
    assert_eq!((opening.provider, opening.warning), (1, Some(OpenWarning::NotFirst)));
}

#[test]
fn a_plugin_opens_its_older_keys_and_says_so() {
    let providers = [plugin("vault", "k2"), plugin("other", "k1")];
    let opening = opener(&wrap_by(&plugin("vault", "k1"), 1), &providers, SEALED).unwrap();
    assert_eq!((opening.provider, opening.warning), (0, Some(OpenWarning::OlderKey)));
    let silent = [Provider { key_ids: Vec::new(), ..plugin("vault", "") }];
    let opening = opener(&wrap_by(&plugin("vault", "k1"), 1), &silent, SEALED).unwrap();
    assert_eq!(opening.warning, None);
}

#[test]
fn a_seed_opens_by_the_earliest_provider_and_names_the_others() {
    let providers = [local(Secretbox, "new", 1), plugin("vault", "k1"), local(AesGcm, "old", 1)];
    let wraps = [2, 0, 1].map(|at: usize| wrap_by(&providers[at], u8::try_from(at).unwrap()));
    let ways = openings(&wraps, &providers, SEALED).unwrap();
    let places: Vec<_> = ways.iter().map(|way| (way.wrap, way.provider)).collect();
    assert_eq!(places, [(1, 0), (2, 1), (0, 2)]);
    assert_eq!(ways[0].warning, None);
}

#[test]
fn kinds_have_kubernetes_names() {
    for kind in ProviderKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    assert!("rot13".parse::<ProviderKind>().is_err());
}

#[test]
fn the_report_has_a_line_for_each_key() {
    let (new, old) = (local(AesGcm, "new", 1), local(AesGcm, "old", 1));
    let gone = local(AesCbc, "gone", 9);
    let seed = |id: u8, by: &[&Provider]| SeedFact {
        id: [id; 16],
        wraps: by.iter().map(|provider| wrap_by(provider, id)).collect(),
    };
    let seeds =
        [seed(1, &[&old]), seed(2, &[&old, &new]), seed(3, &[&gone]), seed(4, &[&gone, &old])];
    let report = keys_report(&seeds, &[new, old, identity()], SEALED);
    let lines: Vec<_> = report
        .keys
        .iter()
        .map(|key| (key.key_id.as_str(), key.configured, key.seeds, key.only_key_of))
        .collect();
    assert_eq!(
        lines,
        [
            ("new:01", Some(0), 1, 0),
            ("old:01", Some(1), 3, 2),
            ("", Some(2), 0, 0),
            ("gone:09", None, 2, 1)
        ]
    );
    assert_eq!(report.lost, [[3; 16]]);
    assert_eq!(report.missing().map(|key| key.key_id.as_str()).collect::<Vec<_>>(), ["gone:09"]);
}

fn provider() -> impl Strategy<Value = Provider> {
    let name = prop_oneof![Just("a"), Just("b"), Just("c")];
    (0usize..4, name, 0u8..3).prop_map(|(kind, name, check)| match ProviderKind::ALL[kind] {
        Kms => plugin(name, "key"),
        kind => local(kind, name, check),
    })
}

/// Distinct providers, as a configuration has them.
fn providers() -> impl Strategy<Value = Vec<Provider>> {
    proptest::collection::vec(provider(), 1..8).prop_map(|mut all| {
        let mut seen = BTreeSet::new();
        all.retain(|one| seen.insert((one.kind, one.name.clone(), one.key_ids.clone())));
        all
    })
}

fn seeds() -> impl Strategy<Value = Vec<SeedFact>> {
    let by = proptest::collection::vec(prop_oneof![9 => provider(), 1 => Just(identity())], 0..4);
    proptest::collection::vec(by, 0..8).prop_map(|seeds| {
        let mut next = 0;
        let mut id = || {
            next += 1;
            next
        };
        let seed = |by: Vec<Provider>| SeedFact {
            id: [id(); 16],
            wraps: by.iter().map(|provider| wrap_by(provider, id())).collect(),
        };
        seeds.into_iter().map(seed).collect()
    })
}

fn consent() -> impl Strategy<Value = Consent> {
    any::<(bool, bool)>()
        .prop_map(|(vault_unsealed, sealing_none)| Consent { vault_unsealed, sealing_none })
}

/// Does a plan in its order, up to so many single acts.
fn execute(plan: &RewrapPlan, seeds: &mut [SeedFact], first: &Provider, acts: usize) {
    let mut left = acts;
    for step in &plan.steps {
        let seed = seeds.iter_mut().find(|seed| seed.id == step.seed).unwrap();
        if step.add {
            if left == 0 {
                return;
            }
            left -= 1;
            seed.wraps.push(wrap_by(first, 200));
        }
        for gone in &step.condemn_after {
            if left == 0 {
                return;
            }
            left -= 1;
            seed.wraps.retain(|wrap| wrap.id != *gone);
        }
    }
}

fn opens(seed: &SeedFact, providers: &[Provider]) -> bool {
    openings(&seed.wraps, providers, SEALED).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn only_the_named_provider_opens(
        wrap in prop_oneof![4 => provider(), 1 => Just(identity())],
        mut all in providers(),
        with_identity in any::<bool>(),
        consent in consent(),
        turn in 0usize..8,
    ) {
        if with_identity {
            all.push(identity());
        }
        let wrap = wrap_by(&wrap, 1);
        let opened = opener(&wrap, &all, consent);
        let named = |one: &&Provider| one.kind == wrap.kind && one.name == wrap.name;
        let expected = match wrap.kind {
            Identity => with_identity && consent.vault_unsealed && consent.sealing_none,
            Kms => all.iter().any(|one| named(&one)),
            _ => all.iter().any(|one| named(&one) && one.key_ids.contains(&wrap.key_id)),
        };
        prop_assert_eq!(opened.is_ok(), expected);
        if let Ok(opening) = &opened {
            prop_assert!(named(&&all[opening.provider]));
            let silent = opening.provider == 0 && wrap.kind != Identity;
            prop_assert_eq!(opening.warning.is_none(), silent);
        }
        // Another order opens the same with the same provider.
        let mut turned = all.clone();
        turned.rotate_left(turn % all.len());
        let again = opener(&wrap, &turned, consent);
        let by = |opened: &Result<Opening, OpenError>, all: &[Provider]| {
            opened.as_ref().ok().map(|opening| all[opening.provider].clone())
        };
        prop_assert_eq!(by(&opened, &all), by(&again, &turned));
    }

    #[test]
    fn a_seed_opens_exactly_when_one_of_its_wraps_does(
        seeds in seeds(),
        all in providers(),
        consent in consent(),
    ) {
        for seed in &seeds {
            let single = |wrap: &WrapFact| opener(wrap, &all, consent).ok();
            let expected = seed.wraps.iter().filter_map(single).count();
            match openings(&seed.wraps, &all, consent) {
                Ok(ways) => {
                    prop_assert_eq!(ways.len(), expected);
                    prop_assert!(ways.is_sorted_by_key(|way| way.provider));
                    for way in ways {
                        prop_assert_eq!(
                            single(&seed.wraps[way.wrap]).map(|one| one.provider),
                            Some(way.provider)
                        );
                    }
                }
                Err(errors) => {
                    prop_assert_eq!(expected, 0);
                    prop_assert_eq!(errors.len(), seed.wraps.len().max(1));
                }
            }
        }
    }

    /// A rewrap that is cut off after any number of its single acts leaves every seed opening; the
    /// next one finishes it, and leaves the first provider's wraps alone and nothing to do.
    #[test]
    fn a_rewrap_cut_off_anywhere_is_finished_by_the_next(
        mut seeds in seeds(),
        all in providers(),
        acts in 0usize..40,
    ) {
        let before: Vec<bool> = seeds.iter().map(|seed| opens(seed, &all)).collect();
        for acts in [acts, usize::MAX] {
            let plan = plan_rewrap(&seeds, &all, SEALED).unwrap();
            let lost = before.iter().filter(|opened| !**opened).count();
            prop_assert_eq!(plan.blocked.len(), lost);
            execute(&plan, &mut seeds, &all[0], acts);
            for (seed, opened) in seeds.iter().zip(&before) {
                prop_assert_eq!(opens(seed, &all), *opened);
            }
        }
        for (seed, _) in seeds.iter().zip(&before).filter(|(_, opened)| **opened) {
            prop_assert!(opens(seed, &all[..1]));
            let own = wrap_by(&all[0], 0);
            let by_first = |wrap: &WrapFact| WrapFact { id: own.id, ..wrap.clone() } == own;
            prop_assert!(seed.wraps.iter().all(by_first));
        }
        let again = plan_rewrap(&seeds, &all, SEALED).unwrap();
        prop_assert!(again.steps.is_empty());
    }

    #[test]
    fn what_a_key_alone_opens_is_what_goes_with_it(seeds in seeds(), all in providers()) {
        let report = keys_report(&seeds, &all, SEALED);
        let lost =
            |providers: &[Provider]| seeds.iter().filter(|seed| !opens(seed, providers)).count();
        prop_assert_eq!(report.lost.len(), lost(&all));
        for (place, gone) in all.iter().enumerate() {
            let rest: Vec<Provider> = all.iter().filter(|one| *one != gone).cloned().collect();
            let line = report.keys.iter().find(|key| key.configured == Some(place)).unwrap();
            prop_assert_eq!(line.only_key_of, lost(&rest) - lost(&all));
        }
        for key in report.missing().filter(|key| key.kind != Identity) {
            let back = Provider {
                kind: key.kind,
                name: key.name.clone(),
                key_ids: vec![key.key_id.clone()],
            };
            let more: Vec<Provider> = all.iter().cloned().chain([back]).collect();
            prop_assert_eq!(key.only_key_of, lost(&all) - lost(&more));
        }
        let named: usize = seeds
            .iter()
            .map(|seed| {
                let keys: BTreeSet<_> =
                    seed.wraps.iter().map(|w| (w.kind, &w.name, &w.key_id)).collect();
                keys.len()
            })
            .sum();
        prop_assert_eq!(report.keys.iter().map(|key| key.seeds).sum::<usize>(), named);
    }
}
