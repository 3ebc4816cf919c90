//! Counts of what calls and entries did to the records and leases, under upstream's names.

use std::sync::OnceLock;
use std::time::Duration;

use holdfast_api::etcdserverpb::response_op::Response as Done;
use holdfast_api::etcdserverpb::{InternalRaftRequest, TxnResponse};
use holdfast_api::mvccpb::Event;

use crate::metrics::{Counter, Gauge, Histogram, Metrics};

const APPLY_SECONDS: &str = "etcd_server_apply_duration_seconds";
const RANGE_SECONDS: &str = "etcd_server_range_duration_seconds";

/// Kinds of entries as the metrics name them.
const KINDS: usize = 7;
const NAMES: [&str; KINDS] =
    ["Put", "DeleteRange", "Txn", "Compaction", "LeaseGrant", "LeaseRevoke", "Other"];

/// What is counted. A clone counts into the same.
#[derive(Clone)]
pub(crate) struct Figures {
    metrics: Metrics,
    ranges: Counter,
    puts: Counter,
    deletes: Counter,
    txns: Counter,
    keys: Gauge,
    pub(crate) leases_granted: Counter,
    pub(crate) leases_revoked: Counter,
    pub(crate) leases_renewed: Counter,
    pub(crate) lease_seconds: Histogram,
    range_took: OnceLock<Histogram>,
    /// On the page once something of the kind was applied.
    took: [OnceLock<Histogram>; KINDS],
}

/// Operations of a call.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Operations {
    ranges: u64,
    puts: u64,
    deletes: u64,
}

impl Figures {
    /// Into these metrics.
    pub(crate) fn new(metrics: &Metrics) -> Figures {
        Figures {
            ranges: metrics.counter("etcd_mvcc_range_total"),
            puts: metrics.counter("etcd_mvcc_put_total"),
            deletes: metrics.counter("etcd_mvcc_delete_total"),
            txns: metrics.counter("etcd_mvcc_txn_total"),
            keys: metrics.gauge("etcd_debugging_mvcc_keys_total"),
            leases_granted: metrics.counter("etcd_debugging_lease_granted_total"),
            leases_revoked: metrics.counter("etcd_debugging_lease_revoked_total"),
            leases_renewed: metrics.counter("etcd_debugging_lease_renewed_total"),
            lease_seconds: metrics.histogram("etcd_debugging_lease_ttl_total"),
            range_took: OnceLock::new(),
            took: [const { OnceLock::new() }; KINDS],
            metrics: metrics.clone(),
        }
    }

    /// So many keys are alive when the member starts.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floating point numbers")]
    pub(crate) fn begin(&self, keys: i64) {
        self.keys.set(keys as f64);
    }

    /// Keys came and went.
    pub(crate) fn changed(&self, events: &[Event]) {
        for event in events {
            let is_new = event.kv.as_ref().is_some_and(|record| record.version == 1);
            if event.is_delete() {
                self.keys.add(-1.0);
            } else if is_new {
                self.keys.add(1.0);
            }
        }
    }

    /// A range outside of transactions.
    pub(crate) fn ranged(&self, took: Duration, succeeded: bool) {
        self.ranges.inc();
        if succeeded {
            let range = || self.metrics.histogram_with(RANGE_SECONDS, &["true"]);
            self.range_took.get_or_init(range).observe(took.as_secs_f64());
        } else {
            let failed = self.metrics.histogram_with(RANGE_SECONDS, &["false"]);
            failed.observe(took.as_secs_f64());
        }
    }

    /// A transaction was answered. As upstream, one with a single operation counts as that only.
    pub(crate) fn answered(&self, response: &TxnResponse) {
        let mut done = Operations::default();
        done.add(response);
        self.count(done);
    }

    /// An entry was applied.
    pub(crate) fn applied(&self, request: &InternalRaftRequest, took: Duration, succeeded: bool) {
        let kind = kind(request);
        let (Some(name), Some(place)) = (NAMES.get(kind), self.took.get(kind)) else { return };
        if succeeded {
            let histogram = || self.metrics.histogram_with(APPLY_SECONDS, &[name, "true", "v3"]);
            place.get_or_init(histogram).observe(took.as_secs_f64());
            match kind {
                0 => self.puts.inc(),
                1 => self.deletes.inc(),
                _ => {}
            }
        } else {
            let failed = self.metrics.histogram_with(APPLY_SECONDS, &[name, "false", "v3"]);
            failed.observe(took.as_secs_f64());
        }
    }

    fn count(&self, done: Operations) {
        self.ranges.add(done.ranges);
        self.puts.add(done.puts);
        self.deletes.add(done.deletes);
        if done.ranges + done.puts + done.deletes > 1 {
            self.txns.inc();
        }
    }
}

impl Operations {
    fn add(&mut self, response: &TxnResponse) {
        for done in response.responses.iter().filter_map(|done| done.response.as_ref()) {
            match done {
                Done::ResponseRange(_) => self.ranges += 1,
                Done::ResponsePut(_) => self.puts += 1,
                Done::ResponseDeleteRange(_) => self.deletes += 1,
                Done::ResponseTxn(nested) => self.add(nested),
            }
        }
    }
}

/// The place of a request's kind in [`NAMES`].
fn kind(request: &InternalRaftRequest) -> usize {
    let is = [
        request.put.is_some(),
        request.delete_range.is_some(),
        request.txn.is_some(),
        request.compaction.is_some(),
        request.lease_grant.is_some(),
        request.lease_revoke.is_some(),
    ];
    is.iter().position(|is| *is).unwrap_or(KINDS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_api::etcdserverpb::{PutRequest, PutResponse, RangeResponse, ResponseOp};
    use holdfast_api::mvccpb::KeyValue;
    use holdfast_api::mvccpb::event::EventType;

    fn done(response: Done) -> ResponseOp {
        ResponseOp { response: Some(response) }
    }

    #[test]
    fn keys_are_counted_while_they_are_alive() {
        let metrics = Metrics::new();
        let figures = Figures::new(&metrics);
        figures.begin(3);
        let event = |kind: EventType, version| Event {
            r#type: kind as i32,
            kv: Some(KeyValue { version, ..KeyValue::default() }),
            prev_kv: None,
        };
        let (put, delete) = (EventType::Put, EventType::Delete);
        figures.changed(&[event(put, 1), event(put, 2), event(put, 1), event(delete, 0)]);
        assert!(metrics.page().contains("\netcd_debugging_mvcc_keys_total 4\n"));
    }

    #[test]
    fn operations_are_counted_by_kind_and_transactions_with_several() {
        let metrics = Metrics::new();
        let figures = Figures::new(&metrics);
        let put = InternalRaftRequest { put: Some(PutRequest::default()), ..Default::default() };
        figures.applied(&put, Duration::ZERO, true);
        figures.applied(&put, Duration::ZERO, false);
        let one = vec![done(Done::ResponsePut(PutResponse::default()))];
        let one = TxnResponse { responses: one, ..TxnResponse::default() };
        figures.answered(&one);
        assert_eq!((figures.puts.get(), figures.txns.get()), (2, 0));
        let range = done(Done::ResponseRange(RangeResponse::default()));
        let responses = vec![range, done(Done::ResponseTxn(one))];
        figures.answered(&TxnResponse { responses, ..TxnResponse::default() });
        figures.ranged(Duration::ZERO, true);
        let counts = [&figures.puts, &figures.ranges, &figures.txns].map(Counter::get);
        assert_eq!(counts, [3, 2, 1]);
        let page = metrics.page();
        for line in [
            r#"etcd_server_apply_duration_seconds_count{op="Put",success="true",version="v3"} 1"#,
            r#"etcd_server_range_duration_seconds_count{success="true"} 1"#,
        ] {
            assert!(page.contains(line), "{line} not in {page}");
        }
    }
}
