//! What `holdfast vault keys` prints: what each key still opens, and which keys are missing.
//!
//! Holds: each key id that a wrap names has one line; so has each configured key, also one that
//! opens nothing.

use super::{Consent, Id, Provider, ProviderKind, SeedFact, WrapFact, opener, openings};

/// All keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysReport {
    /// Configured keys in their order, then those that wraps name and the configuration lacks.
    pub keys: Vec<KeyLine>,
    /// Seeds that nothing configured opens.
    pub lost: Vec<Id>,
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLine {
    /// Its provider's kind.
    pub kind: ProviderKind,
    /// Its provider's name.
    pub name: String,
    /// Its id; empty for `identity`.
    pub key_id: String,
    /// Its provider's place in the configuration, 0 seals; `None`: nothing configured opens with
    /// it.
    pub configured: Option<usize>,
    /// The seeds that have a wrap under it.
    pub seeds: usize,
    /// Those of them that no other configured key opens: what is lost when this key goes (for a
    /// missing key: what it would bring back).
    pub only_key_of: usize,
}

impl KeysReport {
    /// The keys that wraps name and the configuration lacks.
    pub fn missing(&self) -> impl Iterator<Item = &KeyLine> {
        self.keys.iter().filter(|key| key.configured.is_none())
    }
}

/// Counts for each key what it opens.
pub fn keys_report(seeds: &[SeedFact], providers: &[Provider], consent: Consent) -> KeysReport {
    let mut keys: Vec<KeyLine> = Vec::new();
    for (place, provider) in providers.iter().enumerate() {
        let identity = provider.kind == ProviderKind::Identity;
        let none = identity.then(String::new);
        for key_id in provider.key_ids.iter().cloned().chain(none) {
            let kind = provider.kind;
            let name = if identity { String::new() } else { provider.name.clone() };
            let line =
                KeyLine { kind, name, key_id, configured: Some(place), seeds: 0, only_key_of: 0 };
            if find(&keys, line.kind, &line.name, &line.key_id).is_none() {
                keys.push(line);
            }
        }
    }
    let mut lost = Vec::new();
    for seed in seeds {
        count(seed, providers, consent, &mut keys);
        if openings(&seed.wraps, providers, consent).is_err() {
            lost.push(seed.id);
        }
    }
    KeysReport { keys, lost }
}

fn count(seed: &SeedFact, providers: &[Provider], consent: Consent, keys: &mut Vec<KeyLine>) {
    let mut counted: Vec<usize> = Vec::new();
    for wrap in &seed.wraps {
        let place = line_of(wrap, providers, consent, keys);
        if !counted.contains(&place) {
            counted.push(place);
            keys[place].seeds += 1;
        }
    }
    for place in counted.iter().copied() {
        let opens = |other: &&usize| **other != place && keys[**other].configured.is_some();
        if counted.iter().find(opens).is_none() {
            keys[place].only_key_of += 1;
        }
    }
}

/// The line of the key that a wrap names, made if there is none.
fn line_of(
    wrap: &WrapFact,
    providers: &[Provider],
    consent: Consent,
    keys: &mut Vec<KeyLine>,
) -> usize {
    let (name, key_id) = match wrap.kind {
        ProviderKind::Identity => (String::new(), String::new()),
        _ => (wrap.name.clone(), wrap.key_id.clone()),
    };
    let configured = opener(wrap, providers, consent).ok().map(|opening| opening.provider);
    if let Some(place) = find(keys, wrap.kind, &name, &key_id) {
        // An identity that is listed without consent opens nothing.
        keys[place].configured = configured;
        return place;
    }
    let kind = wrap.kind;
    keys.push(KeyLine { kind, name, key_id, configured, seeds: 0, only_key_of: 0 });
    keys.len() - 1
}

fn find(keys: &[KeyLine], kind: ProviderKind, name: &str, key_id: &str) -> Option<usize> {
    keys.iter().position(|key| key.kind == kind && key.name == name && key.key_id == key_id)
}
