//! `fairway-cni`, as a container runtime starts it. Standard output carries nothing but the result or the error, as
//! JSON.

use std::io::{Read, Write};
use std::process::ExitCode;

use serde_json::Value;

fn main() -> ExitCode {
    let mut input = Vec::new();
    let input = std::io::stdin().read_to_end(&mut input).map(|_| input);
    match fairway_cni::call(|name| std::env::var(name).ok(), input) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(result)) => print(&result, ExitCode::SUCCESS),
        Err(error) => print(&error, ExitCode::FAILURE),
    }
}

fn print(value: &Value, code: ExitCode) -> ExitCode {
    match writeln!(std::io::stdout(), "{value}") {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}
