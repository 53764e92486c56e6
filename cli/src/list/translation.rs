//! Connections whose source is translated.

use std::cmp::Ordering;

use serde::Serialize;

use super::{Connection, address_order};
use crate::output::Row;
use crate::style;

/// A connection that the backend sees from another source than the client's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Translation {
    pub(crate) protocol: String,
    pub(crate) nat_source: String,
    pub(crate) nat_source_port: u32,
    pub(crate) source: String,
    pub(crate) source_port: u32,
    pub(crate) backend: String,
    pub(crate) backend_port: u32,
    state: String,
    idle_seconds: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
}

impl Translation {
    /// None if the backend sees the client itself.
    pub(crate) fn of(it: &Connection) -> Option<Self> {
        let (nat_source, nat_source_port) = it.nat_source.clone().zip(it.nat_source_port)?;
        Some(Self {
            protocol: it.protocol.clone(),
            nat_source,
            nat_source_port,
            source: it.source.clone(),
            source_port: it.source_port,
            backend: it.backend.clone(),
            backend_port: it.backend_port,
            state: it.state.clone(),
            idle_seconds: it.idle_seconds,
            service: it.service.clone(),
        })
    }
}

impl Row for Translation {
    const KIND: &'static str = "NatList";
    const COLUMNS: &'static [&'static str] = &["PROTO", "NAT", "CLIENT", "BACKEND", "STATE", "IDLE"];
    const WIDE: &'static [&'static str] = &["SERVICE"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.protocol.clone(),
            style::socket(&self.nat_source, self.nat_source_port),
            style::socket(&self.source, self.source_port),
            style::socket(&self.backend, self.backend_port),
            style::state(&self.state),
            style::seconds(self.idle_seconds.into()),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![style::name_or_dash(self.service.as_deref())]
    }

    fn in_namespace(&self, _: &str) -> bool {
        true
    }

    fn compare(&self, other: &Self) -> Ordering {
        let key = |it: &Self| {
            let nat = (address_order(&it.nat_source), it.nat_source_port);
            let backend = (address_order(&it.backend), it.backend_port);
            (it.protocol.clone(), nat, backend, address_order(&it.source), it.source_port)
        };
        key(self).cmp(&key(other))
    }
}
