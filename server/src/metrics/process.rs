//! What the process uses: `process_*` and `os_fd_*` from /proc, and the names of Go's runtime.
//!
//! Dashboards and upstream's tests ask for `go_*`. What exists here is told (threads, tasks in the
//! place of goroutines, memory); what a Go runtime alone has is 0, and its help says so.

use super::{FamilyKind, Metrics, Page};
use std::fs;

/// Clock ticks a second in /proc: fixed on Linux for user programs.
const TICKS: f64 = 100.0;
/// Names of a Go runtime's parts that do not exist here; always 0.
const OF_GO_ONLY: [(&str, FamilyKind); 20] = [
    ("go_gc_gogc_percent", FamilyKind::Gauge),
    ("go_gc_gomemlimit_bytes", FamilyKind::Gauge),
    ("go_memstats_alloc_bytes_total", FamilyKind::Counter),
    ("go_memstats_buck_hash_sys_bytes", FamilyKind::Gauge),
    ("go_memstats_frees_total", FamilyKind::Counter),
    ("go_memstats_gc_sys_bytes", FamilyKind::Gauge),
    ("go_memstats_heap_idle_bytes", FamilyKind::Gauge),
    ("go_memstats_heap_objects", FamilyKind::Gauge),
    ("go_memstats_heap_released_bytes", FamilyKind::Gauge),
    ("go_memstats_heap_sys_bytes", FamilyKind::Gauge),
    ("go_memstats_last_gc_time_seconds", FamilyKind::Gauge),
    ("go_memstats_mallocs_total", FamilyKind::Counter),
    ("go_memstats_mcache_inuse_bytes", FamilyKind::Gauge),
    ("go_memstats_mcache_sys_bytes", FamilyKind::Gauge),
    ("go_memstats_mspan_inuse_bytes", FamilyKind::Gauge),
    ("go_memstats_mspan_sys_bytes", FamilyKind::Gauge),
    ("go_memstats_next_gc_bytes", FamilyKind::Gauge),
    ("go_memstats_other_sys_bytes", FamilyKind::Gauge),
    ("go_memstats_stack_inuse_bytes", FamilyKind::Gauge),
    ("go_memstats_stack_sys_bytes", FamilyKind::Gauge),
];

/// What is told of the asynchronous runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Runtime {
    /// Tasks alive.
    pub tasks: usize,
    /// Threads that run tasks.
    pub workers: usize,
}

impl Metrics {
    /// Puts the process on the page; `runtime` is asked each time.
    pub fn watch_process(&self, runtime: impl Fn() -> Runtime + Send + Sync + 'static) {
        self.collect(Box::new(move |page| {
            of_process(page);
            of_runtime(page, runtime());
        }));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a page shows numbers as floats")]
fn of_process(page: &mut Page) {
    let mut gauge = |name, help: &str, value: f64| {
        page.family(name, FamilyKind::Gauge, help).sample("", &[], value);
    };
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok())
            .unwrap_or(u64::MAX as f64)
    };
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as f64;
    gauge("os_fd_limit", "Most open files.", limit("Max open files"));
    gauge("os_fd_used", "Open files.", open);
    gauge("process_max_fds", "Most open files.", limit("Max open files"));
    gauge("process_open_fds", "Open files.", open);
    let most = limit("Max address space");
    gauge("process_virtual_memory_max_bytes", "Most address space.", most);
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program may hold blanks: what counts begins behind its bracket.
    let fields: Vec<f64> = stat
        .rsplit_once(") ")
        .map(|(_, rest)| rest.split(' ').map(|field| field.parse().unwrap_or(0.0)).collect())
        .unwrap_or_default();
    let field = |place: usize| fields.get(place - 3).copied().unwrap_or(0.0);
    gauge("process_virtual_memory_bytes", "Address space.", field(23));
    let page_bytes = rustix::param::page_size() as f64;
    gauge("process_resident_memory_bytes", "Memory in use.", field(24) * page_bytes);
    let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime "));
    let boot: f64 = boot.and_then(|text| text.trim().parse().ok()).unwrap_or(0.0);
    gauge("process_start_time_seconds", "Unix time of the start.", boot + field(22) / TICKS);
    let cpu = (field(14) + field(15)) / TICKS;
    let mut counter = |name, help: &str, value: f64| {
        page.family(name, FamilyKind::Counter, help).sample("", &[], value);
    };
    counter("process_cpu_seconds_total", "Processor time.", cpu);
    let (received, sent) = network();
    counter("process_network_receive_bytes_total", "Bytes received over the network.", received);
    counter("process_network_transmit_bytes_total", "Bytes sent over the network.", sent);
}

/// Bytes received and sent by the process' network namespace.
fn network() -> (f64, f64) {
    let text = fs::read_to_string("/proc/self/net/netstat").unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("IpExt: "));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return (0.0, 0.0) };
    let of = |name: &str| {
        let place = names.split(' ').position(|found| found == name)?;
        values.split(' ').nth(place)?.parse().ok()
    };
    (of("InOctets").unwrap_or(0.0), of("OutOctets").unwrap_or(0.0))
}

#[expect(clippy::cast_precision_loss, reason = "a page shows numbers as floats")]
fn of_runtime(page: &mut Page, runtime: Runtime) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0)
    };
    let anonymous = of("RssAnon") * 1024.0;
    for (name, help, value) in [
        ("go_goroutines", "Tasks alive; there is no Go runtime.", runtime.tasks as f64),
        ("go_threads", "Threads.", of("Threads")),
        ("go_sched_gomaxprocs_threads", "Threads that run tasks.", runtime.workers as f64),
        ("go_memstats_alloc_bytes", "Memory in use outside of files.", anonymous),
        ("go_memstats_heap_alloc_bytes", "Memory in use outside of files.", anonymous),
        ("go_memstats_heap_inuse_bytes", "Memory in use outside of files.", anonymous),
        ("go_memstats_sys_bytes", "Data segments of the process.", of("VmData") * 1024.0),
    ] {
        page.family(name, FamilyKind::Gauge, help).sample("", &[], value);
    }
    for (name, kind) in OF_GO_ONLY {
        page.family(name, kind, "Always 0: there is no Go runtime.").sample("", &[], 0.0);
    }
    let help = "Always 0: nothing is collected.";
    let mut pauses = page.family("go_gc_duration_seconds", FamilyKind::Summary, help);
    pauses.sample("_sum", &[], 0.0);
    pauses.sample("_count", &[], 0.0);
    let version = crate::version::RUNTIME;
    let mut info = page.family("go_info", FamilyKind::Gauge, "What the program is built with.");
    info.sample("", &[("version", version)], 1.0);
}
