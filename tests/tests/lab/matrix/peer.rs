//! Where kube-proxy's nftables mode differs from Fairway, each time with the reason. In all other cells both must do the same.

use super::cell::{Backend, Cell, Frontend, Policy, Protocol, named};
use super::expected::{Expected, Sees, asked_node, home, is_pod};

/// Who serves the Services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Peer {
    #[default]
    Fairway,
    /// The kernel, by the rules of kube-proxy's nftables mode.
    Nftables,
}

impl Peer {
    const ALL: [(Self, &'static str); 2] = [(Self::Fairway, "fairway"), (Self::Nftables, "nftables")];

    pub(crate) fn name(self) -> &'static str {
        named(&Self::ALL, self)
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, own)| *own == name).map(|(peer, _)| peer)
    }
}

struct Difference {
    why: &'static str,
    applies: fn(Cell) -> bool,
    instead: Instead,
}

enum Instead {
    /// Nothing to compare.
    NotAsked,
    Refused,
    /// Another source address.
    Sees(fn(Cell) -> Sees),
}

const DIFFERENCES: [Difference; 3] = [
    Difference {
        why: "kube-proxy translates SCTP, and Fairway refuses it visibly (S92)",
        applies: |cell| cell.protocol == Protocol::Sctp,
        instead: Instead::NotAsked,
    },
    Difference {
        why: "kube-proxy's nftables mode has no NodePorts at 127.0.0.1, where Fairway's hooks at sockets serve them (S75)",
        applies: |cell| cell.frontend == Frontend::NodePortLocalhost && !cell.v6 && !is_pod(cell.client),
        instead: Instead::Refused,
    },
    Difference {
        why: "kube-proxy masquerades all that comes by a NodePort or an address of outside, unless the policy is Local; \
              Fairway only where replies would else miss the node that translated",
        applies: is_masqueraded,
        instead: Instead::Sees(|cell| Sees::Node(entry(cell))),
    },
];

/// What the peer must do where Fairway does this, and why it is not the same.
pub(super) fn adapt(cell: Cell, fairway: Expected) -> (Expected, Option<&'static str>) {
    let Some(difference) = DIFFERENCES.iter().find(|difference| (difference.applies)(cell)) else {
        return (fairway, None);
    };
    match (&difference.instead, fairway) {
        (Instead::NotAsked, _) => (Expected::NotApplicable(difference.why), None),
        (Instead::Refused, _) => (Expected::Refused, Some(difference.why)),
        (Instead::Sees(sees), Expected::Answer { names, one, sees: own }) => {
            let sees = sees(cell);
            let why = (sees != own).then_some(difference.why);
            (Expected::Answer { names, sees, one }, why)
        }
        (Instead::Sees(_), other) => (other, None),
    }
}

/// The node where the packet is translated: packets to another node's NodePort reach it as they are.
fn entry(cell: Cell) -> u8 {
    asked_node(cell).or(home(cell.client)).unwrap_or(1)
}

/// Section 2 of the statements, column M, for frontends of outside. A process's packets bear its node's address anyway,
/// and what ends at a process of the node that translates never leaves it.
fn is_masqueraded(cell: Cell) -> bool {
    let outside = !matches!(cell.frontend, Frontend::ClusterIp | Frontend::Pod | Frontend::NodePortLocalhost);
    let is_process_there = !is_pod(cell.client) && home(cell.client) == Some(entry(cell));
    outside && cell.policy != Policy::ExternalLocal && !is_process_there && !ends_at_entry(cell)
}

/// Whether the backend is a process of the node that translates.
fn ends_at_entry(cell: Cell) -> bool {
    match cell.backend {
        Backend::Host => entry(cell) == 1,
        Backend::HostRemote => entry(cell) == 2,
        _ => false,
    }
}
