//! What the measuring harness is told: the packet that each run starts with, and how runs differ.
//!
//! Nothing of it is in the product's object: see `ebpf/src/harness.rs`.

use crate::shared;

/// Bytes that are written anew before each run: the headers of either family, without options.
pub const HEAD: usize = 80;

/// How often a program of `primitive.rs` does its one thing.
pub const TIMES: u32 = 16;
/// Keys, from 0, that are in the tables which these programs ask.
pub const KEYS: u32 = 16_384;

/// Two bytes of the packet that say which flow a run belongs to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Field {
    /// Where they stand, below [`HEAD`].
    pub offset: u32,
    /// Their value in the first flow, host byte order.
    pub base: u32,
    /// How far the flow's number is shifted before it is masked and added.
    pub shift: u32,
    /// Its bits that count here; 0: the same in all flows.
    pub mask: u32,
}

impl Field {
    /// The field's value in a flow, as it stands in the packet.
    #[inline(always)]
    pub fn value(&self, flow: u32) -> u16 {
        ((self.base + (flow >> (self.shift & 31) & self.mask)) as u16).to_be()
    }
}

/// One kind of packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Its first bytes.
    pub head: [u64; HEAD / 8],
    /// What tells the flows apart.
    pub fields: [Field; 2],
    /// The number of the next run.
    pub next: u32,
    /// The bits of that number that are the flow's.
    pub flows: u32,
    /// Bytes of the whole packet.
    pub length: u32,
    /// Zero.
    pub pad: u32,
}

shared! {
    Plan: 128;
}
