//! Whose packet it is that a pod sent: its own, or one in another's name (S89).

use aya_ebpf::bindings::__sk_buff;
use fairway_common::conntrack::Tuple;
use fairway_common::pod::Pod;

use crate::packet::{self, Parse};
use crate::stage::deliver;

/// Who a packet from a pod's device says that it comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The pod, no connection of which was ever translated on the wire: none needs to be looked up.
    Pod,
    /// The pod, which has such connections.
    Client,
    /// Its device, on the link to the node only: how neighbours find each other.
    Neighbour,
    /// Somebody else.
    Stranger,
}

/// The sender of a packet that came in by a pod's device.
#[inline(always)]
pub fn of_device<A: Parse>(skb: *mut __sk_buff, tuple: &Tuple<A>) -> Sender {
    match deliver::pod(&tuple.source) {
        Some(pod) if pod.ifindex == packet::ifindex(skb) => {
            if pod.flags & Pod::TRANSLATES == 0 {
                Sender::Pod
            } else {
                Sender::Client
            }
        }
        None if tuple.source.is_link_local() && tuple.destination.is_near() => Sender::Neighbour,
        _ => Sender::Stranger,
    }
}
