//! The versioned stream: each resource is encoded once, for all subscribers; each subscriber is one number.

mod codec;
mod cursor;
mod digest;
mod service;
mod store;
mod subscribers;
#[cfg(test)]
mod tests;

pub(crate) use service::{ControlService, Shared};
pub(crate) use store::Store;

pub use subscribers::Subscriber;
