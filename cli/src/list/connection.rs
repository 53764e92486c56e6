//! Translated connections.

use std::cmp::Ordering;
use std::net::IpAddr;

use fairway_datapath::ConnectionKey;
use fairway_proto::control::Protocol;
use fairway_proto::node;
use serde::Serialize;

use super::{address_order, known, protocol_name};
use crate::output::Row;
use crate::style;

/// A translated connection, both directions. The Service is absent when read from the pinned maps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Connection {
    pub(crate) protocol: String,
    pub(crate) source: String,
    pub(crate) source_port: u32,
    pub(crate) frontend: String,
    pub(crate) frontend_port: u32,
    pub(crate) backend: String,
    pub(crate) backend_port: u32,
    /// The source that the backend sees; absent: the client's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nat_source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nat_source_port: Option<u32>,
    pub(crate) state: String,
    pub(crate) idle_seconds: u32,
    pub(crate) expires_seconds: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source_pod: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backend_pod: Option<String>,
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
            source_pod: known(connection.source_pod),
            backend_pod: known(connection.backend_pod),
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
            source_pod: None,
            backend_pod: None,
        }
    }
}

impl Connection {
    /// What tells it from all others, for the maps.
    pub(crate) fn key(&self) -> Option<ConnectionKey> {
        let end = |address: &str, port: u32| Some((address.parse().ok()?, u16::try_from(port).ok()?));
        Some(ConnectionKey {
            protocol: u8::try_from(self.protocol_number()).ok()?,
            source: end(&self.source, self.source_port)?,
            frontend: end(&self.frontend, self.frontend_port)?,
        })
    }

    /// What tells it from all others, for the agent.
    pub(crate) fn message(&self) -> node::ConnectionKey {
        node::ConnectionKey {
            protocol: self.protocol_number(),
            source: self.source.clone(),
            source_port: self.source_port,
            frontend: self.frontend.clone(),
            frontend_port: self.frontend_port,
        }
    }

    fn protocol_number(&self) -> i32 {
        let named = Protocol::from_str_name(&self.protocol).map(i32::from);
        named.or_else(|| self.protocol.parse().ok()).unwrap_or_default()
    }
}

impl Row for Connection {
    const KIND: &'static str = "ConnectionList";
    const COLUMNS: &'static [&'static str] =
        &["PROTO", "SRC", "VIP", "BACKEND", "STATE", "IDLE", "EXPIRES", "SERVICE"];
    const WIDE: &'static [&'static str] = &["SNAT", "SRC-POD", "BACKEND-POD"];

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
        vec![
            snat.map_or("-".to_owned(), |(address, port)| style::socket(address, port)),
            style::name_or_dash(self.source_pod.as_deref()),
            style::name_or_dash(self.backend_pod.as_deref()),
        ]
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
