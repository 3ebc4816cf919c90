//! Pages over HTTP: version, health, metrics, debug variables, and who may ask for them.

mod access;
mod health;
mod pages;
mod peer_pages;
mod redirect;

pub use access::Access;
pub use pages::{Pages, PagesConfig};
pub use peer_pages::PeerPages;

use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use tonic::body::Body;

/// The type of plain texts, as Go's server names it.
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

fn body(text: impl Into<bytes::Bytes>) -> Body {
    Body::new(http_body_util::Full::new(text.into()))
}

/// A text of a type.
fn page(kind: HeaderValue, text: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(body(text));
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// A refusal as Go's server words it: a line of plain text.
fn error(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = page(PLAIN, format!("{text}\n"));
    *response.status_mut() = status;
    let name = HeaderName::from_static("x-content-type-options");
    response.headers_mut().insert(name, HeaderValue::from_static("nosniff"));
    response
}

fn not_found() -> Response<Body> {
    error(StatusCode::NOT_FOUND, "404 page not found")
}

/// Only one verb is served here.
fn wrong_method(allowed: &'static str) -> Response<Body> {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}
