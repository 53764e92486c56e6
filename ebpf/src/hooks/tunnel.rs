//! At the tunnels' device.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use fairway_common::Reason;
use fairway_common::event::Hook;
use fairway_common::pod::Pod;

use super::traffic::{Direction, run};
use crate::packet::{self, Packet, Parse};
use crate::stage::deliver::{self, DROP};
use crate::stage::service::Side;
use crate::stage::{report, tunnel};

/// From another node: its pods, and what it sends on.
struct FromTunnel;

impl Direction for FromTunnel {
    const HOOK: Hook = Hook::FromTunnel;
    const SIDE: Side = Side::Outside;
    const BACK: u64 = 0;
    const OF_A_POD: bool = false;
    const FROM_NODE: bool = false;
    const SERVICES: bool = true;
    const SHORTCUT: bool = true;
    const MASQUERADES: bool = false;

    #[inline(always)]
    fn send<A: Parse>(packet: &mut Packet<A>, pod: Option<&Pod>) -> Result<(), Reason> {
        match pod {
            Some(pod) => deliver::to_peer(packet, pod),
            None => deliver::onward(packet, false),
        }
    }
}

/// To another node, from this node's own stack: replies get their Service address back.
struct ToTunnel;

impl Direction for ToTunnel {
    const HOOK: Hook = Hook::ToTunnel;
    const SIDE: Side = Side::Inside;
    const BACK: u64 = deliver::INGRESS;
    const OF_A_POD: bool = false;
    const FROM_NODE: bool = true;
    const SERVICES: bool = false;
    const SHORTCUT: bool = false;
    const MASQUERADES: bool = false;

    #[inline(always)]
    fn send<A: Parse>(_packet: &mut Packet<A>, _pod: Option<&Pod>) -> Result<(), Reason> {
        Ok(())
    }
}

/// TC ingress of the tunnels' device.
#[classifier]
pub fn from_tunnel(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    if !tunnel::admits(skb) {
        report::count(Reason::ForeignTunnel, packet::length(skb));
        return DROP;
    }
    run::<FromTunnel>(skb)
}

/// TC egress of the tunnels' device: what has no key yet gets one.
#[classifier]
pub fn to_tunnel(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    if tunnel::is_sealed(skb) {
        return deliver::PASS;
    }
    match run::<ToTunnel>(skb) {
        deliver::PASS => tunnel::seal(skb),
        decided => decided,
    }
}
