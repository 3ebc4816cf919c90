//! /health, /livez and /readyz: what is looked at, and how it is told.
//!
//! /health says true or false with a reason as JSON; the other two run named checks and say `ok`,
//! with a line for each check when asked with `verbose` or when one fails.

use super::{PLAIN, body, error, not_found, page, wrong_method};
use crate::log::Logger;
use crate::member::Member;
use crate::metrics::Metrics;
use holdfast_api::etcdserverpb::AlarmType;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use serde_json::json;
use std::time::Duration;
use tonic::body::Body;

/// A named check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
        }
    }
}

/// The checks of a page.
const LIVEZ: &[Check] = &[Check::SerializableRead];
const READYZ: &[Check] =
    &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner];

/// The health pages of a member.
pub(super) struct Health<'a> {
    pub(super) member: &'a dyn Member,
    pub(super) metrics: &'a Metrics,
    pub(super) logger: &'a Logger,
    /// Time that a read may take.
    pub(super) timeout: Duration,
}

/// All values of a query parameter, the empty ones left out; whether it is there at all.
fn query(request: &Request<()>, name: &str) -> (Vec<String>, bool) {
    let pairs = url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
    let values: Vec<String> =
        pairs.filter(|(key, _)| key == name).map(|(_, value)| value.into_owned()).collect();
    let is_there = !values.is_empty();
    (values.into_iter().filter(|value| !value.is_empty()).collect(), is_there)
}

impl Health<'_> {
    /// The page of a path, if it is one of health.
    pub(super) async fn answer(&self, request: &Request<()>) -> Option<Response<Body>> {
        let path = request.uri().path();
        if path == "/health" {
            return Some(self.health(request).await);
        }
        let (kind, checks) = if path.starts_with("/livez") {
            ("livez", LIVEZ)
        } else if path.starts_with("/readyz") {
            ("readyz", READYZ)
        } else {
            return None;
        };
        let rest = &path[1 + kind.len()..];
        let one;
        let chosen = match rest.strip_prefix('/') {
            None if rest.is_empty() => checks,
            None => return None,
            Some(name) => match checks.iter().find(|check| check.name() == name) {
                None => return Some(not_found()),
                Some(check) => {
                    one = [*check];
                    &one
                }
            },
        };
        if request.method() != Method::GET {
            let fields = [("path", json!(path)), ("status-code", json!(405))];
            self.logger.warn("Health request error", &fields);
            return Some(wrong_method("GET"));
        }
        Some(self.checks(request, kind, chosen).await)
    }

    async fn read(&self, serializable: bool) -> Result<(), String> {
        match tokio::time::timeout(self.timeout, self.member.read(serializable)).await {
            Ok(outcome) => outcome.map_err(|refusal| refusal.to_string()),
            Err(_) => Err("context deadline exceeded".to_owned()),
        }
    }

    async fn health(&self, request: &Request<()>) -> Response<Body> {
        if request.method() != Method::GET {
            self.logger.warn("/health error", &[("status-code", json!(405))]);
            return wrong_method("GET");
        }
        let (excluded, _) = query(request, "exclude");
        let serializable = query(request, "serializable").0.first().is_some_and(|it| it == "true");
        let reason = self.reason(&excluded, serializable).await;
        let (healthy, reason) = (reason.is_none(), reason.unwrap_or_default());
        let text = format!("{{\"health\":\"{healthy}\",\"reason\":{}}}", json!(reason));
        if healthy {
            self.metrics.counter("etcd_server_health_success").inc();
            let mut response = Response::new(body(text));
            response.headers_mut().insert(CONTENT_TYPE, PLAIN);
            return response;
        }
        self.metrics.counter("etcd_server_health_failures").inc();
        self.logger.warn("/health error", &[("output", json!(text)), ("status-code", json!(503))]);
        error(StatusCode::SERVICE_UNAVAILABLE, &text)
    }

    /// Why the member is not healthy.
    async fn reason(&self, excluded: &[String], serializable: bool) -> Option<String> {
        for alarm in self.member.alarms() {
            let kind = AlarmType::try_from(alarm.alarm).ok();
            let name = kind.map_or("UNKNOWN", |kind| kind.as_str_name());
            if excluded.iter().any(|excluded| excluded == name) {
                continue;
            }
            let fields = [("alarm", json!(name)), ("member-id", json!(alarm.member_id))];
            self.logger.warn("serving /health false due to an alarm", &fields);
            let name = if matches!(name, "NOSPACE" | "CORRUPT") { name } else { "UNKNOWN" };
            return Some(format!("ALARM {name}"));
        }
        if !serializable && *self.member.leader().borrow() == 0 {
            self.logger.warn("serving /health false; no leader", &[]);
            return Some("RAFT NO LEADER".to_owned());
        }
        let error = self.read(serializable).await.err()?;
        self.logger.warn("serving /health false; Range fails", &[("error", json!(error))]);
        Some(format!("RANGE ERROR:{error}"))
    }

    async fn run(&self, check: Check) -> Result<(), String> {
        match check {
            Check::SerializableRead => self.read(true).await,
            Check::LinearizableRead => self.read(false).await,
            Check::NonLearner if self.member.is_learner() => {
                Err("not supported for learner".to_owned())
            }
            Check::NonLearner => Ok(()),
            Check::DataCorruption => {
                let corrupt = i32::from(AlarmType::Corrupt);
                match self.member.alarms().iter().any(|alarm| alarm.alarm == corrupt) {
                    true => Err("alarm activated: CORRUPT".to_owned()),
                    false => Ok(()),
                }
            }
        }
    }

    async fn checks(&self, request: &Request<()>, kind: &str, checks: &[Check]) -> Response<Body> {
        let (excluded, _) = query(request, "exclude");
        let is_excluded = |check: &&Check| excluded.iter().any(|name| name == check.name());
        let unknown: Vec<&String> = excluded
            .iter()
            .filter(|name| checks.iter().all(|check| check.name() != name.as_str()))
            .collect();
        if !unknown.is_empty() {
            let fields = [("missing-health-checks", json!(format!("{unknown:?}")))];
            self.logger.warn("some health checks cannot be excluded", &fields);
        }
        let (mut told, mut failed) = (String::new(), false);
        for check in checks.iter().filter(|check| !is_excluded(check)) {
            let name = check.name();
            let outcome = self.run(*check).await;
            let status = if outcome.is_ok() { "success" } else { "error" };
            let value = if outcome.is_ok() { 1.0 } else { 0.0 };
            self.metrics.gauge_with("etcd_server_healthcheck", &[name, kind]).set(value);
            let labels = [name, status, kind];
            self.metrics.counter_with("etcd_server_healthchecks_total", &labels).inc();
            match outcome {
                Ok(()) => told.push_str(&format!("[+]{name} ok\n")),
                Err(why) => {
                    failed = true;
                    told.push_str(&format!("[-]{name} failed: {why}\n"));
                }
            }
        }
        if failed {
            let fields = [
                ("path", json!(request.uri().path())),
                ("reason", json!(told)),
                ("status-code", json!(503)),
            ];
            self.logger.error("Health check error", &fields);
            return error(StatusCode::SERVICE_UNAVAILABLE, &told);
        }
        let verbose = query(request, "verbose").1;
        let mut response = page(PLAIN, if verbose { told } else { String::new() } + "ok\n");
        let name = HeaderName::from_static("x-content-type-options");
        response.headers_mut().insert(name, HeaderValue::from_static("nosniff"));
        response
    }
}
