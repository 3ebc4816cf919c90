//! Every version that a versioned bucket keeps of its objects: what a plain listing hides.
//!
//! One own request (`ListObjectVersions`), since object_store has none; signed by object_store's
//! own signer with the credentials of the environment.
//!
//! Holds: read only; pages and their number are bounded; nothing that is said holds a credential.

use super::error::{brief_text, classify};
use super::{Store, StoreError};
use object_store::ClientOptions;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer};
use object_store::client::{
    HttpClient, HttpConnector, HttpRequest, HttpRequestBody, ReqwestConnector,
};
use object_store::path::Path;
use serde::Deserialize;
use url::Url;

/// Bytes an answer may have: a page is 1,000 versions of a few hundred bytes.
const MAX_PAGE_BYTES: usize = 8 << 20;

/// One version of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectVersion {
    /// The object's name below the store's address.
    pub name: String,
    /// The version's id.
    pub id: String,
    /// Whether it is what the name shows now.
    pub is_latest: bool,
    /// Whether it is a delete marker: no bytes, it hides the versions before it.
    pub is_marker: bool,
    /// When it was written, as the store says it.
    pub modified: String,
}

/// Asks a bucket for versions.
#[derive(Debug)]
pub(super) struct Versions {
    client: HttpClient,
    bucket: Url,
    region: String,
    credentials: object_store::aws::AwsCredentialProvider,
}

impl Versions {
    /// For the bucket that `builder` describes and `s3` is.
    pub(super) fn new(
        bucket: &str,
        builder: &AmazonS3Builder,
        s3: &AmazonS3,
        options: &ClientOptions,
    ) -> Result<Versions, StoreError> {
        let wrong = |detail: String| StoreError::Configuration { detail };
        let value = |key| builder.get_config_value(&key);
        let region = value(AmazonS3ConfigKey::Region).unwrap_or_else(|| "us-east-1".to_owned());
        let hosted = value(AmazonS3ConfigKey::VirtualHostedStyleRequest);
        let hosted = hosted.is_some_and(|text| text == "true");
        // The same rule by which object_store finds the bucket.
        let place = match (value(AmazonS3ConfigKey::Endpoint), hosted) {
            (Some(endpoint), true) => endpoint,
            (Some(endpoint), false) => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
            (None, true) => format!("https://{bucket}.s3.{region}.amazonaws.com"),
            (None, false) => format!("https://s3.{region}.amazonaws.com/{bucket}"),
        };
        let bucket = Url::parse(&place).map_err(|error| wrong(format!("{place}: {error}")))?;
        let client = ReqwestConnector::default().connect(options);
        let client = client.map_err(|error| wrong(error.to_string()))?;
        Ok(Versions { client, bucket, region, credentials: s3.credentials().clone() })
    }

    async fn page(&self, prefix: &str, after: Option<&Marker>) -> Result<Page, StoreError> {
        let failed = |detail: String| StoreError::Unreachable { name: prefix.to_owned(), detail };
        let request = self.request(prefix, after).await?;
        let answer = self.client.execute(request).await.map_err(|error| {
            // Its text may hold the whole address with the query; the kind says enough.
            failed(format!("no answer to a listing of versions: {:?}", error.kind()))
        })?;
        let status = answer.status();
        let body = answer.into_body().bytes().await;
        let body =
            body.map_err(|error| failed(format!("the answer broke off: {:?}", error.kind())))?;
        if body.len() > MAX_PAGE_BYTES {
            let detail = format!("a page of {} bytes", body.len());
            return Err(StoreError::Size { name: prefix.to_owned(), detail });
        }
        let text = String::from_utf8_lossy(&body);
        let (name, detail) = (prefix.to_owned(), || brief_text(&format!("{status}: {text}")));
        match status.as_u16() {
            200 => quick_xml::de::from_str(&text).map_err(|error| StoreError::Unsupported {
                name,
                detail: format!("its listing of versions cannot be read: {error}"),
            }),
            401 | 403 => Err(StoreError::Denied { name, detail: detail() }),
            400 | 404 | 405 | 501 => Err(StoreError::Unsupported { name, detail: detail() }),
            _ => Err(failed(detail())),
        }
    }

    async fn request(
        &self,
        prefix: &str,
        after: Option<&Marker>,
    ) -> Result<HttpRequest, StoreError> {
        let mut url = self.bucket.clone();
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("max-keys", "1000").append_pair("prefix", prefix);
            query.append_pair("versions", "");
            if let Some(marker) = after {
                query.append_pair("key-marker", &marker.key);
                query.append_pair("version-id-marker", &marker.version);
            }
        }
        // A signature counts a space as %20, a form as +.
        let query = url.query().unwrap_or_default().replace('+', "%20");
        url.set_query(Some(&query));
        let wrong = |detail: String| StoreError::Configuration { detail };
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        let parsed = url.as_str().parse();
        *request.uri_mut() = parsed.map_err(|error| wrong(format!("{}: {error}", self.bucket)))?;
        let credential = self.credentials.get_credential().await;
        let credential = credential.map_err(|error| classify(prefix, &error))?;
        AwsAuthorizer::new(&credential, "s3", &self.region)
            .try_authorize(&mut request, None)
            .map_err(|error| classify(prefix, &error))?;
        Ok(request)
    }
}

impl Store {
    /// Every version of every object below the folder `prefix`, by name, newest first in each.
    /// `None`: a store that has no such notion (a directory).
    ///
    /// # Errors
    /// `Unsupported` or `Denied` when the bucket does not list versions for us; `Size` when there
    /// are more than `limit`.
    pub async fn versions(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Option<Vec<ObjectVersion>>, StoreError> {
        let Some(versions) = &self.versions else { return Ok(None) };
        let folder = format!("{}/", self.path(prefix));
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self.repeat_ours(prefix, || versions.page(&folder, after.as_ref())).await?;
            let markers = page.markers.into_iter().map(|one| (one, true));
            for (entry, is_marker) in
                page.versions.into_iter().map(|one| (one, false)).chain(markers)
            {
                found.push(self.version(entry, is_marker));
            }
            if found.len() > limit {
                let detail = format!("more than {limit} versions");
                return Err(StoreError::Size { name: prefix.to_owned(), detail });
            }
            let next = Marker { key: page.next_key, version: page.next_version };
            // A page that does not advance would be asked for without end.
            if !page.is_truncated || next.key.is_empty() || after.as_ref() == Some(&next) {
                break;
            }
            after = Some(next);
        }
        found.sort_by(|a, b| a.name.cmp(&b.name).then(b.modified.cmp(&a.modified)));
        Ok(Some(found))
    }

    fn version(&self, entry: Entry, is_marker: bool) -> ObjectVersion {
        // As the store has it: `from` would encode what is encoded already.
        let location = Path::parse(&entry.key).unwrap_or_else(|_| Path::from(entry.key));
        ObjectVersion {
            name: super::below(&self.prefix, &location),
            id: entry.id,
            is_latest: entry.is_latest,
            is_marker,
            modified: entry.modified,
        }
    }
}

/// Where a page ended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Marker {
    key: String,
    version: String,
}

/// An answer, as S3 writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Page {
    #[serde(rename = "IsTruncated")]
    is_truncated: bool,
    #[serde(rename = "NextKeyMarker")]
    next_key: String,
    #[serde(rename = "NextVersionIdMarker")]
    next_version: String,
    #[serde(rename = "Version")]
    versions: Vec<Entry>,
    #[serde(rename = "DeleteMarker")]
    markers: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(rename = "Key")]
    key: String,
    #[serde(rename = "VersionId", default)]
    id: String,
    #[serde(rename = "IsLatest", default)]
    is_latest: bool,
    #[serde(rename = "LastModified", default)]
    modified: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_versions_and_markers_mixed_is_read() {
        let entry = |what: &str, key: &str, id: u8, latest: bool| {
            format!(
                "<{what}><Key>{key}</Key><VersionId>{id}</VersionId>\
                 <IsLatest>{latest}</IsLatest><Size>1</Size></{what}>"
            )
        };
        let entries = [
            entry("Version", "p/a", 2, true),
            entry("DeleteMarker", "p/a", 1, false),
            entry("Version", "p/b", 7, false),
        ];
        let head = "<?xml version=\"1.0\"?><ListVersionsResult \
                    xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Prefix>p/</Prefix>\
                    <IsTruncated>true</IsTruncated><NextKeyMarker>p/b</NextKeyMarker>\
                    <NextVersionIdMarker>7</NextVersionIdMarker>";
        let text = format!("{head}{}</ListVersionsResult>", entries.concat());
        let page: Page = quick_xml::de::from_str(&text).unwrap();
        assert!(page.is_truncated);
        assert_eq!((page.next_key.as_str(), page.next_version.as_str()), ("p/b", "7"));
        assert_eq!(page.versions.len(), 2);
        assert_eq!((page.markers.len(), page.markers[0].is_latest), (1, false));
        let empty: Page = quick_xml::de::from_str("<ListVersionsResult/>").unwrap();
        assert!(!empty.is_truncated && empty.versions.is_empty());
    }
}
