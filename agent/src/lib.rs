//! The node agent: stream -> resolve -> maps; pods, routes, health.

pub mod netlink;
pub mod pods;
