//! Service addresses.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use fairway_common::service::{Frontend as Value, Run};
use fairway_datapath::table::{FrontendKey, Image};
use fairway_proto::node;
use serde::Serialize;

use super::{Backend, address_order, known, protocol_name};
use crate::output::{Output, Row, text};
use crate::style;
use crate::table::Table;

/// A Service address, port and protocol. Names are absent when read from the pinned maps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Frontend {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port_name: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    address: String,
    port: u32,
    protocol: String,
    /// Backends that some client is sent to.
    ready: usize,
    /// Endpoints in all, usable or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    id: u32,
    inside: Vec<Backend>,
    outside: Vec<Backend>,
    inside_when_empty: String,
    outside_when_empty: String,
    keep_client: bool,
}

impl From<node::Frontend> for Frontend {
    fn from(frontend: node::Frontend) -> Self {
        let inside: Vec<Backend> = frontend.inside.into_iter().map(Backend::from).collect();
        let outside: Vec<Backend> = frontend.outside.into_iter().map(Backend::from).collect();
        Self {
            namespace: known(frontend.namespace),
            name: known(frontend.name),
            port_name: known(frontend.port_name),
            kind: known(frontend.r#type),
            address: frontend.address,
            port: frontend.port,
            protocol: protocol_name(frontend.protocol),
            ready: distinct(&inside, &outside),
            total: Some(frontend.total_endpoints),
            policy: known(frontend.policy),
            id: frontend.id,
            inside,
            outside,
            inside_when_empty: frontend.inside_when_empty,
            outside_when_empty: frontend.outside_when_empty,
            keep_client: frontend.keep_client,
        }
    }
}

impl Frontend {
    /// From the pinned maps.
    pub(crate) fn from_image(key: &FrontendKey, value: &Value, image: &Image) -> Self {
        let (inside, outside) = (backends(value.inside, image), backends(value.outside, image));
        let when_empty = |bit: u32| if value.flags & bit != 0 { "drop" } else { "reject" }.to_owned();
        Self {
            namespace: None,
            name: None,
            port_name: None,
            kind: None,
            address: key.address.to_string(),
            port: key.port.into(),
            protocol: protocol_name(key.protocol.into()),
            ready: distinct(&inside, &outside),
            total: None,
            policy: None,
            id: value.service,
            inside,
            outside,
            inside_when_empty: when_empty(Value::INSIDE_DROPS),
            outside_when_empty: match value.flags & Value::INSIDE_ONLY {
                0 => when_empty(Value::OUTSIDE_DROPS),
                _ => "pass".to_owned(),
            },
            keep_client: value.flags & Value::KEEP_CLIENT != 0,
        }
    }
}

/// The backends of a run, each once.
fn backends(run: Run, image: &Image) -> Vec<Backend> {
    let slots = image.slots.range(run.first..run.first.saturating_add(run.count));
    let ids: BTreeSet<u32> = slots.map(|(_, id)| *id).collect();
    let known = ids.into_iter().filter_map(|id| image.backends.get(&id).map(|backend| (id, backend)));
    let mut backends: Vec<Backend> = known.map(|(id, backend)| Backend::from_map(id, backend)).collect();
    backends.sort_by(Backend::compare);
    backends
}

fn distinct(inside: &[Backend], outside: &[Backend]) -> usize {
    inside.iter().chain(outside).map(Backend::place).collect::<BTreeSet<_>>().len()
}

impl Row for Frontend {
    const KIND: &'static str = "ServiceList";
    const COLUMNS: &'static [&'static str] =
        &["NAMESPACE", "NAME", "TYPE", "FRONTEND", "PROTO", "READY/TOTAL", "POLICY"];
    const WIDE: &'static [&'static str] =
        &["PORT-NAME", "ID", "INSIDE", "OUTSIDE", "WHEN-EMPTY", "CLIENT-ADDRESS"];

    fn cells(&self) -> Vec<String> {
        let ready =
            format!("{}/{}", self.ready, self.total.map_or("-".to_owned(), |total| total.to_string()));
        vec![
            style::or_dash(self.namespace.as_deref()),
            style::name_or_dash(self.name.as_deref()),
            style::or_dash(self.kind.as_deref()),
            style::socket(&self.address, self.port),
            self.protocol.clone(),
            if self.ready == 0 { style::bad(&ready) } else { ready },
            style::or_dash(self.policy.as_deref()),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![
            style::or_dash(self.port_name.as_deref()),
            self.id.to_string(),
            self.inside.len().to_string(),
            self.outside.len().to_string(),
            if self.inside_when_empty == self.outside_when_empty {
                self.inside_when_empty.clone()
            } else {
                format!("{}/{}", self.inside_when_empty, self.outside_when_empty)
            },
            if self.keep_client { "kept" } else { "node" }.to_owned(),
        ]
    }

    fn in_namespace(&self, namespace: &str) -> bool {
        self.namespace.as_deref() == Some(namespace)
    }

    fn compare(&self, other: &Self) -> Ordering {
        by_frontend(self).cmp(&by_frontend(other))
    }
}

fn by_frontend(frontend: &Frontend) -> impl Ord {
    let names = (frontend.namespace.clone(), frontend.name.clone());
    (names, address_order(&frontend.address), frontend.protocol.clone(), frontend.port)
}

/// Two levels, as ipvsadm shows them: each frontend's backends below it.
pub(crate) fn with_backends(output: &Output, frontends: &[Frontend]) -> String {
    let mut below = Table::new([]).with_headers(false);
    let mut counts = Vec::new();
    for frontend in frontends {
        let lines = details(frontend);
        counts.push(lines.len());
        lines.into_iter().for_each(|line| below.row(line));
    }
    let mut above = output.table(frontends).lines().into_iter();
    let mut below = below.lines().into_iter();
    let mut lines: Vec<String> = above.by_ref().take(usize::from(output.headers)).collect();
    for (line, count) in above.zip(counts) {
        lines.push(line);
        lines.extend(below.by_ref().take(count));
    }
    text(lines)
}

/// The lines below a frontend: where, state, node, pod, and for whom when not for all.
fn details(frontend: &Frontend) -> Vec<Vec<String>> {
    let mut backends: Vec<&Backend> = frontend.inside.iter().chain(&frontend.outside).collect();
    backends.sort_by(|a, b| a.compare(b));
    backends.dedup_by(|a, b| a.place() == b.place());
    let whom = |backend: &Backend| {
        let within = |set: &[Backend]| set.iter().any(|other| other.place() == backend.place());
        match (within(&frontend.inside), within(&frontend.outside)) {
            (true, true) => String::new(),
            (true, false) => style::dim("inside only"),
            _ => style::dim("outside only"),
        }
    };
    backends.into_iter().map(|backend| backend.detail(whom(backend))).collect()
}
