//! Whose packet it is that a pod sent: its own, or one in another's name (S89).

use aya_ebpf::bindings::__sk_buff;
use fairway_common::conntrack::Tuple;
use fairway_common::limits;
use fairway_common::pod::{Device, Pod, place};

use crate::ip::Ip;
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
    let index = packet::ifindex(skb);
    if let Some(device) = at::<A>(index)
        // SAFETY: a live entry of the map.
        && unsafe { (*device).address } == tuple.source
    {
        // SAFETY: as above.
        return known(unsafe { (*device).flags });
    }
    match deliver::pod(&tuple.source) {
        Some(pod) if pod.ifindex == index => known(pod.flags),
        None if tuple.source.is_link_local() && tuple.destination.is_near() => Sender::Neighbour,
        _ => Sender::Stranger,
    }
}

#[inline(always)]
fn known(flags: u32) -> Sender {
    if flags & Pod::TRANSLATES == 0 { Sender::Pod } else { Sender::Client }
}

/// The device with an index, if it has its place in the table.
#[inline(always)]
fn at<A: Ip>(index: u32) -> Option<*mut Device<A>> {
    let device = A::devices().get_ptr_mut(index % limits::DEVICES)?;
    // SAFETY: a live entry of the map.
    if unsafe { (*device).ifindex } == index { Some(device) } else { None }
}

/// Notes that packets from and to a pod have to be looked up from now on. Before the first packet leaves.
#[inline(never)]
pub fn translates<A: Ip>(address: &A) {
    if deliver::pod(address).is_none_or(|pod| pod.flags & Pod::TRANSLATES != 0) {
        return;
    }
    let Some(pod) = A::pods().get_ptr_mut(address) else { return };
    // SAFETY: live entries; the bit is only ever set.
    unsafe {
        if let Some(device) = at::<A>((*pod).ifindex) {
            (*device).flags |= Pod::TRANSLATES;
        }
        if let Some(near) = A::near().get_ptr_mut(place(*address))
            && (*near).address == *address
        {
            (*near).pod.flags |= Pod::TRANSLATES;
        }
        (*pod).flags |= Pod::TRANSLATES;
    }
}
