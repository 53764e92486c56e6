//! Translated connections.

use std::cmp::Ordering;
use std::net::IpAddr;

use fairway_proto::node;
use serde::Serialize;

use super::{address_order, known, protocol_name};
use crate::output::Row;
use crate::style;

/// A translated connection, both directions. The Service is absent when read from the pinned maps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Connection {
    protocol: String,
    source: String,
    source_port: u32,
    frontend: String,
    frontend_port: u32,
    backend: String,
    backend_port: u32,
    /// The source that the backend sees; absent: the client's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    nat_source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nat_source_port: Option<u32>,
    state: String,
    idle_seconds: u32,
    expires_seconds: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
}

impl From<node::Connection> for Connection {
    fn from(connection: node::Connection) -> Self {
        let nat_source = known(connection.nat_source);
        Self {
            protocol: protocol_name(connection.protocol),
            source: connection.source,
            source_port: connection.source_port,
            frontend: connection.frontend,
            frontend_port: connection.frontend_port,
            backend: connection.backend,
            backend_port: connection.backend_port,
            nat_source_port: nat_source.is_some().then_some(connection.nat_source_port),
            nat_source,
            state: connection.state,
            idle_seconds: connection.idle_seconds,
            expires_seconds: connection.expires_seconds,
            service: known(connection.service),
        }
    }
}

impl From<fairway_datapath::Connection> for Connection {
    fn from(connection: fairway_datapath::Connection) -> Self {
        let split = |(address, port): (IpAddr, u16)| (address.to_string(), u32::from(port));
        let (source, source_port) = split(connection.source);
        let (frontend, frontend_port) = split(connection.frontend);
        let (backend, backend_port) = split(connection.backend);
        let nat = (connection.nat_source != connection.source).then(|| split(connection.nat_source));
        let whole = |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        Self {
            protocol: protocol_name(connection.protocol.into()),
            source,
            source_port,
            frontend,
            frontend_port,
            backend,
            backend_port,
            nat_source: nat.as_ref().map(|(address, _)| address.clone()),
            nat_source_port: nat.map(|(_, port)| port),
            state: connection.state.to_owned(),
            idle_seconds: whole(connection.idle),
            expires_seconds: whole(connection.expires),
            service: None,
        }
    }
}

impl Row for Connection {
    const KIND: &'static str = "ConnectionList";
    const COLUMNS: &'static [&'static str] =
        &["PROTO", "SRC", "VIP", "BACKEND", "STATE", "IDLE", "EXPIRES", "SERVICE"];
    const WIDE: &'static [&'static str] = &["SNAT"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.protocol.clone(),
            style::socket(&self.source, self.source_port),
            style::socket(&self.frontend, self.frontend_port),
            style::socket(&self.backend, self.backend_port),
            style::state(&self.state),
            style::seconds(self.idle_seconds.into()),
            style::seconds(self.expires_seconds.into()),
            style::name_or_dash(self.service.as_deref()),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        let snat = self.nat_source.as_deref().zip(self.nat_source_port);
        vec![snat.map_or("-".to_owned(), |(address, port)| style::socket(address, port))]
    }

    fn in_namespace(&self, namespace: &str) -> bool {
        let service = self.service.as_deref().and_then(|service| service.split_once('/'));
        service.is_some_and(|(found, _)| found == namespace)
    }

    fn compare(&self, other: &Self) -> Ordering {
        let key = |connection: &Self| {
            (
                connection.protocol.clone(),
                (address_order(&connection.source), connection.source_port),
                (address_order(&connection.frontend), connection.frontend_port),
                (address_order(&connection.backend), connection.backend_port),
            )
        };
        key(self).cmp(&key(other))
    }
}
