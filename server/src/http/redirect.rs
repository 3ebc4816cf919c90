//! Paths that are not written plainly: Go's server sends their askers to the plain ones.
//!
//! Must hold: a plain path is never sent anywhere, so that nobody goes in circles.

use super::page;
use http::header::LOCATION;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use tonic::body::Body;

/// Where a request should have gone, unless its path is plain.
pub(super) fn to_plain(request: &Request<Body>) -> Option<Response<Body>> {
    let path = request.uri().path();
    if path.starts_with('/') && !path.contains("//") && !path.contains("/.") {
        return None;
    }
    let plain = plain(path);
    (plain != path).then(|| moved(request.method(), request.uri(), &plain))
}

fn moved(method: &Method, from: &Uri, plain: &str) -> Response<Body> {
    let query = from.query().map(|query| format!("?{query}")).unwrap_or_default();
    let to = format!("{plain}{query}");
    let has_text = method == Method::GET;
    let mut response = if has_text || method == Method::HEAD {
        let text = to.replace('&', "&amp;").replace('"', "&#34;").replace('\'', "&#39;");
        let text = text.replace('<', "&lt;").replace('>', "&gt;");
        let text = format!("<a href=\"{text}\">Temporary Redirect</a>.\n\n");
        let kind = HeaderValue::from_static("text/html; charset=utf-8");
        page(kind, if has_text { text } else { String::new() })
    } else {
        Response::new(Body::empty())
    };
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    // A path that came in a request is one that a header can hold.
    if let Ok(to) = HeaderValue::from_str(&to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}

/// Without empty segments, `.` and `..`; a slash at the end stays.
fn plain(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    let end = if path.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_plain_and_stay_so() {
        for (path, expected) in [
            ("//version", "/version"),
            ("/a/../version", "/version"),
            ("/./v3//kv/range/", "/v3/kv/range/"),
            ("/../..", "/"),
            ("//", "/"),
            ("/.well-known", "/.well-known"),
            ("/a/b..", "/a/b.."),
        ] {
            assert_eq!(plain(path), expected);
            assert_eq!(plain(expected), expected);
        }
    }
}
