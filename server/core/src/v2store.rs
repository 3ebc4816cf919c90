//! The v2 store: the JSON that etcd 3.5, 3.6 and 3.7 keep in .snap files.
//!
//! Its only content today is the membership: `/0/members/<id>/{raftAttributes,attributes}`, on 3.5
//! also `/0/version`. 3.5 reads members and cluster version from it at boot; 3.6 wants it to load
//! and to hold membership only; 3.7 does not read it, but downgrades do. An empty directory `/1`
//! stands beside `/0`. The queue of events must have as many places as its capacity says (1,000,
//! the rest null): with fewer, the server runs out of its bounds at the next event.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::ids;
use crate::membership::Member;

const QUEUE_CAPACITY: usize = 1000;
const NEVER: &str = "0001-01-01T00:00:00Z";

/// JSON that is not a v2 store with members.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum V2StoreError {
    /// Clients of etcd 2 left keys. The words are upstream's.
    #[error(
        "detected disallowed custom content in v2store for stage --v2-deprecation=write-only: \
         /{name} has keys; etcd 3.5 can delete them"
    )]
    Custom {
        /// The directory below the root.
        name: String,
    },
    /// Not the JSON of a v2 store.
    #[error("the v2 store is not readable: {reason}")]
    Json {
        /// serde's words.
        reason: String,
    },
    /// The event queue's list is shorter than its capacity.
    #[error("the v2 store's event queue has {found} places but claims {capacity}")]
    Queue {
        /// Places there are.
        found: usize,
        /// Places claimed.
        capacity: usize,
    },
    /// A member's node cannot be read.
    #[error("the v2 store's member {id}: {reason}")]
    Member {
        /// The node's name.
        id: String,
        /// What is wrong.
        reason: String,
    },
}

/// What a v2 store says about the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct V2Membership {
    /// Members by ascending id.
    pub members: Vec<Member>,
    /// Names under `/0/removed_members`: ids in hex.
    pub removed: Vec<String>,
    /// `/0/version`, which 3.5 keeps here.
    pub cluster_version: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    path: String,
    created_index: u64,
    modified_index: u64,
    expire_time: String,
    value: String,
    children: Option<BTreeMap<String, Node>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Store {
    root: Node,
    watcher_hub: WatcherHub,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WatcherHub {
    event_history: EventHistory,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EventHistory {
    queue: Queue,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Queue {
    events: Vec<serde_json::Value>,
    capacity: usize,
}

/// A node that an operation on the store made, in the order of the operations.
struct Leaf {
    action: &'static str,
    path: Vec<String>,
    value: String,
}

/// The v2 store of a cluster whose members were just added, in the order given.
pub fn encode(members: &[Member]) -> Vec<u8> {
    let members: Vec<Leaf> = members.iter().map(raft_leaf).collect();
    write(&members)
}

/// The v2 store of a running cluster, as its snapshots hold it: members with their attributes,
/// removed ids, the cluster's version.
pub fn encode_membership(membership: &V2Membership) -> Vec<u8> {
    let mut leaves = Vec::new();
    for member in &membership.members {
        leaves.push(raft_leaf(member));
        if !member.client_urls.is_empty() || !member.name.is_empty() {
            let path = member_path(member.id, "attributes");
            leaves.push(Leaf { action: "set", path, value: attributes(member) });
        }
    }
    for id in &membership.removed {
        let path = ["0", "removed_members", id].map(str::to_owned).to_vec();
        leaves.push(Leaf { action: "create", path, value: String::new() });
    }
    if let Some(version) = &membership.cluster_version {
        let path = ["0", "version"].map(str::to_owned).to_vec();
        leaves.push(Leaf { action: "set", path, value: version.clone() });
    }
    write(&leaves)
}

/// The JSON of a store in which these leaves were made, one after the other. Of more leaves than
/// the queue of events has places, the queue holds none: nobody waits for them.
fn write(leaves: &[Leaf]) -> Vec<u8> {
    let mut root = directory("/", 0, BTreeMap::new());
    let mut events = vec![serde_json::Value::Null; QUEUE_CAPACITY];
    let queued = if leaves.len() > QUEUE_CAPACITY { 0 } else { leaves.len() };
    for name in ["0", "1"] {
        root.directory_at(name, 0);
    }
    for (at, leaf) in leaves.iter().enumerate() {
        let index = at as u64 + 1;
        let path = format!("/{}", leaf.path.join("/"));
        if let Some(event) = events[..queued].get_mut(at) {
            *event = json!({"action": leaf.action, "node": {"key": path, "value": leaf.value,
                "modifiedIndex": index, "createdIndex": index}});
        }
        let Some((name, above)) = leaf.path.split_last() else { continue };
        let parent = above.iter().fold(&mut root, |node, name| node.directory_at(name, index));
        let node = directory(&path, index, BTreeMap::new());
        let node = Node { value: leaf.value.clone(), children: None, ..node };
        parent.children.get_or_insert_default().insert(name.clone(), node);
    }
    let first = u64::from(queued > 0);
    let queue = json!({"Events": events, "Size": queued, "Front": 0, "Back": queued % QUEUE_CAPACITY,
        "Capacity": QUEUE_CAPACITY});
    let history = json!({"Queue": queue, "StartIndex": first, "LastIndex": leaves.len()});
    let set = leaves.iter().filter(|leaf| leaf.action == "set").count();
    let store = json!({"Root": root, "WatcherHub": {"EventHistory": history},
        "CurrentIndex": leaves.len(), "Stats": stats(leaves.len() - set, set),
        "CurrentVersion": 2});
    store.to_string().into_bytes()
}

fn member_path(id: u64, half: &str) -> Vec<String> {
    ["0", "members", &ids::hex(id), half].map(str::to_owned).to_vec()
}

fn raft_leaf(member: &Member) -> Leaf {
    let path = member_path(member.id, "raftAttributes");
    Leaf { action: "create", path, value: raft_attributes(member) }
}

/// Reads the membership out of a v2 store.
///
/// # Errors
/// See [`V2StoreError`].
pub fn decode(bytes: &[u8]) -> Result<V2Membership, V2StoreError> {
    let store: Store = serde_json::from_slice(bytes)
        .map_err(|error| V2StoreError::Json { reason: error.to_string() })?;
    let queue = store.watcher_hub.event_history.queue;
    if queue.events.len() != queue.capacity {
        let (found, capacity) = (queue.events.len(), queue.capacity);
        return Err(V2StoreError::Queue { found, capacity });
    }
    let directories = store.root.children.iter().flatten();
    for (name, node) in directories.filter(|(name, _)| *name != "0") {
        if node.names().next().is_some() {
            return Err(V2StoreError::Custom { name: name.clone() });
        }
    }
    let mut out = V2Membership::default();
    let Some(cluster) = store.root.child("0") else { return Ok(out) };
    out.cluster_version = cluster.child("version").map(|node| node.value.clone());
    if let Some(removed) = cluster.child("removed_members") {
        out.removed = removed.names().cloned().collect();
    }
    if let Some(members) = cluster.child("members") {
        for (name, node) in members.children.iter().flatten() {
            out.members.push(member(name, node)?);
        }
    }
    out.members.sort_unstable_by_key(|member| member.id);
    Ok(out)
}

impl Node {
    fn child(&self, name: &str) -> Option<&Node> {
        self.children.as_ref()?.get(name)
    }

    /// The directory of this name, made if it is not there.
    fn directory_at(&mut self, name: &str, index: u64) -> &mut Node {
        let path = format!("{}/{name}", self.path.trim_end_matches('/'));
        let children = self.children.get_or_insert_default();
        children.entry(name.to_owned()).or_insert_with(|| directory(&path, index, BTreeMap::new()))
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.children.iter().flat_map(BTreeMap::keys)
    }
}

fn member(name: &str, node: &Node) -> Result<Member, V2StoreError> {
    let bad = |reason: String| V2StoreError::Member { id: name.to_owned(), reason };
    let id = u64::from_str_radix(name, 16).map_err(|error| bad(error.to_string()))?;
    let raft = node.child("raftAttributes").ok_or_else(|| bad("no raftAttributes".to_owned()))?;
    // The two halves are objects; together, with the id, they are the member's JSON.
    let mut whole = serde_json::Map::new();
    for half in [Some(raft), node.child("attributes")].into_iter().flatten() {
        let fields: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&half.value).map_err(|error| bad(error.to_string()))?;
        whole.extend(fields);
    }
    whole.insert("id".to_owned(), id.into());
    serde_json::from_value(whole.into()).map_err(|error| bad(error.to_string()))
}

fn raft_attributes(member: &Member) -> String {
    let mut fields = json!({"peerURLs": member.peer_urls});
    if member.is_learner {
        fields["isLearner"] = true.into();
    }
    fields.to_string()
}

fn attributes(member: &Member) -> String {
    let mut fields = serde_json::Map::new();
    if !member.name.is_empty() {
        fields.insert("name".to_owned(), json!(member.name));
    }
    if !member.client_urls.is_empty() {
        fields.insert("clientURLs".to_owned(), json!(member.client_urls));
    }
    serde_json::Value::Object(fields).to_string()
}

fn directory(path: &str, index: u64, children: BTreeMap<String, Node>) -> Node {
    Node {
        path: path.to_owned(),
        created_index: index,
        modified_index: index,
        expire_time: NEVER.to_owned(),
        value: String::new(),
        children: Some(children),
    }
}

fn stats(created: usize, set: usize) -> serde_json::Value {
    json!({"getsSuccess": 0, "getsFail": 0, "setsSuccess": set, "setsFail": 0, "deleteSuccess": 0,
        "deleteFail": 0, "updateSuccess": 0, "updateFail": 0, "createSuccess": created,
        "createFail": 0, "compareAndSwapSuccess": 0, "compareAndSwapFail": 0,
        "compareAndDeleteSuccess": 0, "compareAndDeleteFail": 0, "expireCount": 0, "watchers": 0})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::Founding;

    #[test]
    fn members_come_back() {
        let list = "a=http://a:1,b=http://b:1,c=http://c:1";
        let founding = Founding::parse(list, "a", "tok").unwrap();
        let json = encode(founding.members());
        let read = decode(&json).unwrap();
        let urls = |members: &[Member]| -> Vec<_> {
            members.iter().map(|member| (member.id, member.peer_urls.clone())).collect()
        };
        assert_eq!(urls(&read.members), urls(founding.members()));
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value["CurrentIndex"], 3);
        assert_eq!(
            value["WatcherHub"]["EventHistory"]["Queue"]["Events"][3],
            serde_json::Value::Null
        );
    }

    #[test]
    fn keys_of_clients_are_refused_by_name_and_an_empty_directory_is_not() {
        let mut value: serde_json::Value = serde_json::from_slice(&encode(&[])).unwrap();
        assert!(value["Root"]["Children"]["1"].is_object());
        assert_eq!(decode(&serde_json::to_vec(&value).unwrap()), Ok(V2Membership::default()));
        let leaf = value["Root"]["Children"]["1"].clone();
        value["Root"]["Children"]["1"]["Children"] = json!({ "foo": leaf });
        let error = decode(&serde_json::to_vec(&value).unwrap()).unwrap_err();
        let want = "detected disallowed custom content in v2store for stage";
        assert!(error.to_string().starts_with(want), "{error}");
    }

    #[test]
    fn a_running_clusters_membership_comes_back() {
        let member = |id: u64, name: &str, is_learner| Member {
            id,
            peer_urls: vec![format!("http://{id}:1")],
            is_learner,
            name: name.to_owned(),
            client_urls: if name.is_empty() { vec![] } else { vec!["http://c:1".to_owned()] },
        };
        let membership = V2Membership {
            members: vec![member(1, "a", false), member(2, "", true)],
            removed: vec!["abc".to_owned()],
            cluster_version: Some("3.5.0".to_owned()),
        };
        let json = encode_membership(&membership);
        assert_eq!(decode(&json).unwrap(), membership);
        let many = (0..2_000).map(|id| format!("{id:x}")).collect();
        let many = V2Membership { removed: many, ..membership };
        assert_eq!(decode(&encode_membership(&many)).unwrap().removed.len(), 2_000);
    }

    #[test]
    fn both_halves_and_the_version_are_read() {
        let member = |children: &str| {
            format!(
                r#"{{"Root":{{"Path":"/","CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"",
                "Value":"","Children":{{"0":{{"Path":"/0","CreatedIndex":0,"ModifiedIndex":0,
                "ExpireTime":"","Value":"","Children":{children}}}}}}},
                "WatcherHub":{{"EventHistory":{{"Queue":{{"Events":[null],"Capacity":1}}}}}}}}"#
            )
        };
        let leaf = |value: &str| {
            json!({"Path": "", "CreatedIndex": 1, "ModifiedIndex": 1, "ExpireTime": "",
                "Value": value, "Children": null})
        };
        let mut node = leaf("");
        node["Children"] = json!({"raftAttributes": leaf(r#"{"peerURLs":["http://a:1"]}"#),
            "attributes": leaf(r#"{"name":"n","clientURLs":["http://a:2"]}"#)});
        let mut members = leaf("");
        members["Children"] = json!({"d622127685879b3c": node});
        let children = json!({"members": members, "version": leaf("3.5.0")});
        let read = decode(member(&children.to_string()).as_bytes()).unwrap();
        assert_eq!(read.cluster_version.as_deref(), Some("3.5.0"));
        assert_eq!((read.members[0].id, &*read.members[0].name), (0xd622_1276_8587_9b3c, "n"));
        let broken = member(r#"{"members":null}"#);
        assert!(matches!(decode(broken.as_bytes()), Err(V2StoreError::Json { .. })));
        let short = member("{}").replace(r#""Capacity":1"#, r#""Capacity":2"#);
        let want = V2StoreError::Queue { found: 1, capacity: 2 };
        assert_eq!(decode(short.as_bytes()), Err(want));
    }
}
