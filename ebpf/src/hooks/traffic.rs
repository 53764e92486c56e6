//! The story of a packet, the same at every device: known connection, else Service, else plain.

use aya_ebpf::bindings::__sk_buff;
use fairway_common::affinity::kind;
use fairway_common::conntrack::flags;
use fairway_common::event::Hook;
use fairway_common::pod::Pod;
use fairway_common::service::{Backend, Frontend, backend_flags};
use fairway_common::{Reason, V4, V6};

use crate::packet::{self, Packet, Parse};
use crate::stage::deliver::{self, DROP, PASS};
use crate::settings;
use crate::stage::service::{Client, Side};
use crate::stage::{conntrack, refuse, report, service};

/// What a device's direction means for the stages.
pub trait Direction {
    /// For counts and events.
    const HOOK: Hook;
    /// Where new clients are.
    const SIDE: Side;
    /// Flags of the redirect that brings an answer back to the sender.
    const BACK: u64;
    /// Packets come from the node's own stack.
    const FROM_NODE: bool;
    /// New connections to Services start here.
    const SERVICES: bool;
    /// Packets for local pods are handed over without looking further.
    const SHORTCUT: bool;

    /// Sends on a packet whose addresses are final. `pod`: the local pod it is for.
    fn send<A: Parse>(packet: &mut Packet<A>, pod: Option<&Pod>) -> Result<(), Reason>;
}

/// Runs a program on a packet of either family.
#[inline(always)]
pub fn run<D: Direction>(skb: *mut __sk_buff) -> i32 {
    if D::SIDE == Side::Outside && !packet::for_this_host(skb) {
        return PASS;
    }
    match packet::ethertype(skb) {
        0x0800 => family::<D, V4>(skb),
        0x86dd => family::<D, V6>(skb),
        _ => PASS,
    }
}

/// A function of its own for each family: their stacks do not add up.
#[inline(never)]
fn family<D: Direction, A: Parse>(skb: *mut __sk_buff) -> i32 {
    let mut packet = Packet::<A>::new(skb);
    if let Err(reason) = packet.parse() {
        report::packet(D::HOOK, reason, &packet);
        return DROP;
    }
    if let Err(reason) = stages::<D, A>(&mut packet) {
        report::packet(D::HOOK, reason, &packet);
        return DROP;
    }
    packet.verdict
}

#[inline(always)]
fn stages<D: Direction, A: Parse>(packet: &mut Packet<A>) -> Result<(), Reason> {
    let pod = if D::SHORTCUT { deliver::pod(packet.tuple.destination) } else { None };
    if let Some(pod) = pod
        && pod.flags & Pod::TRANSLATES == 0
    {
        return plain::<D, A>(packet, Some(pod));
    }
    if !packet.has_ports() {
        return plain::<D, A>(packet, pod);
    }
    if let Some(entry) = conntrack::find(packet) {
        packet.service = entry.service;
        if packet.fragment {
            return Err(Reason::Fragment);
        }
        let reply = entry.flags & flags::REPLY != 0;
        packet.rewrite(&entry.to)?;
        let reason = if reply { Reason::ReplyTranslated } else { Reason::Translated };
        report::packet(D::HOOK, reason, packet);
        return D::send(packet, deliver::pod(packet.tuple.destination));
    }
    if !D::SERVICES {
        return Ok(());
    }
    let tuple = &packet.tuple;
    match service::find(tuple.destination, tuple.destination_port, tuple.protocol) {
        Some(frontend) if D::SIDE == Side::Inside || frontend.flags & Frontend::INSIDE_ONLY == 0 => {
            connect::<D, A>(packet, &frontend)
        }
        _ => plain::<D, A>(packet, pod),
    }
}

/// A packet to the Services' range that no frontend is for: it never leaves the node (S35, S37).
#[inline(always)]
fn unclaimed<D: Direction, A: Parse>(packet: &mut Packet<A>) -> Result<(), Reason> {
    if !packet.has_ports() || service::find(packet.tuple.destination, 0, 0).is_none() {
        return Err(Reason::UnallocatedAddress);
    }
    reject::<D, A>(packet, Reason::UndefinedPort)
}

/// Tells the sender that there is nothing.
#[inline(always)]
fn reject<D: Direction, A: Parse>(packet: &mut Packet<A>, reason: Reason) -> Result<(), Reason> {
    report::packet(D::HOOK, reason, packet);
    packet.verdict = DROP;
    let _ = refuse::answer(packet, D::BACK);
    Ok(())
}

/// A packet that nobody translates.
#[inline(always)]
fn plain<D: Direction, A: Parse>(packet: &mut Packet<A>, pod: Option<&Pod>) -> Result<(), Reason> {
    match pod {
        Some(pod) => D::send(packet, Some(pod)),
        None if D::SERVICES && packet.tuple.destination.in_service_range() => unclaimed::<D, A>(packet),
        None => Ok(()),
    }
}

/// The first packet of a connection to a Service.
#[inline(always)]
fn connect<D: Direction, A: Parse>(packet: &mut Packet<A>, frontend: &Frontend) -> Result<(), Reason> {
    packet.service = frontend.service;
    if packet.fragment {
        return Err(Reason::Fragment);
    }
    if frontend.flags & Frontend::RANGES != 0 && !service::admits(frontend.service, &packet.tuple.source) {
        return Err(Reason::SourceNotAllowed);
    }
    let hash = if frontend.flags & Frontend::HASHED != 0 {
        service::hash(&packet.tuple, frontend.affinity == 0)
    } else {
        service::random()
    };
    let client = Client {
        id: packet.tuple.source.to_wide(),
        kind: kind::ADDRESS | (A::VERSION as u32) << 8,
        seconds: 0,
    };
    let choice = match service::choose::<A>(frontend, D::SIDE, hash, &client) {
        Ok(choice) => choice,
        Err(Reason::NoBackend) => return reject::<D, A>(packet, Reason::NoBackend),
        Err(reason) => return Err(reason),
    };
    if choice.backend.address == packet.tuple.destination
        && choice.backend.port == packet.tuple.destination_port
    {
        // The Service address is the backend's own: nothing to translate.
        return Ok(());
    }
    let mut to = packet.tuple;
    to.source = source::<D, A>(packet, choice.backend);
    to.destination = choice.backend.address;
    to.destination_port = choice.backend.port;
    conntrack::create(packet, &mut to, frontend.service, choice.id)?;
    let reason = if to.source == packet.tuple.source { Reason::ServiceNew } else { Reason::SourceTranslated };
    packet.rewrite(&to)?;
    report::packet(D::HOOK, reason, packet);
    D::send(packet, deliver::pod(packet.tuple.destination))
}

/// A new connection's source: the client's own where replies come back by themselves.
///
/// What is sent on to another node takes this node's address. A backend must not see itself: a pod that is its own
/// client sees the node (S72); a process of the node, for the kernel's input a liar when it claims an address of the
/// node, shows the Service's address to other processes of the node.
#[inline(always)]
fn source<D: Direction, A: Parse>(packet: &Packet<A>, backend: &Backend<A>) -> A {
    let local = backend.flags & backend_flags::LOCAL != 0;
    if settings::masquerade_all() {
        return A::node_address();
    }
    if D::SIDE == Side::Outside && !local {
        return A::node_address();
    }
    if D::FROM_NODE && local && deliver::pod(backend.address).is_none() {
        return packet.tuple.destination;
    }
    if packet.tuple.source == backend.address { A::node_address() } else { packet.tuple.source }
}
