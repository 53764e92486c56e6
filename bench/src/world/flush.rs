//! Connections of one block must not stand in the way of the next: what tracks them forgets them.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use super::World;

/// `IPCTNL_MSG_CT_DELETE` of the subsystem `NFNL_SUBSYS_CTNETLINK`; without a tuple: all.
const DELETE: u16 = 1 << 8 | 2;
const HEADER: u32 = 16;

pub(super) fn connections(world: &World) -> io::Result<()> {
    for node in world.lab.state.plan.node_names() {
        if world.peer.tracks() {
            world.lab.state.netns(&node).within(flush_kernel)?;
        } else if world.peer.is_fairway() {
            let output = world.lab.run(&node, &["fairway", "conntrack", "flush", "--all"])?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Err(io::Error::other(format!("`fairway conntrack flush` on {node}: {said}")));
            }
        }
    }
    Ok(())
}

/// In the namespace of the calling thread.
fn flush_kernel() -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&request(), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    // An acknowledgement is an error of number 0.
    let number = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match number {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::Error::other("conntrack did not answer")),
    }
}

/// A netlink header and a `nfgenmsg` of all families.
fn request() -> Vec<u8> {
    let mut request = Vec::new();
    request.extend((HEADER + 4).to_ne_bytes());
    request.extend(DELETE.to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    request.extend([0; 8]);
    request.extend([0; 4]);
    request
}
