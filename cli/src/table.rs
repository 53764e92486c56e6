//! Columns for people, two spaces apart and without borders, as kubectl prints them.

use std::io::Write;

use tabwriter::TabWriter;

use crate::style;

/// A table: a line of column names and lines of cells.
#[derive(Debug)]
pub(crate) struct Table {
    headers: Option<Vec<&'static str>>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(headers: impl Into<Vec<&'static str>>) -> Self {
        Self { headers: Some(headers.into()), rows: Vec::new() }
    }

    /// Leaves out the column names if `wanted` is false.
    pub(crate) fn with_headers(mut self, wanted: bool) -> Self {
        self.headers = self.headers.filter(|_| wanted);
        self
    }

    /// Adds a line.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// All lines, the column names first, aligned.
    pub(crate) fn lines(&self) -> Vec<String> {
        let headers = self.headers.iter().map(|names| names.iter().map(|name| style::dim(name)).collect());
        let mut writer = TabWriter::new(Vec::new()).ansi(true).padding(2).minwidth(0);
        for row in headers.chain(self.rows.iter().cloned()) {
            let row: Vec<String> = row;
            writeln!(writer, "{}", row.join("\t")).expect("writing to memory does not fail");
        }
        let bytes = writer.into_inner().expect("writing to memory does not fail");
        String::from_utf8_lossy(&bytes).lines().map(|line| line.trim_end().to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_seen_not_by_colour_codes() {
        let mut table = Table::new(["A", "B", "C"]);
        table.row(vec![style::name("long-name"), "1".into(), "x".into()]);
        table.row(vec!["s".into(), style::bad("22"), "y".into()]);
        let lines: Vec<String> =
            table.lines().iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect();
        assert_eq!(lines, ["A          B   C", "long-name  1   x", "s          22  y"]);
    }

    #[test]
    fn column_names_can_be_left_out() {
        let mut table = Table::new(["A"]).with_headers(false);
        table.row(vec!["1".into()]);
        assert_eq!(table.lines(), ["1"]);
    }
}
