//! Metrics of RPCs under the names of Go's middleware: started, handled by code, messages in and
//! out, and with `--metrics=extensive` how long they took.
//!
//! Must hold: a call is counted as handled exactly once, however it ends; one that the client
//! leaves is `Canceled`. All series are there from the start, at zero, as upstream's are.

use super::methods::{Method, methods};
use crate::metrics::{Counter, FamilyKind, Histogram, Metrics, Page};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tonic::Status;

/// gRPC's codes by number, as metrics name them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
/// A status as Go's library prints it, where upstream puts that into an answer.
pub(crate) fn go_error(status: &Status) -> String {
    let number = usize::try_from(i32::from(status.code())).unwrap_or_default();
    let code = CODES.get(number).copied().unwrap_or("Unknown");
    format!("rpc error: code = {code} desc = {}", status.message())
}

/// Bounds of Prometheus' histograms when nobody names others, in seconds.
const BOUNDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// One method's numbers.
#[derive(Debug)]
struct Row {
    started: AtomicU64,
    handled: [AtomicU64; CODES.len()],
    received: AtomicU64,
    sent: AtomicU64,
    seconds: Histogram,
}

/// One of a row's numbers.
type Count = fn(&Row) -> &AtomicU64;

/// All methods' numbers. Cheap to clone; clones are the same.
#[derive(Debug, Clone)]
pub struct RpcMetrics {
    rows: Arc<Vec<Row>>,
}

impl RpcMetrics {
    /// At zero, and on the page of `metrics`.
    pub fn new(metrics: &Metrics, extensive: bool) -> RpcMetrics {
        let row = |_: &Method| Row {
            started: AtomicU64::new(0),
            handled: std::array::from_fn(|_| AtomicU64::new(0)),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            seconds: Histogram::new(BOUNDS),
        };
        let rows: Arc<Vec<Row>> = Arc::new(methods().list().iter().map(row).collect());
        let of_page = rows.clone();
        metrics.collect(Box::new(move |page| write(page, &of_page, extensive)));
        RpcMetrics { rows }
    }

    fn row(&self, method: &Method) -> Option<&Row> {
        self.rows.get(method.place)
    }

    pub(super) fn started(&self, method: &Method) {
        if let Some(row) = self.row(method) {
            row.started.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn received(&self, method: &Method, messages: u64) {
        if let Some(row) = self.row(method) {
            row.received.fetch_add(messages, Ordering::Relaxed);
        }
    }

    pub(super) fn sent(&self, method: &Method, messages: u64) {
        if let Some(row) = self.row(method) {
            row.sent.fetch_add(messages, Ordering::Relaxed);
        }
    }

    pub(super) fn handled(&self, method: &Method, code: i32, seconds: f64) {
        let Some(row) = self.row(method) else { return };
        let code = usize::try_from(code).unwrap_or(2);
        if let Some(count) = row.handled.get(code).or(row.handled.get(2)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        row.seconds.observe(seconds);
    }
}

/// Client versions whose counters are at hand; the others are looked up.
const MOST_VERSIONS: usize = 16;

/// Counts calls by the client's API version and by whether they stream.
#[derive(Debug)]
pub(super) struct Demands {
    metrics: Metrics,
    /// By version and kind.
    at_hand: RwLock<Vec<(String, &'static str, Counter)>>,
}

impl Demands {
    pub(super) fn new(metrics: &Metrics) -> Demands {
        Demands { metrics: metrics.clone(), at_hand: RwLock::default() }
    }

    /// Counts one.
    pub(super) fn count(&self, version: &str, kind: &'static str) {
        let at_hand = self.at_hand.read().unwrap_or_else(PoisonError::into_inner);
        let known = at_hand.iter().find(|(of, what, _)| *what == kind && of == version);
        if let Some((_, _, counter)) = known {
            counter.inc();
            return;
        }
        drop(at_hand);
        let counter =
            self.metrics.counter_with("etcd_server_client_requests_total", &[version, kind]);
        counter.inc();
        let mut at_hand = self.at_hand.write().unwrap_or_else(PoisonError::into_inner);
        if at_hand.len() < MOST_VERSIONS {
            at_hand.push((version.to_owned(), kind, counter));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a page shows numbers as floats")]
fn write(page: &mut Page, rows: &[Row], extensive: bool) {
    let labels = |method: &'static Method| {
        [
            ("grpc_method", method.name.as_str()),
            ("grpc_service", method.service.as_str()),
            ("grpc_type", method.shape.name()),
        ]
    };
    let all = || methods().list().iter().zip(rows);
    let number = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
    let simple: [(&'static str, &str, Count); 3] = [
        ("grpc_server_started_total", "Calls begun.", |row| &row.started),
        ("grpc_server_msg_received_total", "Messages received.", |row| &row.received),
        ("grpc_server_msg_sent_total", "Messages sent.", |row| &row.sent),
    ];
    for (name, help, count) in simple {
        let mut samples = page.family(name, FamilyKind::Counter, help);
        for (method, row) in all() {
            samples.sample("", &labels(method), number(count(row)));
        }
    }
    let name = "grpc_server_handled_total";
    let mut samples = page.family(name, FamilyKind::Counter, "Calls ended, by code.");
    for (method, row) in all() {
        for (code, count) in CODES.iter().zip(&row.handled) {
            let [name, service, shape] = labels(method);
            samples.sample("", &[("grpc_code", code), name, service, shape], number(count));
        }
    }
    if extensive {
        let name = "grpc_server_handling_seconds";
        let mut samples =
            page.family(name, FamilyKind::Histogram(BOUNDS), "How long calls took, in seconds.");
        for (method, row) in all() {
            row.seconds.write(&mut samples, &labels(method));
        }
    }
}
