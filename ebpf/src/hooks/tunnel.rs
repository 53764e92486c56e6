//! At the tunnels' device.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use fairway_common::Reason;

use super::network::FromNetwork;
use super::pod::ToPod;
use super::traffic::run;
use crate::packet;
use crate::stage::deliver::{self, DROP};
use crate::stage::{report, tunnel};

/// TC ingress of the tunnels' device.
#[classifier]
pub fn from_tunnel(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    if !tunnel::admits(skb) {
        report::count(Reason::ForeignTunnel, packet::length(skb));
        return DROP;
    }
    run::<FromNetwork<true>>(skb)
}

/// TC egress of the tunnels' device: what has no key yet gets one.
#[classifier]
pub fn to_tunnel(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    if tunnel::is_sealed(skb) {
        return deliver::PASS;
    }
    match run::<ToPod<true>>(skb) {
        deliver::PASS => tunnel::seal(skb),
        decided => decided,
    }
}
