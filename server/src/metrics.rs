//! Metrics in Prometheus' text format, under upstream's names.
//!
//! Must hold: every family of [`names::FAMILIES`] is on the page from the first moment, at zero;
//! a family has a bounded number of series, since some labels come from outside.

mod families;
mod names;
mod process;
mod value;

pub use families::{Counter, Gauge, Histogram};
pub use process::Runtime;

use families::Family;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

/// What a family counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum FamilyKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size, below these bounds.
    Histogram(&'static [f64]),
    /// Quantiles, of which nothing is ever measured here.
    Summary,
}

/// A family that writes itself when the page is asked for.
pub(crate) type Collector = Box<dyn Fn(&mut Page) + Send + Sync>;

/// All metrics of a process. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    families: BTreeMap<&'static str, Family>,
    collectors: Mutex<Vec<Collector>>,
    refreshers: Mutex<Vec<Refresher>>,
}

/// Sets gauges to what is so now, each time before the page is written.
pub(crate) type Refresher = Box<dyn Fn() + Send + Sync>;

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Metrics({} families)", self.inner.families.len())
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    /// All families at zero.
    pub fn new() -> Metrics {
        let family = |row: &names::Row| (row.name, Family::new(row));
        let families = names::FAMILIES.iter().map(family).collect();
        let (collectors, refreshers) = (Mutex::default(), Mutex::default());
        let inner = Inner { families, collectors, refreshers };
        let metrics = Metrics { inner: Arc::new(inner) };
        for status in ["200", "500", "503"] {
            metrics.counter_with("promhttp_metric_handler_requests_total", &[status]);
        }
        metrics
    }

    /// A counter without labels. An unknown name gives one that no page shows.
    pub fn counter(&self, name: &str) -> Counter {
        self.counter_with(name, &[])
    }

    /// The counter of a family with these values of its labels.
    pub fn counter_with(&self, name: &str, labels: &[&str]) -> Counter {
        self.inner.families.get(name).map(|family| family.counter(labels)).unwrap_or_default()
    }

    /// A gauge without labels.
    pub fn gauge(&self, name: &str) -> Gauge {
        self.gauge_with(name, &[])
    }

    /// The gauge of a family with these values of its labels.
    pub fn gauge_with(&self, name: &str, labels: &[&str]) -> Gauge {
        self.inner.families.get(name).map(|family| family.gauge(labels)).unwrap_or_default()
    }

    /// A histogram without labels.
    pub fn histogram(&self, name: &str) -> Histogram {
        self.histogram_with(name, &[])
    }

    /// The histogram of a family with these values of its labels.
    pub fn histogram_with(&self, name: &str, labels: &[&str]) -> Histogram {
        self.inner.families.get(name).map(|family| family.histogram(labels)).unwrap_or_default()
    }

    /// Forgets the series of a family, for one whose only series changes its labels.
    pub fn clear(&self, name: &str) {
        if let Some(family) = self.inner.families.get(name) {
            family.clear();
        }
    }

    /// Adds a writer of families.
    pub(crate) fn collect(&self, collector: Collector) {
        self.inner.collectors.lock().unwrap_or_else(|lock| lock.into_inner()).push(collector);
    }

    /// Adds something that sets gauges when the page is asked for.
    pub(crate) fn refresh(&self, refresher: Refresher) {
        self.inner.refreshers.lock().unwrap_or_else(|lock| lock.into_inner()).push(refresher);
    }

    /// The page.
    pub fn page(&self) -> String {
        for refresh in self.inner.refreshers.lock().unwrap_or_else(|lock| lock.into_inner()).iter()
        {
            refresh();
        }
        let mut page = Page::default();
        for family in self.inner.families.values() {
            family.write(&mut page);
        }
        for collector in
            self.inner.collectors.lock().unwrap_or_else(|lock| lock.into_inner()).iter()
        {
            collector(&mut page);
        }
        page.text()
    }
}

/// A page being written: families by name.
#[derive(Debug, Default)]
pub(crate) struct Page {
    families: BTreeMap<&'static str, String>,
}

impl Page {
    /// Begins a family.
    pub(crate) fn family(
        &mut self,
        name: &'static str,
        kind: FamilyKind,
        help: &str,
    ) -> Samples<'_> {
        let kind = match kind {
            FamilyKind::Counter => "counter",
            FamilyKind::Gauge => "gauge",
            FamilyKind::Histogram(_) => "histogram",
            FamilyKind::Summary => "summary",
        };
        let text = self.families.entry(name).or_default();
        // Writing to a text cannot fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Samples { name, text }
    }

    fn text(self) -> String {
        self.families.into_values().collect()
    }
}

/// Lines of one family.
#[derive(Debug)]
pub(crate) struct Samples<'a> {
    name: &'static str,
    text: &'a mut String,
}

impl Samples<'_> {
    /// One line: `name suffix {labels} value`.
    pub(crate) fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        for (place, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let before = if place == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"{text}\"");
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {}", value::number(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_upstreams_lines() {
        let metrics = Metrics::new();
        metrics.counter("etcd_mvcc_put_total").add(2);
        metrics.gauge_with("etcd_server_version", &["3.6.16"]).set(1.0);
        metrics.histogram("etcd_disk_wal_fsync_duration_seconds").observe(0.003);
        let page = metrics.page();
        for line in [
            "etcd_mvcc_put_total 2",
            "etcd_server_version{server_version=\"3.6.16\"} 1",
            "etcd_mvcc_delete_total 0",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.002\"} 0",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.004\"} 1",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"+Inf\"} 1",
            "etcd_disk_wal_fsync_duration_seconds_sum 0.003",
            "etcd_disk_wal_fsync_duration_seconds_count 1",
            "# TYPE etcd_mvcc_put_total counter",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
        }
        metrics.clear("etcd_server_version");
        assert!(!metrics.page().contains("etcd_server_version{"));
    }

    #[test]
    fn labels_from_outside_are_bounded_and_quoted() {
        let metrics = Metrics::new();
        for number in 0..5_000 {
            let version = format!("v\"{number}\n");
            metrics.counter_with("etcd_server_client_requests_total", &[&version, "unary"]).add(1);
        }
        let page = metrics.page();
        let series =
            page.lines().filter(|line| line.starts_with("etcd_server_client_requests_total{"));
        assert_eq!(series.count(), families::MOST_SERIES);
        assert!(page.contains("client_api_version=\"v\\\"0\\n\""), "{page}");
        metrics.counter("no_such_metric").add(1);
        assert!(!metrics.page().contains("no_such_metric"));
    }
}
