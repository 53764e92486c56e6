//! Sockets of a network namespace: the connected UDP ones, and their end (sock_diag(7)).
//!
//! No crate speaks it in the version that the rest of netlink is used in; it is two messages.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const DONE: u16 = 3;
const ERROR: u16 = 2;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const DUMP: u16 = 0x300;
const UDP: u8 = 17;
/// The state of a UDP socket that is connected, as a set of states.
const CONNECTED: u32 = 1 << 1;
const HEADER: usize = 16;
/// Bytes of `struct inet_diag_sockid`: ports, addresses, interface, cookie.
const ID: usize = 48;

/// A connected UDP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UdpSocket {
    family: u8,
    id: [u8; ID],
}

impl UdpSocket {
    #[cfg(test)]
    pub(crate) fn for_test(cookie: u64, peer: SocketAddr) -> Self {
        let mut id = [0; ID];
        id[2..4].copy_from_slice(&peer.port().to_be_bytes());
        let family = match peer.ip() {
            IpAddr::V4(address) => {
                id[20..24].copy_from_slice(&address.octets());
                FAMILIES[0]
            }
            IpAddr::V6(address) => {
                id[20..36].copy_from_slice(&address.octets());
                FAMILIES[1]
            }
        };
        id[40..48].copy_from_slice(&cookie.to_ne_bytes());
        Self { family, id }
    }

    /// The number that the kernel's programs know it by.
    pub(crate) fn cookie(&self) -> u64 {
        let half = |at: usize| {
            u64::from(u32::from_ne_bytes([self.id[at], self.id[at + 1], self.id[at + 2], self.id[at + 3]]))
        };
        half(44) << 32 | half(40)
    }

    /// Where it sends; an IPv4-mapped address is that IPv4 address.
    pub(crate) fn peer(&self) -> SocketAddr {
        let mut address = [0; 16];
        address.copy_from_slice(&self.id[20..36]);
        let address = if i32::from(self.family) == libc::AF_INET {
            IpAddr::from(Ipv4Addr::new(address[0], address[1], address[2], address[3]))
        } else {
            IpAddr::from(Ipv6Addr::from(address)).to_canonical()
        };
        SocketAddr::new(address, u16::from_be_bytes([self.id[2], self.id[3]]))
    }
}

/// A whole request: `struct inet_diag_req_v2` behind a header.
fn request(kind: u16, flags: u16, family: u8, states: u32, id: &[u8; ID]) -> Vec<u8> {
    let length = (HEADER + 8 + ID) as u32;
    let mut message = Vec::with_capacity(length as usize);
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([family, UDP, 0, 0]);
    message.extend(states.to_ne_bytes());
    message.extend(id);
    message
}

/// What one datagram of the kernel's says.
#[derive(Debug, Default)]
struct Answer {
    sockets: Vec<UdpSocket>,
    /// The end, and how it ended.
    done: Option<i32>,
}

fn parse(mut bytes: &[u8]) -> Answer {
    let mut answer = Answer::default();
    while let Some(header) = bytes.first_chunk::<HEADER>() {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some(body) = bytes.get(HEADER..length) else { break };
        match u16::from_ne_bytes([header[4], header[5]]) {
            DONE => answer.done = Some(0),
            ERROR => {
                let code = body.first_chunk().map_or(-libc::EPROTO, |code| i32::from_ne_bytes(*code));
                answer.done = Some(-code);
            }
            SOCK_DIAG_BY_FAMILY => {
                // Family, state, timer and retransmissions stand before the id.
                let id = body.get(4..).and_then(|rest| rest.first_chunk::<ID>());
                answer.sockets.extend(id.map(|id| UdpSocket { family: body[0], id: *id }));
            }
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    answer
}

fn ask(message: &[u8]) -> io::Result<Vec<UdpSocket>> {
    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.send(message, 0)?;
    let mut sockets = Vec::new();
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        let answer = parse(&bytes);
        sockets.extend(answer.sockets);
        match answer.done {
            Some(0) => return Ok(sockets),
            Some(code) => return Err(io::Error::from_raw_os_error(code)),
            None => {}
        }
    }
}

const FAMILIES: [u8; 2] = [libc::AF_INET as u8, libc::AF_INET6 as u8];

/// The connected UDP sockets of the calling thread's network namespace.
pub(crate) fn connected() -> io::Result<Vec<UdpSocket>> {
    let mut all = Vec::new();
    for family in FAMILIES {
        all.extend(ask(&request(SOCK_DIAG_BY_FAMILY, REQUEST | DUMP, family, CONNECTED, &[0; ID]))?);
    }
    Ok(all)
}

/// Ends a socket of that namespace: its owner sees ECONNABORTED. One that is gone is a success.
pub(crate) fn destroy(socket: &UdpSocket) -> io::Result<()> {
    let message = request(SOCK_DESTROY, REQUEST | ACKNOWLEDGE, socket.family, 0, &socket.id);
    match ask(&message) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESTALE)) => Ok(()),
        result => result.map(drop),
    }
}

/// Whether the kernel can do that (CONFIG_INET_DIAG_DESTROY): it is asked to end a socket that cannot be.
pub(crate) fn can_destroy() -> bool {
    let nobody = UdpSocket { family: FAMILIES[0], id: [0; ID] };
    destroy(&nobody).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_shape_that_the_kernel_reads() {
        let id = UdpSocket::for_test(7, "10.0.0.1:53".parse().unwrap()).id;
        let message = request(SOCK_DESTROY, REQUEST | ACKNOWLEDGE, 2, 0, &id);
        assert_eq!((message.len(), message[0], message[4], message[6]), (72, 72, 21, 5));
        assert_eq!(message[16..24], [2, 17, 0, 0, 0, 0, 0, 0]);
        assert_eq!(message[24..], id);
    }

    #[test]
    fn an_answer_is_read_to_its_end() {
        let wanted = UdpSocket::for_test(1 << 40 | 9, "[::ffff:10.0.0.1]:53".parse().unwrap());
        let mut bytes = Vec::new();
        bytes.extend(88_u32.to_ne_bytes());
        bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend([wanted.family, 1, 0, 0]);
        bytes.extend(wanted.id);
        bytes.extend([0; 20]);
        bytes.extend(20_u32.to_ne_bytes());
        bytes.extend(DONE.to_ne_bytes());
        bytes.extend([0; 14]);
        let answer = parse(&bytes);
        assert_eq!((answer.sockets.as_slice(), answer.done), ([wanted].as_slice(), Some(0)));
        assert_eq!((wanted.cookie(), wanted.peer()), (1 << 40 | 9, "10.0.0.1:53".parse().unwrap()));
        assert!(parse(&bytes[..40]).sockets.is_empty());
    }

    // S61: what the agent relies on, on the running kernel, with sockets of this process.
    #[test]
    fn an_ended_socket_says_so_to_its_owner_and_others_live_on() {
        if !nix::unistd::geteuid().is_root() || !can_destroy() {
            println!("not root, or a kernel without CONFIG_INET_DIAG_DESTROY");
            return;
        }
        let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = server.local_addr().unwrap();
        let [one, other] = std::array::from_fn(|_| {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect(at).unwrap();
            socket
        });
        let mine: Vec<UdpSocket> = connected().unwrap().into_iter().filter(|it| it.peer() == at).collect();
        assert_eq!(mine.len(), 2);
        let port = one.local_addr().unwrap().port().to_be_bytes();
        let first = mine.iter().find(|it| it.id[..2] == port).unwrap();
        destroy(first).unwrap();
        let error = one.recv(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        assert!(one.send(b"word").is_err(), "it is connected to nothing");
        assert_eq!(other.send(b"word").unwrap(), 4);
        destroy(first).unwrap();
    }
}
