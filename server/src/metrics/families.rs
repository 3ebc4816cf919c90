//! Counters, gauges and histograms: atomics behind handles that are looked up once.

use super::names::Row;
use super::{FamilyKind, Page};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Most series of one family: some labels come from clients.
pub(super) const MOST_SERIES: usize = 1_000;

/// Only grows.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Counts one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts several.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Adds to it; takes away with less than zero.
    pub fn add(&self, value: f64) {
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // The closure always gives a value, so this always succeeds.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Its value.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// Counts by size.
#[derive(Debug, Clone, Default)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug, Default)]
struct Buckets {
    bounds: &'static [f64],
    counts: Vec<AtomicU64>,
    sum: Gauge,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Histogram {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram(Arc::new(Buckets { bounds, counts, sum: Gauge::default() }))
    }

    /// Counts one of that size.
    pub fn observe(&self, value: f64) {
        let buckets = &self.0;
        let place = buckets.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = buckets.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
            buckets.sum.add(value);
        }
    }

    /// Writes its lines.
    #[expect(clippy::cast_precision_loss, reason = "a page shows numbers as floats")]
    pub(crate) fn write(&self, samples: &mut super::Samples<'_>, labels: &[(&str, &str)]) {
        let mut total = 0;
        for (place, count) in self.0.counts.iter().enumerate() {
            total += count.load(Ordering::Relaxed);
            let bound = self.0.bounds.get(place).copied().unwrap_or(f64::INFINITY);
            let bound = super::value::number(bound);
            let mut all: Vec<(&str, &str)> = labels.to_vec();
            all.push(("le", &bound));
            samples.sample("_bucket", &all, total as f64);
        }
        samples.sample("_sum", labels, self.0.sum.get());
        samples.sample("_count", labels, total as f64);
    }
}

/// A family and its series.
#[derive(Debug)]
pub(super) struct Family {
    row: Row,
    series: Mutex<BTreeMap<Vec<String>, Series>>,
}

#[derive(Debug, Clone)]
enum Series {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

impl Family {
    /// A family; with its only series if it has no labels.
    pub(super) fn new(row: &Row) -> Family {
        let mut series = BTreeMap::new();
        if row.labels.is_empty() {
            series.insert(Vec::new(), Series::new(row.kind));
        }
        Family { row: *row, series: Mutex::new(series) }
    }

    fn series(&self, labels: &[&str]) -> Option<Series> {
        debug_assert_eq!(labels.len(), self.row.labels.len(), "labels of {}", self.row.name);
        if labels.len() != self.row.labels.len() {
            return None;
        }
        let key: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_SERIES && !all.contains_key(&key) {
            return None;
        }
        Some(all.entry(key).or_insert_with(|| Series::new(self.row.kind)).clone())
    }

    pub(super) fn counter(&self, labels: &[&str]) -> Counter {
        match self.series(labels) {
            Some(Series::Counter(counter)) => counter,
            _ => Counter::default(),
        }
    }

    pub(super) fn gauge(&self, labels: &[&str]) -> Gauge {
        match self.series(labels) {
            Some(Series::Gauge(gauge)) => gauge,
            _ => Gauge::default(),
        }
    }

    pub(super) fn histogram(&self, labels: &[&str]) -> Histogram {
        match self.series(labels) {
            Some(Series::Histogram(histogram)) => histogram,
            _ => Histogram::default(),
        }
    }

    pub(super) fn clear(&self) {
        self.series.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Writes its lines; nothing when it has no series, as upstream's client does.
    #[expect(clippy::cast_precision_loss, reason = "a page shows numbers as floats")]
    pub(super) fn write(&self, page: &mut Page) {
        let all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if all.is_empty() {
            return;
        }
        let mut samples = page.family(self.row.name, self.row.kind, self.row.help);
        for (values, series) in all.iter() {
            let labels: Vec<(&str, &str)> =
                self.row.labels.iter().copied().zip(values.iter().map(String::as_str)).collect();
            match series {
                Series::Counter(counter) => samples.sample("", &labels, counter.get() as f64),
                Series::Gauge(gauge) => samples.sample("", &labels, gauge.get()),
                Series::Histogram(histogram) => histogram.write(&mut samples, &labels),
            }
        }
    }
}

impl Series {
    fn new(kind: FamilyKind) -> Series {
        match kind {
            FamilyKind::Counter => Series::Counter(Counter::default()),
            FamilyKind::Gauge | FamilyKind::Summary => Series::Gauge(Gauge::default()),
            FamilyKind::Histogram(bounds) => Series::Histogram(Histogram::new(bounds)),
        }
    }
}
