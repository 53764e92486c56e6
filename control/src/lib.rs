//! The control plane: sources of declarations -> the model -> one versioned stream for all subscribers.

pub mod certs;
mod controller;
mod server;
mod source;
mod stream;
mod tls;

#[doc(hidden)]
pub use server::Given;
pub use server::{Error, Listen, MAX_AGENTS, Options, Server, Source, serve};
pub use source::{Cause, ConnectionError, Kubernetes, Problem, document, validate};
pub use stream::Subscriber;
pub use tls::{Tls, TlsError, expiry};
