//! Which configured key wraps a seed, and which one may open a wrap: the provider order of a
//! Kubernetes EncryptionConfiguration.
//!
//! Holds:
//! - The first configured key wraps; all are known on read.
//! - A wrap names its provider's kind, name and key, and only the key that it names is tried on it,
//!   wherever that stands in the list. So the order can change, a migration works as in Kubernetes,
//!   and a store cannot put seeds under us that an old or stolen key wrapped.
//! - Nothing is kept in clear, and nothing that is in clear is opened, without both consents.

/// One configured key, or the key that a wrap names. `K`: kinds of providers; `M`: what tells keys
/// of one name apart, such as a key id with a check value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a, K, M> {
    /// The provider's kind.
    pub kind: K,
    /// The local key's name, or the plugin's; empty for what has none.
    pub name: &'a str,
    /// Configured: `None` opens whatever was once made under its name, as a key service does.
    pub mark: Option<M>,
}

/// Which configured key opens a wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opener {
    /// The one at this place of the list.
    Place(usize),
    /// None: the one at this place bears the name and is another key.
    OtherKey(usize),
    /// None bears the name.
    NotConfigured,
}

/// What keeping seeds in clear needs: both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consents {
    /// The vault was created without sealing, as its root and its chain say.
    pub vault_unsealed: bool,
    /// The local configuration says `sealing: none`.
    pub sealing_none: bool,
}

impl Consents {
    /// Whether seeds may stand in clear.
    pub fn allow_clear(self) -> bool {
        self.vault_unsealed && self.sealing_none
    }
}

/// The configured key that opens a wrap which names `wanted`; the first of them, should one stand
/// twice.
pub fn opener<K: PartialEq, M: PartialEq>(
    wanted: &Key<'_, K, M>,
    configured: &[Key<'_, K, M>],
) -> Opener {
    let bears_the_name = |key: &Key<'_, K, M>| key.kind == wanted.kind && key.name == wanted.name;
    let is_it = |key: &Key<'_, K, M>| {
        bears_the_name(key) && (key.mark.is_none() || key.mark == wanted.mark)
    };
    if let Some(place) = configured.iter().position(is_it) {
        return Opener::Place(place);
    }
    configured.iter().position(bears_the_name).map_or(Opener::NotConfigured, Opener::OtherKey)
}

/// Whether the wrap that names `wanted` is the one that the first configured key would make now; a
/// rewrap replaces the others.
pub fn is_current<K: PartialEq, M: PartialEq>(
    wanted: &Key<'_, K, M>,
    first: &Key<'_, K, M>,
) -> bool {
    wanted == first
}

#[cfg(test)]
mod tests;
