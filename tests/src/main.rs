//! `fairway-lab`: a cluster of network namespaces on this machine.

mod cli;
mod demo;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
