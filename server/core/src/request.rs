//! What a normal entry of the log asks for, in all the forms that etcd 3.5 to 3.7 write.
//!
//! | payload | from |
//! |---|---|
//! | nothing | a new leader's first entry |
//! | InternalRaftRequest with a header | everything proposed by 3.5 and later |
//! | the same with its id in field 1 | what 3.5 proposes without a header |
//! | the same with a v2 request in field 2, or one alone | 3.5: attributes, cluster version |
//!
//! A v2 request becomes the request that took its place. Other v2 requests are data of the retired
//! v2 API: they are refused, as 3.6 does.

use holdfast_api::etcdserverpb::{InternalRaftRequest, Request as V2Request, RequestHeader};
use holdfast_api::membershippb::{
    Attributes, ClusterMemberAttrSetRequest, ClusterVersionSetRequest,
};
use prost::Message;
use serde::Deserialize;

/// What an entry asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// Nothing: a leader's first entry of its term.
    Empty,
    /// A request.
    Request(Box<EntryRequest>),
}

/// A request with who waits for it.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryRequest {
    /// The request's id, by which the one who proposed it waits.
    pub id: u64,
    /// The user on whose behalf; empty without authentication.
    pub username: String,
    /// Revision of users and roles at which it was allowed; 0 without authentication.
    pub auth_revision: u64,
    /// The request; exactly one of its fields is set, and never `v2`.
    pub request: InternalRaftRequest,
}

/// An entry that cannot be applied. The member must stop: others may have understood it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Neither form of a request.
    #[error("the entry is not a request: {reason}")]
    Unreadable {
        /// What is wrong with it as an InternalRaftRequest.
        reason: String,
    },
    /// A request that we do not know: written by a newer etcd.
    #[error("the entry asks for something that this server does not know; a newer etcd wrote it")]
    Unknown,
    /// There is no id anywhere.
    #[error("the entry has neither a header nor an id")]
    NoId,
    /// Data of the v2 API.
    #[error("detected disallowed v2 WAL for stage --v2-deprecation=write-only: {method} {path}")]
    DisallowedV2 {
        /// The method.
        method: String,
        /// The path.
        path: String,
    },
    /// A v2 request whose value is not readable.
    #[error("the v2 request on {path} has an unreadable value: {reason}")]
    V2Value {
        /// The path.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

/// A member's attributes as the v2 store holds them.
#[derive(Deserialize)]
struct V2Attributes {
    #[serde(default)]
    name: String,
    #[serde(rename = "clientURLs", default)]
    client_urls: Option<Vec<String>>,
}

impl Payload {
    /// Reads the payload of a normal entry.
    ///
    /// # Errors
    /// See [`PayloadError`].
    pub fn decode(data: &[u8]) -> Result<Self, PayloadError> {
        if data.is_empty() {
            return Ok(Payload::Empty);
        }
        let request = match InternalRaftRequest::decode(data) {
            Ok(InternalRaftRequest { v2: Some(v2), .. }) => of_v2(&v2)?,
            Ok(request) => request,
            Err(error) => {
                let unreadable = |_| PayloadError::Unreadable { reason: error.to_string() };
                of_v2(&V2Request::decode(data).map_err(unreadable)?)?
            }
        };
        if is_unknown(&request) {
            return Err(PayloadError::Unknown);
        }
        let header = request.header.clone().unwrap_or_default();
        let id = if request.id == 0 { header.id } else { request.id };
        if id == 0 && request.header.is_none() {
            return Err(PayloadError::NoId);
        }
        let RequestHeader { username, auth_revision, .. } = header;
        Ok(Payload::Request(Box::new(EntryRequest { id, username, auth_revision, request })))
    }
}

impl EntryRequest {
    /// Whether it changes what a snapshot's v2 store holds, so that entries below the consistent
    /// index count too (see [`crate::membership::Scope`]). All others are applied once only.
    pub fn is_about_members(&self) -> bool {
        let request = &self.request;
        request.cluster_version_set.is_some()
            || request.cluster_member_attr_set.is_some()
            || request.downgrade_info_set.is_some()
            || request.downgrade_version_test.is_some()
    }

    /// Whether applying it changes nothing, so that it is skipped where nobody waits for it.
    pub fn only_reads(&self) -> bool {
        let request = &self.request;
        request.range.is_some()
            || request.auth_user_get.is_some()
            || request.auth_role_get.is_some()
            || request.auth_status.is_some()
    }
}

/// Whether no request is set that we know.
fn is_unknown(request: &InternalRaftRequest) -> bool {
    let bare = InternalRaftRequest {
        id: request.id,
        header: request.header.clone(),
        ..InternalRaftRequest::default()
    };
    bare == *request
}

fn of_v2(v2: &V2Request) -> Result<InternalRaftRequest, PayloadError> {
    let (path, value) = (v2.path(), v2.val());
    let disallowed =
        || PayloadError::DisallowedV2 { method: v2.method().to_owned(), path: path.to_owned() };
    let header = Some(RequestHeader { id: v2.id(), ..RequestHeader::default() });
    let request = InternalRaftRequest { header, ..InternalRaftRequest::default() };
    if v2.method() != "PUT" {
        return Err(disallowed());
    }
    if path == "/0/version" {
        let set = ClusterVersionSetRequest { ver: value.to_owned() };
        return Ok(InternalRaftRequest { cluster_version_set: Some(set), ..request });
    }
    let id = path.strip_prefix("/0/members/").and_then(|rest| rest.strip_suffix("/attributes"));
    let id = id.and_then(|id| u64::from_str_radix(id, 16).ok()).ok_or_else(disallowed)?;
    let V2Attributes { name, client_urls } = serde_json::from_str(value).map_err(|error| {
        PayloadError::V2Value { path: path.to_owned(), reason: error.to_string() }
    })?;
    let attributes = Attributes { name, client_urls: client_urls.unwrap_or_default() };
    let set = ClusterMemberAttrSetRequest { member_id: id, member_attributes: Some(attributes) };
    Ok(InternalRaftRequest { cluster_member_attr_set: Some(set), ..request })
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_api::etcdserverpb::PutRequest;
    use proptest::prelude::*;

    fn v2(method: &str, path: &str, val: &str) -> V2Request {
        V2Request {
            id: Some(77),
            method: Some(method.to_owned()),
            path: Some(path.to_owned()),
            val: Some(val.to_owned()),
            dir: Some(false),
            time: Some(0),
            ..V2Request::default()
        }
    }

    fn request(data: &[u8]) -> EntryRequest {
        match Payload::decode(data).unwrap() {
            Payload::Request(request) => *request,
            Payload::Empty => panic!("empty"),
        }
    }

    #[test]
    fn ids_stand_in_the_header_or_before_it() {
        let put = Some(PutRequest { key: b"k".to_vec(), ..PutRequest::default() });
        let header = Some(RequestHeader { id: 5, username: "u".to_owned(), auth_revision: 3 });
        let with = InternalRaftRequest { header, put: put.clone(), ..Default::default() };
        let read = request(&with.encode_to_vec());
        assert_eq!((read.id, &*read.username, read.auth_revision), (5, "u", 3));
        assert_eq!(read.request, with);
        assert!(!read.is_about_members() && !read.only_reads());
        let before = InternalRaftRequest { id: 6, put: put.clone(), ..Default::default() };
        assert_eq!(request(&before.encode_to_vec()).id, 6);
        let without = InternalRaftRequest { put, ..Default::default() };
        assert_eq!(Payload::decode(&without.encode_to_vec()), Err(PayloadError::NoId));
        assert_eq!(Payload::decode(b""), Ok(Payload::Empty));
    }

    #[test]
    fn v2_requests_become_those_that_took_their_place() {
        let path = "/0/members/8e9e05c52164694d/attributes";
        let value = r#"{"name":"n","clientURLs":["http://a:1"]}"#;
        let attributes = v2("PUT", path, value);
        let inside = InternalRaftRequest { v2: Some(attributes.clone()), ..Default::default() };
        for data in [attributes.encode_to_vec(), inside.encode_to_vec()] {
            let read = request(&data);
            assert!(read.is_about_members() && read.id == 77);
            let set = read.request.cluster_member_attr_set.unwrap();
            assert_eq!(set.member_id, 0x8e9e_05c5_2164_694d);
            let said = set.member_attributes.unwrap();
            assert_eq!((&*said.name, &said.client_urls[..]), ("n", &["http://a:1".to_owned()][..]));
        }
        let version = request(&v2("PUT", "/0/version", "3.5.0").encode_to_vec());
        assert_eq!(version.request.cluster_version_set.unwrap().ver, "3.5.0");
        for (method, path) in [("PUT", "/1/x"), ("DELETE", "/0/version"), ("SYNC", "")] {
            let error = Payload::decode(&v2(method, path, "").encode_to_vec()).unwrap_err();
            let want = "detected disallowed v2 WAL for stage --v2-deprecation=write-only";
            assert!(error.to_string().starts_with(want), "{error}");
        }
        let broken = Payload::decode(&v2("PUT", path, "{").encode_to_vec());
        assert!(matches!(broken, Err(PayloadError::V2Value { .. })));
    }

    #[test]
    fn what_a_newer_etcd_asks_for_is_refused() {
        // A header with an id, and a field 4711.
        let unknown = [0xa2, 0x06, 2, 8, 5, 0xba, 0xa6, 2, 0];
        assert_eq!(Payload::decode(&unknown), Err(PayloadError::Unknown));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Payload::decode(&data);
        }
    }
}
