//! Servers that say who answered and whom they saw, and clients that ask them.

mod ask;
mod load;
mod raw;
mod redis;
mod runner;
mod serve;

pub use ask::{Failure, Kind, Outcome, Query, ask, http_status, http_text, page};
pub use load::{Load, LoadReport};
pub use redis::{redis, redis_command};
pub use runner::{Runner, RunningLoad, run};
pub use serve::{Listeners, Reply, serve};
