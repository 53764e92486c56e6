//! A report as a table: for the terminal, and for documents.

use comfy_table::{CellAlignment, Table, presets};

use crate::report::{Figures, Report};

/// How a table is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// For the terminal.
    Text,
    /// For documents.
    Markdown,
}

const HEADER: [&str; 8] = ["peer", "p50", "p90", "p99", "ops/s", "CPU/op", "ratio to clean", "95 % interval"];

/// A table for each cell, one after the other, and what was left out.
#[must_use]
pub fn tables(report: &Report, style: Style) -> String {
    let figures: Vec<&Figures> = report.figures().collect();
    let mut text = String::new();
    for rows in figures.chunk_by(|a, b| a.cell() == b.cell()) {
        let title = rows[0].cell();
        text += &match style {
            Style::Text => format!("{title}\n"),
            Style::Markdown => format!("**{title}**\n\n"),
        };
        text += &table(rows, style);
        text += "\n\n";
    }
    let mut skipped: Vec<String> = report
        .skipped()
        .map(|row| {
            let what =
                [row.workload.clone(), row.from.clone(), row.services.map(|n| format!("services={n}"))];
            let what: Vec<String> = what.into_iter().flatten().collect();
            let of = if what.is_empty() { String::new() } else { format!(" ({})", what.join(" ")) };
            format!("not run: {}{of}: {}\n", row.peer, row.skipped)
        })
        .collect();
    skipped.dedup();
    text + &skipped.concat()
}

fn table(rows: &[&Figures], style: Style) -> String {
    let mut table = Table::new();
    table.load_style(if style == Style::Markdown { presets::ASCII_MARKDOWN } else { presets::NOTHING });
    table.set_header(HEADER);
    for row in rows {
        table.add_row([
            row.peer.clone(),
            micros(row.p50_us),
            micros(row.p90_us),
            micros(row.p99_us),
            grouped(row.ops),
            micros(row.cpu_us_per_op),
            row.ratio_to_clean.map_or("-".into(), |ratio| format!("{ratio:.3} ({})", row.ratio_of)),
            match (row.ci_low, row.ci_high) {
                (Some(low), Some(high)) => format!("{low:.3} to {high:.3}"),
                _ => "-".into(),
            },
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect::<String>().trim_end().to_owned()
}

/// A time in the unit that fits.
#[must_use]
pub fn micros(micros: f64) -> String {
    match micros {
        large if large >= 10_000.0 => format!("{:.1} ms", large / 1000.0),
        large if large >= 1000.0 => format!("{:.2} ms", large / 1000.0),
        middle if middle >= 100.0 => format!("{middle:.0} µs"),
        small => format!("{small:.1} µs"),
    }
}

/// A number with its thousands apart.
#[must_use]
pub fn grouped(number: f64) -> String {
    if number < 100.0 {
        return format!("{number:.1}");
    }
    let digits = format!("{number:.0}");
    let (mut text, length) = (String::new(), digits.len());
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (length - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Row, Skipped};

    #[test]
    fn numbers_are_told_in_units_that_can_be_read() {
        assert_eq!([micros(38.25), micros(412.0), micros(1500.0)], ["38.2 µs", "412 µs", "1.50 ms"]);
        assert_eq!(
            [grouped(99.94), grouped(12_345.0), grouped(1_234_567.0)],
            ["99.9", "12 345", "1 234 567"]
        );
    }

    #[test]
    fn who_was_left_out_is_listed_with_the_reason() {
        let skipped = Skipped { peer: "ipvs".into(), skipped: "no IPVS".into(), ..Skipped::default() };
        let report = Report { rows: vec![Row::Skipped(skipped)], ..Report::default() };
        assert_eq!(tables(&report, Style::Text), "not run: ipvs: no IPVS\n");
    }
}
