//! Figures of a process: counters, gauges and histograms, rendered as Prometheus text.
//!
//! Counters of events come from the one declaration in [`dwcp_env::event`]; gauges are closures of
//! whoever knows the value, called when someone looks; histograms have fixed bounds, a factor
//! of two apart from 8 µs to 4 s. Recording costs one relaxed atomic addition.
//!
//! A name has one help text and one type; a second registration under the same name and labels
//! returns the same counter.

use dwcp_env::Event;
use dwcp_env::event::{CATALOGUE, Metric};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A metric's declaration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Declared {
    /// Its name.
    pub name: &'static str,
    /// What it says, as a sentence.
    pub help: &'static str,
}

macro_rules! declare {
    ($($constant:ident $name:literal $help:literal)*) => {
        $(pub(crate) const $constant: Declared = Declared { name: $name, help: $help };)*
        /// What this crate measures besides the events' counters.
        pub const RUNTIME: &[Declared] = &[$($constant),*];
    };
}

declare! {
    CPU "process_cpu_seconds_total" "CPU time this process has used, in seconds."
    MEMORY "process_resident_memory_bytes" "Memory this process holds, in bytes."
    DISK_SYNC "dwcp_disk_sync_seconds" "How long one sync of a file or directory takes."
    REQUESTS "dwcp_requests_in_flight" "Requests the node works on."
    STREAMS "dwcp_streams_open" "Streams (watches) open at the node."
    INPUTS "dwcp_inputs_waiting" "Inputs that wait for the node's loop."
    LINK_LANES "dwcp_link_lanes_up" "Lanes on which this node can send to a peer."
    LINK_DROPPED "dwcp_link_dropped_total" "Messages to a peer that were dropped: no room, no connection, or cut."
    LINK_REFUSED "dwcp_link_refused_total" "Connections that were turned away or closed for cause, by class of cause."
}

/// A number that only rises.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn count(&self) {
        self.add(1);
    }
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of a histogram's buckets: 2^(i + FIRST) microseconds.
const BUCKETS: usize = 20;
const FIRST: u32 = 3;

/// How long something takes.
#[derive(Clone, Debug, Default)]
pub struct Histogram(Arc<HistogramCells>);

#[derive(Debug, Default)]
struct HistogramCells {
    buckets: [AtomicU64; BUCKETS],
    /// Over the last bound.
    more: AtomicU64,
    sum_nanos: AtomicU64,
}

impl Histogram {
    /// Adds one observation.
    pub fn record(&self, d: Duration) {
        self.record_many(d, 1);
    }
    /// Adds so many equal ones.
    pub fn record_many(&self, d: Duration, times: u64) {
        let nanos = u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        // The first bound that is above: 2^n where n is the number of digits of the microseconds.
        let digits = (u64::BITS - (nanos / 1_000).leading_zeros()).saturating_sub(FIRST) as usize;
        let cell = self.0.buckets.get(digits).unwrap_or(&self.0.more);
        cell.fetch_add(times, Ordering::Relaxed);
        self.0.sum_nanos.fetch_add(nanos.saturating_mul(times), Ordering::Relaxed);
    }
    /// How many there were, and their sum.
    #[must_use]
    pub fn total(&self) -> (u64, Duration) {
        let counted: u64 =
            self.0.buckets.iter().chain([&self.0.more]).map(|b| b.load(Ordering::Relaxed)).sum();
        (counted, Duration::from_nanos(self.0.sum_nanos.load(Ordering::Relaxed)))
    }

    fn render(&self, name: &str, labels: &str, out: &mut String) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut total = 0;
        for (i, b) in self.0.buckets.iter().enumerate() {
            total += b.load(Ordering::Relaxed);
            let bound = Duration::from_micros(1 << (i as u32 + FIRST)).as_secs_f64();
            let _infallible = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}");
        }
        total += self.0.more.load(Ordering::Relaxed);
        let sum = Duration::from_nanos(self.0.sum_nanos.load(Ordering::Relaxed)).as_secs_f64();
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _infallible = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {total}");
        let _infallible = writeln!(out, "{name}_sum{braces} {sum}");
        let _infallible = writeln!(out, "{name}_count{braces} {total}");
    }
}

type Gauge = Box<dyn Fn() -> f64 + Send + Sync>;

enum Cell {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

impl Cell {
    fn kind(&self) -> &'static str {
        match self {
            Self::Counter(_) => "counter",
            Self::Gauge(_) => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

struct Family {
    help: String,
    /// By labels, rendered: `peer="3",lane="bulk"`.
    cells: BTreeMap<String, Cell>,
}

/// All figures of a process.
pub struct Registry {
    families: Mutex<BTreeMap<String, Family>>,
    /// The counters that events feed, in the order of the catalogue's metrics.
    events: BTreeMap<&'static str, Counter>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registry")
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// A registry that holds the events' counters and the figures of the process.
    #[must_use]
    pub fn new() -> Self {
        let mut this = Self { families: Mutex::default(), events: BTreeMap::new() };
        for (_, _, metric) in CATALOGUE {
            if let Metric::Count(name, help) = metric {
                let counter = this.counter(name, help, &[]);
                this.events.insert(name, counter);
            }
        }
        this.gauge(CPU.name, CPU.help, &[], cpu_seconds);
        this.gauge(MEMORY.name, MEMORY.help, &[], resident_bytes);
        this
    }

    /// Counts an event.
    pub fn event(&self, event: &Event) {
        if let Metric::Count(name, _) = event.metric()
            && let Some(c) = self.events.get(name)
        {
            c.count();
        }
    }

    /// The counter of this name and these labels.
    pub fn counter(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Counter {
        let make = || Cell::Counter(Counter::default());
        self.with(name, help, labels, make, |cell| match cell {
            Cell::Counter(c) => c.clone(),
            other => panic!("metric {name} is a {} already", other.kind()),
        })
    }

    /// The histogram of this name and these labels; its name ends in `_seconds`.
    pub fn histogram(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Histogram {
        let make = || Cell::Histogram(Histogram::default());
        self.with(name, help, labels, make, |cell| match cell {
            Cell::Histogram(h) => h.clone(),
            other => panic!("metric {name} is a {} already", other.kind()),
        })
    }

    /// A figure asked for when someone looks; replaces one of this name and these labels.
    pub fn gauge(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        value: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        let mut value = Some(Box::new(value) as Gauge);
        self.with(
            name,
            help,
            labels,
            || Cell::Gauge(Box::new(|| 0.0)),
            |cell| {
                if let Some(v) = value.take() {
                    *cell = Cell::Gauge(v);
                }
            },
        );
    }

    fn with<T>(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        make: impl FnOnce() -> Cell,
        then: impl FnOnce(&mut Cell) -> T,
    ) -> T {
        let labels = render_labels(labels);
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let family = families
            .entry(name.into())
            .or_insert_with(|| Family { help: help.into(), cells: BTreeMap::new() });
        then(family.cells.entry(labels).or_insert_with(make))
    }

    /// Everything, in Prometheus' text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::with_capacity(8 * 1024);
        for (name, family) in &*families {
            let Some(first) = family.cells.values().next() else { continue };
            let _infallible = writeln!(out, "# HELP {name} {}", family.help);
            let _infallible = writeln!(out, "# TYPE {name} {}", first.kind());
            for (labels, cell) in &family.cells {
                let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
                match cell {
                    Cell::Counter(c) => {
                        let _infallible = writeln!(out, "{name}{braces} {}", c.get());
                    }
                    Cell::Gauge(g) => {
                        let _infallible = writeln!(out, "{name}{braces} {}", g());
                    }
                    Cell::Histogram(h) => h.render(name, labels, &mut out),
                }
            }
        }
        out
    }
}

fn render_labels(labels: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (k, v) in labels {
        let comma = if out.is_empty() { "" } else { "," };
        let v = v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _infallible = write!(out, "{comma}{k}=\"{v}\"");
    }
    out
}

/// CPU time this process has used, in seconds.
#[must_use]
pub fn cpu_seconds() -> f64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
}

/// Memory this process holds, in bytes; zero where `/proc` does not say.
#[must_use]
pub fn resident_bytes() -> f64 {
    let kib = std::fs::read_to_string("/proc/self/status").ok().and_then(|s| {
        s.lines().find_map(|l| l.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok())
    });
    f64::from(kib.unwrap_or(0_u32)) * 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_of_the_catalogue_is_there_from_the_start() {
        let text = Registry::new().render();
        for (_, _, metric) in CATALOGUE {
            if let Metric::Count(name, help) = metric {
                assert!(text.contains(&format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} 0\n")));
            }
        }
        assert!(text.contains("\nprocess_cpu_seconds_total "));
    }

    #[test]
    fn what_is_counted_is_rendered_with_its_labels() {
        let r = Registry::new();
        r.counter("x_total", "X.", &[("peer", "3"), ("why", "a \"b\"")]).add(2);
        r.counter("x_total", "X.", &[("peer", "3"), ("why", "a \"b\"")]).count();
        r.gauge("y", "Y.", &[], || 1.5);
        let h = r.histogram("z_seconds", "Z.", &[]);
        h.record(Duration::from_micros(9));
        h.record(Duration::from_secs(100));
        assert_eq!(h.total(), (2, Duration::from_secs(100) + Duration::from_micros(9)));
        r.event(&Event::Overloaded { in_flight: 1 });
        let text = r.render();
        for line in [
            "x_total{peer=\"3\",why=\"a \\\"b\\\"\"} 3",
            "y 1.5",
            "z_seconds_bucket{le=\"0.000008\"} 0",
            "z_seconds_bucket{le=\"0.000016\"} 1",
            "z_seconds_bucket{le=\"+Inf\"} 2",
            "z_seconds_count 2",
            "dwcp_overloaded_total 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
