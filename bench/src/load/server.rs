//! The server of every pod: one thread that waits for all of its sockets.
//!
//! The first byte of a TCP connection says what it is: `S`: all that comes is read and thrown away; `G`: a web page is asked
//! for; anything else comes back as it is. A datagram that begins with `E` comes back, of one that begins with `A` the
//! beginning, and all others are thrown away.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use clap::Args;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt,
};

use super::client::settle;
use super::datagrams::BUFFER;

const PAGE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\nConnection: close\r\n\r\nHello, world\n";

/// Where a server listens.
#[derive(Args, Clone, Debug)]
pub struct Serve {
    /// At which addresses
    #[arg(long, value_delimiter = ',', required = true)]
    addresses: Vec<IpAddr>,
    /// At this port and those after it
    #[arg(long, default_value = "8080")]
    port: u16,
    /// How many ports
    #[arg(long, default_value = "1")]
    ports: u16,
    /// The scheduler's nice value
    #[arg(long, allow_negative_numbers = true)]
    nice: Option<i32>,
    /// Let the kernel keep no closed connection in TIME_WAIT, for all in this network namespace
    #[arg(long)]
    no_time_wait: bool,
}

enum Socket {
    Listener(TcpListener),
    Datagrams(UdpSocket),
    Stream(TcpStream, Kind),
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    New,
    Echo,
    Sink,
    Page,
}

/// Serves until the process is ended.
///
/// # Errors
/// A port cannot be had.
pub fn serve(serve: &Serve) -> io::Result<()> {
    settle(None, serve.nice)?;
    if serve.no_time_wait {
        fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", "0")?;
    }
    let mut server = Server::new()?;
    for address in &serve.addresses {
        for port in serve.port..serve.port + serve.ports {
            let at = SocketAddr::new(*address, port);
            server.add(Socket::Listener(tcp(at)?))?;
            server.add(Socket::Datagrams(udp(at)?))?;
        }
    }
    server.run()
}

fn tcp(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(at, SockType::Stream)?;
    // A client that has the CPU to itself for a while opens hundreds of connections before the server runs again.
    listen(&socket, Backlog::new(4096)?)?;
    Ok(socket.into())
}

fn udp(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = open(at, SockType::Datagram)?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
    Ok(socket.into())
}

fn open(at: SocketAddr, kind: SockType) -> io::Result<OwnedFd> {
    let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &SockaddrStorage::from(at))?;
    Ok(socket)
}

struct Server {
    epoll: Epoll,
    sockets: Vec<Option<Socket>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
}

impl Server {
    fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { epoll, sockets: Vec::new(), free: Vec::new(), buffer: vec![0; 256 * 1024] })
    }

    fn add(&mut self, socket: Socket) -> io::Result<()> {
        let place = self.free.pop().unwrap_or_else(|| {
            self.sockets.push(None);
            self.sockets.len() - 1
        });
        let event = EpollEvent::new(EpollFlags::EPOLLIN, place as u64);
        match &socket {
            Socket::Listener(listener) => self.epoll.add(listener.as_fd(), event)?,
            Socket::Datagrams(datagrams) => self.epoll.add(datagrams.as_fd(), event)?,
            Socket::Stream(stream, _) => self.epoll.add(stream.as_fd(), event)?,
        }
        self.sockets[place] = Some(socket);
        Ok(())
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 256];
        loop {
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Err(nix::Error::EINTR) => continue,
                count => count?,
            };
            for event in &events[..count] {
                self.ready(usize::try_from(event.data()).unwrap_or_default())?;
            }
        }
    }

    fn ready(&mut self, place: usize) -> io::Result<()> {
        let Some(mut socket) = self.sockets.get_mut(place).and_then(Option::take) else { return Ok(()) };
        let stays = match &mut socket {
            Socket::Listener(listener) => {
                // Level triggered: what is not taken now is told again.
                for _ in 0..64 {
                    let Ok((stream, _)) = listener.accept() else { break };
                    self.accepted(stream)?;
                }
                true
            }
            Socket::Datagrams(socket) => {
                answer_all(socket, &mut self.buffer);
                true
            }
            Socket::Stream(stream, kind) => serve_stream(stream, kind, &mut self.buffer),
        };
        if stays {
            self.sockets[place] = Some(socket);
        } else {
            // Closing takes it out of the epoll set too.
            drop(socket);
            self.free.push(place);
        }
        Ok(())
    }

    /// Most connections have their first request, or are over, before they are accepted: those need no place.
    fn accepted(&mut self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let mut kind = Kind::New;
        if serve_stream(&mut stream, &mut kind, &mut self.buffer) {
            stream.set_nodelay(true).ok();
            self.add(Socket::Stream(stream, kind))?;
        }
        Ok(())
    }
}

/// Reads what there is and answers; false when the connection is over.
fn serve_stream(stream: &mut TcpStream, kind: &mut Kind, buffer: &mut [u8]) -> bool {
    let length = match stream.read(buffer) {
        Ok(0) => return false,
        Ok(length) => length,
        Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
    };
    let read = &buffer[..length];
    if *kind == Kind::New {
        *kind = match read[0] {
            b'S' => Kind::Sink,
            b'G' => Kind::Page,
            _ => Kind::Echo,
        };
    }
    match kind {
        Kind::Sink => true,
        // Small messages: there is always room for the answer.
        Kind::Echo => stream.write_all(read).is_ok(),
        // wrk sends a request in one piece. The server closes, as web servers do after `Connection: close`.
        Kind::Page | Kind::New => {
            stream.write_all(PAGE.as_bytes()).ok();
            false
        }
    }
}

fn answer_all(socket: &UdpSocket, buffer: &mut [u8]) {
    for _ in 0..256 {
        let Ok((length, from)) = socket.recv_from(buffer) else { return };
        let answer = match buffer[0] {
            b'E' => &buffer[..length],
            b'A' => &buffer[..length.min(9)],
            _ => continue,
        };
        // One that cannot be sent is a datagram that is lost.
        socket.send_to(answer, from).ok();
    }
}
