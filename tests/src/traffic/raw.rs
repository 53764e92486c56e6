//! Packets made by hand: SCTP without the kernel's help, and ICMP echoes. Needs root.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd};

use tokio::net::UdpSocket;

use super::{Query, Reply};

const ICMP: i32 = 1;
const ICMPV6: i32 = 58;
const SCTP: i32 = 132;
const SOURCE_PORT: u16 = 40_000;

/// Sends the first packet of an association. An answer by SCTP is told as a reply of `sctp`; ICMP errors are errors.
pub(super) async fn sctp(query: Query) -> io::Result<Reply> {
    let mut packet = [0; 32];
    packet[..2].copy_from_slice(&SOURCE_PORT.to_be_bytes());
    packet[2..4].copy_from_slice(&query.to.port().to_be_bytes());
    // Type INIT, 20 bytes long, with a tag. Nobody looks at the checksum before the ports.
    packet[12..20].copy_from_slice(&[1, 0, 0, 20, 0, 0, 0, 1]);
    // A packet to this machine itself comes by the socket too, and is no answer.
    let is_answer = |answer: &[u8]| answer.len() > 12 && answer[..2] != SOURCE_PORT.to_be_bytes();
    exchange(query, SCTP, &packet, |answer| is_answer(answer).then_some(Ok("sctp"))).await
}

/// Sends an echo request. An echo is told as a reply of `ping`; a packet whose time to live ran out is an error.
pub(super) async fn ping(query: Query) -> io::Result<Reply> {
    let [request, echo, exceeded] = if query.to.is_ipv4() { [8, 0, 11] } else { [128, 129, 3] };
    let mut packet = [request, 0, 0, 0, 0, 77, 0, 1];
    // The kernel makes the one of ICMPv6.
    let sum: u16 = u16::from(request) << 8;
    packet[2..4].copy_from_slice(&(!(sum + 77 + 1)).to_be_bytes());
    let protocol = if query.to.is_ipv4() { ICMP } else { ICMPV6 };
    exchange(query, protocol, &packet, |answer| match answer.first() {
        Some(kind) if *kind == echo => Some(Ok("ping")),
        Some(kind) if *kind == exceeded => Some(Err("the time to live ran out")),
        _ => None,
    })
    .await
}

/// Sends a packet and waits for the first one that `judge` has a word for.
async fn exchange(
    query: Query,
    protocol: i32,
    packet: &[u8],
    judge: impl Fn(&[u8]) -> Option<Result<&'static str, &'static str>>,
) -> io::Result<Reply> {
    let socket = UdpSocket::from_std(raw(query.to, protocol)?)?;
    if let Some(source) = query.source {
        bind(&socket, source)?;
    }
    // Raw sockets have no ports.
    let to = SocketAddr::new(query.to.ip(), 0);
    if protocol == SCTP {
        socket.connect(to).await?;
    }
    socket.send_to(packet, to).await?;
    let mut buffer = [0; 2048];
    loop {
        let (length, _) = socket.recv_from(&mut buffer).await?;
        // IPv4 shows its own header.
        let header = if query.to.is_ipv4() { 20 } else { 0 };
        match judge(buffer.get(header..length).unwrap_or_default()) {
            Some(Ok(name)) => {
                let client = socket.local_addr()?;
                return Ok(Reply { name: name.into(), client, server: query.to });
            }
            Some(Err(why)) => return Err(io::Error::other(why)),
            None => {}
        }
    }
}

fn bind(socket: &UdpSocket, source: std::net::IpAddr) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let address = nix::sys::socket::SockaddrStorage::from(SocketAddr::new(source, 0));
    Ok(nix::sys::socket::bind(socket.as_raw_fd(), &address)?)
}

/// A raw socket, which can do all that matters here of what a UDP socket does.
fn raw(to: SocketAddr, protocol: i32) -> io::Result<std::net::UdpSocket> {
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    #[expect(unsafe_code, reason = "no crate of the workspace opens a raw socket of any protocol")]
    // SAFETY: the call takes no pointers, and a number that is not negative is a descriptor that nobody else owns.
    let socket = unsafe {
        match libc::socket(family, kind, protocol) {
            -1 => return Err(io::Error::last_os_error()),
            descriptor => OwnedFd::from_raw_fd(descriptor),
        }
    };
    Ok(socket.into())
}
