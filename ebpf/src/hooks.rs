//! Where the programs are attached.

mod network;
mod pod;
mod socket;
mod traffic;
mod tunnel;
mod wire;
