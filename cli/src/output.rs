//! Puts results into the form that was asked for, and writes them.

use std::cmp::Ordering;
use std::io::{self, Write};

use anstream::{AutoStream, ColorChoice};
use serde::Serialize;

use crate::args::{Color, Format, Global};
use crate::error::Error;
use crate::table::Table;

/// The version of all documents in JSON and YAML.
pub(crate) const API_VERSION: &str = "fairway.dev/v1";

/// One line of a listing.
pub(crate) trait Row: Serialize {
    /// The kind of the list in JSON and YAML.
    const KIND: &'static str;
    /// Names of the columns.
    const COLUMNS: &'static [&'static str];
    /// Names of the columns that `-o wide` adds.
    const WIDE: &'static [&'static str];

    /// Values of the columns.
    fn cells(&self) -> Vec<String>;

    /// Values of the columns that `-o wide` adds.
    fn wide_cells(&self) -> Vec<String>;

    /// Whether it belongs to a namespace.
    fn in_namespace(&self, namespace: &str) -> bool;

    /// The order of lines.
    fn compare(&self, other: &Self) -> Ordering;
}

/// A list in JSON and YAML.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a, R> {
    api_version: &'static str,
    kind: &'static str,
    items: &'a [R],
}

/// One object in JSON and YAML.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Object<'a, T> {
    api_version: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    body: &'a T,
}

impl<'a, T> Object<'a, T> {
    /// An object of this kind.
    pub(crate) fn new(kind: &'static str, body: &'a T) -> Self {
        Self { api_version: API_VERSION, kind, body }
    }
}

/// How results are shown.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// The form.
    pub(crate) format: Format,
    /// Whether tables have a line of column names.
    pub(crate) headers: bool,
    color: ColorChoice,
}

impl Output {
    /// As the options say.
    pub(crate) fn new(global: &Global) -> Self {
        let color = match global.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::AlwaysAnsi,
            Color::Never => ColorChoice::Never,
        };
        Self { format: global.output, headers: !global.no_headers, color }
    }

    /// A sorted list.
    pub(crate) fn list<R: Row>(&self, items: &[R]) -> Result<String, Error> {
        match self.format {
            Format::Table | Format::Wide => Ok(text(self.table(items).lines())),
            Format::Json | Format::Yaml => {
                self.document(&Document { api_version: API_VERSION, kind: R::KIND, items })
            }
        }
    }

    /// The table of a list.
    pub(crate) fn table<R: Row>(&self, items: &[R]) -> Table {
        let wide = self.format == Format::Wide;
        let mut columns = R::COLUMNS.to_vec();
        if wide {
            columns.extend(R::WIDE);
        }
        let mut table = Table::new(columns).with_headers(self.headers);
        for item in items {
            let mut cells = item.cells();
            if wide {
                cells.extend(item.wide_cells());
            }
            table.row(cells);
        }
        table
    }

    /// A document: YAML if asked for, else JSON.
    pub(crate) fn document<T: Serialize>(&self, document: &T) -> Result<String, Error> {
        match self.format {
            Format::Yaml => Ok(serde_saphyr::to_string(document)?),
            _ => Ok(serde_json::to_string_pretty(document)? + "\n"),
        }
    }

    /// Writes to stdout, without colours unless they are wanted. A reader that has gone away is no error:
    /// [`Reader::Gone`] says so.
    pub(crate) fn write(&self, text: &str) -> Result<Reader, Error> {
        let mut stdout = AutoStream::new(io::stdout(), self.color);
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(Reader::There),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
            Err(error) => Err(Error::Write(error)),
        }
    }

    /// Writes a line to stderr, coloured as stdout is. Nothing can be done if that fails.
    pub(crate) fn note(&self, line: &str) {
        let _ = writeln!(AutoStream::new(io::stderr(), self.color), "{line}");
    }
}

/// Whether somebody still reads what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Yes.
    There,
    /// The other end of the pipe is closed.
    Gone,
}

/// Lines as one text.
pub(crate) fn text(lines: Vec<String>) -> String {
    lines.into_iter().map(|line| line + "\n").collect()
}
