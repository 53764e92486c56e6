//! Where connections go.

use std::cmp::Ordering;

use fairway_datapath::table::{Backend as Value, Image, backend_flags};
use fairway_proto::node;
use serde::Serialize;

use super::{address_order, known};
use crate::output::Row;
use crate::style;

/// A backend. Node, pod, state and Services are absent when read from the pinned maps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Backend {
    address: String,
    port: u32,
    id: u32,
    local: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    services: Vec<String>,
}

impl From<node::Backend> for Backend {
    fn from(backend: node::Backend) -> Self {
        Self {
            address: backend.address,
            port: backend.port,
            id: backend.id,
            local: backend.local,
            state: known(backend.state),
            node: known(backend.node),
            pod: known(backend.pod),
            services: backend.services,
        }
    }
}

impl Backend {
    /// From the pinned maps.
    pub(crate) fn from_map(id: u32, backend: &Value) -> Self {
        Self {
            address: backend.address.to_string(),
            port: backend.port.into(),
            id,
            local: backend.flags & backend_flags::LOCAL != 0,
            state: None,
            node: None,
            pod: None,
            services: Vec::new(),
        }
    }

    /// Those that answer.
    pub(crate) fn from_image(image: &Image) -> Vec<Self> {
        let answers = image.backends.iter().filter(|(_, backend)| backend.flags & backend_flags::GONE == 0);
        answers.map(|(id, backend)| Self::from_map(*id, backend)).collect()
    }

    /// What tells it from all others.
    pub(super) fn place(&self) -> (String, u32) {
        (self.address.clone(), self.port)
    }

    /// Its line below a frontend.
    pub(super) fn detail(&self, whom: String) -> Vec<String> {
        vec![
            format!("  -> {}", style::socket(&self.address, self.port)),
            self.state.as_deref().map_or("-".to_owned(), style::state),
            self.node.as_deref().map_or("-".to_owned(), |node| format!("node {node}")),
            self.pod.as_deref().map_or("-".to_owned(), |pod| format!("pod {}", style::name(pod))),
            whom,
        ]
    }
}

impl Row for Backend {
    const KIND: &'static str = "BackendList";
    const COLUMNS: &'static [&'static str] = &["BACKEND", "STATE", "NODE", "POD", "SERVICES"];
    const WIDE: &'static [&'static str] = &["ID", "LOCAL"];

    fn cells(&self) -> Vec<String> {
        vec![
            style::socket(&self.address, self.port),
            style::state(self.state.as_deref().unwrap_or_default()),
            style::or_dash(self.node.as_deref()),
            style::name_or_dash(self.pod.as_deref()),
            style::list_or_dash(&self.services),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![self.id.to_string(), if self.local { "yes" } else { "no" }.to_owned()]
    }

    fn in_namespace(&self, namespace: &str) -> bool {
        let within = |name: &str| name.split_once('/').is_some_and(|(found, _)| found == namespace);
        self.pod.as_deref().is_some_and(within) || self.services.iter().any(|service| within(service))
    }

    fn compare(&self, other: &Self) -> Ordering {
        let key = |backend: &Self| (address_order(&backend.address), backend.port, backend.id);
        key(self).cmp(&key(other))
    }
}
