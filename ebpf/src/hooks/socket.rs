//! At the sockets of a cgroup: a Service address becomes a backend when the connection is made, so that its packets
//! pay nothing.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use fairway_common::affinity::kind;
use fairway_common::conntrack::Tuple;
use fairway_common::event::Hook;
use fairway_common::family::SPREAD;
use fairway_common::service::Frontend;
use fairway_common::socket::{Peer, PeerKey};
use fairway_common::{Reason, V4, V6, limits};

use crate::ip::Ip;
use crate::settings;
use crate::stage::service::{self, Client, Side};
use crate::stage::{clock, report};

/// The call goes on.
const ALLOW: i32 = 1;
/// The call fails with the error set before.
const REFUSE: i32 = 0;
const ECONNREFUSED: i32 = 111;
/// The third word of an IPv4-mapped IPv6 address, `::ffff:a.b.c.d`.
const MAPPED: u32 = 0xffff_u32.to_be();

/// An address and a port, network byte order.
type Endpoint<A> = (A, u16);

#[inline(always)]
fn cookie(ctx: &SockAddrContext) -> [u32; 2] {
    // SAFETY: the hook's own context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    [cookie as u32, (cookie >> 32) as u32]
}

#[inline(always)]
fn ours(ctx: &SockAddrContext) -> bool {
    let wanted = settings::sockets_of();
    // SAFETY: the hook's own context.
    wanted == 0 || unsafe { bpf_get_netns_cookie(ctx.as_ptr()) } == wanted
}

/// Whether a loopback address means somebody else than this node: each pod has its own.
#[inline(always)]
fn elsewhere<A: Ip>(ctx: &SockAddrContext, address: A) -> bool {
    A::VERSION == 4
        && address.to_wide()[0].to_ne_bytes()[0] == 127
        // SAFETY: the hook's own context.
        && unsafe { bpf_get_netns_cookie(ctx.as_ptr()) } != settings::host_netns()
}

/// The peer key of a socket and a backend.
#[inline(always)]
fn peer_key<A: Ip>(cookie: [u32; 2], to: Endpoint<A>) -> PeerKey<A> {
    PeerKey { cookie, address: to.0, port: to.1, pad: 0 }
}

#[inline(always)]
fn note<A: Ip>(hook: Hook, reason: Reason, protocol: u8, from: Endpoint<A>, to: Endpoint<A>, service: u32) {
    report::count(reason, 0);
    let tuple = |(destination, destination_port): Endpoint<A>| Tuple {
        source: A::UNSPECIFIED,
        destination,
        source_port: 0,
        destination_port,
        protocol,
        pad: [0; 3],
    };
    if settings::trace() {
        let code = report::code(hook, reason, 0);
        report::trace(core::ptr::null_mut(), &tuple(from), &tuple(to), service, code);
    }
}

/// What becomes of a destination: another one, none, or an error to return.
enum Outcome<A> {
    Keep,
    Become(Endpoint<A>),
    Refuse,
}

/// Who asks: with session affinity the network namespace, for it has the source addresses; the datagrams of a socket
/// that is not connected stay together by themselves (S62).
#[inline(always)]
fn client<A: Ip>(ctx: &SockAddrContext, hook: Hook, frontend: &Frontend, cookie: [u32; 2]) -> Client {
    let family = (A::VERSION as u32) << 8;
    if frontend.affinity == 0 {
        let seconds = if matches!(hook, Hook::Sendmsg) { limits::SOCKET_SECONDS } else { 0 };
        return Client { id: [cookie[0], cookie[1], 0, 0], kind: kind::SOCKET | family, seconds };
    }
    // SAFETY: the hook's own context.
    let namespace = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    let id = [namespace as u32, (namespace >> 32) as u32, 0, 0];
    Client { id, kind: kind::NAMESPACE | family, seconds: 0 }
}

/// connect() and sendmsg(): the Service's backend.
#[inline(always)]
fn forward<A: Ip>(ctx: &SockAddrContext, hook: Hook, from: Endpoint<A>) -> Outcome<A> {
    // SAFETY: a field of the context.
    let protocol = unsafe { (*ctx.sock_addr).protocol } as u8;
    if elsewhere(ctx, from.0) {
        return Outcome::Keep;
    }
    let Some(frontend) = service::find(from.0, from.1, protocol) else { return Outcome::Keep };
    // Who may connect is seen at the packet: a socket has no source address yet.
    if frontend.flags & Frontend::RANGES != 0 || settings::masquerade_all() {
        return Outcome::Keep;
    }
    let cookie = cookie(ctx);
    let client = client::<A>(ctx, hook, &frontend, cookie);
    let hash = if frontend.flags & Frontend::HASHED != 0 {
        (client.id[0] ^ client.id[1] ^ if frontend.affinity == 0 { cookie[0] } else { 0 })
            .wrapping_mul(SPREAD)
            >> 8
    } else {
        clock::random()
    };
    let choice = match service::choose::<A>(&frontend, Side::Inside, hash, &client) {
        Ok(choice) => choice,
        // The packet path drops it, so that the caller sees a time-out as with kube-proxy (S23).
        Err(Reason::NoLocalBackend) => return Outcome::Keep,
        Err(reason) => {
            note(hook, reason, protocol, from, from, frontend.service);
            return Outcome::Refuse;
        }
    };
    let to = (choice.backend.address, choice.backend.port);
    remember(
        &peer_key(cookie, to),
        &Peer { address: from.0, port: from.1, pad: 0, service: frontend.service },
    );
    note(hook, Reason::SocketTranslated, protocol, from, to, frontend.service);
    Outcome::Become(to)
}

/// Notes what replies have to show. Each datagram comes by here: what is there already is not written again.
#[inline(always)]
fn remember<A: Ip>(key: &PeerKey<A>, peer: &Peer<A>) {
    // SAFETY: compared at once.
    if unsafe { A::peers().get(key) } != Some(peer) {
        let _ = A::peers().insert(key, peer, 0);
    }
}

/// recvmsg() and getpeername(): the Service address again.
#[inline(always)]
fn backward<A: Ip>(ctx: &SockAddrContext, hook: Hook, from: Endpoint<A>) -> Outcome<A> {
    // SAFETY: copied at once.
    let Some(peer) = (unsafe { A::peers().get(peer_key(cookie(ctx), from)).copied() }) else {
        return Outcome::Keep;
    };
    // SAFETY: a field of the context.
    let protocol = unsafe { (*ctx.sock_addr).protocol } as u8;
    let to = (peer.address, peer.port);
    note(hook, Reason::SocketReply, protocol, from, to, peer.service);
    Outcome::Become(to)
}

#[inline(always)]
fn translate<A: Ip>(ctx: &SockAddrContext, hook: Hook, from: Endpoint<A>) -> Outcome<A> {
    match hook {
        Hook::Connect | Hook::Sendmsg => forward(ctx, hook, from),
        _ => backward(ctx, hook, from),
    }
}

#[inline(always)]
fn refuse() -> i32 {
    // SAFETY: no pointers.
    unsafe { bpf_set_retval(-ECONNREFUSED) };
    REFUSE
}

#[inline(always)]
fn port(context: *mut bpf_sock_addr) -> u16 {
    // SAFETY: a field of the context.
    unsafe { (*context).user_port as u16 }
}

/// A hook of an IPv4 socket.
#[inline(always)]
fn v4(ctx: &SockAddrContext, hook: Hook) -> i32 {
    if !ours(ctx) {
        return ALLOW;
    }
    let context = ctx.sock_addr;
    // SAFETY: fields of the context.
    let address: V4 = [unsafe { (*context).user_ip4 }];
    match translate(ctx, hook, (address, port(context))) {
        Outcome::Keep => ALLOW,
        Outcome::Refuse => refuse(),
        Outcome::Become((address, port)) => {
            // SAFETY: fields of the context.
            unsafe {
                (*context).user_ip4 = address[0];
                (*context).user_port = port as u32;
            }
            ALLOW
        }
    }
}

/// A hook of an IPv6 socket, which may hold an IPv4-mapped address (S91).
#[inline(always)]
fn v6(ctx: &SockAddrContext, hook: Hook) -> i32 {
    if !ours(ctx) {
        return ALLOW;
    }
    let context = ctx.sock_addr;
    // SAFETY: fields of the context, read one by one as the verifier wants.
    let address: V6 = unsafe {
        [
            (&raw const (*context).user_ip6[0]).read_volatile(),
            (&raw const (*context).user_ip6[1]).read_volatile(),
            (&raw const (*context).user_ip6[2]).read_volatile(),
            (&raw const (*context).user_ip6[3]).read_volatile(),
        ]
    };
    if address[0] == 0 && address[1] == 0 && address[2] == MAPPED {
        return match translate::<V4>(ctx, hook, ([address[3]], port(context))) {
            Outcome::Keep => ALLOW,
            Outcome::Refuse => refuse(),
            Outcome::Become((address, port)) => {
                write_v6(context, [0, 0, MAPPED, address[0]], port);
                ALLOW
            }
        };
    }
    match translate(ctx, hook, (address, port(context))) {
        Outcome::Keep => ALLOW,
        Outcome::Refuse => refuse(),
        Outcome::Become((address, port)) => {
            write_v6(context, address, port);
            ALLOW
        }
    }
}

#[inline(always)]
fn write_v6(context: *mut bpf_sock_addr, address: V6, port: u16) {
    // SAFETY: fields of the context, written one by one as the verifier wants.
    unsafe {
        (&raw mut (*context).user_ip6[0]).write_volatile(address[0]);
        (&raw mut (*context).user_ip6[1]).write_volatile(address[1]);
        (&raw mut (*context).user_ip6[2]).write_volatile(address[2]);
        (&raw mut (*context).user_ip6[3]).write_volatile(address[3]);
        (*context).user_port = port as u32;
    }
}

/// IPv4 connect().
#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    v4(&ctx, Hook::Connect)
}

/// IPv6 connect().
#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    v6(&ctx, Hook::Connect)
}

/// IPv4 sendmsg() of an unconnected UDP socket.
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    v4(&ctx, Hook::Sendmsg)
}

/// IPv6 sendmsg() of an unconnected UDP socket.
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    v6(&ctx, Hook::Sendmsg)
}

/// IPv4 recvmsg() of a UDP socket.
#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(ctx: SockAddrContext) -> i32 {
    v4(&ctx, Hook::Recvmsg)
}

/// IPv6 recvmsg() of a UDP socket.
#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(ctx: SockAddrContext) -> i32 {
    v6(&ctx, Hook::Recvmsg)
}

/// IPv4 getpeername().
#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(ctx: SockAddrContext) -> i32 {
    v4(&ctx, Hook::Getpeername)
}

/// IPv6 getpeername().
#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(ctx: SockAddrContext) -> i32 {
    v6(&ctx, Hook::Getpeername)
}
