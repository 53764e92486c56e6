//! The page.

use std::fmt::Write;

use super::{Drawing, bars, colour, curves, escaped, grouped, peers, place, rounds};
use crate::report::{Figures, Report};
use crate::table::{grouped as thousands, micros};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.6rem}h2{margin-top:2.5rem;border-bottom:1px solid #8885}h3{font-size:1rem;margin:1.2rem 0 .2rem}
table{border-collapse:collapse;margin:.5rem 0 1rem;font-variant-numeric:tabular-nums}
th,td{padding:.15rem .7rem;text-align:right;border-bottom:1px solid #8883}th:first-child,td:first-child{text-align:left}
td.env{text-align:left;overflow-wrap:anywhere}
.drawings{display:flex;flex-wrap:wrap;gap:1rem 2rem}figure{margin:0;max-width:100%}figcaption{color:#666;font-size:.85rem;max-width:40rem}
svg{max-width:100%;height:auto}.peer{display:inline-block;width:.7em;height:.7em;margin-right:.4em}
code{background:#8882;padding:.1rem .3rem;border-radius:.2rem;overflow-wrap:anywhere}
summary{cursor:pointer}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#16181c}figcaption{color:#aaa}}";

/// The whole page.
#[must_use]
pub fn page(report: &Report) -> String {
    let peers = peers(report);
    let command = report.env.get("command").cloned().unwrap_or_default();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Fairway: what Services cost</title>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<style>{STYLE}</style></head><body>\n<h1>What Services cost</h1>\n<p>Every peer has a network of namespaces of its own with the same pods, client and server. They take turns, round by round; a ratio is taken to <b>clean</b>, plain forwarding to the same pods without a proxy, in the same round. Intervals are 95 % (bootstrap over rounds).</p>\n<p>To repeat it: <code>{}</code></p>\n",
        escaped(&command)
    );
    summary(&mut page, report);
    let parts = [
        ("Beside plain forwarding", bars::drawings(report, &peers), false),
        ("By the number of Services", curves::services(report, &peers), false),
        ("How long operations take", curves::percentiles(report, &peers), false),
        ("Round by round", rounds::drawings(report, &peers), true),
    ];
    for (title, drawings, is_folded) in parts {
        if !drawings.is_empty() {
            part(&mut page, title, &drawings, is_folded);
        }
    }
    environment(&mut page, report);
    page += "</body></html>\n";
    page
}

fn summary(page: &mut String, report: &Report) {
    *page += "<h2>Summary</h2>\n";
    let rows: Vec<&Figures> = report.figures().collect();
    for (title, rows) in
        grouped(&rows, |row| format!("{}: {}, {} backends", row.workload, place(row), row.backends))
    {
        let of = if rows[0].ratio_of == "p50" { "p50" } else { "ops/s" };
        // Writing to a string never fails.
        write!(page, "<h3>{}</h3>\n<table><tr><th>peer</th><th>p50</th><th>p90</th><th>p99</th><th>ops/s</th><th>CPU/op</th><th>{of} to clean</th><th>95 % interval</th></tr>\n", escaped(&title)).ok();
        for row in rows {
            let peer = format!(
                "<i class=\"peer\" style=\"background:{}\"></i>{}",
                colour(&row.peer),
                escaped(&row.peer)
            );
            let interval = match (row.ci_low, row.ci_high) {
                (Some(low), Some(high)) => format!("{low:.3} to {high:.3}"),
                _ => "-".into(),
            };
            let cells = [
                peer,
                micros(row.p50_us),
                micros(row.p90_us),
                micros(row.p99_us),
                thousands(row.ops),
                micros(row.cpu_us_per_op),
                row.ratio_to_clean.map_or("-".into(), |ratio| format!("<b>{ratio:.3}</b>")),
                interval,
            ];
            writeln!(page, "<tr>{}</tr>", cells.map(|cell| format!("<td>{cell}</td>")).concat()).ok();
        }
        *page += "</table>\n";
    }
    let mut skipped: Vec<String> = report
        .skipped()
        .map(|row| {
            let services = row.services.map(|count| format!("{count} Services"));
            let what: Vec<String> =
                [row.workload.clone(), row.from.clone(), services].into_iter().flatten().collect();
            let of = if what.is_empty() { String::new() } else { format!(" ({})", what.join(", ")) };
            format!("<li>{}{}: {}</li>\n", escaped(&row.peer), escaped(&of), escaped(&row.skipped))
        })
        .collect();
    skipped.dedup();
    if !skipped.is_empty() {
        write!(page, "<h3>Not run</h3>\n<ul>{}</ul>\n", skipped.concat()).ok();
    }
}

fn part(page: &mut String, title: &str, drawings: &[Drawing], is_folded: bool) {
    let (open, close) =
        if is_folded { ("<details><summary>Show</summary>\n", "</details>\n") } else { ("", "") };
    write!(page, "<h2>{}</h2>\n{open}<div class=\"drawings\">\n", escaped(title)).ok();
    for Drawing { title, caption, svg } in drawings {
        let (title, caption) = (escaped(title), escaped(caption));
        write!(page, "<figure><h3>{title}</h3>\n{svg}\n<figcaption>{caption}</figcaption></figure>\n").ok();
    }
    write!(page, "</div>\n{close}").ok();
}

fn environment(page: &mut String, report: &Report) {
    *page += "<h2>Environment</h2>\n<table>\n";
    for (name, value) in &report.env {
        let (name, value) = (escaped(&name.replace('_', " ")), escaped(value));
        writeln!(page, "<tr><td>{name}</td><td class=\"env\">{value}</td></tr>").ok();
    }
    *page += "</table>\n";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Round, Row, Skipped};

    fn row(peer: &str, services: u32) -> Row {
        let round = Round { p50_us: 40.0, ops: 20_000.0, ratio_to_clean: Some(0.9), ..Round::default() };
        Row::Measured(Box::new(Figures {
            peer: peer.into(),
            workload: "connect".into(),
            services,
            ratio_of: "p50".into(),
            ratio_to_clean: Some(0.9),
            rounds: vec![round; 3],
            percentiles: vec![(0.0, 30.0), (0.5, 40.0), (0.99, 90.0)],
            ..Figures::default()
        }))
    }

    #[test]
    fn a_page_holds_everything_and_fetches_nothing() {
        let skipped = Skipped { peer: "ipvs".into(), skipped: "<no> IPVS".into(), ..Skipped::default() };
        let mut rows: Vec<Row> =
            ["clean", "fairway"].into_iter().flat_map(|peer| [row(peer, 1), row(peer, 100)]).collect();
        rows.push(Row::Skipped(skipped));
        let env = [("command".to_owned(), "fairway-bench run --peers clean".to_owned())].into();
        let page = page(&Report { env, rows });
        for part in ["Summary", "Beside plain", "By the number", "How long", "Round by round", "Environment"]
        {
            assert!(page.contains(part), "{part}");
        }
        assert!(page.contains("<code>fairway-bench run --peers clean</code>"));
        assert!(page.contains("&lt;no&gt; IPVS"));
        let fetched = ["src=", "href=", "url(", "@import", "<script"];
        assert!(fetched.iter().all(|word| !page.contains(word)));
        assert!(!page.contains("NaN") && !page.contains("inf"));
    }
}
