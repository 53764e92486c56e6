//! The CNI plugin: hands a container runtime's call to the node's agent.

mod agent;
mod call;
mod capabilities;
mod config;
mod error;
mod result;
mod run;
#[cfg(test)]
mod tests;
mod version;

use std::io;

use serde_json::Value;

use error::Error;

/// Carries out a call; `variable` looks up an environment variable, `input` is what standard input holds. Returns what
/// is to be printed, if anything.
///
/// # Errors
///
/// The error in the form in which the runtime is told.
pub fn call(
    variable: impl Fn(&str) -> Option<String>,
    input: io::Result<Vec<u8>>,
) -> Result<Option<Value>, Value> {
    let input = input.map_err(|error| told(&Error::Read(error), &[]))?;
    run::read(variable, &input).and_then(run::run).map_err(|error| told(&error, &input))
}

/// What is wrong with a call, in the form in which the runtime is told; none: it would be carried out.
pub fn refusal(variable: impl Fn(&str) -> Option<String>, input: &[u8]) -> Option<Value> {
    run::read(variable, input).err().map(|error| told(&error, input))
}

fn told(error: &Error, input: &[u8]) -> Value {
    error.to_json(&config::version_of(input))
}
