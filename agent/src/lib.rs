//! The node agent: control stream -> resolve -> reconcile -> maps; pods, routes, health.

pub mod api;
mod certificates;
mod collector;
pub mod config;
pub mod health;
pub mod memory;
pub mod netlink;
pub mod node;
pub mod pods;
pub mod reconcile;
pub mod repair;
pub mod resolve;
mod stranded;
pub mod sync;

pub use config::Config;
pub use node::Shared;
