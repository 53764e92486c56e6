//! What kube-proxy's dashboards and alerts ask for, under its names and with its buckets.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Forgotten, Synced, buckets};

type Seconds = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IpFamily {
    ip_family: &'static str,
}

/// kube-proxy's metrics, as far as Fairway has something to say.
#[derive(Debug)]
pub(super) struct KubeProxy {
    duration: Histogram,
    full: Histogram,
    partial: Histogram,
    synced: Seconds,
    queued: Seconds,
    programming: Histogram,
    service_changes: Counter,
    service_pending: Gauge,
    endpoint_changes: Counter,
    endpoint_pending: Gauge,
    healthz: Family<Code, Counter>,
    livez: Family<Code, Counter>,
    conntrack: Histogram,
    forgotten: Family<IpFamily, Counter>,
}

/// 0.25 s to 5 min.
fn programming_buckets() -> impl Iterator<Item = f64> {
    let steps = |first: u32, step: usize, last: u32| (first..=last).step_by(step).map(f64::from);
    [0.25, 0.5].into_iter().chain(steps(1, 1, 59)).chain(steps(60, 5, 115)).chain(steps(120, 30, 300))
}

impl KubeProxy {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let new = Self {
            duration: Histogram::new(buckets()),
            full: Histogram::new(buckets()),
            partial: Histogram::new(buckets()),
            synced: Gauge::default(),
            queued: Gauge::default(),
            programming: Histogram::new(programming_buckets()),
            service_changes: Counter::default(),
            service_pending: Gauge::default(),
            endpoint_changes: Counter::default(),
            endpoint_pending: Gauge::default(),
            healthz: Family::default(),
            livez: Family::default(),
            conntrack: Histogram::new(buckets()),
            forgotten: Family::default(),
        };
        new.register_syncs(registry);
        new.register_changes(registry);
        new.register_others(registry);
        new
    }

    fn register_syncs(&self, registry: &mut Registry) {
        let name = "kubeproxy_sync_proxy_rules_duration_seconds";
        registry.register(name, "Time to resolve and write one sync", self.duration.clone());
        let name = "kubeproxy_sync_full_proxy_rules_duration_seconds";
        registry.register(name, "Of syncs that read and compared the tables as a whole", self.full.clone());
        let name = "kubeproxy_sync_partial_proxy_rules_duration_seconds";
        registry.register(name, "Of syncs that wrote what had changed", self.partial.clone());
        let name = "kubeproxy_sync_proxy_rules_last_timestamp_seconds";
        registry.register(name, "When the last sync ended", self.synced.clone());
        let name = "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds";
        registry.register(name, "When the last sync was asked for", self.queued.clone());
        let name = "kubeproxy_network_programming_duration_seconds";
        let help =
            "Time from a change in the cluster, as its EndpointSlice names it, to the tables that hold it";
        registry.register(name, help, self.programming.clone());
    }

    fn register_changes(&self, registry: &mut Registry) {
        let name = "kubeproxy_sync_proxy_rules_service_changes";
        registry.register(name, "Services that came, changed or went", self.service_changes.clone());
        let name = "kubeproxy_sync_proxy_rules_service_changes_pending";
        registry.register(name, "Of them, not in the tables yet", self.service_pending.clone());
        let name = "kubeproxy_sync_proxy_rules_endpoint_changes";
        registry.register(name, "EndpointSlices that came, changed or went", self.endpoint_changes.clone());
        let name = "kubeproxy_sync_proxy_rules_endpoint_changes_pending";
        registry.register(name, "Of them, not in the tables yet", self.endpoint_pending.clone());
    }

    fn register_others(&self, registry: &mut Registry) {
        let name = "kubeproxy_proxy_healthz";
        registry.register(name, "Answers of /healthz by status", self.healthz.clone());
        let name = "kubeproxy_proxy_livez";
        registry.register(name, "Answers of /livez by status", self.livez.clone());
        let name = "kubeproxy_conntrack_reconciler_sync_duration_seconds";
        registry.register(name, "Time to look through the connections once", self.conntrack.clone());
        let name = "kubeproxy_conntrack_reconciler_deleted_entries";
        registry.register(
            name,
            "Datagram flows to backends that are gone, which were forgotten",
            self.forgotten.clone(),
        );
    }

    pub(super) fn queued(&self) {
        self.queued.set(now());
    }

    pub(super) fn synced(&self, synced: Synced) {
        let seconds = synced.duration.as_secs_f64();
        self.duration.observe(seconds);
        if synced.full { &self.full } else { &self.partial }.observe(seconds);
        self.synced.set(now());
    }

    pub(super) fn changed(&self, services: usize, slices: usize) {
        self.service_changes.inc_by(services as u64);
        self.endpoint_changes.inc_by(slices as u64);
    }

    pub(super) fn pending(&self, services: usize, slices: usize) {
        self.service_pending.set(i64::try_from(services).unwrap_or(i64::MAX));
        self.endpoint_pending.set(i64::try_from(slices).unwrap_or(i64::MAX));
    }

    /// A clock that is behind the cluster's makes it nothing, never less.
    pub(super) fn programmed(&self, changed: SystemTime) {
        let took = SystemTime::now().duration_since(changed).unwrap_or_default();
        self.programming.observe(took.as_secs_f64());
    }

    pub(super) fn healthz(&self, code: u16) {
        self.healthz.get_or_create(&Code { code }).inc();
    }

    pub(super) fn livez(&self, code: u16) {
        self.livez.get_or_create(&Code { code }).inc();
    }

    pub(super) fn conntrack_collected(&self, took: Duration, forgotten: Forgotten) {
        self.conntrack.observe(took.as_secs_f64());
        for (ip_family, count) in [("IPv4", forgotten.v4), ("IPv6", forgotten.v6)] {
            self.forgotten.get_or_create(&IpFamily { ip_family }).inc_by(count);
        }
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
