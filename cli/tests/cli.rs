//! The real `fairway` binary against an agent made of canned answers: every form of output, exit codes, streams.

#[path = "cli/agent.rs"]
mod agent;
#[path = "cli/data.rs"]
mod data;
#[path = "cli/errors.rs"]
mod errors;
#[path = "cli/listings.rs"]
mod listings;
#[path = "cli/tracing.rs"]
mod tracing;
