//! Fairway's benchmark.

mod packet;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "x bench", bin_name = "./x bench", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// What one packet costs in each kernel program
    Packet(packet::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().task {
        Task::Packet(arguments) => packet::run(&arguments),
    }
}
