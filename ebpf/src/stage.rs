//! What happens to a packet or call, one job a file. Nothing here knows which hook called it.

pub mod affinity;
pub mod clock;
pub mod conntrack;
pub mod deliver;
pub mod direct;
pub mod enclosed;
pub mod fragment;
pub mod icmp;
pub mod refuse;
pub mod report;
pub mod service;
pub mod source;
pub mod tunnel;
pub mod wire;
