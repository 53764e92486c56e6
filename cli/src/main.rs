//! `fairway`: state and trace of a node's data path, for people and scripts.

mod args;
mod conntrack;
mod error;
mod ipam;
mod list;
mod output;
mod run;
mod source;
mod status;
mod style;
mod table;
mod trace;

use std::process::ExitCode;

use clap::FromArgMatches;

fn main() -> ExitCode {
    let matches = args::command().get_matches();
    let cli = args::Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let output = output::Output::new(&cli.global);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result =
        runtime.map_err(error::Error::Start).and_then(|runtime| runtime.block_on(run::run(&cli, &output)));
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report(&error, &output);
            ExitCode::from(error.exit_code())
        }
    }
}

/// What failed, why, and what to do next.
fn report(error: &error::Error, output: &output::Output) {
    output.note(&format!("{} {error}", style::bad("error:")));
    for cause in error.causes() {
        output.note(&format!("  why:  {cause}"));
    }
    for next in error.next() {
        output.note(&format!("  next: {next}"));
    }
}
