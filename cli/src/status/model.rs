//! What a status holds, from the agent's answer and from the pinned maps.

use fairway_datapath::MapInfo;
use fairway_proto::node::{self, subsystem::State};
use serde::Serialize;

/// The node. Without an agent only its maps are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(super) agent: Option<Agent>,
    pub(super) maps: Vec<Map>,
}

impl Status {
    /// Entries that the tables of connections can hold, IPv4's and IPv6's.
    pub(crate) fn conntrack_capacities(&self) -> [u64; 2] {
        ["CONNTRACK4", "CONNTRACK6"]
            .map(|name| self.maps.iter().find(|map| map.name == name).map_or(0, |map| map.capacity))
    }

    /// First and last source port for connections that are sent on; the maps alone do not say.
    pub(crate) fn nat_ports(&self) -> Option<(u32, u32)> {
        let ports = self.agent.as_ref()?.nat_ports;
        (ports.0 != 0).then_some(ports)
    }
}

/// What the agent says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Agent {
    pub(super) node: String,
    pub(super) version: String,
    pub(super) uptime_seconds: u64,
    pub(super) services: u64,
    pub(super) frontends: u64,
    pub(super) backends: u64,
    pub(super) endpoints: u64,
    pub(super) subsystems: Vec<Subsystem>,
    pub(super) programs: Vec<Program>,
    #[serde(skip)]
    pub(super) nat_ports: (u32, u32),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Subsystem {
    pub(super) name: String,
    /// ok, warning, failed.
    pub(super) state: &'static str,
    pub(super) text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) attached: Vec<String>,
    pub(super) method: String,
    pub(super) id: u32,
    pub(super) tag: String,
    pub(super) verified_instructions: u32,
    pub(super) memory: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Map {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) entries: Option<u64>,
    pub(super) capacity: u64,
    pub(super) memory: u64,
}

impl From<node::StatusResponse> for Status {
    fn from(status: node::StatusResponse) -> Self {
        let maps = status.maps.into_iter().map(|map| Map {
            entries: (map.method == "counted").then_some(map.entries),
            name: map.name,
            kind: map.r#type,
            capacity: map.capacity,
            memory: map.memory,
        });
        let programs = status.programs.into_iter().map(|program| Program {
            name: program.name,
            attached: program.attached,
            method: program.method,
            id: program.id,
            tag: program.tag,
            verified_instructions: program.verified_instructions,
            memory: program.memory,
        });
        let subsystems = status.subsystems.into_iter().map(|part| Subsystem {
            state: state_name(part.state()),
            name: part.name,
            text: part.text,
        });
        let agent = Agent {
            node: status.node,
            version: status.version,
            uptime_seconds: status.uptime_seconds,
            services: status.services,
            frontends: status.frontends,
            backends: status.backends,
            endpoints: status.endpoints,
            subsystems: subsystems.collect(),
            programs: programs.collect(),
            nat_ports: (status.nat_port_first, status.nat_port_last),
        };
        Self { agent: Some(agent), maps: maps.collect() }.sorted()
    }
}

impl From<Vec<MapInfo>> for Status {
    fn from(maps: Vec<MapInfo>) -> Self {
        let maps = maps.into_iter().map(|map| Map {
            name: map.name.to_owned(),
            kind: map.kind.to_owned(),
            entries: map.entries,
            capacity: map.capacity,
            memory: map.memory,
        });
        Self { agent: None, maps: maps.collect() }.sorted()
    }
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Warning => "warning",
        State::Failed => "failed",
        State::Unspecified => "unknown",
    }
}

impl Status {
    fn sorted(mut self) -> Self {
        self.maps.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(agent) = &mut self.agent {
            agent.programs.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
            agent.programs.iter_mut().for_each(|program| program.attached.sort());
        }
        self
    }
}
