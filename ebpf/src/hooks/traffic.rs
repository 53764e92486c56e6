//! The story of a packet, the same at every device: known connection, else Service, else plain.

use aya_ebpf::bindings::__sk_buff;
use fairway_common::conntrack::{Entry, Hop, flags};
use fairway_common::event::Hook;
use fairway_common::pod::Pod;
use fairway_common::service::{Backend, Frontend, backend_flags};
use fairway_common::{Reason, V4, V6, limits};

use crate::ip::Ip;
use crate::maps::Pending;
use crate::packet::{self, Kind, Packet, Parse};
use crate::settings;
use crate::stage::conntrack::Ports;
use crate::stage::deliver::{self, DROP, PASS};
use crate::stage::fragment::{self, Followed};
use crate::stage::service::Side;
use crate::stage::source::{self, Sender};
use crate::stage::{conntrack, direct, icmp, refuse, report, service, tunnel};

/// What a device's direction means for the stages.
pub trait Direction {
    /// For counts and events.
    const HOOK: Hook;
    /// Where new clients are.
    const SIDE: Side;
    /// Source ports of clients that keep their address. Not the node's range for clients outside: one of them may be
    /// another node, which uses this range itself.
    const PORTS: Ports = match Self::SIDE {
        Side::Inside => Ports::Node,
        Side::Outside => Ports::High,
    };
    /// Flags of the redirect that brings an answer back to the sender.
    const BACK: u64;
    /// Packets come from one pod, and must have one of its addresses.
    const OF_A_POD: bool;
    /// Packets come from the node's own stack.
    const FROM_NODE: bool;
    /// New connections to Services start here.
    const SERVICES: bool;
    /// Packets for local pods are handed over without looking further.
    const SHORTCUT: bool;
    /// Packets leave the node for good: those of its pods to the world take its address.
    const MASQUERADES: bool = false;

    /// Sends on a packet whose addresses are final. `pod`: the local pod it is for. `learnt` is told the way, if the next
    /// packet of the connection can take it too.
    fn send<A: Parse>(
        packet: &mut Packet<A>,
        pod: Option<&Pod>,
        learnt: Option<&mut Hop>,
    ) -> Result<(), Reason>;
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
    let Some(mut packet) = Packet::<A>::new(skb) else { return PASS };
    if let Err(reason) = packet.parse() {
        report::packet(D::HOOK, reason, &packet);
        return DROP;
    }
    let next = match stages::<D, A>(&mut packet) {
        Ok(Next::Plain(pod)) => plain::<D, A>(&mut packet, pod),
        next => next,
    };
    if next.is_ok() && fragment::is_first(&packet) {
        let direct = if let Ok(Next::Direct(entry)) = &next { Some(&**entry) } else { None };
        fragment::remember(&packet, direct);
    }
    let result = match next {
        // Each in one place: the verifier walks what follows a call once for each.
        // Where it leaves the node it is what it was.
        Ok(Next::Direct(entry)) if D::SIDE == Side::Outside => direct::follow(&mut packet, entry, D::HOOK),
        Ok(Next::Send(learnt)) => {
            let pod = deliver::pod(&packet.tuple.destination);
            D::send(&mut packet, pod, learnt)
        }
        Ok(_) => Ok(()),
        Err(reason) => Err(reason),
    };
    if let Err(reason) = result {
        report::packet(D::HOOK, reason, &packet);
        packet.verdict = DROP;
        refuse::answer(&mut packet, reason, D::BACK);
    }
    packet.verdict
}

/// What becomes of a packet whose addresses are final.
enum Next<A: Ip> {
    /// The program's verdict stands.
    Leave,
    /// It goes to another node as it is, on this connection's way.
    Direct(&'static mut Entry<A>),
    /// Nobody translates it. The local pod it is for.
    Plain(Option<&'static Pod>),
    /// It was translated: its way is looked up, and may be learnt.
    Send(Option<&'static mut Hop>),
}

#[inline(always)]
fn stages<D: Direction, A: Parse>(packet: &mut Packet<A>) -> Result<Next<A>, Reason> {
    let mut known = true;
    if D::OF_A_POD {
        match source::of_device(packet.skb, &packet.tuple) {
            Sender::Pod => known = false,
            Sender::Client => {}
            // The kernel's business: nothing of it leaves the link.
            Sender::Neighbour => return Ok(Next::Leave),
            Sender::Stranger => return Err(Reason::SpoofedSource),
        }
    }
    // A pod that has translated connections sends little else: they are looked for first, and the pod that its packet is
    // for only if need be.
    let late = D::OF_A_POD && known;
    let pod = if D::SHORTCUT && !late { pod_at::<D, A>(&packet.tuple.destination) } else { None };
    if let Some(found) = pod
        && (D::OF_A_POD || found.flags & Pod::TRANSLATES == 0)
    {
        return Ok(Next::Plain(pod));
    }
    if packet.is_fragment()
        && let Some(next) = fragments::<D, A>(packet)?
    {
        return Ok(next);
    }
    if D::SIDE == Side::Outside && pod.is_none() && packet.has_ports() && !conntrack::may_know(packet) {
        return Ok(Next::Plain(None));
    }
    if known
        && packet.has_ports()
        && let Some(entry) = conntrack::find(packet)
    {
        return follow::<D, A>(packet, entry);
    }
    // Once more, and cheap: it need not be kept.
    let pod = if D::SHORTCUT { pod_at::<D, A>(&packet.tuple.destination) } else { None };
    if !packet.has_ports() {
        return without_ports::<D, A>(packet, pod);
    }
    if !D::SERVICES {
        return Ok(Next::Leave);
    }
    if D::OF_A_POD && pod.is_some() {
        return Ok(Next::Plain(pod));
    }
    let tuple = &packet.tuple;
    match service::find(tuple.destination, tuple.destination_port, tuple.protocol) {
        Some(frontend) if D::SIDE == Side::Inside || frontend.flags & Frontend::INSIDE_ONLY == 0 => {
            connect::<D, A>(packet, &frontend)
        }
        _ => Ok(Next::Plain(pod)),
    }
}

/// The pod that a packet is for. The node's own address is nobody else's.
#[inline(always)]
fn pod_at<D: Direction, A: Parse>(destination: &A) -> Option<&'static Pod> {
    if D::SIDE == Side::Outside && *destination == A::node_address() {
        None
    } else {
        deliver::pod(destination)
    }
}

/// A packet of a known connection.
#[inline(always)]
fn follow<D: Direction, A: Parse>(
    packet: &mut Packet<A>,
    entry: &'static mut Entry<A>,
) -> Result<Next<A>, Reason> {
    packet.service = entry.service;
    if entry.flags & flags::DIRECT != 0 {
        return Ok(Next::Direct(entry));
    }
    let reply = entry.flags & flags::REPLY != 0;
    let reason = if reply { Reason::ReplyTranslated } else { Reason::Translated };
    if D::SHORTCUT && packet.is_plain() && deliver::fits(packet, &entry.hop) {
        packet.translate(&entry.to, entry.sums, entry.hop.link)?;
        deliver::take(packet, &entry.hop);
        report::packet(D::HOOK, reason, packet);
        return Ok(Next::Leave);
    }
    packet.rewrite(&entry.to)?;
    report::packet(D::HOOK, reason, packet);
    Ok(Next::Send(Some(&mut entry.hop)))
}

/// A fragment: a first one goes on like any packet, unless others wait for it; a later one does as its first did.
#[inline(always)]
fn fragments<D: Direction, A: Parse>(packet: &mut Packet<A>) -> Result<Option<Next<A>>, Reason> {
    if packet.kind == Kind::First {
        if D::SHORTCUT && fragment::release(packet) {
            packet.verdict = DROP;
            return Ok(Some(Next::Leave));
        }
        return Ok(None);
    }
    match fragment::follow(packet)? {
        Followed::Translated => {
            report::packet(D::HOOK, Reason::FragmentTranslated, packet);
            Ok(Some(Next::Send(None)))
        }
        Followed::Direct => Ok(Some(fragment::first(packet).map_or(Next::Leave, Next::Direct))),
        // What the node's own stack sends is in order.
        Followed::Unknown if D::SHORTCUT && fragment::concerns(packet) => {
            Err(if fragment::hold(packet) { Reason::FragmentHeld } else { Reason::Fragment })
        }
        _ => Ok(None),
    }
}

/// A packet whose connection only what it quotes can tell.
#[inline(always)]
fn without_ports<D: Direction, A: Parse>(
    packet: &mut Packet<A>,
    pod: Option<&'static Pod>,
) -> Result<Next<A>, Reason> {
    if packet.kind == Kind::Error {
        match icmp::translate(packet) {
            0 => {}
            1 => {
                report::packet(D::HOOK, Reason::ErrorTranslated, packet);
                return Ok(Next::Send(None));
            }
            _ => return Err(Reason::RewriteFailed),
        }
    }
    Ok(Next::Plain(pod))
}

/// A packet that nobody translates. One to the Services' range that no frontend is for never leaves the node (S35, S37).
#[inline(always)]
fn plain<D: Direction, A: Parse>(packet: &mut Packet<A>, pod: Option<&Pod>) -> Result<Next<A>, Reason> {
    if let Some(pod) = pod {
        D::send(packet, Some(pod), None)?;
        return Ok(Next::Leave);
    }
    if D::SERVICES && packet.tuple.destination.in_service_range() {
        let port = packet.tuple.destination_port != 0 && packet.kind != Kind::Echo;
        let known = port && service::find(packet.tuple.destination, 0, 0).is_some();
        return Err(if known { Reason::UndefinedPort } else { Reason::UnallocatedAddress });
    }
    if D::OF_A_POD && settings::tunnel() != 0 {
        let network = tunnel::find(&packet.tuple.destination);
        if tunnel::is_forged(packet, network) {
            return Err(Reason::ForeignTunnel);
        }
        if let Some(network) = network
            && network.family != 0
            && tunnel::fits(packet, network)
        {
            tunnel::enter(packet, network, false)?;
        }
    }
    if D::MASQUERADES && A::masquerades() && is_to_the_world(packet) {
        return masquerade::<D, A>(packet);
    }
    Ok(Next::Leave)
}

/// Whether a pod of this node sends the packet to somebody that nothing is known of.
#[inline(always)]
fn is_to_the_world<A: Parse>(packet: &Packet<A>) -> bool {
    let (source, destination) = (&packet.tuple.source, &packet.tuple.destination);
    deliver::pod(source).is_some() && !destination.is_near() && tunnel::find(destination).is_none()
}

/// A pod's packet leaves the cluster: it takes the node's address. The kernel has routed it already; what follows it is
/// translated where it leaves the pod.
///
/// An answer, as far as one can be told, is no beginning: who asked for a pod's address knows no other.
#[inline(always)]
fn masquerade<D: Direction, A: Parse>(packet: &mut Packet<A>) -> Result<Next<A>, Reason> {
    if packet.kind == Kind::Error || packet.has_ports() && !packet.begins() {
        return Ok(Next::Leave);
    }
    if !packet.has_ports() {
        return Err(Reason::UnsupportedProtocol);
    }
    let pending = conntrack::pending()?;
    pending.to = packet.tuple;
    pending.to.source = A::node_address();
    pending.to.source_port = conntrack::apart(packet.tuple.source_port, Ports::Node);
    record::<D, A>(packet, pending, 0, Reason::Masqueraded)?;
    Ok(Next::Leave)
}

/// Records a new connection and translates its first packet.
#[inline(always)]
fn record<D: Direction, A: Parse>(
    packet: &mut Packet<A>,
    pending: &mut Pending<A>,
    backend: u32,
    reason: Reason,
) -> Result<(), Reason> {
    conntrack::create(packet, pending, backend)?;
    source::translates(&pending.to.destination);
    source::translates(&packet.tuple.source);
    packet.rewrite(&pending.to)?;
    report::packet(D::HOOK, reason, packet);
    Ok(())
}

/// The first packet of a connection to a Service.
///
/// A client gets another source port even where it keeps its address: nothing is recorded of what it sends to the backend
/// itself, maybe from the same port, and the replies of the two must differ (S49). A port below 1024 says something, and
/// stays.
#[inline(always)]
fn connect<D: Direction, A: Parse>(packet: &mut Packet<A>, frontend: &Frontend) -> Result<Next<A>, Reason> {
    if D::FROM_NODE && direct::leaves(packet, frontend) {
        return Ok(Next::Leave);
    }
    packet.service = frontend.service;
    let choice = service::pick(&packet.tuple, frontend, D::SIDE)?;
    if choice.backend.address == packet.tuple.destination
        && choice.backend.port == packet.tuple.destination_port
    {
        // The Service address is the backend's own: nothing to translate.
        return Ok(Next::Leave);
    }
    if D::SIDE == Side::Outside
        && direct::applies(frontend, &choice)
        && direct::begin(packet, &choice, D::HOOK)?
    {
        return Ok(Next::Leave);
    }
    let pending = conntrack::pending()?;
    let to = &mut pending.to;
    *to = packet.tuple;
    to.source = shown::<D, A>(packet, choice.backend);
    to.destination = choice.backend.address;
    to.destination_port = choice.backend.port;
    if to.source != packet.tuple.source {
        to.source_port = conntrack::apart(to.source_port, Ports::Node);
    } else if u16::from_be(to.source_port) >= limits::PRIVILEGED {
        to.source_port = conntrack::apart(to.source_port, D::PORTS);
    }
    let reason = if to.source == packet.tuple.source { Reason::ServiceNew } else { Reason::SourceTranslated };
    record::<D, A>(packet, pending, choice.id, reason)?;
    Ok(Next::Send(None))
}

/// A new connection's source: the client's own where replies come back by themselves.
///
/// What is sent on to another node takes this node's address. A backend must not see itself: a pod that is its own
/// client sees the node (S72); a process of the node, for the kernel's input a liar when it claims an address of the
/// node, shows the Service's address to other processes of the node.
#[inline(always)]
fn shown<D: Direction, A: Parse>(packet: &Packet<A>, backend: &Backend<A>) -> A {
    let local = backend.flags & backend_flags::LOCAL != 0;
    if D::FROM_NODE && local && deliver::pod(&backend.address).is_none() {
        return packet.tuple.destination;
    }
    if settings::masquerade_all() || D::SIDE == Side::Outside && !local {
        return A::node_address();
    }
    let world = A::masquerades() && D::OF_A_POD && !local && tunnel::find(&backend.address).is_none();
    if world || packet.tuple.source == backend.address { A::node_address() } else { packet.tuple.source }
}
