//! The story of a packet, the same at every device: known connection, else Service, else plain.

use aya_ebpf::bindings::__sk_buff;
use fairway_common::event::Hook;
use fairway_common::pod::Pod;
use fairway_common::service::{Frontend, backend_flags};
use fairway_common::{Reason, V4, V6};

use crate::packet::{self, Packet, Parse};
use crate::stage::deliver::{self, DROP, PASS, Verdict};
use crate::stage::service::Side;
use crate::stage::{conntrack, refuse, report, service};

/// What a device's direction means for the stages.
pub trait Direction {
    /// For counts and events.
    const HOOK: Hook;
    /// Where new clients are.
    const SIDE: Side;
    /// Flags of the redirect that brings an answer back to the sender.
    const BACK: u64;
    /// New connections to Services start here.
    const SERVICES: bool;
    /// Packets for local pods are handed over without looking further.
    const SHORTCUT: bool;

    /// Sends on a packet whose addresses are final. `pod`: the local pod it is for.
    fn send<A: Parse>(packet: &mut Packet<A>, pod: Option<&Pod>, reply: bool) -> Result<Verdict, Reason>;
}

/// Runs a program on a packet of either family.
#[inline(always)]
pub fn run<D: Direction>(skb: *mut __sk_buff) -> Verdict {
    match packet::ethertype(skb) {
        0x0800 => family::<D, V4>(skb),
        0x86dd => family::<D, V6>(skb),
        _ => PASS,
    }
}

#[inline(always)]
fn family<D: Direction, A: Parse>(skb: *mut __sk_buff) -> Verdict {
    match Packet::<A>::parse(skb) {
        Ok(mut packet) => {
            let before = packet.tuple;
            match stages::<D, A>(&mut packet) {
                Ok(verdict) => verdict,
                Err(reason) => {
                    report::packet(D::HOOK, reason, &packet, &before, 0);
                    DROP
                }
            }
        }
        Err(reason) => {
            report::count(reason, packet::length(skb));
            DROP
        }
    }
}

#[inline(always)]
fn stages<D: Direction, A: Parse>(packet: &mut Packet<A>) -> Result<Verdict, Reason> {
    let before = packet.tuple;
    let pod = if D::SHORTCUT { deliver::pod(packet.tuple.destination) } else { None };
    if let Some(pod) = pod
        && pod.flags & Pod::TRANSLATES == 0
    {
        return plain::<D, A>(packet, Some(pod));
    }
    if !packet.has_ports() {
        return plain::<D, A>(packet, pod);
    }
    if let Some(hit) = conntrack::find(packet) {
        if packet.fragment {
            return Err(Reason::Fragment);
        }
        packet.rewrite(&hit.to)?;
        let reason = if hit.reply { Reason::ReplyTranslated } else { Reason::Translated };
        report::packet(D::HOOK, reason, packet, &before, hit.service);
        return D::send(packet, deliver::pod(packet.tuple.destination), hit.reply);
    }
    if !D::SERVICES {
        return Ok(PASS);
    }
    let tuple = &packet.tuple;
    match service::find(tuple.destination, tuple.destination_port, tuple.protocol) {
        Some(frontend) => connect::<D, A>(packet, &frontend),
        None => plain::<D, A>(packet, pod),
    }
}

/// A packet that nobody translates.
#[inline(always)]
fn plain<D: Direction, A: Parse>(packet: &mut Packet<A>, pod: Option<&Pod>) -> Result<Verdict, Reason> {
    match pod {
        Some(pod) => D::send(packet, Some(pod), false),
        None => Ok(PASS),
    }
}

/// The first packet of a connection to a Service.
#[inline(always)]
fn connect<D: Direction, A: Parse>(packet: &mut Packet<A>, frontend: &Frontend) -> Result<Verdict, Reason> {
    let before = packet.tuple;
    if packet.fragment {
        return Err(Reason::Fragment);
    }
    let choice = match service::choose::<A>(frontend, D::SIDE) {
        Ok(choice) => choice,
        Err(Reason::NoBackend) => {
            report::packet(D::HOOK, Reason::NoBackend, packet, &before, frontend.service);
            return Ok(refuse::answer(packet, D::BACK).unwrap_or(DROP));
        }
        Err(reason) => {
            report::packet(D::HOOK, reason, packet, &before, frontend.service);
            return Ok(DROP);
        }
    };
    let remote = choice.backend.flags & backend_flags::LOCAL == 0;
    if choice.backend.address == packet.tuple.destination
        && choice.backend.port == packet.tuple.destination_port
    {
        // The Service address is the backend's own: nothing to translate.
        return Ok(PASS);
    }
    let to = conntrack::create(packet, &choice, frontend.service, D::SIDE, remote)?;
    let reason = if to.source == packet.tuple.source { Reason::ServiceNew } else { Reason::SourceTranslated };
    packet.rewrite(&to)?;
    report::packet(D::HOOK, reason, packet, &before, frontend.service);
    D::send(packet, deliver::pod(packet.tuple.destination), false)
}
