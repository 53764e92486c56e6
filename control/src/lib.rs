//! The control plane: sources of declarations -> the model -> one versioned stream for all subscribers.

mod server;

pub use server::{Error, Listen, Options, Server, Tls, serve};
