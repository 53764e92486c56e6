//! Why the data path did what it did: one enum for counters, trace, listings and documents.
//!
//! Numbers are never reused and never change: append.

use crate::shared;

/// What a reason does to the packet or call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It goes on, translated or delivered.
    Forward,
    /// It is answered: a refused call, a TCP reset or an ICMP error.
    Reject,
    /// It vanishes.
    Drop,
}

impl Class {
    /// The name that every output uses.
    pub fn name(self) -> &'static str {
        match self {
            Class::Forward => "forward",
            Class::Reject => "reject",
            Class::Drop => "drop",
        }
    }
}

macro_rules! reasons {
    ($($number:literal $variant:ident $name:literal $class:ident $text:literal $hint:literal;)*) => {
        /// Why the data path did what it did.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $text] $variant = $number,)*
        }

        impl Reason {
            /// All reasons, by number.
            pub const ALL: &[Reason] = &[$(Reason::$variant),*];

            /// The name that every output uses.
            pub fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name,)* }
            }

            /// What happens to the packet.
            pub fn class(self) -> Class {
                match self { $(Reason::$variant => Class::$class,)* }
            }

            /// One sentence for people.
            pub fn text(self) -> &'static str {
                match self { $(Reason::$variant => $text,)* }
            }

            /// What to look at next; empty where there is nothing to do.
            pub fn hint(self) -> &'static str {
                match self { $(Reason::$variant => $hint,)* }
            }

            /// The reason with this number.
            pub fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Reason::$variant),)* _ => None }
            }
        }
    };
}

reasons! {
    0 Plain "plain" Forward "the packet was left to the kernel's own routing" "";
    1 SocketTranslated "socket-translated" Forward "a socket's Service address became a backend address" "";
    2 SocketReply "socket-reply" Forward "a reply or peer name shows the Service address" "";
    3 ServiceNew "service-new" Forward "a new connection to a Service got a backend" "";
    4 Translated "translated" Forward "a packet of a known connection was translated" "";
    5 ReplyTranslated "reply-translated" Forward "a reply was translated back" "";
    6 Delivered "delivered" Forward "the packet was handed to a pod of this node" "";
    7 SourceTranslated "source-translated" Forward "a new connection to another node's backend got a source port of this node" "";
    8 NoBackend "no-backend" Reject "the Service has no usable endpoint" "fairway service list; are the pods ready?";
    9 NoLocalBackend "no-local-backend" Drop "the traffic policy is Local and this node has no usable endpoint" "send to a node that runs a backend, or set the traffic policy to Cluster";
    10 SourcePortsExhausted "source-ports-exhausted" Drop "no free source port towards this backend" "fairway conntrack list; widen nat.ports";
    11 ConntrackFull "conntrack-full" Drop "the connection could not be recorded" "fairway conntrack list";
    12 BackendMissing "backend-missing" Drop "a slot names a backend that is not there" "fairway status; please report this";
    13 Malformed "malformed" Drop "a header is cut short or contradicts itself" "";
    14 Fragment "fragment" Drop "part of a fragmented packet that would have to be translated" "lower the sender's MTU";
    15 RewriteFailed "rewrite-failed" Drop "the kernel refused to change the packet" "";
    16 NoRoute "no-route" Drop "the node has no route to the backend" "ip route get BACKEND";
    17 TtlExceeded "ttl-exceeded" Reject "the packet's time to live ran out: the sender was told" "is there a routing loop?";
    18 UnsupportedProtocol "unsupported-protocol" Drop "a pod's packet to the world is of a protocol that cannot take the node's address" "masquerade-exclude lets it out as it is";
    19 SpoofedSource "spoofed-source" Drop "a pod sent a packet from an address that is not its own" "which pod: fairway trace --drops; does its program bind to a foreign address?";
    20 SourceNotAllowed "source-not-allowed" Drop "the client is outside the Service's loadBalancerSourceRanges" "kubectl get service -o jsonpath={.spec.loadBalancerSourceRanges}";
    21 UnallocatedAddress "unallocated-address" Drop "no Service has this address of the Service range" "was the Service deleted? fairway service list";
    22 UndefinedPort "undefined-port" Reject "a Service has this address, but not this port" "fairway service list";
    23 TooBig "too-big" Reject "the packet does not fit the next link and may not be cut: the sender was told the MTU" "";
    24 ErrorTranslated "error-translated" Forward "an ICMP error about a translated packet was translated for its sender" "";
    25 FragmentTranslated "fragment-translated" Forward "a later fragment was translated like its first" "";
    26 FragmentHeld "fragment-held" Forward "a fragment came before its first and waits for it" "";
    27 ConntrackOverflow "conntrack-overflow" Forward "conntrack is full: the new connection was recorded where the oldest makes room" "fairway conntrack top";
    28 Masqueraded "masqueraded" Forward "a pod's new connection to the world got the node's address" "";
    29 ForeignTunnel "foreign-tunnel" Drop "a tunnel packet came from no known node, with another network's number, or out of a pod" "is the sender a Node of this cluster? do all nodes have the same vxlan-id?";
    30 Accelerated "accelerated" Forward "a packet was sent back at the device's driver (XDP): of a known connection, or a SYN that goes to another node as it is" "";
    31 Direct "direct" Forward "a packet went to the backend's node as it was: that node answers the client" "";
}

/// Counters of one reason on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets, or calls at the socket hooks.
    pub packets: u64,
    /// Bytes of those packets; 0 for calls.
    pub bytes: u64,
}

shared! {
    Count: 16;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_names_are_unique() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert_eq!(Reason::from_number(index as u8), Some(*reason));
            assert!(Reason::ALL.iter().filter(|other| other.name() == reason.name()).count() == 1);
        }
    }

    #[test]
    fn every_drop_says_what_happened() {
        for reason in Reason::ALL {
            assert!(!reason.text().is_empty());
        }
    }
}
