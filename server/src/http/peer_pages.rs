//! The small pages of the peer port. What carries raft's messages comes beside them, with the
//! members that are joined.

use super::pages::version_page;
use super::{not_found, page, wrong_method};
use crate::member::Member;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tonic::body::Body;

/// Which cluster answers.
const CLUSTER_ID: HeaderName = HeaderName::from_static("x-etcd-cluster-id");

/// The pages. Cheap to clone.
#[derive(Clone)]
pub struct PeerPages {
    member: Arc<dyn Member>,
}

impl PeerPages {
    /// The pages of a member.
    pub fn new(member: Arc<dyn Member>) -> PeerPages {
        PeerPages { member }
    }

    /// Answers a request of the peer port.
    pub fn answer(&self, request: &Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        let known =
            matches!(path, "/version" | "/members" | "/raft/probing" | "/downgrade/enabled");
        if !known {
            return not_found();
        }
        if request.method() != Method::GET && path != "/raft/probing" {
            return wrong_method("GET");
        }
        let json_kind = HeaderValue::from_static("application/json");
        let mut response = match path {
            "/version" => return version_page(&*self.member),
            "/members" => page(json_kind, self.members()),
            "/raft/probing" => {
                let now = jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string();
                return page(json_kind, json!({ "OK": true, "Now": now }).to_string() + "\n");
            }
            _ => page(
                HeaderValue::from_static("text/plain"),
                self.member.is_downgrading().to_string(),
            ),
        };
        let id = format!("{:x}", self.member.position().cluster_id);
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(CLUSTER_ID, id);
        }
        response
    }

    /// The members as upstream's JSON: ids are numbers, and what is empty is left out.
    fn members(&self) -> String {
        let members: Vec<String> = self
            .member
            .members()
            .into_iter()
            .map(|member| {
                // A map would sort the keys; upstream's order is that of its struct.
                let mut parts = vec![
                    format!("\"id\":{}", member.id),
                    format!("\"peerURLs\":{}", json!(member.peer_urls)),
                ];
                let optional: Map<String, Value> = Map::from_iter([
                    ("isLearner".to_owned(), json!(member.is_learner)),
                    ("name".to_owned(), json!(member.name)),
                    ("clientURLs".to_owned(), json!(member.client_urls)),
                ]);
                for key in ["isLearner", "name", "clientURLs"] {
                    let value = &optional[key];
                    if *value != json!(false) && *value != json!("") && *value != json!([]) {
                        parts.push(format!("\"{key}\":{value}"));
                    }
                }
                format!("{{{}}}", parts.join(","))
            })
            .collect();
        format!("[{}]\n", members.join(","))
    }
}
