//! Connections counted by what they have in common.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use serde::Serialize;

use crate::args::conntrack::{By, TopBy};
use crate::list::{Connection, Translation};
use crate::output::Row;
use crate::style;

/// How many connections have something in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Group {
    name: String,
    connections: usize,
}

/// Groups, the largest first.
pub(super) fn by(connections: &[Connection], by: By) -> Vec<Group> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for connection in connections {
        *counts.entry(key(connection, by)).or_default() += 1;
    }
    let mut groups: Vec<Group> =
        counts.into_iter().map(|(name, connections)| Group { name, connections }).collect();
    groups.sort_by(Group::compare);
    groups
}

fn key(connection: &Connection, by: By) -> String {
    match by {
        By::State => connection.state.clone(),
        By::Proto => connection.protocol.clone(),
        By::Svc => connection.service.clone().unwrap_or_else(|| {
            let place = style::socket(&connection.frontend, connection.frontend_port);
            format!("{} {place}", connection.protocol)
        }),
        By::Pod => connection.source_pod.clone().unwrap_or_else(|| connection.source.clone()),
        By::Backend => style::socket(&connection.backend, connection.backend_port),
    }
}

impl Row for Group {
    const KIND: &'static str = "ConntrackCountList";
    const COLUMNS: &'static [&'static str] = &["NAME", "CONNECTIONS"];
    const WIDE: &'static [&'static str] = &[];

    fn cells(&self) -> Vec<String> {
        vec![style::name(&self.name), self.connections.to_string()]
    }

    fn wide_cells(&self) -> Vec<String> {
        Vec::new()
    }

    fn in_namespace(&self, _: &str) -> bool {
        true
    }

    fn compare(&self, other: &Self) -> Ordering {
        (Reverse(self.connections), &self.name).cmp(&(Reverse(other.connections), &other.name))
    }
}

/// What somebody takes of the tables.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Share {
    name: String,
    connections: usize,
    entries: usize,
    /// Of the fuller of the two tables, in percent.
    percent: f64,
}

/// Who takes how much, the most first; the capacities are those of IPv4's and IPv6's table.
pub(super) fn top(connections: &[Connection], top: TopBy, capacities: [u64; 2]) -> Vec<Share> {
    let what = match top {
        TopBy::Pod => By::Pod,
        TopBy::Svc => By::Svc,
    };
    let mut counts: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for connection in connections {
        let family = usize::from(connection.source.contains(':'));
        counts.entry(key(connection, what)).or_default()[family] += 1;
    }
    let share = |(name, counts): (String, [usize; 2])| {
        let percent = |(count, capacity): (usize, u64)| match capacity {
            0 => 0.0,
            _ => 200.0 * count as f64 / capacity as f64,
        };
        let percents = counts.into_iter().zip(capacities).map(percent);
        let connections = counts.iter().sum();
        let percent = (percents.fold(0.0, f64::max) * 1_000.0).round() / 1_000.0;
        Share { name, connections, entries: 2 * connections, percent }
    };
    let mut shares: Vec<Share> = counts.into_iter().map(share).collect();
    shares.sort_by(Share::compare);
    shares
}

impl Row for Share {
    const KIND: &'static str = "ConntrackShareList";
    const COLUMNS: &'static [&'static str] = &["NAME", "CONNECTIONS", "ENTRIES", "SHARE"];
    const WIDE: &'static [&'static str] = &[];

    fn cells(&self) -> Vec<String> {
        vec![
            style::name(&self.name),
            self.connections.to_string(),
            self.entries.to_string(),
            format!("{:.2}%", self.percent),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        Vec::new()
    }

    fn in_namespace(&self, _: &str) -> bool {
        true
    }

    fn compare(&self, other: &Self) -> Ordering {
        (Reverse(self.connections), &self.name).cmp(&(Reverse(other.connections), &other.name))
    }
}

/// Source ports in use towards one backend.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ports {
    protocol: String,
    nat_source: String,
    backend: String,
    backend_port: u32,
    ports: usize,
    /// Ports that there are; absent: the maps do not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<u32>,
}

/// Ports in use by backend, the most first.
pub(super) fn nat(translations: &[Translation], range: Option<(u32, u32)>) -> Vec<Ports> {
    let mut used: BTreeMap<(String, String, String, u32), usize> = BTreeMap::new();
    for it in translations {
        let key = (it.protocol.clone(), it.nat_source.clone(), it.backend.clone(), it.backend_port);
        *used.entry(key).or_default() += 1;
    }
    let range = range.map(|(first, last)| last.saturating_sub(first) + 1);
    let row = |((protocol, nat_source, backend, backend_port), ports)| Ports {
        protocol,
        nat_source,
        backend,
        backend_port,
        ports,
        range,
    };
    let mut rows: Vec<Ports> = used.into_iter().map(row).collect();
    rows.sort_by(Ports::compare);
    rows
}

impl Row for Ports {
    const KIND: &'static str = "NatPortsList";
    const COLUMNS: &'static [&'static str] = &["PROTO", "NAT", "BACKEND", "PORTS", "RANGE", "USED"];
    const WIDE: &'static [&'static str] = &[];

    fn cells(&self) -> Vec<String> {
        let used = self.range.map(|range| 100.0 * self.ports as f64 / f64::from(range.max(1)));
        vec![
            self.protocol.clone(),
            self.nat_source.clone(),
            style::socket(&self.backend, self.backend_port),
            self.ports.to_string(),
            self.range.map_or("-".to_owned(), |range| range.to_string()),
            used.map_or("-".to_owned(), |used| format!("{used:.2}%")),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        Vec::new()
    }

    fn in_namespace(&self, _: &str) -> bool {
        true
    }

    fn compare(&self, other: &Self) -> Ordering {
        let key =
            |it: &Self| (it.protocol.clone(), it.nat_source.clone(), it.backend.clone(), it.backend_port);
        (Reverse(self.ports), key(self)).cmp(&(Reverse(other.ports), key(other)))
    }
}
