//! Ranges of pods' addresses, who has which, and what does not agree.

use std::cmp::Ordering;

use fairway_proto::node;
use serde::Serialize;

use super::{address_order, known};
use crate::output::Row;
use crate::style;

/// Where pods' addresses come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AddressRange {
    range: String,
    size: u64,
    used: u64,
    free: u64,
}

impl From<node::AddressRange> for AddressRange {
    fn from(it: node::AddressRange) -> Self {
        Self { range: it.cidr, size: it.size, used: it.used, free: it.size.saturating_sub(it.used) }
    }
}

impl Row for AddressRange {
    const KIND: &'static str = "AddressRangeList";
    const COLUMNS: &'static [&'static str] = &["RANGE", "SIZE", "USED", "FREE"];
    const WIDE: &'static [&'static str] = &[];

    fn cells(&self) -> Vec<String> {
        let free = if self.free == 0 { style::bad("0") } else { self.free.to_string() };
        vec![self.range.clone(), self.size.to_string(), self.used.to_string(), free]
    }

    fn wide_cells(&self) -> Vec<String> {
        Vec::new()
    }

    fn in_namespace(&self, _: &str) -> bool {
        true
    }

    /// As the agent names them: in the order in which they are used.
    fn compare(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

/// An address that is not free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AllocatedAddress {
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_seconds: Option<u64>,
    /// in-use, incomplete or unknown-pod.
    state: String,
}

impl From<node::AllocatedAddress> for AllocatedAddress {
    fn from(it: node::AllocatedAddress) -> Self {
        Self {
            address: it.address,
            namespace: known(it.namespace),
            name: known(it.name),
            container_id: known(it.container_id),
            interface: known(it.interface),
            age_seconds: it.age_seconds,
            state: it.state,
        }
    }
}

impl Row for AllocatedAddress {
    const KIND: &'static str = "AddressList";
    const COLUMNS: &'static [&'static str] =
        &["ADDRESS", "NAMESPACE", "NAME", "CONTAINER", "INTERFACE", "AGE", "STATE"];
    const WIDE: &'static [&'static str] = &["CONTAINER-ID"];

    fn cells(&self) -> Vec<String> {
        let container = self.container_id.as_deref().map(|id| id.get(..12).unwrap_or(id));
        vec![
            self.address.clone(),
            style::or_dash(self.namespace.as_deref()),
            style::name_or_dash(self.name.as_deref()),
            style::or_dash(container),
            style::or_dash(self.interface.as_deref()),
            self.age_seconds.map_or("-".to_owned(), style::seconds),
            if self.state == "in-use" { style::good(&self.state) } else { style::warning(&self.state) },
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![style::or_dash(self.container_id.as_deref())]
    }

    fn in_namespace(&self, namespace: &str) -> bool {
        self.namespace.as_deref() == Some(namespace)
    }

    fn compare(&self, other: &Self) -> Ordering {
        let key = |it: &Self| (address_order(&it.address), it.container_id.clone());
        key(self).cmp(&key(other))
    }
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Difference {
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_id: Option<String>,
    difference: String,
}

impl From<node::AddressDifference> for Difference {
    fn from(it: node::AddressDifference) -> Self {
        Self {
            address: known(it.address),
            namespace: known(it.namespace),
            name: known(it.name),
            container_id: known(it.container_id),
            difference: it.text,
        }
    }
}

impl Row for Difference {
    const KIND: &'static str = "AddressDifferenceList";
    const COLUMNS: &'static [&'static str] = &["ADDRESS", "NAMESPACE", "NAME", "DIFFERENCE"];
    const WIDE: &'static [&'static str] = &["CONTAINER-ID"];

    fn cells(&self) -> Vec<String> {
        vec![
            style::or_dash(self.address.as_deref()),
            style::or_dash(self.namespace.as_deref()),
            style::name_or_dash(self.name.as_deref()),
            style::bad(&self.difference),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![style::or_dash(self.container_id.as_deref())]
    }

    fn in_namespace(&self, namespace: &str) -> bool {
        self.namespace.as_deref() == Some(namespace)
    }

    fn compare(&self, other: &Self) -> Ordering {
        let key =
            |it: &Self| (address_order(it.address.as_deref().unwrap_or_default()), it.difference.clone());
        key(self).cmp(&key(other))
    }
}
