//! The configuration file: YAML with the flags' names as keys, TLS in two groups of its own, and
//! discovery in a third. Keys that nobody knows are passed over, as upstream does.

use super::ConfigError;
use super::flags::{self, Kind};
use super::values::Values;
use serde_yaml::{Mapping, Value};
use std::path::Path;

/// Largest file, in bytes.
const LARGEST: u64 = 1024 * 1024;
/// Keys of a TLS group and the flags of clients and of peers that they mean.
const SECURITY: [(&str, &str, &str); 9] = [
    ("cert-file", "cert-file", "peer-cert-file"),
    ("key-file", "key-file", "peer-key-file"),
    ("client-cert-file", "client-cert-file", "peer-client-cert-file"),
    ("client-key-file", "client-key-file", "peer-client-key-file"),
    ("client-cert-auth", "client-cert-auth", "peer-client-cert-auth"),
    ("trusted-ca-file", "trusted-ca-file", "peer-trusted-ca-file"),
    ("auto-tls", "auto-tls", "peer-auto-tls"),
    ("allowed-hostname", "client-cert-allowed-hostname", "peer-cert-allowed-hostname"),
    ("skip-client-san-verification", "", "peer-skip-client-san-verification"),
];

/// Reads the file.
///
/// # Errors
/// It cannot be read, is no YAML, or a value cannot be.
pub(super) fn read(path: &str) -> Result<Values, ConfigError> {
    let failed = |error: std::io::Error| {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
            std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        ConfigError::Invalid(format!("open {path}: {why}"))
    };
    if std::fs::metadata(Path::new(path)).map_err(failed)?.len() > LARGEST {
        return Err(ConfigError::Invalid(format!("{path} is larger than {LARGEST} bytes")));
    }
    parse(&std::fs::read_to_string(path).map_err(failed)?)
}

/// Reads the file's text.
fn parse(text: &str) -> Result<Values, ConfigError> {
    let wrong = |why: String| ConfigError::Invalid(format!("error unmarshaling YAML: {why}"));
    let document: Value = serde_yaml::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let keys = match document {
        Value::Mapping(keys) => keys,
        Value::Null => Mapping::new(),
        _ => return Err(wrong("the file is no mapping of keys to values".to_owned())),
    };
    let mut values = Values::default();
    for (key, value) in &keys {
        let Some(key) = key.as_str() else { continue };
        values.note(key);
        match (key, value) {
            ("client-transport-security", Value::Mapping(group)) => {
                security(&mut values, group, false)?;
            }
            ("peer-transport-security", Value::Mapping(group)) => {
                security(&mut values, group, true)?;
            }
            ("peer-transport-security" | "client-transport-security", Value::Null) => {}
            ("peer-transport-security" | "client-transport-security", _) => {
                return Err(ConfigError::Invalid(format!("invalid {key}")));
            }
            ("discovery-config", Value::Mapping(group)) => discovery(&mut values, group)?,
            ("experimental-snapshot-catch-up-entries", value) => {
                set(&mut values, "experimental-snapshot-catchup-entries", value)?;
            }
            (key, value) => set(&mut values, key, value)?,
        }
    }
    Ok(values)
}

fn security(values: &mut Values, group: &Mapping, of_peers: bool) -> Result<(), ConfigError> {
    for (key, value) in group {
        let Some(key) = key.as_str() else { continue };
        if key == "allowed-cn" && of_peers {
            set(values, "peer-cert-allowed-cn", value)?;
        }
        let Some((_, own, peers)) = SECURITY.iter().find(|(known, _, _)| *known == key) else {
            continue;
        };
        set(values, if of_peers { peers } else { own }, value)?;
    }
    Ok(())
}

fn discovery(values: &mut Values, group: &Mapping) -> Result<(), ConfigError> {
    for (key, value) in group {
        let Some(key) = key.as_str() else { continue };
        let inner = match (key, value) {
            ("secure" | "auth", Value::Mapping(inner)) => inner,
            _ => {
                set(values, &format!("discovery-{key}"), value)?;
                continue;
            }
        };
        for (key, value) in inner {
            let key = key.as_str().map(|key| if key == "username" { "user" } else { key });
            if let Some(key) = key {
                set(values, &format!("discovery-{key}"), value)?;
            }
        }
    }
    Ok(())
}

fn set(values: &mut Values, key: &str, value: &Value) -> Result<(), ConfigError> {
    let Some(flag) = flags::find(key) else { return Ok(()) };
    let text = match value {
        Value::Null => return Ok(()),
        Value::String(text) => text.clone(),
        Value::Bool(switch) => switch.to_string(),
        // Go reads a number as nanoseconds.
        Value::Number(number) if flag.kind == Kind::Duration => format!("{number}ns"),
        Value::Number(number) => number.to_string(),
        Value::Sequence(items) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            items.join(",")
        }
        Value::Mapping(_) | Value::Tagged(_) => {
            return Err(ConfigError::Invalid(format!("{key} has no place for a mapping")));
        }
    };
    if text.is_empty() && matches!(flag.kind, Kind::Urls | Kind::OneOf(_)) {
        return Ok(());
    }
    values.set(flag, &text).map_err(|why| match flag.kind {
        Kind::Urls => ConfigError::Url { key: flag.name, why },
        _ => ConfigError::Invalid(format!("invalid value {text:?} for {key}: {why}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SAMPLE: &str = "
name: infra0
data-dir: /var/lib/etcd
heartbeat-interval: 50
election-timeout: 600
pre-vote: false
listen-client-urls: https://127.0.0.1:2379,http://127.0.0.1:2378
watch-progress-notify-interval: 1000000000
downgrade-check-time: 7s
log-outputs: [stderr]
what-nobody-knows: {a: 1}
feature-gates: CompactHashCheck=true
client-transport-security:
  cert-file: c.pem
  key-file: k.pem
  client-cert-auth: true
peer-transport-security:
  auto-tls: true
  allowed-cn: [a, b]
";

    #[test]
    fn keys_are_flags_and_groups() {
        let values = parse(SAMPLE).unwrap();
        assert_eq!(values.text("name"), "infra0");
        assert_eq!(values.number("heartbeat-interval", 0_u64), 50);
        assert!(!values.is_on("pre-vote") && values.gates().enabled("CompactHashCheck"));
        assert_eq!(values.urls("listen-client-urls").len(), 2);
        assert_eq!(values.duration("watch-progress-notify-interval").seconds(), 1.0);
        assert_eq!(values.duration("downgrade-check-time").seconds(), 7.0);
        assert!(values.is_on("client-cert-auth") && values.is_on("peer-auto-tls"));
        assert_eq!(values.texts("peer-cert-allowed-cn"), ["a", "b"]);
        assert!(values.is_set("client-transport-security"));
    }

    #[test]
    fn what_cannot_be_is_told() {
        let told = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(
            told("listen-peer-urls: foo"),
            "unexpected error setting up listen-peer-urls: URL scheme must be http, https, unix, or unixs: foo"
        );
        assert!(told("- a\n- b").contains("no mapping"));
        assert!(told("name: [").starts_with("error unmarshaling YAML"));
        assert!(told("snapshot-count: x").contains("snapshot-count"));
        assert_eq!(
            read("/nowhere/x").unwrap_err().to_string(),
            "open /nowhere/x: no such file or directory"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[a-z:{}\\[\\]\\-,& *\n0-9]{0,80}") {
            let _ = parse(&text);
        }
    }
}
