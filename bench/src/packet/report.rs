//! The table and the file.

use std::borrow::Cow;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::cases::Block;
use super::primitives::{self, Primitives};
use super::shape::Shapes;

/// The programs that the kernel cannot be asked to run on a packet.
const SKIPPED: [(&str, &str); 1] = [(
    "sockets",
    "the kernel has no test runs for programs at sockets: see the connect rows of `./x bench run`",
)];

/// How a family is called.
pub(crate) fn family(v4: bool) -> &'static str {
    if v4 { "IPv4" } else { "IPv6" }
}

/// One line: program, case, family, frontends, median, least.
struct Line<'a> {
    program: &'static str,
    case: Cow<'a, str>,
    family: &'static str,
    services: u32,
    median: f64,
    least: f64,
}

fn lines<'a>(blocks: &'a [(u32, bool, Block)], primitives: &'a Primitives) -> Vec<Line<'a>> {
    let line = |program, case, family, services, rounds: &[f64]| {
        let mut rounds = rounds.to_vec();
        rounds.sort_by(f64::total_cmp);
        let median = rounds.get(rounds.len() / 2).copied().unwrap_or(f64::NAN);
        let least = rounds.first().copied().unwrap_or(f64::NAN);
        Line { program, case, family, services, median, least }
    };
    let mut lines: Vec<_> = blocks
        .iter()
        .flat_map(|(services, v4, block)| block.rows.iter().map(move |row| (*services, *v4, row)))
        .map(|(services, v4, row)| line(row.program, Cow::from(&row.case), family(v4), services, &row.rounds))
        .collect();
    lines.extend(
        primitives
            .iter()
            .map(|(name, rounds)| line("primitive", Cow::from(primitives::case(name)), "-", 0, rounds)),
    );
    lines.sort_by(|a, b| {
        let [a, b] = [a, b].map(|line| (line.program, &line.case, line.family, line.services));
        a.cmp(&b)
    });
    lines
}

/// Prints the rows, and writes them into a file.
pub(crate) fn print(
    blocks: &[(u32, bool, Block)],
    primitives: &Primitives,
    shapes: &Shapes,
    json: Option<&Path>,
) -> Result<()> {
    let lines = lines(blocks, primitives);
    let header = ("PROGRAM", "CASE", "FAMILY", "SERVICES", "NS", "MIN", "INSNS");
    let (program, case, family, services, ns, min, insns) = header;
    println!("{program:14}{case:42}{family:8}{services:>8}{ns:>8}{min:>8}{insns:>8}   STACK");
    let mut rows = Vec::new();
    for Line { program, case, family, services, median, least } in lines {
        let shape = shapes.get(program).cloned().unwrap_or_default();
        let (insns, stack, deepest) = (shape.insns, &shape.stack, shape.deepest());
        println!(
            "{program:14}{case:42}{family:8}{services:>8}{median:>8.0}{least:>8.0}{insns:>8}{deepest:>8}"
        );
        rows.push(json!({
            "program": program, "case": case, "family": family, "services": services, "net_ns": median,
            "min_ns": least, "insns": insns, "stack": deepest, "stack_frames": stack,
        }));
    }
    for (program, reason) in SKIPPED {
        println!("{program:14}skipped: {reason}");
        rows.push(json!({ "program": program, "skipped": reason }));
    }
    match json {
        Some(path) => {
            let text = format!("{:#}\n", json!({ "rows": Value::from(rows) }));
            std::fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
        }
        None => Ok(()),
    }
}
