//! Feature gates: `--feature-gates=Name=true,…`, etcd 3.6's names and defaults.

use std::collections::BTreeMap;

/// Known features: name, whether it is beta, and its default.
const KNOWN: [(&str, bool, bool); 9] = [
    ("AllAlpha", false, false),
    ("AllBeta", true, false),
    ("CompactHashCheck", false, false),
    ("InitialCorruptCheck", false, false),
    ("LeaseCheckpoint", false, false),
    ("LeaseCheckpointPersist", false, false),
    ("SetMemberLocalAddr", false, false),
    ("StopGRPCServiceOnDefrag", false, false),
    ("TxnModeWriteWithSharedBuffer", true, true),
];

/// What Go's strconv takes for a truth value.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Which features are switched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gates {
    switched: BTreeMap<&'static str, bool>,
}

impl Gates {
    /// Switches what `text` says.
    ///
    /// # Errors
    /// An unknown feature or no truth value, in upstream's words.
    pub(crate) fn set(&mut self, text: &str) -> Result<(), String> {
        let mut wanted = BTreeMap::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let Some((name, value)) = part.split_once('=') else {
                return Err(format!("missing bool value for {}", part.trim()));
            };
            let (name, value) = (name.trim(), value.trim());
            let switch = truth(value).ok_or_else(|| {
                format!(
                    "invalid value of {name}={value}, err: strconv.ParseBool: parsing {value:?}: invalid syntax"
                )
            })?;
            wanted.insert(name.to_owned(), switch);
        }
        for (name, switch) in wanted {
            self.switch(&name, switch)?;
        }
        Ok(())
    }

    /// Switches one feature; `AllAlpha` and `AllBeta` take those along that nobody switched.
    ///
    /// # Errors
    /// An unknown feature, in upstream's words.
    pub(crate) fn switch(&mut self, name: &str, switch: bool) -> Result<(), String> {
        let Some((name, _, _)) = KNOWN.iter().find(|(known, _, _)| *known == name) else {
            return Err(format!("unrecognized feature gate: {name}"));
        };
        self.switched.insert(name, switch);
        if matches!(*name, "AllAlpha" | "AllBeta") {
            for (other, beta, _) in KNOWN.iter().filter(|(other, _, _)| !other.starts_with("All")) {
                if *beta == (*name == "AllBeta") {
                    self.switched.entry(other).or_insert(switch);
                }
            }
        }
        Ok(())
    }

    /// All features and their stages, as metrics name them.
    pub fn known() -> impl Iterator<Item = (&'static str, &'static str)> {
        KNOWN.iter().map(|(name, beta, _)| (*name, if *beta { "BETA" } else { "ALPHA" }))
    }

    /// Whether a feature is on.
    pub fn enabled(&self, name: &str) -> bool {
        let default = || KNOWN.iter().any(|(known, _, default)| *known == name && *default);
        self.switched.get(name).copied().unwrap_or_else(default)
    }
}

impl std::fmt::Display for Gates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<String> =
            self.switched.iter().map(|(name, switch)| format!("{name}={switch}")).collect();
        f.write_str(&parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_switch_and_refuse_as_upstreams() {
        let mut gates = Gates::default();
        assert!(gates.enabled("TxnModeWriteWithSharedBuffer") && !gates.enabled("LeaseCheckpoint"));
        gates.set("LeaseCheckpoint=true,CompactHashCheck=0").unwrap();
        assert!(gates.enabled("LeaseCheckpoint") && !gates.enabled("CompactHashCheck"));
        gates.set("AllAlpha=true").unwrap();
        assert!(gates.enabled("InitialCorruptCheck"), "taken along");
        assert!(!gates.enabled("CompactHashCheck"), "was switched off by name");
        assert_eq!(gates.set("x=true").unwrap_err(), "unrecognized feature gate: x");
        assert_eq!(gates.set("AllBeta").unwrap_err(), "missing bool value for AllBeta");
        assert!(gates.set("AllBeta=7").unwrap_err().ends_with("parsing \"7\": invalid syntax"));
        assert!(gates.to_string().starts_with("AllAlpha=true,CompactHashCheck=false,"));
    }
}
