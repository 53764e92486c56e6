//! One connection in full, and one number.

use serde::Serialize;

use crate::args::Format;
use crate::error::Error;
use crate::list::Connection;
use crate::output::{Object, Output, text};
use crate::style;
use crate::table::Table;

/// Connections in full, both directions.
pub(super) fn connections(output: &Output, connections: &[Connection]) -> Result<String, Error> {
    match (output.format, connections) {
        (Format::Json | Format::Yaml, [one]) => output.document(&Object::new("Connection", one)),
        (Format::Json | Format::Yaml, _) => output.list(connections),
        (Format::Table | Format::Wide, _) => {
            let blocks: Vec<String> = connections.iter().map(|it| block(output, it)).collect();
            Ok(blocks.join("\n"))
        }
    }
}

fn block(output: &Output, it: &Connection) -> String {
    let source = style::socket(&it.source, it.source_port);
    let frontend = style::socket(&it.frontend, it.frontend_port);
    let backend = style::socket(&it.backend, it.backend_port);
    let nat = it.nat_source.as_deref().zip(it.nat_source_port);
    let sent = nat.map_or_else(|| source.clone(), |(address, port)| style::socket(address, port));
    let named = |place: &str, pod: Option<&str>| match pod {
        Some(pod) => format!("{place} ({})", style::name(pod)),
        None => place.to_owned(),
    };
    let mut lines = vec![
        format!(
            "{} {} -> {} -> {}",
            it.protocol,
            named(&source, it.source_pod.as_deref()),
            named(&frontend, it.service.as_deref()),
            named(&backend, it.backend_pod.as_deref()),
        ),
        format!(
            "{}, idle {}, forgotten in {}",
            style::state(&it.state),
            style::seconds(it.idle_seconds.into()),
            style::seconds(it.expires_seconds.into()),
        ),
    ];
    let mut table =
        Table::new(["DIRECTION", "FROM", "TO", "BECOMES FROM", "BECOMES TO"]).with_headers(output.headers);
    table.row(vec!["original".into(), source.clone(), frontend.clone(), sent.clone(), backend.clone()]);
    table.row(vec!["reply".into(), backend, sent, frontend, source]);
    lines.extend(table.lines());
    text(lines)
}

/// How many connections there are.
#[derive(Serialize)]
struct Count {
    connections: usize,
    entries: usize,
}

/// The number of connections.
pub(super) fn count(output: &Output, connections: usize) -> Result<String, Error> {
    match output.format {
        Format::Table => Ok(format!("{connections}\n")),
        Format::Wide => Ok(format!("{connections} connections, {} entries\n", 2 * connections)),
        Format::Json | Format::Yaml => {
            let count = Count { connections, entries: 2 * connections };
            output.document(&Object::new("ConntrackCount", &count))
        }
    }
}
