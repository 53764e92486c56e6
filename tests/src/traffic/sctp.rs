//! SCTP without the kernel's help: a packet made by hand, and whatever comes back.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd};

use tokio::net::UdpSocket;

use super::{Query, Reply};

/// The protocol's number.
const SCTP: i32 = 132;
const SOURCE_PORT: u16 = 40_000;

/// Sends the first packet of an association. An answer by SCTP is told as a reply of `sctp`; ICMP errors are errors.
pub(super) async fn ask(query: Query) -> io::Result<Reply> {
    let socket = UdpSocket::from_std(raw(query.to)?)?;
    // Raw sockets have no ports.
    socket.connect(SocketAddr::new(query.to.ip(), 0)).await?;
    socket.send(&init(query.to.port())).await?;
    let mut buffer = [0; 2048];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // IPv4 shows its own header. A packet to this machine itself comes by here too, and is no answer.
        let header = if query.to.is_ipv4() { 20 } else { 0 };
        if length > header + 12 && buffer[header..header + 2] != SOURCE_PORT.to_be_bytes() {
            break;
        }
    }
    let local = socket.local_addr()?;
    Ok(Reply { name: "sctp".into(), client: local, server: query.to })
}

/// A raw socket, which can do all that matters here of what a UDP socket does.
fn raw(to: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    #[expect(unsafe_code, reason = "no crate of the workspace opens a raw socket of this protocol")]
    // SAFETY: the call takes no pointers, and a number that is not negative is a descriptor that nobody else owns.
    let socket = unsafe {
        match libc::socket(family, kind, SCTP) {
            -1 => return Err(io::Error::last_os_error()),
            descriptor => OwnedFd::from_raw_fd(descriptor),
        }
    };
    Ok(socket.into())
}

/// Common header with a checksum that nobody checks before the ports, and an INIT chunk.
fn init(port: u16) -> [u8; 32] {
    let mut packet = [0; 32];
    packet[..2].copy_from_slice(&SOURCE_PORT.to_be_bytes());
    packet[2..4].copy_from_slice(&port.to_be_bytes());
    // Type INIT, 20 bytes long, with a tag.
    packet[12..20].copy_from_slice(&[1, 0, 0, 20, 0, 0, 0, 1]);
    packet
}
