//! How the node is: one line for each subsystem.

use std::time::{Duration, SystemTime};

use fairway_datapath::common::Reason;
use fairway_datapath::common::reason::{Class, Count};
use fairway_datapath::{Datapath, MapInfo, ProgramInfo};
use fairway_proto::node::subsystem::State;
use fairway_proto::node::{Map, Program, StatusResponse, Subsystem};

use crate::config::Routing;
use crate::node::Wires;
use crate::pods::PodEntry;
use crate::sync::{ControlPlane, Origin, SyncState};

/// The share of a map from which on it is worth a look.
const NEARLY_FULL: f64 = 0.8;

type Read<T> = Result<T, fairway_datapath::Error>;

/// What the kernel says.
#[derive(Debug)]
pub(super) struct Kernel {
    programs: Read<Vec<ProgramInfo>>,
    maps: Read<Vec<MapInfo>>,
    counts: Read<Vec<(Reason, Count)>>,
}

impl Kernel {
    /// Asks the kernel. `maps` as it said of them, which needs no lock.
    pub(super) fn read(datapath: &Datapath, maps: Read<Vec<MapInfo>>) -> Self {
        Self { programs: datapath.programs(), maps, counts: datapath.counts() }
    }
}

/// What a status is made of.
pub(super) struct Facts<'a> {
    pub(super) state: &'a SyncState,
    pub(super) kernel: &'a Kernel,
    pub(super) pods: &'a [PodEntry],
    /// Since the agent started.
    pub(super) uptime: Duration,
    pub(super) now: SystemTime,
    /// First and last port for connections that are sent on.
    pub(super) nat_ports: (u16, u16),
    /// What was put back lately, and what cannot be, in one line each.
    pub(super) repairs: &'a [String],
    /// Callers of Trace; 0: tracing is off.
    pub(super) tracing: usize,
    /// How packets reach other nodes' pods.
    pub(super) routing: Routing,
    /// What is not as it should be on the ways there, in one line each.
    pub(super) ways: &'a [String],
    /// What became of the program at each network device's driver.
    pub(super) wires: &'a Wires,
    /// What to do about certificates for the control plane, in one line each.
    pub(super) certificates: &'a [String],
}

type Line = (State, String);

impl Facts<'_> {
    /// The answer to Status.
    pub(super) fn response(&self) -> StatusResponse {
        let desired = &self.state.desired.frontends;
        let backends =
            desired.values().flat_map(|frontend| frontend.inside.iter().chain(frontend.outside.iter()));
        let backends: std::collections::BTreeSet<_> = backends.map(|b| (b.address, b.port)).collect();
        StatusResponse {
            node: self.state.node.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.uptime.as_secs(),
            subsystems: self.subsystems(),
            services: self.services_served() as u64,
            frontends: desired.len() as u64,
            backends: backends.len() as u64,
            endpoints: self.pods.len() as u64,
            programs: self.kernel.programs.iter().flatten().map(program).collect(),
            maps: self.kernel.maps.iter().flatten().map(map).collect(),
            nat_port_first: self.nat_ports.0.into(),
            nat_port_last: self.nat_ports.1.into(),
        }
    }

    fn subsystems(&self) -> Vec<Subsystem> {
        let lines = [
            ("agent", self.agent()),
            ("kernel", self.maps()),
            ("control-plane", self.control_plane()),
            ("network", self.network()),
            ("xdp", self.wires()),
            ("services", self.services()),
            ("conntrack", self.conntrack()),
            ("programs", self.programs()),
            ("repairs", self.repairs()),
            ("pods", self.pods()),
            ("drops", self.drops()),
        ];
        let line = |(name, (state, text)): (&str, Line)| Subsystem {
            name: name.to_owned(),
            state: state.into(),
            text,
        };
        lines.into_iter().map(line).collect()
    }

    fn agent(&self) -> Line {
        let tracing = match self.tracing {
            0 => String::new(),
            1 => ", tracing for 1 reader".to_owned(),
            readers => format!(", tracing for {readers} readers"),
        };
        (State::Ok, format!("up {}{tracing}", span(self.uptime)))
    }

    /// Release of the kernel, and its maps.
    fn maps(&self) -> Line {
        let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
        let release = release.unwrap_or_else(|_| "of unknown release".to_owned());
        match &self.kernel.maps {
            Ok(maps) => {
                let bytes: u64 = maps.iter().map(|map| map.memory).sum();
                (State::Ok, format!("Linux {release}, {} maps in {} MiB", maps.len(), bytes >> 20))
            }
            Err(error) => {
                (State::Failed, format!("Linux {release}, its maps cannot be read: {}", chain(error)))
            }
        }
    }

    fn control_plane(&self) -> Line {
        let version = match (&self.state.applied, self.state.applied_at) {
            (Some(version), Some(at)) => format!("version {} applied {} ago", version.number, self.ago(at)),
            (Some(version), None) => format!("version {} applied", version.number),
            (None, _) => "nothing applied yet".to_owned(),
        };
        let origin = match self.state.origin {
            Origin::Kernel => "what was in the kernel stays in force",
            Origin::Disk => "the state from disk is in force",
            Origin::ControlPlane => "the last state stays in force",
        };
        match &self.state.control_plane {
            ControlPlane::None => (State::Warning, format!("none is configured; {origin}")),
            ControlPlane::Connected { address, others, since } => {
                let others = match &others[..] {
                    [] => String::new(),
                    others => format!(" (others: {})", others.join(", ")),
                };
                let line = format!("{address}{others}, connected {} ago, {version}", self.ago(*since));
                match first_of(self.certificates) {
                    Some(warning) => (State::Warning, format!("{line}; {warning}")),
                    None => (State::Ok, line),
                }
            }
            ControlPlane::Disconnected { address, since, reason } => {
                let since = self.ago(*since);
                (
                    State::Warning,
                    format!("{address}, not connected for {since}: {reason}; {origin}, {version}"),
                )
            }
        }
    }

    fn ago(&self, then: SystemTime) -> String {
        span(self.now.duration_since(then).unwrap_or_default())
    }

    fn services_served(&self) -> usize {
        let names = self.state.desired.frontends.values().map(|frontend| &frontend.name.service);
        names.collect::<std::collections::BTreeSet<_>>().len()
    }

    fn services(&self) -> Line {
        let frontends = self.state.desired.frontends.len();
        let served = format!("{} Services, {frontends} addresses", self.services_served());
        let mut problems: Vec<String> = self.state.desired.problems.iter().map(ToString::to_string).collect();
        problems.extend_from_slice(&self.state.health_check_problems);
        match (first_of(&self.state.errors), first_of(&problems)) {
            (Some(error), _) => (State::Failed, format!("{served}; {error}")),
            (None, Some(problem)) => (State::Warning, format!("{served}; {problem}")),
            (None, None) => (State::Ok, served),
        }
    }

    fn network(&self) -> Line {
        let nodes = &self.state.cluster.nodes;
        let others = nodes.keys().filter(|name| **name != self.state.node.name).count();
        let others = if others == 1 { "1 other node".to_owned() } else { format!("{others} other nodes") };
        let ways = match self.routing {
            Routing::Native => format!("routes to the pods of {others}"),
            Routing::Vxlan { id, port } => format!("tunnels to {others} (VXLAN {id}, UDP port {port})"),
        };
        match first_of(self.ways) {
            Some(problem) => (State::Warning, format!("{ways}; {problem}")),
            None => (State::Ok, ways),
        }
    }

    /// Devices where packets take the long way are named first.
    fn wires(&self) -> Line {
        if self.wires.is_empty() {
            return (State::Ok, "off".to_owned());
        }
        let (off, on): (Vec<_>, Vec<_>) = self.wires.iter().partition(|(_, wire)| wire.mode.is_none());
        let lines: Vec<String> = off.iter().chain(&on).map(|(name, wire)| wire.says(name)).collect();
        (if off.is_empty() { State::Ok } else { State::Warning }, lines.join("; "))
    }

    fn conntrack(&self) -> Line {
        let Ok(maps) = &self.kernel.maps else {
            return (State::Failed, "not known: the maps cannot be read".to_owned());
        };
        let tables = maps.iter().filter(|map| map.name.to_ascii_lowercase().starts_with("conntrack"));
        let filled: Vec<(u64, u64)> = tables.filter_map(|map| Some((map.entries?, map.capacity))).collect();
        let share = |(entries, capacity): &(u64, u64)| *entries as f64 / (*capacity).max(1) as f64;
        let fullest = filled.iter().map(share).fold(0.0, f64::max);
        let entries: u64 = filled.iter().map(|(entries, _)| entries).sum();
        let state = if fullest >= NEARLY_FULL { State::Warning } else { State::Ok };
        (state, format!("{entries} entries, the fullest table {:.1}% full", fullest * 100.0))
    }

    fn programs(&self) -> Line {
        match &self.kernel.programs {
            Ok(programs) if programs.is_empty() => (State::Failed, "none is loaded".to_owned()),
            Ok(programs) => {
                let attachments: usize = programs.iter().map(|program| program.attached.len()).sum();
                (State::Ok, format!("{} loaded, {attachments} attachments", programs.len()))
            }
            Err(error) => (State::Failed, format!("not known: {}", chain(error))),
        }
    }

    fn repairs(&self) -> Line {
        match first_of(self.repairs) {
            Some(line) => (State::Warning, line),
            None => (State::Ok, "everything made is in force".to_owned()),
        }
    }

    fn pods(&self) -> Line {
        let ready = self.pods.iter().filter(|pod| pod.ready && !pod.terminating).count();
        (State::Ok, format!("{} on this node, {ready} ready", self.pods.len()))
    }

    fn drops(&self) -> Line {
        let counts = match &self.kernel.counts {
            Ok(counts) => counts,
            Err(error) => return (State::Failed, format!("not known: {}", chain(error))),
        };
        let sum = |class: Class| -> u64 {
            counts.iter().filter(|(reason, _)| reason.class() == class).map(|(_, count)| count.packets).sum()
        };
        let losses =
            counts.iter().filter(|(reason, count)| reason.class() != Class::Forward && count.packets > 0);
        let top = losses.max_by_key(|(_, count)| count.packets);
        let top = top.map(|(reason, count)| format!(", most often {} ({})", reason.name(), count.packets));
        let text = format!("{} dropped, {} rejected", sum(Class::Drop), sum(Class::Reject));
        (State::Ok, text + top.as_deref().unwrap_or_default())
    }
}

/// The first of several lines, and how many more there are.
fn first_of(lines: &[String]) -> Option<String> {
    match lines {
        [] => None,
        [line] => Some(line.clone()),
        [line, more @ ..] => Some(format!("{line} (and {} more)", more.len())),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    super::internal(error).message().to_owned()
}

/// A time in its largest unit.
fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

fn program(program: &ProgramInfo) -> Program {
    Program {
        name: program.name.clone(),
        attached: program.attached.clone(),
        method: program.method.to_owned(),
        id: program.id,
        tag: format!("{:016x}", program.tag),
        verified_instructions: program.verified_instructions,
        memory: program.memory,
    }
}

fn map(map: &MapInfo) -> Map {
    Map {
        name: map.name.to_owned(),
        r#type: map.kind.to_owned(),
        entries: map.entries.unwrap_or_default(),
        capacity: map.capacity,
        method: if map.entries.is_some() { "counted" } else { "n/a" }.to_owned(),
        memory: map.memory,
    }
}

#[cfg(test)]
mod tests;
