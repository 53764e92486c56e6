//! TCP connections, one at a time.
//!
//! The client closes first, and with a reset: SO_LINGER of zero, set when the operation is over and all data of the server
//! is read. So nothing is lost that was on its way, and no side keeps the connection's ports in TIME_WAIT. A client that
//! closed by FIN would run out of ports after 28,000 connections, two or three seconds; one that let the server close would
//! make its next SYN meet the server's TIME_WAIT. It is the same for all peers.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use super::MESSAGE;
use super::client::Load;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many connections requests take turns on.
const OPEN: usize = 4;

/// Opens a connection and closes it.
pub(super) fn connect(to: SocketAddr) -> io::Result<()> {
    reset_on_close(&TcpStream::connect(to)?)
}

/// Opens a connection, asks, reads the answer and closes it.
pub(super) fn connect_and_ask(to: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(to)?;
    ask(&mut stream)?;
    reset_on_close(&stream)
}

/// Makes that `close` sends a reset and leaves nothing behind.
///
/// # Errors
/// The socket is not open.
pub fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    Ok(setsockopt(stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?)
}

fn ask(stream: &mut TcpStream) -> io::Result<()> {
    let mut answer = [0; MESSAGE];
    stream.write_all(&[b'E'; MESSAGE])?;
    stream.read_exact(&mut answer)
}

/// Connections that stay open.
pub(super) struct Open {
    streams: Vec<TcpStream>,
    next: usize,
}

impl Open {
    pub(super) fn new(load: &Load) -> io::Result<Self> {
        let open = |to| {
            let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            reset_on_close(&stream)?;
            Ok(stream)
        };
        let streams: io::Result<_> = load.targets(OPEN).map(open).collect();
        Ok(Self { streams: streams?, next: 0 })
    }

    /// Asks on the next one.
    pub(super) fn ask(&mut self) -> io::Result<()> {
        self.next = (self.next + 1) % self.streams.len();
        ask(&mut self.streams[self.next])
    }
}
