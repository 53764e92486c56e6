//! At the node's device.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use fairway_common::Reason;
use fairway_common::conntrack::Hop;
use fairway_common::event::Hook;
use fairway_common::pod::Pod;

use super::traffic::{Direction, run};
use crate::packet::{Packet, Parse};
use crate::settings;
use crate::stage::service::Side;
use crate::stage::{deliver, enclosed};

/// From the network: clients outside, replies of backends on other nodes, packets for pods. `TUNNEL`: those that come
/// from other nodes by their tunnels.
pub(super) struct FromNetwork<const TUNNEL: bool>;

impl<const TUNNEL: bool> Direction for FromNetwork<TUNNEL> {
    const HOOK: Hook = if TUNNEL { Hook::FromTunnel } else { Hook::FromNetwork };
    const SIDE: Side = Side::Outside;
    const BACK: u64 = 0;
    const OF_A_POD: bool = false;
    const FROM_NODE: bool = false;
    const SERVICES: bool = true;
    const SHORTCUT: bool = true;

    #[inline(always)]
    fn send<A: Parse>(
        packet: &mut Packet<A>,
        pod: Option<&Pod>,
        learnt: Option<&mut Hop>,
    ) -> Result<(), Reason> {
        match pod {
            Some(pod) => deliver::to_peer(packet, pod, learnt),
            None => deliver::onward(packet, false, learnt),
        }
    }
}

/// To the network: processes of the node whose sockets were not seen, and replies of processes that are backends.
struct ToNetwork;

impl Direction for ToNetwork {
    const HOOK: Hook = Hook::ToNetwork;
    const SIDE: Side = Side::Inside;
    const BACK: u64 = deliver::INGRESS;
    const OF_A_POD: bool = false;
    const FROM_NODE: bool = true;
    const SERVICES: bool = true;
    const SHORTCUT: bool = false;
    const MASQUERADES: bool = true;

    #[inline(always)]
    fn send<A: Parse>(
        packet: &mut Packet<A>,
        pod: Option<&Pod>,
        _learnt: Option<&mut Hop>,
    ) -> Result<(), Reason> {
        if let Some(pod) = pod {
            return deliver::to_pod(packet, pod);
        }
        deliver::onward(packet, true, None)
    }
}

/// TC ingress of the node's device.
#[classifier]
pub fn from_network(ctx: TcContext) -> i32 {
    if settings::encloses() {
        enclosed::take(ctx.skb.skb);
    }
    run::<FromNetwork<false>>(ctx.skb.skb)
}

/// TC egress of the node's device.
#[classifier]
pub fn to_network(ctx: TcContext) -> i32 {
    run::<ToNetwork>(ctx.skb.skb)
}
