//! The control plane: sources of declarations -> the model -> one versioned stream for all subscribers.

mod controller;
mod server;
mod source;
mod stream;

pub use server::{Error, Listen, Options, Server, Tls, serve};
pub use source::{Cause, Problem};
pub use stream::Subscriber;
