//! What is counted, and how it is written down.

mod kube_proxy;
mod snapshot;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::node::Shared;
use kube_proxy::KubeProxy;
use snapshot::Snapshot;

/// Durations and counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    kube_proxy: KubeProxy,
    latency: Histogram,
    writes: Counter,
    /// Services, frontends.
    looked_at: [Counter; 2],
    collected: Family<What, Counter>,
    repairs: Family<What, Counter>,
    /// Since when a change waits.
    waiting: Mutex<Option<Instant>>,
}

/// Of what kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct What {
    what: &'static str,
}

/// A sync that was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Synced {
    /// To resolve and write it.
    pub(crate) duration: Duration,
    /// Since the first of its changes came.
    pub(crate) latency: Duration,
    /// Writes to the tables.
    pub(crate) writes: usize,
    /// Services that were resolved.
    pub(crate) resolved: usize,
    /// Frontends that were planned.
    pub(crate) planned: usize,
    /// The tables were read and compared as a whole.
    pub(crate) full: bool,
}

/// 1 ms to 16 s.
fn buckets() -> impl Iterator<Item = f64> {
    exponential_buckets(0.001, 2.0, 15)
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let kube_proxy = KubeProxy::registered(&mut registry);
        let (latency, writes) = (Histogram::new(buckets()), Counter::default());
        let name = "fairway_sync_latency_seconds";
        registry.register(name, "Time from a change to the tables that hold it", latency.clone());
        registry.register("fairway_table_writes", "Writes to the service table", writes.clone());
        let (resolved, planned) = (Counter::default(), Counter::default());
        registry.register("fairway_sync_services", "Services that syncs looked at", resolved.clone());
        registry.register("fairway_sync_frontends", "Frontends that syncs looked at", planned.clone());
        let (collected, repairs) = (Family::default(), Family::default());
        let name = "fairway_collected";
        registry.register(name, "Connections and affinity that were over", collected.clone());
        registry.register("fairway_repairs", "What somebody removed, and was put back", repairs.clone());
        let looked_at = [resolved, planned];
        let waiting = Mutex::default();
        Self { registry, kube_proxy, latency, writes, looked_at, collected, repairs, waiting }
    }
}

impl Metrics {
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
        self.kube_proxy.queued();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
    }

    /// A sync was made.
    pub(crate) fn synced(&self, synced: Synced) {
        self.kube_proxy.synced(synced);
        self.latency.observe(synced.latency.as_secs_f64());
        self.writes.inc_by(synced.writes as u64);
        for (counter, count) in self.looked_at.iter().zip([synced.resolved, synced.planned]) {
            counter.inc_by(count as u64);
        }
    }

    /// So many Services and slices came that were different from before.
    pub(crate) fn changed(&self, services: usize, slices: usize) {
        self.kube_proxy.changed(services, slices);
    }

    /// So many of them are not in the tables yet.
    pub(crate) fn pending(&self, services: usize, slices: usize) {
        self.kube_proxy.pending(services, slices);
    }

    /// The tables hold what became of a change that happened then.
    pub(crate) fn programmed(&self, changed: SystemTime) {
        self.kube_proxy.programmed(changed);
    }

    /// No change waits any more.
    pub(crate) fn nothing_to_do(&self) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How long a change has been waiting.
    pub(crate) fn waiting(&self) -> Option<Duration> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).map(|since| since.elapsed())
    }

    /// /healthz was answered with that status.
    pub(super) fn healthz(&self, code: u16) {
        self.kube_proxy.healthz(code);
    }

    /// /livez was answered with that status.
    pub(super) fn livez(&self, code: u16) {
        self.kube_proxy.livez(code);
    }

    /// Connections were looked through; so many whose backend is gone were forgotten.
    pub fn conntrack_collected(&self, took: Duration, forgotten: Forgotten) {
        self.kube_proxy.conntrack_collected(took, forgotten);
    }

    /// What is scraped of these, without the kernel's.
    #[cfg(test)]
    pub(crate) fn text(&self) -> String {
        write(self, Snapshot::default())
    }

    /// As if a change had been waiting since then.
    #[cfg(test)]
    pub(super) fn waits_since(&self, since: Instant) {
        *self.waiting.lock().unwrap() = Some(since);
    }
}

/// Connections whose backend is gone and that were forgotten, by IP family.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forgotten {
    /// Of IPv4.
    pub v4: u64,
    /// Of IPv6.
    pub v6: u64,
}

/// All metrics as text, in the form of OpenMetrics.
pub(super) fn encode(shared: &Shared) -> String {
    write(&shared.metrics, Snapshot::take(shared))
}

fn write(metrics: &Metrics, snapshot: Snapshot) -> String {
    let mut out = String::new();
    // Writing into a String does not fail; a metric that does is left out.
    let _ = text::encode_registry(&mut out, &metrics.registry);
    let mut kernel = Registry::default();
    kernel.register_collector(Box::new(snapshot));
    let _ = text::encode_registry(&mut out, &kernel);
    let _ = text::encode_eof(&mut out);
    out
}

#[cfg(test)]
mod tests;
