//! From an address to a store: `file:///path`, a plain path, `s3://bucket/prefix`.
//!
//! Holds: credentials come from the environment only (AWS_*), an address that carries some is
//! refused, and nothing that is printed holds them; `%20` stands for a space alike in `file://` and
//! `s3://`; what is printed is read as the same place again.

use super::StoreError;
use super::versions::Versions;
use object_store::aws::{AmazonS3Builder, Checksum};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A parsed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A directory of this machine.
    Local(PathBuf),
    /// A bucket of an S3-like store and a prefix in it (empty: none).
    S3 {
        /// The bucket's name.
        bucket: String,
        /// Without slashes at its ends.
        prefix: String,
    },
}

impl Address {
    /// Parses `file:///path`, `/path`, `./path` or `s3://bucket/prefix`.
    pub fn parse(text: &str) -> Result<Address, StoreError> {
        let wrong = |detail: String| StoreError::Configuration { detail };
        let text = text.trim();
        if text.is_empty() {
            return Err(wrong("empty; expected file:///path, a path or s3://bucket/prefix".into()));
        }
        let Some((scheme, _)) = text.split_once("://") else {
            return Ok(Address::Local(PathBuf::from(text)));
        };
        match scheme {
            "file" | "s3" => {}
            "az" | "gs" | "azure" | "abfs" | "gcs" => {
                return Err(wrong(format!(
                    "{scheme}:// is not part of this build; use file:// or s3:// (both Azure and Google \
                     can be reached through an S3 gateway)"
                )));
            }
            other => {
                return Err(wrong(format!("{other}:// is not known; use file:// or s3://")));
            }
        }
        let url = url::Url::parse(text).map_err(|error| wrong(format!("{error}")))?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(wrong(
                "an address must not carry credentials or options; give them in the environment (AWS_*)".into(),
            ));
        }
        if scheme == "file" {
            let path = url
                .to_file_path()
                .map_err(|()| wrong("file:// needs an absolute path: file:///path".into()))?;
            return Ok(Address::Local(path));
        }
        let bucket = url.host_str().unwrap_or_default().to_owned();
        if bucket.is_empty() {
            return Err(wrong("s3:// needs a bucket: s3://bucket/prefix".into()));
        }
        Ok(Address::S3 { bucket, prefix: s3_prefix(&url)? })
    }
}

/// The prefix in a bucket, decoded.
fn s3_prefix(url: &url::Url) -> Result<String, StoreError> {
    let wrong = |detail: String| StoreError::Configuration {
        detail: format!("the prefix in {url}: {detail}; name it with letters, digits, - and _"),
    };
    let prefix = Path::from_url_path(url.path().trim_matches('/'));
    let prefix = prefix.map_err(|error| wrong(error.to_string()))?.to_string();
    // They could not be told from an encoded character, a query or a fragment when they are read
    // again, and S3 servers differ in what they make of them.
    if let Some(bad) = prefix.chars().find(|one| one.is_control() || "%?#\\".contains(*one)) {
        return Err(wrong(format!("{bad:?} cannot stand in it")));
    }
    Ok(prefix)
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // What a URL would read as something else is encoded.
            Address::Local(path) if path.to_string_lossy().contains(['%', '?', '#']) => {
                match url::Url::from_file_path(path) {
                    Ok(url) => write!(f, "{url}"),
                    Err(()) => write!(f, "{}", path.display()),
                }
            }
            Address::Local(path) => write!(f, "file://{}", path.display()),
            Address::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Address::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// An opened back end: the implementation, the prefix in it, and the directory if it is local.
pub(super) struct Backend {
    pub(super) inner: Arc<dyn ObjectStore>,
    pub(super) prefix: Path,
    pub(super) directory: Option<PathBuf>,
    pub(super) versions: Option<Arc<Versions>>,
}

/// Opens the back end of `address`; `create` makes a missing local directory.
pub(super) fn connect(address: &Address, create: bool) -> Result<Backend, StoreError> {
    match address {
        Address::Local(path) => local(path, create),
        Address::S3 { bucket, prefix } => s3(bucket, prefix),
    }
}

fn local(path: &std::path::Path, create: bool) -> Result<Backend, StoreError> {
    let wrong = |error: std::io::Error| StoreError::Configuration {
        detail: match error.kind() {
            std::io::ErrorKind::NotFound => format!(
                "directory {}: not there; is it mounted? `holdfast vault init` makes a vault",
                path.display()
            ),
            _ => format!("directory {}: {error}", path.display()),
        },
    };
    if create {
        std::fs::create_dir_all(path).map_err(wrong)?;
        // The new directory's own entry must be on disk too before anything in it is acknowledged.
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::File::open(parent).and_then(|dir| dir.sync_all()).map_err(wrong)?;
        }
    }
    let directory = std::fs::canonicalize(path).map_err(wrong)?;
    let inner = LocalFileSystem::new_with_prefix(&directory)
        .map_err(|error| StoreError::Configuration { detail: error.to_string() })?
        .with_fsync(true);
    Ok(Backend {
        inner: Arc::new(inner),
        prefix: Path::default(),
        directory: Some(directory),
        versions: None,
    })
}

fn s3(bucket: &str, prefix: &str) -> Result<Backend, StoreError> {
    let wrong = |detail: String| StoreError::Configuration { detail };
    let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    let plain_http = endpoint.as_deref().is_some_and(|url| url.starts_with("http://"));
    if plain_http {
        tracing::warn!(
            "the S3 endpoint is plain http: contents are sealed, names and sizes are not"
        );
    }
    let client = ClientOptions::new()
        .with_allow_http(plain_http)
        .with_timeout(Duration::from_secs(120))
        .with_connect_timeout(Duration::from_secs(10));
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: 2,
        retry_timeout: Duration::from_secs(60),
    };
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_checksum_algorithm(Checksum::SHA256)
        .with_client_options(client.clone())
        .with_retry(retry);
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(plain_http);
    }
    let described = builder.clone();
    let inner = builder.build().map_err(|error| wrong(error.to_string()))?;
    let versions = Some(Arc::new(Versions::new(bucket, &described, &inner, &client)?));
    let prefix = Path::parse(prefix).map_err(|error| wrong(error.to_string()))?;
    Ok(Backend { inner: Arc::new(inner), prefix, directory: None, versions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_and_print() {
        let cases = [
            ("/a/b", "file:///a/b"),
            ("file:///a/b", "file:///a/b"),
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/x/y/", "s3://bucket/x/y"),
            ("s3://bucket/my etcd/é", "s3://bucket/my etcd/é"),
            ("s3://bucket/my%20etcd/%C3%A9", "s3://bucket/my etcd/é"),
            ("file:///my%20etcd/é", "file:///my etcd/é"),
            ("/my etcd/é", "file:///my etcd/é"),
            ("/a%20b", "file:///a%2520b"),
        ];
        for (text, printed) in cases {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.to_string(), printed);
            assert_eq!(Address::parse(printed).unwrap(), address, "{printed}");
        }
    }

    #[test]
    fn refused_addresses_say_why() {
        for (text, word) in [
            ("", "expected"),
            ("az://c/p", "not part of this build"),
            ("gs://c/p", "not part of this build"),
            ("ftp://c/p", "not known"),
            ("s3://key:secret@bucket/p", "credentials"),
            ("s3://bucket/p?x=1", "credentials or options"),
            ("s3:///p", "bucket"),
            ("s3://bucket/a%25b", "'%' cannot stand"),
            ("s3://bucket/a%3Fb", "'?' cannot stand"),
            ("s3://bucket/a%7Fb", "name it with letters"),
            ("s3://bucket/a%FFb", "name it with letters"),
            ("s3://bucket/a//b", "name it with letters"),
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
