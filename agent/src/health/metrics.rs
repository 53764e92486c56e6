//! What is counted, and how it is written down.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fairway_common::reason::Class;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

use crate::node::Shared;
use crate::sync::ControlPlane;

/// Durations and counts of syncs.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    duration: Histogram,
    latency: Histogram,
    writes: Counter,
    collected: Family<What, Counter>,
    repairs: Family<What, Counter>,
    queued: Gauge<f64, std::sync::atomic::AtomicU64>,
    synced: Gauge<f64, std::sync::atomic::AtomicU64>,
    /// Since when a change waits.
    waiting: Mutex<Option<Instant>>,
}

/// Of what kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct What {
    what: &'static str,
}

fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

impl Default for Metrics {
    fn default() -> Self {
        let buckets = || exponential_buckets(0.001, 2.0, 15);
        let metrics = Self {
            registry: Registry::default(),
            duration: Histogram::new(buckets()),
            latency: Histogram::new(buckets()),
            writes: Counter::default(),
            collected: Family::default(),
            repairs: Family::default(),
            queued: Gauge::default(),
            synced: Gauge::default(),
            waiting: Mutex::default(),
        };
        metrics.registered()
    }
}

impl Metrics {
    /// The first two under the names that kube-proxy's dashboards use.
    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        let name = "kubeproxy_sync_proxy_rules_duration_seconds";
        registry.register(name, "Time to resolve and write one sync", self.duration.clone());
        let name = "kubeproxy_sync_proxy_rules_last_timestamp_seconds";
        registry.register(name, "When the last sync ended", self.synced.clone());
        let name = "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds";
        registry.register(name, "When the last sync was asked for", self.queued.clone());
        let name = "fairway_sync_latency_seconds";
        registry.register(name, "Time from a change to the tables that hold it", self.latency.clone());
        let name = "fairway_collected";
        registry.register(name, "Connections and affinity that were over", self.collected.clone());
        registry.register("fairway_repairs", "What somebody removed, and was put back", self.repairs.clone());
        registry.register("fairway_table_writes", "Writes to the service table", self.writes.clone());
        self
    }

    /// Connections or affinity were over and are forgotten.
    pub(crate) fn collected(&self, what: &'static str, count: u64) {
        self.collected.get_or_create(&What { what }).inc_by(count);
    }

    /// Something that somebody removed was put back.
    pub(crate) fn repaired(&self, what: &'static str) {
        self.repairs.get_or_create(&What { what }).inc();
    }

    /// A sync is wanted.
    pub(crate) fn queued(&self) {
        self.queued.set(seconds());
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
    }

    /// A sync was made.
    pub(crate) fn synced(&self, duration: Duration, latency: Duration, writes: usize) {
        self.duration.observe(duration.as_secs_f64());
        self.latency.observe(latency.as_secs_f64());
        self.writes.inc_by(writes as u64);
        self.synced.set(seconds());
    }

    /// No change waits any more.
    pub(crate) fn nothing_to_do(&self) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How long a change has been waiting.
    pub(crate) fn waiting(&self) -> Option<Duration> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).map(|since| since.elapsed())
    }
}

/// All metrics as text, in the form of OpenMetrics.
pub(super) fn encode(shared: &Shared) -> String {
    let mut out = String::new();
    // Writing into a String does not fail; a metric that does is left out.
    let _ = text::encode_registry(&mut out, &shared.metrics.registry);
    let mut kernel = Registry::default();
    kernel.register_collector(Box::new(Snapshot::take(shared)));
    let _ = text::encode_registry(&mut out, &kernel);
    let _ = text::encode_eof(&mut out);
    out
}

/// Values that are read when they are asked for.
#[derive(Debug)]
struct Snapshot {
    connected: bool,
    services: usize,
    problems: usize,
    errors: usize,
    frontends: u64,
    slots: u64,
    backends: u64,
    pods: usize,
    reasons: Vec<(Reason, u64, u64)>,
    events_lost: Option<u64>,
    maps: Vec<(MapName, u64, u64)>,
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
    class: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct MapName {
    map: &'static str,
}

impl Snapshot {
    fn take(shared: &Shared) -> Self {
        let state = shared.state.borrow().clone();
        let datapath = shared.datapath.lock().unwrap_or_else(PoisonError::into_inner);
        let class = |class| match class {
            Class::Forward => "forward",
            Class::Reject => "reject",
            Class::Drop => "drop",
        };
        Self {
            connected: matches!(state.control_plane, ControlPlane::Connected { .. }),
            services: state.cluster.services.len(),
            problems: state.desired.problems.len(),
            errors: state.errors.len(),
            frontends: state.usage.frontends,
            slots: state.usage.slots,
            backends: state.usage.backends,
            pods: shared.pods.list().len(),
            reasons: datapath
                .counts()
                .unwrap_or_default()
                .into_iter()
                .map(|(reason, count)| {
                    let labels = Reason { reason: reason.name(), class: class(reason.class()) };
                    (labels, count.packets, count.bytes)
                })
                .collect(),
            events_lost: datapath.events_lost().ok(),
            maps: datapath
                .maps()
                .unwrap_or_default()
                .into_iter()
                .filter_map(|map| Some((MapName { map: map.name }, map.entries?, map.capacity)))
                .collect(),
        }
    }
}

fn one<M: EncodeMetric + TypedMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: M,
) -> Result<(), std::fmt::Error> {
    metric.encode(encoder.encode_descriptor(name, help, None, M::TYPE)?)
}

fn family<L: EncodeLabelSet, M: EncodeMetric + TypedMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (L, M)>,
) -> Result<(), std::fmt::Error> {
    let kind: MetricType = M::TYPE;
    let mut encoder = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, metric) in values {
        metric.encode(encoder.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauge(value: impl TryInto<i64>) -> ConstGauge<i64> {
    ConstGauge::new(value.try_into().unwrap_or(i64::MAX))
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let e = &mut encoder;
        let connected = gauge(u64::from(self.connected));
        one(e, "fairway_control_plane_connected", "1 while the stream is open", connected)?;
        one(e, "fairway_services", "Services in the cluster", gauge(self.services as u64))?;
        one(e, "fairway_frontends", "Frontends in the kernel", gauge(self.frontends))?;
        one(e, "fairway_slots", "Slots in use", gauge(self.slots))?;
        one(e, "fairway_backends", "Backends in the kernel", gauge(self.backends))?;
        one(e, "fairway_pods", "Pods of this node", gauge(self.pods as u64))?;
        let problems = gauge(self.problems as u64);
        one(e, "fairway_problems", "Services that are not served as asked for", problems)?;
        one(e, "fairway_errors", "Errors that keep a sync from being complete", gauge(self.errors as u64))?;
        let packets =
            self.reasons.iter().map(|(reason, packets, _)| (reason.clone(), ConstCounter::new(*packets)));
        family(e, "fairway_packets", "Decisions of the data path by reason", packets)?;
        let bytes = self.reasons.iter().map(|(reason, _, bytes)| (reason.clone(), ConstCounter::new(*bytes)));
        family(e, "fairway_bytes", "Bytes of those packets", bytes)?;
        let entries = self.maps.iter().map(|(map, entries, _)| (map.clone(), gauge(*entries)));
        family(e, "fairway_map_entries", "Entries of a map, counted", entries)?;
        let capacity = self.maps.iter().map(|(map, _, capacity)| (map.clone(), gauge(*capacity)));
        family(e, "fairway_map_capacity", "Entries that a map can hold", capacity)?;
        if let Some(lost) = self.events_lost {
            one(e, "fairway_events_lost", "Trace events that found the ring full", ConstCounter::new(lost))?;
        }
        Ok(())
    }
}
