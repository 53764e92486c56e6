//! At a pod's device on the node's side.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use fairway_common::Reason;
use fairway_common::conntrack::Hop;
use fairway_common::event::Hook;
use fairway_common::pod::Pod;

use super::traffic::{Direction, run};
use crate::packet::{Packet, Parse};
use crate::stage::deliver;
use crate::stage::service::Side;

/// From the pod: its Services, and straight to other pods of this node.
struct FromPod;

impl Direction for FromPod {
    const HOOK: Hook = Hook::FromPod;
    const SIDE: Side = Side::Inside;
    const BACK: u64 = 0;
    const OF_A_POD: bool = true;
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

/// To the pod, from the node's own stack: replies get their Service address back. `TUNNEL`: to another node, whose pods
/// are clients too.
pub(super) struct ToPod<const TUNNEL: bool>;

impl<const TUNNEL: bool> Direction for ToPod<TUNNEL> {
    const HOOK: Hook = if TUNNEL { Hook::ToTunnel } else { Hook::ToPod };
    const SIDE: Side = Side::Inside;
    const BACK: u64 = deliver::INGRESS;
    const OF_A_POD: bool = false;
    const FROM_NODE: bool = true;
    const SERVICES: bool = false;
    const SHORTCUT: bool = false;

    #[inline(always)]
    fn send<A: Parse>(
        _packet: &mut Packet<A>,
        _pod: Option<&Pod>,
        _learnt: Option<&mut Hop>,
    ) -> Result<(), Reason> {
        Ok(())
    }
}

/// TC ingress of the pod's device: a packet leaves the pod.
#[classifier]
pub fn from_pod(ctx: TcContext) -> i32 {
    run::<FromPod>(ctx.skb.skb)
}

/// TC egress of the pod's device: a packet goes to the pod.
#[classifier]
pub fn to_pod(ctx: TcContext) -> i32 {
    run::<ToPod<false>>(ctx.skb.skb)
}
