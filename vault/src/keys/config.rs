//! A Kubernetes EncryptionConfiguration, read strictly.
//!
//! Source of the syntax: `k8s.io/apiserver` v0.34, `pkg/apis/apiserver/v1/types_encryption.go` and
//! `.../validation_encryption.go`; sizes of keys and the default `kms` version are theirs. Ours
//! are: exactly one element in `resources` (a vault has one order of providers; which resources it
//! names does not matter, since everything is sealed), no kms v1, and no key twice. Holds: an
//! unknown field, a wrong size, a missing or doubled thing is an error with line and column; no
//! error shows a value.

mod walk;
mod yaml;

use super::ProviderKind;
use crate::format::seal::sha256;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;
use walk::{At, Problem};
use zeroize::Zeroizing;

/// Timeout of a KMS plugin when the configuration names none, as in Kubernetes.
const DEFAULT_KMS_TIMEOUT: Duration = Duration::from_secs(3);

/// Providers in order: the first wraps, all are known on read.
#[derive(Debug, Clone)]
pub struct EncryptionConfig {
    /// What the configuration says it is for; not used.
    pub resources: Vec<String>,
    /// At least one.
    pub providers: Vec<ProviderConfig>,
}

/// One provider.
#[derive(Debug, Clone)]
pub enum ProviderConfig {
    /// aesgcm, aescbc or secretbox with its keys, at least one.
    Local {
        /// Which of the three.
        kind: ProviderKind,
        /// Keys in order.
        keys: Vec<LocalSecret>,
    },
    /// No sealing.
    Identity,
    /// A KMS v2 plugin.
    Kms(KmsConfig),
}

/// A local key.
#[derive(Clone)]
pub struct LocalSecret {
    /// Its name; names may repeat.
    pub name: String,
    /// 16, 24 or 32 bytes (secretbox: 32).
    pub(crate) secret: Zeroizing<Vec<u8>>,
}

/// The secret in etc/encryption.yaml, which everybody can read.
const PUBLISHED: &[u8; 32] = b"example-key-replace-it-before-us";

impl LocalSecret {
    /// Whether it is the example's, and so no secret.
    pub fn is_published(&self) -> bool {
        self.secret[..] == PUBLISHED[..]
    }
}

impl fmt::Debug for LocalSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalSecret({:?})", self.name)
    }
}

/// Where a KMS plugin listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KmsConfig {
    /// Its name; no colon, no two alike.
    pub name: String,
    /// `unix:///path`, or `unix:///@name` for an abstract socket.
    pub endpoint: String,
    /// How long one call may take.
    pub timeout: Duration,
}

/// What is wrong with a configuration, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Line, from 1; `None` when the document as a whole is at fault.
    pub line: Option<usize>,
    /// Column, from 1.
    pub column: Option<usize>,
    /// The field, as `resources[0].providers[1].aesgcm.keys[0].secret`; empty for the document.
    pub field: String,
    /// What to change.
    pub message: String,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "line {line}, column {column}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

/// Reads a configuration, YAML or JSON.
pub fn parse_encryption_config(text: &str) -> Result<EncryptionConfig, ConfigError> {
    let document = yaml::parse(text).map_err(|(at, message)| ConfigError {
        line: at.map(|at| at.0),
        column: at.map(|at| at.1),
        field: String::new(),
        message,
    })?;
    read_document(&At::root(&document)).map_err(|problem| {
        let at = yaml::locate(text, &problem.steps);
        ConfigError {
            line: at.map(|at| at.0),
            column: at.map(|at| at.1),
            field: problem.field,
            message: problem.message,
        }
    })
}

fn read_document(root: &At<'_>) -> Result<EncryptionConfig, Problem> {
    let document = root.map(&["apiVersion", "kind", "resources"])?;
    let kind = document.required("kind")?;
    if kind.text()? != "EncryptionConfiguration" {
        return Err(kind.problem("must be EncryptionConfiguration"));
    }
    let version = document.required("apiVersion")?;
    if version.text()? != "apiserver.config.k8s.io/v1" {
        return Err(version.problem("must be apiserver.config.k8s.io/v1"));
    }
    let list = document.required("resources")?;
    let elements = list.items()?;
    let [element] = &elements[..] else {
        let second = elements.get(1).unwrap_or(&list);
        return Err(second.problem(
            "exactly one element is expected here: a vault seals everything in one order of \
             providers",
        ));
    };
    let element = element.map(&["resources", "providers"])?;
    let mut seen = BTreeSet::new();
    let mut resources = Vec::new();
    for resource in element.required("resources")?.items()? {
        let name = resource.name()?;
        if !seen.insert(name.to_owned()) {
            return Err(resource.problem("this resource is named twice"));
        }
        resources.push(name.to_owned());
    }
    let providers = read_providers(&element.required("providers")?)?;
    Ok(EncryptionConfig { resources, providers })
}

fn read_providers(list: &At<'_>) -> Result<Vec<ProviderConfig>, Problem> {
    let mut providers = Vec::new();
    let mut keys = SeenKeys::new();
    for element in list.items()? {
        let kinds = ["aesgcm", "aescbc", "secretbox", "identity", "kms"];
        let entries = element.map(&kinds)?.entries();
        let [(kind, body)] = &entries[..] else {
            return Err(element.problem("exactly one provider is expected in each element"));
        };
        providers.push(match kind.parse::<ProviderKind>() {
            Ok(ProviderKind::Identity) => {
                body.map(&[])?;
                if !keys.insert((ProviderKind::Identity, String::new(), [0; 32])) {
                    return Err(body.problem("identity stands in the list twice"));
                }
                ProviderConfig::Identity
            }
            Ok(ProviderKind::Kms) => {
                let kms = read_kms(body)?;
                if !keys.insert((ProviderKind::Kms, kms.name.clone(), [0; 32])) {
                    return Err(
                        body.problem("a kms plugin of this name stands in the list already")
                    );
                }
                ProviderConfig::Kms(kms)
            }
            Ok(kind) => read_local(kind, body, &mut keys)?,
            Err(()) => return Err(element.problem("unknown provider")),
        });
    }
    Ok(providers)
}

/// Kind, name and SHA-256 of each key so far.
type SeenKeys = BTreeSet<(ProviderKind, String, [u8; 32])>;

fn read_local(
    kind: ProviderKind,
    body: &At<'_>,
    seen: &mut SeenKeys,
) -> Result<ProviderConfig, Problem> {
    let mut keys = Vec::new();
    for element in body.map(&["keys"])?.required("keys")?.items()? {
        let key = element.map(&["name", "secret"])?;
        let name = key.required("name")?.name()?.to_owned();
        let field = key.required("secret")?;
        let secret = field.base64()?;
        let sizes: &[usize] = if kind == ProviderKind::Secretbox { &[32] } else { &[16, 24, 32] };
        if !sizes.contains(&secret.len()) {
            let sizes = if sizes.len() == 1 { "32" } else { "16, 24 or 32" };
            let found = secret.len();
            return Err(field.problem(&format!("{found} bytes long; {kind} takes {sizes} bytes")));
        }
        if !seen.insert((kind, name.clone(), sha256(&secret))) {
            return Err(element.problem("this key stands in the list already"));
        }
        keys.push(LocalSecret { name, secret });
    }
    Ok(ProviderConfig::Local { kind, keys })
}

fn read_kms(body: &At<'_>) -> Result<KmsConfig, Problem> {
    let kms = body.map(&["apiVersion", "name", "endpoint", "timeout", "cachesize"])?;
    let Some(version) = kms.optional("apiVersion") else {
        return Err(body.problem(
            "kms v1, which is meant when apiVersion is missing, is not supported; say \
             apiVersion: v2",
        ));
    };
    match version.text()? {
        "v2" => {}
        "v1" => return Err(version.problem("kms v1 is not supported; use a v2 plugin")),
        _ => return Err(version.problem("must be v2")),
    }
    if let Some(cache) = kms.optional("cachesize") {
        return Err(cache.problem("cachesize belongs to kms v1; remove it"));
    }
    let name = kms.required("name")?;
    if name.name()?.contains(':') {
        return Err(name.problem("a plugin's name must not contain a colon"));
    }
    let endpoint = kms.required("endpoint")?;
    let path = endpoint.text()?.strip_prefix("unix://");
    if !path.is_some_and(|path| path.starts_with('/') && path.len() > 1) {
        return Err(endpoint.problem("must be unix:///path or unix:///@name"));
    }
    let timeout = match kms.optional("timeout") {
        Some(timeout) => timeout.duration()?,
        None => DEFAULT_KMS_TIMEOUT,
    };
    let (name, endpoint) = (name.text()?.to_owned(), endpoint.text()?.to_owned());
    Ok(KmsConfig { name, endpoint, timeout })
}
