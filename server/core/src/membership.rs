//! Members: their JSON, the `--initial-cluster` notation, and the founding of a cluster.
//!
//! The JSON stands in the bucket `members`, in the context of a conf change, and, in two halves, in
//! the v2 store. Its ids are numbers above 2^53: they must be read as 64-bit integers.
//!
//! [`Cluster`] is the applied state; conf changes and requests about members change it.

mod change;
mod cluster;
mod downgrade;
mod outcome;
mod reconfig;
#[cfg(test)]
mod replay_tests;
mod roster;
mod stored;

pub use change::{MemberRequest, MemberRequestError};
pub use cluster::{Cluster, ClusterConfig, MAX_LEARNERS, Scope};
pub use downgrade::DowngradeRefusal;
pub use outcome::{ClusterError, ConfChangeOutcome, MemberChange, VersionChange};
pub use reconfig::{Connections, ReconfigError};
pub use roster::Refusal;
pub use stored::Downgrade;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::ids;

/// A member as upstream stores it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Where other members reach it, sorted.
    #[serde(rename = "peerURLs", default, deserialize_with = "list_or_null")]
    pub peer_urls: Vec<String>,
    /// True while it has no vote.
    #[serde(rename = "isLearner", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_learner: bool,
    /// Human-readable name; empty until the member has started once.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where clients reach it; empty until the member has started once.
    #[serde(
        rename = "clientURLs",
        default,
        deserialize_with = "list_or_null",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub client_urls: Vec<String>,
}

/// A cluster about to be founded, seen from one of its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founding {
    members: Vec<Member>,
    local: usize,
    token: String,
}

/// A `--initial-cluster` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InitialClusterError {
    /// Nothing in it.
    #[error("the initial cluster is empty; write it as name=url[,name=url]")]
    Empty,
    /// A piece without `=` or with an empty half.
    #[error("{piece:?} in the initial cluster is not name=url")]
    Piece {
        /// The piece between two commas.
        piece: String,
    },
    /// A URL that etcd refuses.
    #[error("peer URL {url:?} of member {name:?}: {reason}")]
    Url {
        /// The member.
        name: String,
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Two members with one URL.
    #[error("peer URL {url:?} stands with two members, {first:?} and {second:?}")]
    SharedUrl {
        /// The URL.
        url: String,
        /// One member.
        first: String,
        /// The other.
        second: String,
    },
    /// The local member is not in the list.
    #[error("member {name:?} is not in the initial cluster (it has {})", names.join(", "))]
    NotThere {
        /// The name looked for.
        name: String,
        /// The names there are.
        names: Vec<String>,
    },
    /// The token is empty.
    #[error("the cluster token is empty; a restored cluster needs a fresh one of its own")]
    NoToken,
}

impl Member {
    /// Whether it has ever started: only then has it published its name.
    pub fn is_started(&self) -> bool {
        !self.name.is_empty()
    }

    /// A member that is to be added to a running cluster. Its id also hashes the time, in seconds
    /// since 1970, so that a removed member's URLs can be used again; the cluster's token is not
    /// part of it.
    pub fn added(mut peer_urls: Vec<String>, is_learner: bool, unix_seconds: u64) -> Self {
        peer_urls.sort_unstable();
        let id = ids::member_id(&peer_urls, &unix_seconds.to_string());
        Member { id, peer_urls, is_learner, ..Member::default() }
    }

    /// The JSON as it stands in the bucket `members` and in conf changes.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and strings always serialize")
    }

    /// Reads that JSON; unknown fields are ignored, as upstream does.
    ///
    /// # Errors
    /// serde's, with line and column.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }
}

impl Founding {
    /// A cluster of one.
    ///
    /// # Errors
    /// An empty name or token, or a URL that etcd refuses.
    pub fn single(
        name: &str,
        peer_urls: &[String],
        token: &str,
    ) -> Result<Self, InitialClusterError> {
        let pieces: Vec<String> = peer_urls.iter().map(|url| format!("{name}={url}")).collect();
        Founding::parse(&pieces.join(","), name, token)
    }

    /// Reads `name=url[,name=url]`; a name may stand several times, once per URL. `local` is the
    /// member whose directory is to be written.
    ///
    /// # Errors
    /// See [`InitialClusterError`].
    pub fn parse(list: &str, local: &str, token: &str) -> Result<Self, InitialClusterError> {
        if token.is_empty() {
            return Err(InitialClusterError::NoToken);
        }
        let mut urls_of: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut owner: BTreeMap<String, String> = BTreeMap::new();
        for piece in list.split(',').map(str::trim).filter(|piece| !piece.is_empty()) {
            let bad = || InitialClusterError::Piece { piece: piece.to_owned() };
            let (name, url) = piece.split_once('=').ok_or_else(bad)?;
            if name.is_empty() || url.is_empty() {
                return Err(bad());
            }
            let url = peer_url(url).map_err(|reason| InitialClusterError::Url {
                name: name.to_owned(),
                url: url.to_owned(),
                reason,
            })?;
            if let Some(first) = owner.insert(url.clone(), name.to_owned()) {
                let second = name.to_owned();
                return Err(InitialClusterError::SharedUrl { url, first, second });
            }
            urls_of.entry(name.to_owned()).or_default().push(url);
        }
        if urls_of.is_empty() {
            return Err(InitialClusterError::Empty);
        }
        let mut members: Vec<Member> =
            urls_of.into_iter().map(|(name, urls)| founder(name, urls, token)).collect();
        members.sort_unstable_by_key(|member| member.id);
        let local_at = members.iter().position(|member| member.name == local);
        let local = local_at.ok_or_else(|| InitialClusterError::NotThere {
            name: local.to_owned(),
            names: members.iter().map(|member| member.name.clone()).collect(),
        })?;
        Ok(Founding { members, local, token: token.to_owned() })
    }

    /// All founding members, by ascending id.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member whose directory is written.
    pub fn local(&self) -> &Member {
        &self.members[self.local]
    }

    /// The ids, ascending.
    pub fn member_ids(&self) -> Vec<u64> {
        self.members.iter().map(|member| member.id).collect()
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> u64 {
        ids::cluster_id(&self.member_ids())
    }

    /// The token that the ids were made with.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The notation for `--initial-cluster`, members by ascending id.
    pub fn initial_cluster(&self) -> String {
        let pairs = self.members.iter().flat_map(|member| {
            member.peer_urls.iter().map(move |url| format!("{}={url}", member.name))
        });
        pairs.collect::<Vec<_>>().join(",")
    }
}

/// Go writes a list that is not there as `null`.
fn list_or_null<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

fn founder(name: String, mut peer_urls: Vec<String>, token: &str) -> Member {
    peer_urls.sort_unstable();
    let id = ids::member_id(&peer_urls, token);
    Member { id, peer_urls, is_learner: false, name, client_urls: Vec::new() }
}

/// A peer URL in the spelling that goes into ids: the scheme in lower case. What Go's URL package
/// would spell anew (escapes, user names, odd characters) is refused, so that ids never differ.
fn peer_url(url: &str) -> Result<String, &'static str> {
    let url = url.trim();
    let (scheme, address) =
        url.split_once("://").ok_or("it needs a scheme: http, https, unix or unixs")?;
    let scheme = scheme.to_ascii_lowercase();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]/".contains(&byte);
    if !address.bytes().all(plain) {
        return Err("it has characters that do not belong into host:port");
    }
    match scheme.as_str() {
        "http" | "https" => {
            if address.contains('/') {
                return Err("it must not have a path, not even a slash at the end");
            }
            let (host, port) = address.rsplit_once(':').ok_or("it needs a port: host:port")?;
            if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
                return Err("an IPv6 address needs brackets: [::1]:2380");
            }
            port.parse::<u16>().map_err(|_| "its port is not a number up to 65535")?;
        }
        "unix" | "unixs" => {}
        _ => return Err("its scheme is not http, https, unix or unixs"),
    }
    Ok(format!("{scheme}://{address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_is_upstreams() {
        let json =
            br#"{"id":15429915573580438332,"peerURLs":["http://127.0.0.1:12380"],"name":"d"}"#;
        let member = Member::from_json(json).unwrap();
        assert_eq!(member.id, 0xd622_1276_8587_9b3c);
        assert_eq!(member.to_json(), json);
        let full = concat!(
            r#"{"id":1,"peerURLs":["http://a:1"],"isLearner":true,"#,
            r#""name":"n","clientURLs":["http://a:2"]}"#
        )
        .as_bytes();
        assert_eq!(Member::from_json(full).unwrap().to_json(), full);
        assert!(Member::from_json(b"{}").is_err());
    }

    #[test]
    fn an_added_members_id_hashes_the_time() {
        let urls = || vec!["http://b:1".to_owned(), "http://a:1".to_owned()];
        let added = Member::added(urls(), true, 1_700_000_000);
        // The start of the SHA-1 of "http://a:1http://b:11700000000".
        assert_eq!(ids::hex(added.id), "7b97771442acae57");
        assert_ne!(added.id, Member::added(urls(), true, 1_700_000_001).id);
        assert!(added.is_learner && !added.is_started());
    }

    #[test]
    fn one_and_three_members() {
        let one = Founding::single("d", &["http://127.0.0.1:12380".to_owned()], "tok").unwrap();
        assert_eq!(one.local().id, 0xd622_1276_8587_9b3c);
        assert_eq!(one.cluster_id(), 0x6656_feb8_67e6_8582);
        assert_eq!(one.initial_cluster(), "d=http://127.0.0.1:12380");
        let list = "c=http://c:2380,a=http://a:2380,b=https://[::1]:2380,a=HTTP://a:2379";
        let three = Founding::parse(list, "a", "tok").unwrap();
        assert_eq!(three.local().peer_urls, ["http://a:2379", "http://a:2380"]);
        assert!(three.member_ids().is_sorted() && three.members().len() == 3);
        assert_eq!(Founding::parse(&three.initial_cluster(), "a", "tok"), Ok(three));
    }

    #[test]
    fn says_what_is_wrong() {
        let says = |list: &str, want: &str| {
            let error = Founding::parse(list, "a", "tok").unwrap_err().to_string();
            assert!(error.contains(want), "{list}: {error}");
        };
        says("", "empty");
        says("a", "\"a\" in the initial cluster is not name=url");
        says("=http://a:1", "is not name=url");
        says("a=a:2380", "needs a scheme");
        says("a=ftp://a:2380", "scheme is not");
        says("a=http://a", "needs a port");
        says("a=http://a:99999", "port is not a number");
        says("a=http://a:2380/", "path");
        says("a=http://::1:2380", "brackets");
        says("a=http://u@a:2380", "characters");
        says("a=http://a:1,b=http://a:1", "two members");
        says("b=http://b:1", "member \"a\" is not in the initial cluster (it has b)");
        let no_token = Founding::parse("a=http://a:1", "a", "");
        assert_eq!(no_token, Err(InitialClusterError::NoToken));
    }
}
