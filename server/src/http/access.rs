//! Who may ask over HTTP: which host names a request without TLS may name (DNS rebinding), and
//! which origins a browser may come from.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, HOST,
    ORIGIN,
};
use http::{HeaderMap, HeaderValue, Request};

/// The two lists.
#[derive(Debug, Clone, Default)]
pub struct Access {
    origins: Vec<String>,
    hosts: Vec<String>,
}

fn allows(list: &[String], found: &str) -> bool {
    list.is_empty() || list.iter().any(|item| item == "*" || item.is_empty() || item == found)
}

impl Access {
    /// Of `--cors` and `--host-whitelist`; empty or `*` means all.
    pub fn new(origins: Vec<String>, hosts: Vec<String>) -> Access {
        Access { origins, hosts }
    }

    /// Whether a request without TLS may name that host.
    pub fn allows_host(&self, host: &str) -> bool {
        allows(&self.hosts, host)
    }

    /// Adds the headers that tell a browser what it may do.
    pub fn mark(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        let allowed = if allows(&self.origins, "*") {
            HeaderValue::from_static("*")
        } else {
            match origin {
                Some(origin) if origin.to_str().is_ok_and(|text| allows(&self.origins, text)) => {
                    origin.clone()
                }
                _ => return,
            }
        };
        let verbs = HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE");
        let names = HeaderValue::from_static("accept, content-type, authorization");
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, verbs);
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
    }
}

/// The host that a request names, without its port.
pub(super) fn host_of<B>(request: &Request<B>) -> String {
    let named = request.headers().get(HOST).and_then(|value| value.to_str().ok());
    let host = named.or(request.uri().authority().map(http::uri::Authority::as_str));
    let host = host.unwrap_or_default();
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            name.trim_start_matches('[').trim_end_matches(']').to_owned()
        }
        _ => host.to_owned(),
    }
}

/// The origin that a request names.
pub(super) fn origin_of<B>(request: &Request<B>) -> Option<HeaderValue> {
    request.headers().get(ORIGIN).cloned()
}

/// What is told to a request that names a host it may not, and how to change that.
pub(super) fn rebinding(host: &str) -> String {
    format!(
        "etcd does not serve requests that name the host {host:?} without TLS, since a web page could make a \
         browser send them (DNS rebinding, CVE-2018-5702).\n\
         Use TLS, or add the name: --host-whitelist {host:?}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_origins_are_judged() {
        let all = Access::new(vec!["*".to_owned()], Vec::new());
        assert!(all.allows_host("evil"));
        let few = Access::new(vec!["http://a:1".to_owned()], vec!["localhost".to_owned()]);
        assert!(few.allows_host("localhost") && !few.allows_host("evil"));
        let mut headers = HeaderMap::new();
        few.mark(Some(&HeaderValue::from_static("http://evil:1")), &mut headers);
        assert!(headers.is_empty());
        few.mark(Some(&HeaderValue::from_static("http://a:1")), &mut headers);
        assert_eq!(headers["access-control-allow-origin"], "http://a:1");
        let request = Request::builder().header("host", "[::1]:2379").body(()).unwrap();
        assert_eq!(host_of(&request), "::1");
    }
}
