//! What is measured: which packets, given to which program, with which connections in the tables.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use fairway_common::conntrack::tcp;
use fairway_common::harness::{Field, HEAD, Plan};
use fairway_common::service::Frontend;
use fairway_common::{Reason, TCP};

use super::flows::{CLIENTS, Connections, FLOWS, NEW, PORTS, SHOWN};
pub(crate) use super::harness::Load;
use super::test_run::Kind;
use super::world::World;

/// Leave the packet to the kernel (`TCX_NEXT`), or send it on (`TC_ACT_REDIRECT`).
const PASS: i32 = -1;
const REDIRECT: i32 = 7;
/// The same at a driver (`XDP_PASS`, `XDP_TX`), by the program there.
const UP: i32 = 2;
const BACK: i32 = 3;
const WIRE: &str = "from_wire";

/// How packets differ from run to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// All the same.
    Hot,
    /// 65,536 known connections in rotation.
    Many,
    /// Each begins a connection.
    New,
}

/// One thing to measure.
pub(crate) struct Row {
    pub(crate) program: &'static str,
    pub(crate) kind: Kind,
    pub(crate) case: String,
    pub(crate) flow: Flow,
    pub(crate) load: Load,
    /// What the program must answer, and the reason that it must count.
    pub(crate) verdict: i32,
    pub(crate) reason: Option<Reason>,
    /// Nanoseconds over the empty program, of each round.
    pub(crate) rounds: Vec<f64>,
}

/// Rows that need the same state.
pub(crate) struct Block {
    /// Known before the measurement.
    pub(crate) connections: Option<Connections>,
    /// Whether pods have had translated connections: their packets are looked up from then on.
    pub(crate) used: bool,
    /// Whether packets go to other nodes as they are.
    pub(crate) direct: bool,
    pub(crate) rows: Vec<Row>,
}

/// The Services whose packets are measured: where they are, and where they lead.
pub(crate) struct Services {
    near: SocketAddr,
    far: SocketAddr,
    pub(crate) node_near: SocketAddr,
    node_far: SocketAddr,
}

impl Services {
    /// Writes them for the family that is selected.
    pub(crate) fn put(world: &mut World) -> Self {
        let (pod, remote) = (world.pod(2, 8080), world.remote(1, 8080));
        let services = Self {
            near: world.service(1),
            far: world.service(2),
            node_near: world.node(30_080),
            node_far: world.node(30_090),
        };
        let table = [
            (services.near, pod),
            (services.far, remote),
            (services.node_near, pod),
            (services.node_far, remote),
        ];
        for (frontend, backend) in table {
            for port in frontend.port()..frontend.port() + PORTS {
                world.put(SocketAddr::new(frontend.ip(), port), &[backend], &[backend], 0);
            }
        }
        services
    }

    /// Everything that is measured of the family that is selected.
    pub(crate) fn blocks(&self, world: &World) -> Result<Vec<Block>> {
        let (client, pod) = (world.client(CLIENTS), world.pod(1, CLIENTS));
        let (near, far) = (world.pod(2, 8080), world.remote(1, 8080));
        let connections = |client, frontend, backend, shown: SocketAddr| Connections {
            client,
            frontend,
            backend,
            shown: SocketAddr::new(shown.ip(), SHOWN),
            direct: false,
        };
        let mut blocks = vec![self.plain(world, false)?, self.plain(world, true)?, self.new_flows(world)?];
        // Established, in both directions: program and device of what the client sends, and of the answers.
        for (connections, [forth, back]) in [
            (
                connections(pod, self.near, near, pod),
                [("from_pod", "established", 1), ("from_pod", "reply", 2)],
            ),
            (
                connections(pod, self.far, far, pod),
                [("from_pod", "established, other node", 1), ("from_network", "reply to a pod", 0)],
            ),
            (
                connections(client, self.node_near, near, client),
                [("from_network", "NodePort, local backend", 0), ("from_pod", "reply, client outside", 2)],
            ),
            (
                connections(client, self.node_far, far, world.node(0)),
                [("from_network", "NodePort, other node", 0), ("from_network", "reply, other node", 0)],
            ),
        ] {
            let mut rows = Vec::new();
            for flow in [Flow::Hot, Flow::Many] {
                let forward = [connections.client, connections.frontend];
                let reply = [connections.backend, connections.shown];
                for (ends, ports, (program, case, device), reason) in [
                    (forward, [0, 2], forth, Reason::Translated),
                    (reply, [2, 0], back, Reason::ReplyTranslated),
                ] {
                    let what = What { program, case, device, verdict: REDIRECT, reason: Some(reason) };
                    rows.push(row(world, &what, flow, ends, ports)?);
                    // What goes back by the device that it came by.
                    if case.ends_with("other node") && program == "from_network" {
                        let reason = Some(Reason::Accelerated);
                        let what = What { program: WIRE, verdict: BACK, reason, ..what };
                        rows.push(row(world, &what, flow, ends, ports)?);
                    }
                }
            }
            blocks.push(Block { connections: Some(connections), used: true, direct: false, rows });
        }
        Ok(blocks)
    }

    /// A packet that the node routes to another one.
    pub(crate) fn routed(&self, world: &World) -> Result<Load> {
        let ends = [world.pod(1, 4000), world.remote(1, 8080)];
        let what = What { program: "from_pod", case: "", device: 1, verdict: PASS, reason: None };
        Ok(row(world, &what, Flow::Hot, ends, [0, 2])?.load)
    }

    /// Packets that nobody translates.
    fn plain(&self, world: &World, used: bool) -> Result<Block> {
        let (pod, other, remote) = (world.pod(1, 4000), world.pod(2, 8080), world.remote(1, 8080));
        let elsewhere = world.remote(9, 443);
        let mut table = vec![
            ("from_pod", "not a service", 1, [pod, elsewhere], PASS),
            ("from_pod", "pod IP, same node", 1, [pod, other], REDIRECT),
            ("from_network", "to a pod", 0, [remote, other], REDIRECT),
        ];
        if !used {
            table.extend([
                ("from_network", "not a service", 0, [world.client(4000), world.node(22)], PASS),
                (WIRE, "not a service", 0, [world.client(4000), world.node(22)], UP),
                (WIRE, "to a pod", 0, [remote, other], UP),
                ("to_network", "passes", 0, [world.node(4000), elsewhere], PASS),
                ("to_pod", "passes", 1, [elsewhere, pod], PASS),
            ]);
        }
        let rows = table.into_iter().map(|(program, case, device, ends, verdict)| {
            let case = if used { format!("{case}, pod with connections") } else { case.to_owned() };
            let what = What { program, case: &case, device, verdict, reason: None };
            row(world, &what, Flow::Hot, ends, [0, 2])
        });
        Ok(Block { connections: None, used, direct: false, rows: rows.collect::<Result<_>>()? })
    }

    /// Connections that begin.
    fn new_flows(&self, world: &World) -> Result<Block> {
        let (client, pod) = (world.client(0), world.pod(1, 0));
        let table = [
            ("from_pod", "new", 1, [pod, self.near], Reason::ServiceNew),
            ("from_pod", "new, other node", 1, [pod, self.far], Reason::ServiceNew),
            ("from_network", "new, local backend", 0, [client, self.node_near], Reason::ServiceNew),
            ("from_network", "new, other node", 0, [client, self.node_far], Reason::SourceTranslated),
        ];
        let rows = table.into_iter().map(|(program, case, device, ends, reason)| {
            let what = What { program, case, device, verdict: REDIRECT, reason: Some(reason) };
            row(world, &what, Flow::New, ends, [0, 2])
        });
        Ok(Block { connections: None, used: true, direct: false, rows: rows.collect::<Result<_>>()? })
    }
}

/// A Service whose packets go to other nodes as they are.
pub(crate) struct Direct(SocketAddr);

/// Its backends, of another node.
const BACKENDS: u8 = 100;

impl Direct {
    /// Writes it for the family that is selected.
    pub(crate) fn put(world: &mut World) -> Self {
        let backends: Vec<_> = (1..=BACKENDS).map(|n| world.remote(n, 8080)).collect();
        let frontend = world.service(3);
        for port in frontend.port()..frontend.port() + PORTS {
            let flags = Frontend::HASHED | Frontend::DIRECT;
            world.put(SocketAddr::new(frontend.ip(), port), &[], &backends, flags);
        }
        Self(frontend)
    }

    /// What is measured of it: connections that begin, of which nothing is noted, and known ones.
    pub(crate) fn blocks(&self, world: &World) -> Result<Vec<Block>> {
        let client = world.client(CLIENTS);
        let shown = SocketAddr::new(client.ip(), CLIENTS);
        let backend = world.remote(1, 8080);
        let known = Connections { client, frontend: self.0, backend, shown, direct: true };
        let rows = |flows: &[Flow], ends: [SocketAddr; 2], case: &str| {
            let mut rows = Vec::new();
            for flow in flows {
                for (program, verdict, reason) in
                    [("from_network", REDIRECT, Reason::Direct), (WIRE, BACK, Reason::Accelerated)]
                {
                    let what = What { program, case, device: 0, verdict, reason: Some(reason) };
                    rows.push(row(world, &what, *flow, ends, [0, 2])?);
                }
            }
            anyhow::Ok(rows)
        };
        let new = rows(&[Flow::New], [world.client(0), self.0], "new, direct")?;
        let old = rows(&[Flow::Hot, Flow::Many], [client, self.0], "established, direct")?;
        Ok(vec![
            Block { connections: None, used: false, direct: true, rows: new },
            Block { connections: Some(known), used: false, direct: true, rows: old },
        ])
    }
}

/// What a row is about.
struct What<'a> {
    program: &'static str,
    case: &'a str,
    device: usize,
    verdict: i32,
    reason: Option<Reason>,
}

/// A row of packets between two ends. `ports`: where the client's port and the Service's stand in the TCP header.
fn row(world: &World, what: &What<'_>, flow: Flow, ends: [SocketAddr; 2], ports: [u32; 2]) -> Result<Row> {
    let flags = if flow == Flow::New { tcp::SYN } else { tcp::ACK };
    let frame = world.frame(ends[0], ends[1]).flags(flags).payload(&[0x55; HEAD]);
    let packet = frame.build();
    let transport = frame.transport() as u32;
    let field = |offset: u32, shift, mask| {
        let bytes = packet.get(offset as usize..)?.first_chunk::<2>()?;
        Some(Field { offset, base: u32::from(u16::from_be_bytes(*bytes)), shift, mask })
    };
    let [first, second] = ports.map(|port| transport + port);
    let fields = match flow {
        Flow::Hot => [field(first, 0, 0), field(second, 0, 0)],
        Flow::Many => [field(first, 0, 0x3fff), field(second, 14, PORTS as u32 - 1)],
        Flow::New => {
            // The low bits of the source address, too: a client outside that keeps its address has few ports to show.
            let outside = what.program != "from_pod" && what.reason == Some(Reason::ServiceNew);
            let address = if world.v4 { 14 + 12 + 2 } else { 14 + 8 + 14 };
            let (near, far) = if outside { (0xfff, 0xf) } else { (0x7fff, 0) };
            [
                field(first, 0, near).map(|field| Field { base: u32::from(NEW), ..field }),
                field(address, 12, far),
            ]
        }
    };
    let [Some(first), Some(second)] = fields else { anyhow::bail!("a packet without ports") };
    let mut plan = Plan {
        fields: [first, second],
        flows: if flow == Flow::Many { FLOWS - 1 } else { u32::MAX },
        length: packet.len() as u32,
        ..Plan::default()
    };
    let head = packet.first_chunk::<HEAD>().context("a short packet")?;
    for (word, bytes) in plan.head.iter_mut().zip(head.chunks_exact(8)) {
        *word = u64::from_ne_bytes(bytes.try_into()?);
    }
    let device = world.devices[what.device];
    debug_assert_eq!(world.protocol, TCP);
    Ok(Row {
        program: what.program,
        kind: if what.program == WIRE { Kind::Xdp } else { Kind::Tc },
        case: match flow {
            Flow::Many => format!("{}, 64k flows", what.case),
            _ => what.case.to_owned(),
        },
        flow,
        load: Load { plan, packet, device },
        verdict: what.verdict,
        reason: what.reason,
        rounds: Vec::new(),
    })
}
