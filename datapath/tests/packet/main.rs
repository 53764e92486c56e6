//! Every decision of the packet programs, proven packet by packet on the real, loaded programs.
//!
//! A test is a table of rows: a packet, the program it is given to, and what must come of it. One table serves both
//! families and both protocols.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod aside;
mod backends;
mod beyond;
mod clients;
mod connections;
mod direct;
mod enclosed;
mod errors;
mod fragments;
mod frame;
mod full;
mod limited;
mod near;
mod netns;
mod network;
mod outside;
mod plain;
mod range;
mod refuse;
mod service;
mod shape;
mod source_ports;
mod spoof;
mod table;
mod tracing;
mod tracked;
mod wire;
mod world;
