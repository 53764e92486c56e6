//! A report as one page: tables and drawings, with nothing to fetch.

mod bars;
mod curves;
mod page;
mod plot;
mod rounds;

pub use page::page;

use crate::report::{Figures, Report};

/// A drawing with its heading.
struct Drawing {
    title: String,
    /// What to see in it.
    caption: String,
    svg: String,
}

/// Peers in the order of the report's rows.
fn peers(report: &Report) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for row in report.figures() {
        if !all.contains(&row.peer) {
            all.push(row.peer.clone());
        }
    }
    let place = |peer: &String| COLOURS.iter().position(|(name, _)| name == peer).unwrap_or(COLOURS.len());
    all.sort_by_key(place);
    all
}

/// A peer has the same colour in every drawing; they can be told apart by those who see few colours, too.
const COLOURS: [(&str, &str); 8] = [
    ("clean", "#8a8f98"),
    ("fairway", "#0072b2"),
    ("fairway-tc", "#56b4e9"),
    ("nftables", "#e69f00"),
    ("iptables", "#d55e00"),
    ("ipvs", "#009e73"),
    ("haproxy", "#cc79a7"),
    ("kube-proxy", "#222222"),
];

fn colour(peer: &str) -> &'static str {
    COLOURS.iter().find(|(name, _)| *name == peer).map_or("#555555", |(_, colour)| *colour)
}

/// Text as it stands in HTML and SVG.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Rows of one kind, in the order in which the kinds come first.
fn grouped<'a>(rows: &[&'a Figures], key: impl Fn(&Figures) -> String) -> Vec<(String, Vec<&'a Figures>)> {
    let mut groups: Vec<(String, Vec<&Figures>)> = Vec::new();
    for row in rows {
        let name = key(row);
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, rows)) => rows.push(row),
            None => groups.push((name, vec![row])),
        }
    }
    groups
}

/// What a drawing of several workloads has in common.
fn place(row: &Figures) -> String {
    let cpus = if row.cpus == "same" { "one CPU" } else { "a CPU each" };
    let services = if row.services == 1 { "Service" } else { "Services" };
    format!("{}, {}, {} {services}, {cpus}", row.from_name(), row.family, row.services)
}
