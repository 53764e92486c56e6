//! The real `fairway` binary against an agent made of canned answers: every form of output, exit codes, streams.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "cli/agent.rs"]
mod agent;
#[path = "cli/conntrack.rs"]
mod conntrack;
#[path = "cli/data.rs"]
mod data;
#[path = "cli/errors.rs"]
mod errors;
#[path = "cli/ipam.rs"]
mod ipam;
#[path = "cli/listings.rs"]
mod listings;
#[path = "cli/tracing.rs"]
mod tracing;
