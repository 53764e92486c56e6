//! The CNI plugin: hands a container runtime's call to the node's agent. Standard output carries nothing but the
//! result or the error, as JSON.

mod agent;
mod call;
mod capabilities;
mod config;
mod error;
mod result;
mod run;
mod version;

use std::io::{Read, Write};
use std::process::ExitCode;

use serde_json::Value;

fn main() -> ExitCode {
    let mut input = Vec::new();
    let read = std::io::stdin().read_to_end(&mut input).map_err(error::Error::Read);
    match read.and_then(|_| run::run(|name| std::env::var(name).ok(), &input)) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(result)) => print(&result, ExitCode::SUCCESS),
        Err(error) => print(&error.to_json(&config::version_of(&input)), ExitCode::FAILURE),
    }
}

fn print(value: &Value, code: ExitCode) -> ExitCode {
    match writeln!(std::io::stdout(), "{value}") {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}
