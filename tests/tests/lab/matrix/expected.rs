//! What must happen in a cell: one pure function, written from the statements and not from what Fairway does.
//!
//! **Source addresses.** The backend sees the client's own address, unless replies would not come back by themselves
//! through the node that translated: a client outside with a backend of another node shows that node, and a pod that
//! reaches itself sees anything but its own address. kube-proxy masquerades more than that; for it, that is a means to the
//! same end and no promise to anyone. With `masquerade-all`, every connection on the wire shows the node.
//!
//! **A peer.** What kube-proxy does otherwise is in [`super::peer`]; all that is not there holds for both.

use super::cell::{Backend, Cell, Frontend, Policy, Protocol, Sockets};
use crate::world::Position;

/// What must happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// One of these answers; with `one`, always the same.
    Answer { names: Vec<&'static str>, sees: Sees, one: bool },
    /// ECONNREFUSED, or for a socket that a hook speaks to: not permitted.
    Refused,
    /// No answer, and `reason` is counted.
    Dropped { reason: &'static str },
    /// Refused, or no answer; nothing is delivered.
    Nothing,
    /// There is no such case, or nobody promises anything.
    NotApplicable(&'static str),
}

/// Which client the backend sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sees {
    /// Its own address; of a process: one of its node's.
    Own,
    /// The node with this number.
    Node(u8),
    /// Anything but the pod's own address.
    NotOwn,
    /// Anything.
    Anyone,
}

/// Where an endpoint is, and whether it is ready; 0 is outside of the cluster.
#[derive(Clone, Copy)]
struct Endpoint {
    name: &'static str,
    node: u8,
    ready: bool,
}

const fn ready(name: &'static str, node: u8) -> Endpoint {
    Endpoint { name, node, ready: true }
}

/// Terminating, and serving.
const fn ending(name: &'static str, node: u8) -> Endpoint {
    Endpoint { name, node, ready: false }
}

/// What must happen in the cell, and the statements that say so.
pub(crate) fn expected(cell: Cell) -> (Expected, Vec<u16>) {
    if let Some(why) = not_applicable(cell) {
        return (Expected::NotApplicable(why), Vec::new());
    }
    if cell.protocol == Protocol::Sctp {
        return (Expected::Nothing, vec![92]); // S92
    }
    if cell.frontend == Frontend::NodePortLocalhost && !answers_at_localhost(cell) {
        return (Expected::Refused, vec![75]); // S75: nobody listens there
    }
    let endpoints = endpoints(cell);
    if cell.frontend == Frontend::Pod {
        let names = endpoints.iter().map(|endpoint| endpoint.name).collect();
        return (Expected::Answer { names, sees: Sees::Own, one: true }, Vec::new());
    }
    let local = is_local(cell);
    let mut numbers = statements(cell, local);
    // S22: each policy binds its own frontends; S25, S26: the external one only whoever comes from outside.
    let candidates: Vec<Endpoint> =
        endpoints.iter().copied().filter(|endpoint| !local || endpoint.node == decided_at(cell)).collect();
    // S2
    let any_ready = candidates.iter().any(|endpoint| endpoint.ready);
    let usable: Vec<Endpoint> =
        candidates.into_iter().filter(|endpoint| endpoint.ready || !any_ready).collect();
    if usable.is_empty() {
        // S23, S24: there are others, and these may be reached by other ways; S4: also when they terminate.
        return if local && !endpoints.is_empty() {
            numbers.push(if cell.frontend == Frontend::ClusterIp { 23 } else { 24 });
            numbers.extend(endpoints.iter().all(|endpoint| !endpoint.ready).then_some(4));
            (Expected::Dropped { reason: "no-local-backend" }, numbers)
        } else {
            // S31, S32
            numbers.push(if cell.protocol == Protocol::Tcp { 31 } else { 32 });
            numbers.extend(local.then_some(if cell.frontend == Frontend::ClusterIp { 23 } else { 24 }));
            (Expected::Refused, numbers)
        };
    }
    let sees = sees(cell, &usable);
    let names = usable.iter().map(|endpoint| endpoint.name).collect();
    // S63, S71
    (Expected::Answer { names, sees, one: cell.policy == Policy::Affinity }, numbers)
}

fn endpoints(cell: Cell) -> Vec<Endpoint> {
    let itself = match cell.client {
        Position::PodSameNode => ready("client-1", 1),
        _ => ready("client-2", 2),
    };
    match cell.backend {
        Backend::Local => vec![ready("local-pod", 1)],
        Backend::Remote => vec![ready("remote-pod", 2)],
        Backend::Host => vec![ready("host-network", 1)],
        Backend::HostRemote => vec![ready("host-network-remote", 2)],
        Backend::Itself => vec![itself],
        Backend::Outside => vec![ready("client-outside", 0)],
        Backend::Both => vec![ready("pair-1", 1), ready("pair-2", 2)],
        Backend::None => Vec::new(),
        Backend::Ending => vec![ending("local-pod", 1)],
        Backend::EndingAndReady => vec![ending("local-pod", 1), ready("remote-pod", 2)],
    }
}

/// The node that a client is on.
pub(super) fn home(client: Position) -> Option<u8> {
    match client {
        Position::PodSameNode | Position::NodeProcess | Position::HostPod => Some(1),
        Position::PodOtherNode | Position::OtherNodeProcess => Some(2),
        Position::External => None,
    }
}

pub(super) fn is_pod(client: Position) -> bool {
    matches!(client, Position::PodSameNode | Position::PodOtherNode)
}

/// Whether a hook translates the client's sockets.
fn is_hooked(cell: Cell) -> bool {
    match cell.sockets {
        Sockets::Off | Sockets::Nftables => false,
        Sockets::Host => home(cell.client).is_some() && !is_pod(cell.client),
        Sockets::All => home(cell.client).is_some(),
    }
}

/// The node whose address the client asks; none for addresses that are no node's.
pub(super) fn asked_node(cell: Cell) -> Option<u8> {
    match cell.frontend {
        Frontend::NodePort1 => Some(1),
        Frontend::NodePort2 => Some(2),
        _ => None,
    }
}

/// Whether the client counts as outside at the node that decides: S26.
fn is_outside(cell: Cell) -> bool {
    let elsewhere = asked_node(cell).is_some_and(|node| home(cell.client) != Some(node));
    home(cell.client).is_none() || elsewhere && cell.policy == Policy::ExternalLocal
}

/// The node that chooses the endpoint.
fn decided_at(cell: Cell) -> u8 {
    match home(cell.client) {
        Some(home) if !is_outside(cell) => home,
        // Balancer and external addresses come in by node1.
        _ => asked_node(cell).unwrap_or(1),
    }
}

/// Whether only endpoints of the deciding node count.
fn is_local(cell: Cell) -> bool {
    match cell.policy {
        // S22
        Policy::InternalLocal => cell.frontend == Frontend::ClusterIp,
        // S22, S25, S26
        Policy::ExternalLocal => cell.frontend != Frontend::ClusterIp && is_outside(cell),
        Policy::Default | Policy::Affinity => false,
    }
}

/// S75: at 127.0.0.1, for processes of a node whose sockets are translated.
fn answers_at_localhost(cell: Cell) -> bool {
    !cell.v6 && !is_pod(cell.client) && is_hooked(cell)
}

fn sees(cell: Cell, usable: &[Endpoint]) -> Sees {
    let decided = decided_at(cell);
    // A process of a node and its backend on that node have one address, as a pod and itself have.
    let hairpin = match cell.backend {
        Backend::Itself => true,
        Backend::Host => !is_pod(cell.client) && home(cell.client) == Some(1),
        Backend::HostRemote => !is_pod(cell.client) && home(cell.client) == Some(2),
        _ => false,
    };
    match (home(cell.client), hairpin) {
        // S72; a translated socket's connection stays within the pod, which has no other address. Of a node's processes
        // (S73) nothing is said.
        (Some(_), true) if is_hooked(cell) || !is_pod(cell.client) => Sees::Anyone,
        (Some(_), true) => Sees::NotOwn,
        // S27
        (Some(_), _) => Sees::Own,
        (None, _) if usable.iter().all(|endpoint| endpoint.node == decided) => Sees::Own,
        (None, _) if usable.iter().all(|endpoint| endpoint.node != decided) => Sees::Node(decided),
        (None, _) => Sees::Anyone,
    }
}

/// The statements that a cell is about, besides those of its refusal.
fn statements(cell: Cell, local: bool) -> Vec<u16> {
    let inside = home(cell.client).is_some();
    let cluster_ip = cell.frontend == Frontend::ClusterIp;
    let all = [
        (2, matches!(cell.backend, Backend::Ending | Backend::EndingAndReady)), // S2
        (
            22,
            cell.policy == Policy::InternalLocal && !cluster_ip
                || cell.policy == Policy::ExternalLocal && cluster_ip,
        ), // S22
        (25, inside && cell.policy == Policy::ExternalLocal && !local && !cluster_ip), // S25
        (26, inside && cell.policy == Policy::ExternalLocal && local),          // S26
        (27, is_pod(cell.client) && cluster_ip && cell.backend != Backend::Itself), // S27
        (28, !inside && cell.policy == Policy::ExternalLocal),                  // S28
        (63, cell.policy == Policy::Affinity),                                  // S63
        (71, cell.policy == Policy::Affinity && inside),                        // S71
        (72, cell.backend == Backend::Itself),                                  // S72
        (73, inside && !is_pod(cell.client) && matches!(cell.backend, Backend::Host | Backend::HostRemote)), // S73
        (74, inside && !is_pod(cell.client) && cell.backend == Backend::Outside), // S74
        (75, cell.frontend == Frontend::NodePortLocalhost),                       // S75
    ];
    all.into_iter().filter(|(_, holds)| *holds).map(|(number, _)| number).collect()
}

/// Why there is no such case.
fn not_applicable(cell: Cell) -> Option<&'static str> {
    let (outside, pod) = (home(cell.client).is_none(), is_pod(cell.client));
    let own_node = asked_node(cell).is_some() && asked_node(cell) == home(cell.client);
    if cell.policy == Policy::Affinity && cell.backend != Backend::Both {
        return Some("affinity shows only where there is a choice");
    }
    if cell.protocol == Protocol::Sctp {
        let told = cell.policy == Policy::Default && matches!(cell.backend, Backend::Local | Backend::Remote);
        if !told || cell.frontend == Frontend::Pod {
            return Some("no policy and no choice changes that SCTP is not translated");
        }
    }
    match (cell.frontend, cell.backend) {
        (Frontend::ClusterIp, _) if outside => Some("ClusterIPs are not routed outside the cluster"),
        (Frontend::NodePortLocalhost, _) if outside => Some("a machine outside the cluster has no NodePorts"),
        (Frontend::Pod, _) if outside => Some("pod addresses are not routed outside the cluster"),
        (Frontend::Pod, _) if cell.policy != Policy::Default => Some("a pod's own address has no policy"),
        (Frontend::Pod, Backend::Local | Backend::Remote | Backend::Host | Backend::HostRemote) => None,
        (Frontend::Pod, _) => Some("a pod's own address is one pod's"),
        (_, Backend::Itself) if !pod => Some("a process as its own backend is the host-network cell"),
        (Frontend::NodePort1 | Frontend::NodePort2, _)
            if own_node && !pod && cell.sockets == Sockets::Off =>
        {
            Some(
                "a node's packets to its own address stay on lo, where no program is: needs --socket-lb host",
            )
        }
        (_, Backend::Outside) if pod => Some("a pod's way out of the cluster is not a Service's matter"),
        _ => None,
    }
}
