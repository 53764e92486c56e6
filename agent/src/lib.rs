//! The node agent: stream -> resolve -> maps; pods, routes, health.
