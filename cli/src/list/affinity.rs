//! The backends that clients keep.

use std::cmp::Ordering;

use fairway_datapath::Client;
use fairway_proto::node;
use serde::Serialize;

use super::{address_order, known};
use crate::output::Row;
use crate::style;

/// A backend that a client keeps. Names are absent when read from the pinned maps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Affinity {
    client: String,
    /// address, namespace, socket.
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_pod: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    service_id: u32,
    /// Absent: it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend_port: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend_pod: Option<String>,
    since_seconds: u32,
    expires_seconds: u32,
}

impl From<node::Affinity> for Affinity {
    fn from(it: node::Affinity) -> Self {
        let backend = known(it.backend);
        Self {
            client: it.client,
            kind: it.kind,
            client_pod: known(it.client_pod),
            service: known(it.service),
            service_id: it.service_id,
            backend_port: backend.is_some().then_some(it.backend_port),
            backend,
            backend_pod: known(it.backend_pod),
            since_seconds: it.since_seconds,
            expires_seconds: it.expires_seconds,
        }
    }
}

impl From<fairway_datapath::Affinity> for Affinity {
    fn from(it: fairway_datapath::Affinity) -> Self {
        let (client, kind) = match it.client {
            Client::Address(address) => (address.to_string(), "address"),
            Client::Namespace(cookie) => (cookie.to_string(), "namespace"),
            Client::Socket(cookie) => (cookie.to_string(), "socket"),
        };
        let whole = |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        Self {
            client,
            kind: kind.to_owned(),
            client_pod: None,
            service: None,
            service_id: it.service,
            backend: it.backend.map(|backend| backend.ip().to_string()),
            backend_port: it.backend.map(|backend| backend.port().into()),
            backend_pod: None,
            since_seconds: whole(it.since),
            expires_seconds: whole(it.expires),
        }
    }
}

impl Affinity {
    fn who(&self) -> String {
        match (self.kind.as_str(), &self.client_pod) {
            (_, Some(pod)) => style::name(pod),
            ("namespace", None) => format!("netns:{}", self.client),
            ("socket", None) => format!("socket:{}", self.client),
            _ => self.client.clone(),
        }
    }
}

impl Row for Affinity {
    const KIND: &'static str = "AffinityList";
    const COLUMNS: &'static [&'static str] = &["CLIENT", "SERVICE", "BACKEND", "SINCE", "EXPIRES"];
    const WIDE: &'static [&'static str] = &["CLIENT-ADDRESS", "BACKEND-POD", "SERVICE-ID"];

    fn cells(&self) -> Vec<String> {
        let backend = self.backend.as_deref().zip(self.backend_port);
        vec![
            self.who(),
            style::name_or_dash(self.service.as_deref()),
            backend.map_or("gone".to_owned(), |(address, port)| style::socket(address, port)),
            style::seconds(self.since_seconds.into()),
            style::seconds(self.expires_seconds.into()),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        let address = if self.kind == "address" { &self.client } else { "-" };
        vec![
            address.to_owned(),
            style::name_or_dash(self.backend_pod.as_deref()),
            self.service_id.to_string(),
        ]
    }

    fn in_namespace(&self, namespace: &str) -> bool {
        let service = self.service.as_deref().and_then(|service| service.split_once('/'));
        service.is_some_and(|(found, _)| found == namespace)
    }

    fn compare(&self, other: &Self) -> Ordering {
        let key = |it: &Self| {
            let client = (it.kind.clone(), address_order(&it.client));
            (client, it.service.clone(), it.service_id, it.backend.clone(), it.backend_port)
        };
        key(self).cmp(&key(other))
    }
}
