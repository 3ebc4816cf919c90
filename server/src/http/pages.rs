//! The pages of the client port, and the JSON gateway beside them.

use super::access::{Access, host_of, origin_of, rebinding};
use super::health::Health;
use super::{error, not_found, page, redirect, wrong_method};
use crate::gateway;
use crate::grpc::Gate;
use crate::grpc::metadata::Peer;
use crate::log::Logger;
use crate::member::Member;
use crate::metrics::Metrics;
use crate::version;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tonic::body::Body;

/// What the pages need to know.
#[derive(Debug, Clone)]
pub struct PagesConfig {
    /// Who may ask.
    pub access: Access,
    /// Whether the gateway is served.
    pub gateway: bool,
    /// Whether clients bring certificates.
    pub client_cert_auth: bool,
    /// Time that a health check's read may take.
    pub timeout: Duration,
    /// The largest message that is received.
    pub max_receive_bytes: usize,
    /// The command line, for /debug/vars.
    pub command_line: Vec<String>,
}

/// The pages. Cheap to clone.
#[derive(Clone)]
pub struct Pages {
    inner: Arc<Inner>,
}

struct Inner {
    config: PagesConfig,
    member: Arc<dyn Member>,
    metrics: Metrics,
    logger: Logger,
    gate: Gate,
}

impl Pages {
    /// The pages of a member.
    pub fn new(
        config: PagesConfig,
        member: Arc<dyn Member>,
        metrics: Metrics,
        logger: Logger,
        gate: Gate,
    ) -> Pages {
        Pages { inner: Arc::new(Inner { config, member, metrics, logger, gate }) }
    }

    /// Answers a request of the client port.
    pub async fn answer(&self, mut request: Request<Body>) -> Response<Body> {
        let inner = &self.inner;
        if let Some(rest) = request.uri().path().strip_prefix("/v3beta/")
            && let Ok(uri) = format!("/v3/{rest}").parse()
        {
            *request.uri_mut() = uri;
        }
        let origin = origin_of(&request);
        let peer = request.extensions().get::<Peer>().cloned().unwrap_or_default();
        if !peer.is_secure {
            let host = host_of(&request);
            if !inner.config.access.allows_host(&host) {
                let fields = [("host", json!(host))];
                let text = "rejecting HTTP request to prevent DNS rebinding attacks";
                inner.logger.warn(text, &fields);
                return error(StatusCode::MISDIRECTED_REQUEST, &rebinding(&host));
            }
        }
        let through_gateway = inner.config.gateway && request.uri().path().starts_with("/v3/");
        let names_somebody = peer.common_name.as_deref().is_some_and(|name| !name.is_empty());
        let mut response = if request.method() == Method::OPTIONS {
            Response::new(Body::empty())
        } else if let Some(elsewhere) = redirect::to_plain(&request) {
            elsewhere
        } else if through_gateway
            && inner.config.client_cert_auth
            && names_somebody
            && inner.member.is_auth_enabled()
        {
            error(
                StatusCode::BAD_REQUEST,
                "CommonName of client sending a request against gateway will be ignored and not used as expected",
            )
        } else if through_gateway {
            gateway::answer(&inner.gate, inner.config.max_receive_bytes, request).await
        } else {
            self.page(&request.map(|_| ())).await
        };
        inner.config.access.mark(origin.as_ref(), response.headers_mut());
        response
    }

    /// Answers a request of a listener for metrics only.
    pub async fn answer_metrics(&self, request: Request<Body>) -> Response<Body> {
        let request = request.map(|_| ());
        match request.uri().path() {
            "/metrics" => self.metrics_page(),
            _ => self.health().answer(&request).await.unwrap_or_else(not_found),
        }
    }

    async fn page(&self, request: &Request<()>) -> Response<Body> {
        let is_get = request.method() == Method::GET;
        match request.uri().path() {
            "/version" | "/debug/vars" if !is_get => wrong_method("GET"),
            "/version" => version_page(&*self.inner.member),
            "/debug/vars" => self.debug_vars(),
            "/metrics" => self.metrics_page(),
            _ => self.health().answer(request).await.unwrap_or_else(not_found),
        }
    }

    fn health(&self) -> Health<'_> {
        Health {
            member: &*self.inner.member,
            metrics: &self.inner.metrics,
            logger: &self.inner.logger,
            timeout: self.inner.config.timeout,
        }
    }

    fn metrics_page(&self) -> Response<Body> {
        let metrics = &self.inner.metrics;
        let running = metrics.gauge("promhttp_metric_handler_requests_in_flight");
        running.add(1.0);
        let text = metrics.page();
        running.add(-1.0);
        metrics.counter_with("promhttp_metric_handler_requests_total", &["200"]).inc();
        let kind = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
        page(HeaderValue::from_static(kind), text)
    }

    /// Go's expvar page: the command line and what the member says of itself.
    fn debug_vars(&self) -> Response<Body> {
        let position = self.inner.member.position();
        let status = json!({
            "id": format!("{:x}", position.member_id),
            "leader": format!("{:x}", *self.inner.member.leader().borrow()),
            "term": position.raft_term,
            "revision": position.revision,
        });
        let text = format!(
            "{{\n\"cmdline\": {},\n\"raft.status\": {status}\n}}\n",
            json!(self.inner.config.command_line)
        );
        page(HeaderValue::from_static("application/json; charset=utf-8"), text)
    }
}

/// The three versions.
pub(super) fn version_page(member: &dyn Member) -> Response<Body> {
    let text = format!(
        "{{\"etcdserver\":\"{}\",\"etcdcluster\":{},\"storage\":{}}}",
        version::VERSION,
        json!(member.cluster_version().as_deref().unwrap_or("not_decided")),
        json!(member.storage_version().as_deref().unwrap_or("unknown")),
    );
    page(HeaderValue::from_static("application/json"), text)
}
