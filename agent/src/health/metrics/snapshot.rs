//! What is read when it is asked for: the kernel's counters and the state in force.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use fairway_common::reason::Class;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};

use super::super::local::without_local_endpoints;
use crate::node::Shared;
use crate::sync::ControlPlane;
use crate::{Config, certificates};

/// Values that are read when they are asked for.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    connected: bool,
    services: usize,
    problems: usize,
    /// Services with a policy Local whose endpoints are all elsewhere: by the internal, by the external policy.
    pub(super) no_local: (u64, u64),
    errors: usize,
    frontends: u64,
    slots: u64,
    backends: u64,
    pods: usize,
    reasons: Vec<(Reason, u64, u64)>,
    events_lost: Option<u64>,
    maps: Vec<(MapName, u64, u64)>,
    /// When certificates end, in seconds since 1970.
    certificates: BTreeMap<String, i64>,
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
    class: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct Policy {
    traffic_policy: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct File {
    file: String,
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct MapName {
    map: &'static str,
}

impl Snapshot {
    pub(super) fn take(shared: &Shared) -> Self {
        let state = shared.state.borrow().clone();
        let maps = fairway_datapath::maps(&shared.config.bpf_root).unwrap_or_default();
        let maps = maps.into_iter();
        let (counts, events_lost) = {
            let datapath = shared.datapath.lock().unwrap_or_else(PoisonError::into_inner);
            (datapath.counts(), datapath.events_lost())
        };
        let class = |class| match class {
            Class::Forward => "forward",
            Class::Reject => "reject",
            Class::Drop => "drop",
        };
        Self {
            connected: matches!(state.control_plane, ControlPlane::Connected { .. }),
            services: state.cluster.services.len(),
            problems: state.desired.problems.len() + state.health_check_problems.len(),
            no_local: without_local_endpoints(&state.cluster, &state.node),
            errors: state.errors.len(),
            frontends: state.usage.frontends,
            slots: state.usage.slots,
            backends: state.usage.backends,
            pods: shared.pods.list().len(),
            reasons: counts
                .unwrap_or_default()
                .into_iter()
                .map(|(reason, count)| {
                    let labels = Reason { reason: reason.name(), class: class(reason.class()) };
                    (labels, count.packets, count.bytes)
                })
                .collect(),
            events_lost: events_lost.ok(),
            maps: maps
                .filter_map(|map| Some((MapName { map: map.name }, map.entries?, map.capacity)))
                .collect(),
            certificates: first_ends(&shared.config),
        }
    }
}

/// For each file the end of the certificate that ends first.
fn first_ends(config: &Config) -> BTreeMap<String, i64> {
    let mut first = BTreeMap::new();
    for end in certificates::ends(config) {
        let at = first.entry(end.path.display().to_string()).or_insert(end.at);
        *at = end.at.min(*at);
    }
    first
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
        one(e, "fairway_problems", "Services and hostPorts that are not served as asked for", problems)?;
        one(e, "fairway_errors", "Errors that keep a sync from being complete", gauge(self.errors as u64))?;
        let policies = [("internal", self.no_local.0), ("external", self.no_local.1)].into_iter();
        let policies = policies.map(|(traffic_policy, count)| (Policy { traffic_policy }, gauge(count)));
        let name = "kubeproxy_sync_proxy_rules_no_local_endpoints_total";
        family(e, name, "Services of a policy Local with endpoints on other nodes alone", policies)?;
        let packets =
            self.reasons.iter().map(|(reason, packets, _)| (reason.clone(), ConstCounter::new(*packets)));
        family(e, "fairway_packets", "Decisions of the data path by reason", packets)?;
        let bytes = self.reasons.iter().map(|(reason, _, bytes)| (reason.clone(), ConstCounter::new(*bytes)));
        family(e, "fairway_bytes", "Bytes of those packets", bytes)?;
        let entries = self.maps.iter().map(|(map, entries, _)| (map.clone(), gauge(*entries)));
        family(e, "fairway_map_entries", "Entries of a map, counted", entries)?;
        let capacity = self.maps.iter().map(|(map, _, capacity)| (map.clone(), gauge(*capacity)));
        family(e, "fairway_map_capacity", "Entries that a map can hold", capacity)?;
        if !self.certificates.is_empty() {
            let ends = self.certificates.iter().map(|(file, at)| (File { file: file.clone() }, gauge(*at)));
            let name = "fairway_certificate_expires_timestamp_seconds";
            family(e, name, "When a certificate for the control plane ends, since 1970", ends)?;
        }
        if let Some(lost) = self.events_lost {
            one(e, "fairway_events_lost", "Trace events that found the ring full", ConstCounter::new(lost))?;
        }
        Ok(())
    }
}
