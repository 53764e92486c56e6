//! The node agent's command line.

fn main() {}
